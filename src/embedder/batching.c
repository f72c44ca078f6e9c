/*
 * batching.c — an embedder that cuts a call into several and makes some of them at once. The next part is cut when a
 * thread is free to take it, under the lock, so that what the parts before have taught (a size that the provider does
 * not take) holds at once. Every part writes its own stretch of the result: order needs no sorting.
 *
 * Slots are of all callers together; whoever got one looks again whether the call has failed meanwhile, so nothing starts
 * behind the first fault. A part that is rejected for what is in it is halved on the spot, one half after the
 * other, until the text at fault stands alone. Its neighbours' calls that are under way then are paid for whatever becomes of
 * them, so they are waited for, for a while; all that was answered is kept (paid.h) for the caller who asks again without
 * that text: of one that is rejected, every other text is answered once.
 *
 * The threads live for one call: making eight costs less than a tenth of a millisecond, a provider's answer fifty.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/os.h"
#include "embedder/embedder.h"
#include "embedder/paid.h"
#include "embedder/wrap.h"
#include "quern/provider.h"

enum { MOST_AT_ONCE = 64, NAP_MS = 100, PATIENCE = 64, LONGEST_PATIENCE = 4096, GRACE_MS = 2000 };

typedef struct batching {
    quern__wrap wrap;
    quern_batching_options opt;
    quern__paid *paid;
    quern__mutex *mutex;
    quern__cond *slot_free;
    /* under the mutex */
    uint32_t busy; /* slots in use */
    size_t most;   /* texts in a part, at most max_inputs; smaller when that was too many */
    /* parts of that size that passed since; after so many twice as many texts are tried again, later each time that
     * fails: what was too many may have been one bad day's, or a few long texts' */
    uint32_t passed, patience;
} batching;

typedef struct job {
    batching *b;
    const quern_str *texts;
    size_t n;
    quern_embed_options opt; /* with `stop` for its cancel, and without `arrived` */
    void (*arrived)(void *ud, const quern_str *texts, size_t n, const float *vectors,
                    const quern_embed_result *results);
    quern_cancel *stop; /* raised with the caller's, and at the first fault */
    float *out;
    quern_embed_result *results;
    uint8_t *done; /* [n] it has been answered; written like out */
    /* under the embedder's mutex */
    size_t next, under_way; /* the next text, parts */
    int rc;
    quern_error err;
} job;

/* The first fault is the call's. */
static void fail_job(job *j, int rc, const quern_error *err, size_t first)
{
    quern__mutex_lock(j->b->mutex);
    if (j->rc == QUERN_OK) {
        j->rc = rc;
        j->err = *err;
        if (err->subject >= 0)
            quern__blame(&j->err, rc, first + (size_t)err->subject);
    }
    quern__mutex_unlock(j->b->mutex);
}

/* The text at fault is one text's fault: what is under way is let come in, if it does not take long. */
static void let_come_in(job *j)
{
    uint64_t until = quern__now_ns() + (uint64_t)GRACE_MS * 1000000;
    quern__mutex_lock(j->b->mutex);
    while (j->under_way && quern__now_ns() < until && !quern_cancel_raised(j->opt.cancel))
        quern__cond_wait_ms(j->b->slot_free, j->b->mutex, NAP_MS);
    quern__mutex_unlock(j->b->mutex);
}

/* A part behind what others have taken, once there is a slot; n = 0: no more to do. */
static size_t take_part(job *j, size_t *first)
{
    batching *b = j->b;
    size_t n = 0, bytes = 0;
    quern__mutex_lock(b->mutex);
    while (j->rc == QUERN_OK && j->next < j->n && b->busy >= b->opt.concurrency)
        if ((j->rc = quern__check_cancel(j->opt.cancel, &j->err)) == QUERN_OK)
            quern__cond_wait_ms(b->slot_free, b->mutex, NAP_MS);
    if (j->rc == QUERN_OK && j->next < j->n)
        j->rc = quern__check_cancel(j->opt.cancel, &j->err);
    if (j->rc == QUERN_OK) {
        *first = j->next;
        while (j->next < j->n && n < b->most) {
            bytes += j->texts[j->next].len;
            if (n && b->opt.max_request_tokens && bytes > b->opt.max_request_tokens)
                break;
            j->next++;
            n++;
        }
        b->busy += n > 0;
        j->under_way += n > 0;
    }
    quern__mutex_unlock(b->mutex);
    return n;
}

static void give_slot(batching *b, job *j)
{
    quern__mutex_lock(b->mutex);
    b->busy--;
    if (j)
        j->under_way--;
    quern__cond_broadcast(b->slot_free);
    quern__mutex_unlock(b->mutex);
}

