/*
 * local.c — the embedder of a model on this machine: text → prompt → tokens → packed stream → vectors.
 *
 * Work goes in steps of batch x threads texts. Callers take turns step by step, in the order they came
 * (a ticket lock), so that one long job cannot starve a query; within a step all threads work for one
 * caller. Rejected: a context per caller — the encoder then competes with itself for the caches, and
 * two callers on two cores are served no sooner. Steps, turns and threads never change a vector.
 */
#include "embedder/embedder.h"

#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/fpenv.h"
#include "base/os.h"
#include "encoder/ort.h"
#include "quern/text.h"
#include "text/utf8.h"

enum { DEFAULT_BATCH = 32, MAX_BATCH = 4096 };

typedef struct local {
    /* immutable */
    quern_model *model;
    const quern__encoder *encoder; /* NULL: ort computes */
    const quern__ort *ort;
    uint32_t max_length, dimensions, step_texts;
    /* the turn */
    quern__mutex *mutex;
    quern__cond *turn_over;
    uint64_t next_ticket, serving;
    /* of the caller whose turn it is */
    quern__pool *pool;
    quern__encoder_scratch *scratch;
    quern__tokens *tokens; /* [step_texts] */
    uint32_t *lengths;     /* [step_texts] */
    int32_t *ids;
    size_t ids_cap;
} local;

static void take_turn(local *l)
{
    quern__mutex_lock(l->mutex);
    uint64_t mine = l->next_ticket++;
    while (l->serving != mine)
        quern__cond_wait(l->turn_over, l->mutex);
    quern__mutex_unlock(l->mutex);
}

static void give_turn(local *l)
{
    quern__mutex_lock(l->mutex);
    l->serving++;
    quern__cond_broadcast(l->turn_over);
    quern__mutex_unlock(l->mutex);
}

/* ---- one text: prompt and UTF-8 ---- */

/* The text as it will be tokenized: as given, or a copy in *owned with prompt and replacements. */
static int prepare_text(quern_str text, const char *prompt, const quern_embed_options *opt,
                        size_t index, quern_str *ready, char **owned, quern_error *err)
{
    *ready = text;
    *owned = NULL;
    size_t bad = quern__utf8_check(text.ptr, text.len), prompt_len = strlen(prompt), len = 0;
    if (bad < text.len && opt->invalid_utf8 != QUERN_INVALID_UTF8_REPLACE)
        return quern__blame(
            err,
            quern__fail(err, QUERN_EFORMAT, (int64_t)bad, "text is not UTF-8 at byte %zu", bad),
            index);
    if (bad < text.len) {
        int rc = quern_utf8_replace(owned, &len, text, err);
        if (rc != QUERN_OK)
            return rc;
        ready->ptr = *owned;
        ready->len = len;
    }
    if (!prompt_len)
        return QUERN_OK;
    char *joined = quern__alloc(prompt_len + ready->len + 1);
    if (!joined)
        return quern__fail_memory(err, prompt_len + ready->len);
    memcpy(joined, prompt, prompt_len);
    if (ready->len)
        memcpy(joined + prompt_len, ready->ptr, ready->len);
    quern__free(*owned);
    *owned = joined;
    ready->ptr = joined;
    ready->len += prompt_len;
    return QUERN_OK;
}

/* ---- one step ---- */

typedef struct step {
    local *l;
    const quern_str *texts;
    size_t first, n; /* texts first .. first + n - 1 of the call */
    const quern_embed_options *opt;
    const char *prompt;
    quern_embed_result *results; /* of the call */
} step;

