/*
 * fill_flow.c — reading, embedding and saving at the same time, so that the embedder never waits for a disk.
 *
 * Batches go round. While one is embedded by a thread of its own, the caller's thread, which alone may use the store,
 * saves the one before and reads and cuts the one after. Nothing else is shared: a batch belongs to the thread while
 * that runs, and to the caller's when it is joined. A model on this machine has one batch under way: it waits
 * only when a batch takes longer to read and save than to embed, and then more of them would wait as well. A service
 * far away has as many under way as it takes calls at once; they are saved in the order of the rows all the same.
 *
 * What was embedded is saved whatever happens elsewhere; after the first fault no batch is started any more, and the
 * fault that came first is the one that is told.
 */
#include "pipeline/fill_run.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "embedder/embedder.h"

enum { TELL_MS = 100 }; /* how often the caller hears of the run while it waits */

/* ---- the thread ---- */

static void embed(void *ud)
{
    fill_batch *b = ud;
    fill_run *r = b->run;
    b->rc = quern__fill_embed(b, &b->err);
    quern__mutex_lock(r->lock);
    if (b->rc != QUERN_OK && r->fault_rc == QUERN_OK) {
        r->fault_rc = b->rc;
        r->fault = b->err;
    }
    b->finished = true;
    quern__cond_signal(b->run->finished);
    quern__mutex_unlock(b->run->lock);
}

static int take_off(fill_batch *b, quern_error *err)
{
    b->finished = false;
    b->tokens = b->chunks = b->calls = b->encode_ns = b->cached = b->cached_tokens = 0;
    b->rc = QUERN_OK;
    uint64_t paid = b->run->report->tokens - b->run->report->cached_tokens;
    b->token_ns = paid ? (double)b->run->encode_ns / (double)paid : 0;
    int rc = quern__cancel_new_child(&b->cancel, b->run->opt->cancel, err);
    if (rc == QUERN_OK)
        rc = quern__thread_start(&b->thread, embed, b, err);
    if (rc != QUERN_OK) {
        quern_cancel_free(b->cancel);
        b->cancel = NULL;
    }
    return rc;
}

/* *fault: some batch has failed. */
static bool wait_some(fill_batch *b, bool *fault)
{
    fill_run *r = b->run;
    quern__mutex_lock(r->lock);
    if (!b->finished && !(r->fault_rc && !*fault))
        quern__cond_wait_ms(r->finished, r->lock, TELL_MS);
    bool finished = b->finished;
    *fault = r->fault_rc != QUERN_OK;
    quern__mutex_unlock(r->lock);
    return finished;
}

/* Waits until the batch is embedded; what nobody wants any more is told to stop: this one, and after a fault all. */
static int land(fill_batch *b, quern_error *err)
{
    fill_run *r = b->run;
    int told = QUERN_OK;
    bool fault = false;
    while (!wait_some(b, &fault)) {
        if (told == QUERN_OK)
            told = quern__fill_tell(r, false, err);
        for (size_t i = 0; i < r->n_batches && (told != QUERN_OK || fault); i++)
            if (r->batches[i].cancel)
                quern_cancel_raise(r->batches[i].cancel);
    }
    quern__thread_join(b->thread);
    quern_cancel_free(b->cancel);
    b->thread = NULL;
    b->cancel = NULL;
    r->report->tokens += b->tokens;
    r->report->chunks += b->chunks;
    r->report->calls += b->calls;
    r->report->cached += b->cached;
    r->report->cached_tokens += b->cached_tokens;
    r->encode_ns += b->encode_ns;
    if (told != QUERN_OK || b->rc == QUERN_OK)
        return told;
    if (err)
        *err = r->fault; /* the first one: the others were told to stop */
    return r->fault_rc;
}

/* ---- the rows, from the first to the last ---- */