static bool is_rejected(int rc, const quern_error *err)
{
    return rc == QUERN_EREMOTE && err->retry_ms < 0 &&
           (err->detail == 400 || err->detail == 413 || err->detail == 422 ||
            err->detail == 500); /* of this call's alone: retrying.c */
}

static bool has_failed(job *j)
{
    quern__mutex_lock(j->b->mutex);
    bool failed = j->rc != QUERN_OK;
    quern__mutex_unlock(j->b->mutex);
    return failed;
}

/* A call of n was rejected and passed in two: that many are too many. */
static void learn(batching *b, size_t n)
{
    quern__mutex_lock(b->mutex);
    if (n <= b->most) {
        b->most = n / 2;
        b->passed = 0;
        b->patience = QUERN__MIN(b->patience * 2, (uint32_t)LONGEST_PATIENCE);
    }
    quern__mutex_unlock(b->mutex);
}

static void note_passed(batching *b, size_t n)
{
    quern__mutex_lock(b->mutex);
    if (n == b->most && b->most < b->opt.max_inputs && ++b->passed >= b->patience) {
        b->most = QUERN__MIN(b->most * 2, (size_t)b->opt.max_inputs);
        b->passed = 0;
    }
    quern__mutex_unlock(b->mutex);
}

/* The largest part that may go now, of n that were too many or hold a bad text. */
static size_t smaller(batching *b, size_t n)
{
    quern__mutex_lock(b->mutex);
    size_t most = b->most;
    quern__mutex_unlock(b->mutex);
    return QUERN__MIN(most, (n + 1) / 2);
}

/* NOLINTNEXTLINE(misc-no-recursion): halves, so at most 32 deep */
static int embed_part(job *j, size_t first, size_t n, quern_error *err)
{
    batching *b = j->b;
    size_t dim = quern_embedder_dimensions(b->wrap.inner);
    int rc = quern__wrap_embed(b, j->texts + first, n, &j->opt, j->out + first * dim,
                               j->results + first, err);
    if (rc == QUERN_OK) {
        memset(j->done + first, 1, n);
        if (j->arrived)
            j->arrived(j->opt.arrived_ud, j->texts + first, n, j->out + first * dim,
                       j->results + first);
        note_passed(b, n);
    }
    if (!is_rejected(rc, err) || n < 2)
        return rc;
    for (size_t at = 0, some; at < n; at += some) {
        some = QUERN__MIN(smaller(b, n), n - at);
        rc = has_failed(j) ? QUERN_ECANCELLED : embed_part(j, first + at, some, err);
        if (rc != QUERN_OK) {
            if (err->subject >= 0)
                err->subject += (int32_t)at;
            return rc;
        }
    }
    learn(b, n);
    return QUERN_OK;
}

static void work(void *ud)
{
    job *j = ud;
    size_t first = 0, n;
    while ((n = take_part(j, &first)) != 0) {
        quern_error err = {.subject = -1, .retry_ms = -1};
        int rc = embed_part(j, first, n, &err);
        if (rc != QUERN_OK)
            fail_job(j, rc, &err, first);
        give_slot(j->b, j);
        if (rc != QUERN_OK && is_rejected(rc, &err) && err.subject >= 0)
            let_come_in(j);
        if (rc != QUERN_OK && rc != QUERN_ECANCELLED)
            quern_cancel_raise(j->stop); /* nobody waits for the others any more */
    }
}

static int ask_all(void *self, const quern_str *texts, size_t n, const quern_embed_options *opt,
                   float *out, quern_embed_result *results, quern_error *err)
{
    batching *b = self;
    job j = {.b = b,
             .texts = texts,
             .n = n,
             .opt = *opt,
             .out = out,
             .results = results,
             .arrived = opt->arrived};
    quern__thread *threads[MOST_AT_ONCE];
    size_t parts = (n + b->opt.max_inputs - 1) / b->opt.max_inputs, started = 0;
    j.done = quern__calloc(n + 1, 1);
    int rc = j.done ? quern__cancel_new_child(&j.stop, opt->cancel, err)
                    : quern__fail_memory(err, n + 1);
    if (rc) {
        quern__free(j.done);
        return rc;
    }
    j.opt.cancel = j.stop;
    j.opt.arrived = NULL; /* of the parts, not of parts of a part */
    if (b->opt.max_request_tokens)
        parts = n;
    size_t helpers = QUERN__MIN(parts, (size_t)b->opt.concurrency);
    /* one less than there is to do; without a thread the caller's does it alone */
    while (started + 1 < helpers && quern__thread_start(&threads[started], work, &j, NULL) == 0)
        started++;
    work(&j);
    for (size_t i = 0; i < started; i++)
        quern__thread_join(threads[i]);
    quern_cancel_free(j.stop);
    if (j.rc != QUERN_OK) {
        if (!opt->arrived) /* else whoever is told of the parts keeps them */
            quern__paid_keep(b->paid, texts, n, opt, out, results, j.done);
        if (err)
            *err = j.err;
    }
    quern__free(j.done);
    return j.rc;
}