static int tokenize_text(step *s, size_t slot, quern_error *err)
{
    size_t i = s->first + slot;
    quern_embed_result *r = &s->results[i];
    quern__tokens *t = &s->l->tokens[slot];
    quern_str ready;
    char *owned;
    uint64_t start = quern__now_ns();
    int rc = prepare_text(s->texts[i], s->prompt, s->opt, i, &ready, &owned, err);
    if (rc == QUERN_OK)
        rc = quern__model_tokens(s->l->model, ready, s->l->max_length, t, err);
    quern__free(owned);
    if (rc == QUERN_OK) {
        r->tokens = t->n;
        r->tokens_full = t->full;
        r->truncated = t->full > t->n;
        if (r->truncated && s->opt->truncation != QUERN_TRUNCATION_CUT)
            rc = quern__fail(err, QUERN_ETOOLONG, t->full,
                             "text %zu has %u tokens, %s reads %u: shorten it or allow truncation",
                             i, t->full, quern__model_name(s->l->model), s->l->max_length);
    }
    r->tokenize_ns = quern__now_ns() - start;
    r->status = rc;
    return rc == QUERN_OK ? rc : quern__blame(err, rc, i);
}

static void tokenize_part(void *ud, uint32_t part, uint32_t worker)
{
    (void)worker;
    tokenize_text(ud, part, NULL);
}

/* All texts of the step, in parallel. The error reported is that of the first text at fault, whichever
 * thread met it: that text is read once more, alone, to have its message. */
static int tokenize_step(step *s, quern_error *err)
{
    quern__pool_run(s->l->pool, (uint32_t)s->n, tokenize_part, s);
    for (size_t slot = 0; slot < s->n; slot++)
        if (s->results[s->first + slot].status != QUERN_OK)
            return tokenize_text(s, slot, err);
    return QUERN_OK;
}

/* The token ids of the step, one text after another without padding. */
static int pack_step(step *s, size_t *total, quern_error *err)
{
    local *l = s->l;
    *total = 0;
    for (size_t slot = 0; slot < s->n; slot++)
        *total += l->tokens[slot].n;
    if (*total > l->ids_cap) {
        int32_t *ids = quern__resize_array(l->ids, *total, sizeof *ids);
        if (!ids)
            return quern__fail_memory(err, *total * sizeof *ids);
        l->ids = ids;
        l->ids_cap = *total;
    }
    int32_t *at = l->ids;
    for (size_t slot = 0; slot < s->n; slot++) {
        const quern__tokens *t = &l->tokens[slot];
        memcpy(at, t->ids, t->n * sizeof *at);
        at += t->n;
        l->lengths[slot] = t->n;
    }
    return QUERN_OK;
}

static int run_step(step *s, float *out, quern_error *err)
{
    local *l = s->l;
    size_t total;
    int rc = tokenize_step(s, err);
    if (rc == QUERN_OK)
        rc = pack_step(s, &total, err);
    if (rc != QUERN_OK)
        return rc;
    uint64_t start = quern__now_ns();
    if (l->ort)
        rc = quern__ort_encode(l->ort, quern__model_head(l->model), l->pool, l->ids, l->lengths,
                               (uint32_t)s->n, !s->opt->no_normalize, out, s->opt->cancel, err);
    else
        rc = quern__encode(l->encoder, l->scratch, l->pool, l->ids, l->lengths, (uint32_t)s->n,
                           !s->opt->no_normalize, out, s->opt->cancel, err);
    if (rc != QUERN_OK)
        return err && err->subject >= 0 ? quern__blame(err, rc, s->first + (size_t)err->subject)
                                        : rc;
    uint64_t spent = quern__now_ns() - start;
    for (size_t slot = 0; slot < s->n; slot++)
        s->results[s->first + slot].encode_ns =
            (uint64_t)((double)spent * l->lengths[slot] / (double)total);
    return QUERN_OK;
}

/* ---- the table ---- */