static int fill_next(fill_run *r, fill_batch *b, bool *end, quern_error *err)
{
    quern__fill_empty(b);
    bool named = r->aim && r->aim->tasks;
    int rc = named ? quern__fill_keys(r, b, end, err) : quern__fill_scan(r, b, end, err);
    if (rc == QUERN_OK)
        rc = quern__fill_cut(b, err);
    if (rc == QUERN_OK && r->opt->dry_run) {
        quern__fill_count_dry(b);
        quern__fill_empty(b);
    }
    return rc;
}

/* Keeps the first of two faults; *err holds it already. */
static int keep_first(int first, int second, const quern_error *fault, quern_error *err)
{
    if (first == QUERN_OK && second != QUERN_OK && err)
        *err = *fault;
    return first == QUERN_OK ? second : first;
}

/* Batches that are being embedded, the oldest first: batches[first], …, going round. */
typedef struct queue {
    size_t first, n;
} queue;

static fill_batch *batch_at(const fill_run *r, const queue *q, size_t i)
{
    assert(r->n_batches > 1);
    return &r->batches[(q->first + i) % r->n_batches];
}

/* Reads the next one, lands the oldest when there is no more room or nothing else to do, and saves it when the next is under
 * way. */
static int turn(fill_run *r, queue *q, bool *end, quern_error *err)
{
    fill_batch *next = batch_at(r, q, q->n), *done = NULL;
    quern_error fault = {0};
    int rc = QUERN_OK;
    quern__fill_empty(next);
    if (!*end)
        rc = fill_next(r, next, end, err);
    if (q->n && (q->n + 1 == r->n_batches || !next->n_docs || rc != QUERN_OK)) {
        done = batch_at(r, q, 0);
        rc = keep_first(rc, land(done, &fault), &fault, err);
        q->first = (q->first + 1) % r->n_batches;
        q->n--;
    }
    if (rc == QUERN_OK && next->n_docs) {
        rc = take_off(next, err);
        q->n += rc == QUERN_OK;
    }
    if (done)
        rc = keep_first(rc, quern__fill_save(done, &fault), &fault, err);
    if (rc == QUERN_OK && r->aim && r->aim->between)
        rc = r->aim->between(r->aim->ud, err);
    return rc;
}

static int flow(fill_run *r, quern_error *err)
{
    queue q = {0};
    quern_error fault;
    bool end = false;
    int rc = QUERN_OK;
    while (rc == QUERN_OK && (!end || q.n))
        rc = turn(r, &q, &end, err);
    for (size_t i = 0; i < q.n; i++) /* something failed: nobody waits for the rest of these */
        quern_cancel_raise(batch_at(r, &q, i)->cancel);
    /* what they had finished is kept, where that can be had without another fault or question */
    bool keep = !r->opt->on_error;
    for (size_t i = 0; i < q.n; i++) {
        fill_batch *b = batch_at(r, &q, i);
        land(b, &fault); /* the fault is told already */
        keep = keep && quern__fill_save(b, &fault) == QUERN_OK;
    }
    return rc;
}

int quern__fill_flow(fill_run *r, quern_error *err)
{
    int rc = quern__mutex_new(&r->lock, err);
    if (rc == QUERN_OK)
        rc = quern__cond_new(&r->finished, err);
    r->n_batches = 1 + quern_embedder_parallel(r->e);
    r->batches = quern__calloc(r->n_batches, sizeof *r->batches);
    if (rc == QUERN_OK && !r->batches)
        rc = quern__fail_memory(err, r->n_batches * sizeof *r->batches);
    for (size_t i = 0; rc == QUERN_OK && i < r->n_batches; i++) {
        r->batches[i].run = r;
        quern__arena_init(&r->batches[i].arena, 0);
    }
    if (rc == QUERN_OK)
        rc = flow(r, err);
    for (size_t i = 0; r->batches && i < r->n_batches; i++)
        quern__fill_dispose(&r->batches[i]);
    quern__free(r->batches);
    r->batches = NULL;
    quern__cond_free(r->finished);
    quern__mutex_free(r->lock);
    return rc;
}