static int batching_embed(void *self, const quern_str *texts, size_t n,
                          const quern_embed_options *opt, float *out, quern_embed_result *results,
                          quern_error *err)
{
    return quern__paid_embed(((batching *)self)->paid, ask_all, self, texts, n, opt, out, results,
                             err);
}

/* ---- assets: few, so the parts of a call go one after the other ---- */

static int wait_slot(batching *b, const quern_cancel *cancel, quern_error *err)
{
    quern__mutex_lock(b->mutex);
    int rc = quern__check_cancel(cancel, err);
    while (rc == QUERN_OK && b->busy >= b->opt.concurrency) {
        quern__cond_wait_ms(b->slot_free, b->mutex, NAP_MS);
        rc = quern__check_cancel(cancel, err);
    }
    b->busy += rc == QUERN_OK;
    quern__mutex_unlock(b->mutex);
    return rc;
}

/* n of the call's vectors from `first` on. */
static int ask_some(batching *b, const quern_asset_call *call, size_t first, size_t n,
                    quern_error *err)
{
    size_t texts = call->text.len > 0, dim = quern_embedder_dimensions(b->wrap.inner);
    quern_asset_call some = *call;
    quern_embed_result counted = {0};
    some.result = &counted;
    if (!call->together) {
        some.out = call->out + first * dim;
        if (first)
            some.text = (quern_str){NULL, 0};
        some.assets = call->assets + (first ? first - texts : 0);
        some.n = n - (first ? 0 : texts);
    }
    int rc = wait_slot(b, call->opt->cancel, err);
    if (rc)
        return rc;
    rc = quern__wrap_assets(b, &some, err);
    give_slot(b, NULL);
    if (rc != QUERN_OK && err->subject >= 0)
        err->subject += (int32_t)first;
    call->result->tokens += counted.tokens;
    call->result->encode_ns += counted.encode_ns;
    return rc;
}

/* NOLINTNEXTLINE(misc-no-recursion): halves, so at most 7 deep */
static int ask_parts(batching *b, const quern_asset_call *call, size_t first, size_t n,
                     quern_error *err)
{
    int rc = ask_some(b, call, first, n, err);
    if (!is_rejected(rc, err) || n < 2)
        return rc;
    rc = ask_parts(b, call, first, n / 2, err);
    return rc ? rc : ask_parts(b, call, first + n / 2, n - n / 2, err);
}

static int batching_assets(void *self, const quern_asset_call *call, quern_error *err)
{
    batching *b = self;
    quern_error local = {0};
    size_t n = quern__asset_vectors(call);
    int rc = QUERN_OK;
    for (size_t at = 0, some; at < n && rc == QUERN_OK; at += some) {
        some = QUERN__MIN(n - at, (size_t)b->opt.max_inputs);
        rc = ask_parts(b, call, at, some, &local);
    }
    if (rc != QUERN_OK && err)
        *err = local;
    return rc;
}

static void batching_release(void *self)
{
    batching *b = self;
    quern_embedder_free(b->wrap.inner);
    quern__paid_free(b->paid);
    quern__cond_free(b->slot_free);
    quern__mutex_free(b->mutex);
    quern__free(b);
}

int quern_embedder_batching(quern_embedder **out, quern_embedder *inner,
                            const quern_batching_options *opt, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(inner, err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    batching *b = quern__calloc(1, sizeof *b);
    if (!b)
        return quern__fail_memory(err, sizeof *b);
    if (opt)
        memcpy(&b->opt, opt, QUERN__MIN(opt->struct_size, sizeof b->opt));
    b->opt.max_inputs = b->opt.max_inputs ? b->opt.max_inputs : 100;
    b->opt.concurrency = b->opt.concurrency ? b->opt.concurrency : 8;
    b->opt.concurrency = QUERN__MIN(b->opt.concurrency, (uint32_t)MOST_AT_ONCE);
    b->most = b->opt.max_inputs;
    b->patience = PATIENCE;
    uint32_t parallel =
        quern_embedder_parallel(inner); /* a limit inside says how many are let through */
    parallel = parallel > 1 ? parallel : b->opt.concurrency;
    int rc = quern__mutex_new(&b->mutex, err);
    if (!rc)
        rc = quern__cond_new(&b->slot_free, err);
    if (!rc)
        rc = quern__paid_new(&b->paid, quern_embedder_dimensions(inner), err);
    if (!rc)
        rc = quern__wrap_make_parallel(out, inner, b, parallel, batching_embed, batching_assets,
                                       batching_release, err);
    if (rc)
        batching_release(b);
    return rc;
}
