/*
 * fill_flow.c — reading, embedding and saving at the same time, so that the embedder never waits for a disk.
 *
 * Two batches take turns. While one is embedded by a thread of its own, the caller's thread, which alone may use
 * the store, saves the one before and reads and cuts the one after. Nothing else is shared: a batch belongs to the
 * thread while that runs, and to the caller's when it is joined. More batches were rejected: with two, the embedder
 * waits only when a batch takes longer to read and save than to embed, and then more of them would wait as well.
 *
 * What was embedded is saved whatever happens elsewhere; after the first fault no batch is started any more, and the
 * fault that came first is the one that is told.
 */
#include "pipeline/fill_run.h"

#include "base/alloc.h"
#include "base/cancel.h"

enum { TELL_MS = 100 }; /* how often the caller hears of the run while it waits */

/* ---- the thread ---- */

static void embed(void *ud)
{
    fill_batch *b = ud;
    b->rc = quern__fill_embed(b, &b->err);
    quern__mutex_lock(b->run->lock);
    b->finished = true;
    quern__cond_signal(b->run->finished);
    quern__mutex_unlock(b->run->lock);
}

static int take_off(fill_batch *b, quern_error *err)
{
    b->finished = false;
    b->tokens = b->chunks = b->calls = b->encode_ns = 0;
    b->rc = QUERN_OK;
    int rc = quern__cancel_new_child(&b->cancel, b->run->opt->cancel, err);
    if (rc == QUERN_OK)
        rc = quern__thread_start(&b->thread, embed, b, err);
    if (rc != QUERN_OK) {
        quern_cancel_free(b->cancel);
        b->cancel = NULL;
    }
    return rc;
}

static bool wait_some(fill_batch *b)
{
    quern__mutex_lock(b->run->lock);
    if (!b->finished)
        quern__cond_wait_ms(b->run->finished, b->run->lock, TELL_MS);
    bool finished = b->finished;
    quern__mutex_unlock(b->run->lock);
    return finished;
}

/* Waits until the batch is embedded; one that nobody wants any more is told to stop. */
static int land(fill_batch *b, quern_error *err)
{
    fill_run *r = b->run;
    int told = QUERN_OK;
    while (!wait_some(b)) {
        if (told == QUERN_OK)
            told = quern__fill_tell(r, false, err);
        if (told != QUERN_OK)
            quern_cancel_raise(b->cancel);
    }
    quern__thread_join(b->thread);
    quern_cancel_free(b->cancel);
    b->thread = NULL;
    b->cancel = NULL;
    r->report->tokens += b->tokens;
    r->report->chunks += b->chunks;
    r->report->calls += b->calls;
    r->encode_ns += b->encode_ns;
    if (told == QUERN_OK && b->rc != QUERN_OK && err)
        *err = b->err;
    return told == QUERN_OK ? b->rc : told;
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

static int flow(fill_run *r, quern_error *err)
{
    fill_batch *ahead = NULL; /* being embedded */
    quern_error fault = {0};
    bool end = false;
    int rc = QUERN_OK;
    for (size_t turn = 0; rc == QUERN_OK && (!end || ahead); turn ^= 1) {
        fill_batch *next = &r->batches[turn], *done = ahead;
        ahead = NULL;
        quern__fill_empty(next);
        if (!end)
            rc = fill_next(r, next, &end, err);
        if (done)
            rc = keep_first(rc, land(done, &fault), &fault, err);
        if (rc == QUERN_OK && next->n_docs) {
            rc = take_off(next, err);
            ahead = rc == QUERN_OK ? next : NULL;
        }
        if (done)
            rc = keep_first(rc, quern__fill_save(done, &fault), &fault, err);
        if (rc == QUERN_OK && r->aim && r->aim->between)
            rc = r->aim->between(r->aim->ud, err);
    }
    if (ahead) { /* saving failed: what is on its way could not be saved either */
        quern_cancel_raise(ahead->cancel);
        land(ahead, &fault);
    }
    return rc;
}

int quern__fill_flow(fill_run *r, quern_error *err)
{
    int rc = quern__mutex_new(&r->lock, err);
    if (rc == QUERN_OK)
        rc = quern__cond_new(&r->finished, err);
    r->batches = quern__calloc(2, sizeof *r->batches);
    if (rc == QUERN_OK && !r->batches)
        rc = quern__fail_memory(err, 2 * sizeof *r->batches);
    for (size_t i = 0; rc == QUERN_OK && i < 2; i++) {
        r->batches[i].run = r;
        quern__arena_init(&r->batches[i].arena, 0);
    }
    if (rc == QUERN_OK)
        rc = flow(r, err);
    for (size_t i = 0; r->batches && i < 2; i++)
        quern__fill_dispose(&r->batches[i]);
    quern__free(r->batches);
    r->batches = NULL;
    quern__cond_free(r->finished);
    quern__mutex_free(r->lock);
    return rc;
}