static int local_embed(void *self, const quern_str *texts, size_t n, const quern_embed_options *opt,
                       float *out, quern_embed_result *results, quern_error *err)
{
    local *l = self;
    const quern__model_config *config = quern__model_settings(l->model);
    step s = {l, texts, 0, 0, opt, NULL, results};
    int rc = QUERN_OK;
    s.prompt = opt->as == QUERN_AS_QUERY ? config->prompt_query : config->prompt_document;
    quern__fpenv env = quern__fpenv_enter();
    for (s.first = 0; s.first < n && rc == QUERN_OK; s.first += s.n) {
        s.n = QUERN__MIN(n - s.first, (size_t)l->step_texts);
        take_turn(l);
        rc = quern__check_cancel(opt->cancel, err);
        if (rc == QUERN_OK)
            rc = run_step(&s, out + s.first * l->dimensions, err);
        give_turn(l);
    }
    quern__fpenv_leave(env);
    return rc;
}

static int local_fingerprint(void *self, char **json, quern_error *err)
{
    local *l = self;
    return quern_model_fingerprint(l->model, json, NULL, err);
}

static int local_tokenize(void *self, quern_str text, quern_tokens **out, quern_error *err)
{
    local *l = self;
    return quern_model_tokenize(l->model, text, out, err);
}

static void local_release(void *self)
{
    local *l = self;
    if (l->tokens)
        for (uint32_t i = 0; i < l->step_texts; i++)
            quern__tokens_dispose(&l->tokens[i]);
    quern__free(l->tokens);
    quern__free(l->lengths);
    quern__free(l->ids);
    quern__encoder_scratch_free(l->scratch);
    quern__pool_free(l->pool);
    quern__cond_free(l->turn_over);
    quern__mutex_free(l->mutex);
    quern_model_free(l->model);
    quern__free(l);
}

static int open_local(local *l, uint32_t threads, uint32_t batch, quern_error *err)
{
    int rc = quern__mutex_new(&l->mutex, err);
    if (rc == QUERN_OK)
        rc = quern__cond_new(&l->turn_over, err);
    if (rc == QUERN_OK)
        rc = quern__pool_new(&l->pool, threads, err);
    if (rc != QUERN_OK)
        return rc;
    threads = quern__pool_threads(l->pool);
    if (l->encoder)
        rc = quern__encoder_scratch_new(&l->scratch, l->encoder, threads, err);
    if (rc != QUERN_OK)
        return rc;
    uint32_t step_texts = batch * threads;
    l->tokens = quern__calloc(step_texts, sizeof *l->tokens);
    l->lengths = quern__alloc_array(step_texts, sizeof *l->lengths);
    if (!l->tokens || !l->lengths)
        return quern__fail_memory(err, step_texts * sizeof *l->tokens);
    for (uint32_t i = 0; i < step_texts; i++)
        quern__tokens_init(&l->tokens[i]);
    l->step_texts = step_texts;
    return QUERN_OK;
}

int quern_embedder_from_model(quern_embedder **out, quern_model *m,
                              const quern_embedder_options *opt, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(m, err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof *opt, err);
    uint32_t threads = opt ? opt->threads : 0,
             batch = opt && opt->batch ? opt->batch : DEFAULT_BATCH;
    if (batch > MAX_BATCH || threads > 1024)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "batch %u or threads %u too large: at most %d and 1024", batch, threads,
                           MAX_BATCH);
    local *l = quern__calloc(1, sizeof *l);
    if (!l)
        return quern__fail_memory(err, sizeof *l);
    l->model = quern__model_hold(m);
    l->encoder = quern__model_encoder(m);
    l->ort = quern__model_ort(m);
    l->dimensions = quern_model_dimensions(m);
    l->max_length = quern_model_max_length(m);
    quern_embedder_table table = {.struct_size = sizeof table,
                                  .name = quern__model_name(m),
                                  .dimensions = l->dimensions,
                                  .max_length = l->max_length,
                                  .embed = local_embed,
                                  .fingerprint = local_fingerprint,
                                  .tokenize = local_tokenize,
                                  .release = local_release};
    int rc = open_local(l, threads, batch, err);
    if (rc == QUERN_OK)
        rc = quern_embedder_from_table(out, &table, l, err);
    if (rc != QUERN_OK)
        local_release(l);
    return rc;
}
