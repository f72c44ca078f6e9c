/*
 * embedder.c — the face in front of every embedder: arguments checked once, every vector looked at
 * before anybody sees it, totals counted, jobs that run without blocking. What stands behind is a table
 * of functions (quern/sys/embedder.h); the local model's is in local.c.
 *
 * The look at each vector costs one pass over it and is never skipped: a provider, a cache or a bug of
 * ours must not be able to hand on a vector that is not finite or not of unit length.
 */
#include "embedder/embedder.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/checked.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/os.h"

struct quern_embedder {
    /* immutable */
    quern_embedder_table table;
    void *self;
    /* any thread */
    atomic_uint_fast64_t calls, texts, tokens, failures, tokenize_ns, encode_ns, cached_texts,
        cached_tokens;
};

int quern_embedder_from_table(quern_embedder **out, const quern_embedder_table *table, void *self,
                              quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(table && table->struct_size >= offsetof(quern_embedder_table, tokenize), err);
    QUERN__REQUIRE(table->name && table->dimensions && table->embed && table->fingerprint, err);
    if (table->struct_size > sizeof *table)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "embedder %s was made for a newer quern",
                           table->name);
    quern_embedder *e = quern__calloc(1, sizeof *e);
    if (!e)
        return quern__fail_memory(err, sizeof *e);
    memcpy(&e->table, table, table->struct_size);
    e->self = self;
    *out = e;
    return QUERN_OK;
}

void quern_embedder_free(quern_embedder *e)
{
    if (!e)
        return;
    if (e->table.release)
        e->table.release(e->self);
    quern__free(e);
}

void *quern_alloc(size_t size)
{
    return quern__alloc(size);
}

uint32_t quern_embedder_dimensions(const quern_embedder *e)
{
    return e->table.dimensions;
}

uint32_t quern_embedder_max_length(const quern_embedder *e)
{
    return e->table.max_length;
}

const char *quern_embedder_name(const quern_embedder *e)
{
    return e->table.name;
}

uint32_t quern_embedder_parallel(const quern_embedder *e)
{
    enum { MOST = 64 };
    return QUERN__MAX(QUERN__MIN(e->table.parallel, (uint32_t)MOST), 1u);
}

float quern__embedder_repeats(const quern_embedder *e)
{
    return e->table.repeats > 0 && e->table.repeats <= 1 ? e->table.repeats : 0;
}

int quern_embedder_fingerprint(quern_embedder *e, char **json, char hash[65], quern_error *err)
{
    QUERN__REQUIRE(json, err);
    *json = NULL;
    QUERN__REQUIRE(e, err);
    int rc = e->table.fingerprint(e->self, json, err);
    return rc == QUERN_OK && hash ? quern__fingerprint_hash(json, hash, err) : rc;
}

int quern_embedder_tokenize(quern_embedder *e, quern_str text, quern_tokens **out, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(e && (text.ptr || !text.len), err);
    if (!e->table.tokenize)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "%s has no tokenizer at hand",
                           e->table.name);
    return e->table.tokenize(e->self, text, out, err);
}

/* ---- one call ---- */

/* Refuses what must never be stored or compared. The sum is over doubles: it only has to tell 1 from not 1. */
static int check_vectors(const quern_embedder *e, const float *out, size_t n, bool unit,
                         quern_error *err)
{
    size_t dim = e->table.dimensions;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t k = 0; k < dim; k++)
            sum += (double)out[i * dim + k] * (double)out[i * dim + k];
        if (!isfinite(sum) || sum == 0) {
            int rc =
                quern__fail(err, QUERN_EINTERNAL, 0, "%s gave a vector that is %s for text %zu",
                            e->table.name, sum == 0 ? "zero" : "not finite", i);
            return quern__blame(err, rc, i);
        }
        if (unit && fabs(sqrt(sum) - 1) > 1e-3) {
            int rc = quern__fail(err, QUERN_EINTERNAL, 0,
                                 "%s gave a vector of length %.6f, not 1, for text %zu",
                                 e->table.name, sqrt(sum), i);
            return quern__blame(err, rc, i);
        }
    }
    return QUERN_OK;
}

static int check_arguments(const quern_embedder *e, const quern_str *texts, size_t n,
                           const quern_embed_options *opt, const float *out, size_t out_floats,
                           quern_error *err)
{
    size_t floats;
    QUERN__REQUIRE(e, err);
    QUERN__REQUIRE(n == 0 || (texts && out), err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    if (!quern__mul_size(n, e->table.dimensions, &floats) || floats > out_floats)
        return quern__fail(err, QUERN_EINVAL, (int64_t)out_floats,
                           "room for %zu floats, %zu texts need %zu x %u", out_floats, n, n,
                           e->table.dimensions);
    for (size_t i = 0; i < n; i++) {
        if (!texts[i].ptr && texts[i].len)
            return quern__blame(err, quern__fail(err, QUERN_EINVAL, 0, "text %zu is NULL", i), i);
        if (texts[i].len > UINT32_MAX / 2)
            return quern__blame(err, quern__fail(err, QUERN_EINVAL, 0, "text %zu is over 2 GiB", i),
                                i);
    }
    return QUERN_OK;
}

/* Of wrappers, the embedders inside have counted theirs. */
static void count_call(quern_embed_result *r, size_t n)
{
    uint32_t calls = 0;
    size_t computed = n;
    for (size_t i = n; i-- > 0;) {
        calls += r[i].calls;
        computed = r[i].cached ? computed : i;
    }
    if (calls == 0 && computed < n)
        r[computed].calls = 1;
}

static int embed_with(quern_embedder *e, const quern_str *texts, size_t n,
                      const quern_embed_options *opt, const quern_cancel *cancel, float *out,
                      size_t out_floats, quern_embed_result *results, quern_error *err)
{
    quern_embed_options full;
    int rc = check_arguments(e, texts, n, opt, out, out_floats, err);
    if (rc != QUERN_OK || n == 0)
        return rc;
    QUERN_INIT(&full);
    if (opt)
        memcpy(&full, opt, QUERN__MIN(opt->struct_size, sizeof full));
    full.struct_size = sizeof full;
    if (cancel)
        full.cancel = cancel;
    quern_embed_result *r = results;
    if (!r && !(r = quern__alloc_array(n, sizeof *r)))
        return quern__fail_memory(err, n * sizeof *r);
    memset(r, 0, n * sizeof *r);

    rc = quern__check_cancel(full.cancel, err);
    if (rc == QUERN_OK)
        rc = e->table.embed(e->self, texts, n, &full, out, r, err);
    if (rc == QUERN_OK)
        rc = check_vectors(e, out, n, !full.no_normalize, err);
    atomic_fetch_add(&e->calls, 1);
    if (rc == QUERN_OK) {
        count_call(r, n);
        uint64_t tokens = 0, tokenize_ns = 0, encode_ns = 0, cached_texts = 0, cached_tokens = 0;
        for (size_t i = 0; i < n; i++) {
            tokens += r[i].tokens;
            cached_texts += r[i].cached != 0;
            cached_tokens += r[i].cached ? r[i].tokens : 0;
            tokenize_ns += r[i].tokenize_ns;
            encode_ns += r[i].encode_ns;
        }
        atomic_fetch_add(&e->texts, n);
        atomic_fetch_add(&e->tokens, tokens);
        atomic_fetch_add(&e->cached_texts, cached_texts);
        atomic_fetch_add(&e->cached_tokens, cached_tokens);
        atomic_fetch_add(&e->tokenize_ns, tokenize_ns);
        atomic_fetch_add(&e->encode_ns, encode_ns);
    } else {
        atomic_fetch_add(&e->failures, 1);
    }
    if (r != results)
        quern__free(r);
    return rc;
}

int quern_embed(quern_embedder *e, const quern_str *texts, size_t n, const quern_embed_options *opt,
                float *out, size_t out_floats, quern_embed_result *results, quern_error *err)
{
    return embed_with(e, texts, n, opt, NULL, out, out_floats, results, err);
}

int quern_embedder_sees(const quern_embedder *e)
{
    return e && e->table.embed_assets != NULL;
}

bool quern__embedder_fuses(const quern_embedder *e)
{
    return e->table.fuses != 0;
}

int quern__embedder_assets(quern_embedder *e, const quern_asset_call *call, quern_error *err)
{
    int rc = quern__check_cancel(call->opt->cancel, err);
    if (rc == QUERN_OK)
        rc = e->table.embed_assets(e->self, call, err);
    if (rc == QUERN_OK)
        rc = check_vectors(e, call->out, quern__asset_vectors(call), true, err);
    atomic_fetch_add(&e->calls, 1);
    if (rc == QUERN_OK) {
        atomic_fetch_add(&e->texts, quern__asset_vectors(call));
        atomic_fetch_add(&e->tokens, call->result->tokens);
        atomic_fetch_add(&e->encode_ns, call->result->encode_ns);
    } else {
        atomic_fetch_add(&e->failures, 1);
    }
    return rc;
}

int quern_embedder_get_stats(const quern_embedder *e, quern_embedder_stats *out, quern_error *err)
{
    QUERN__REQUIRE(e, err);
    QUERN__REQUIRE(out && out->struct_size >= sizeof(size_t), err);
    quern_embedder_stats s;
    QUERN_INIT(&s);
    s.calls = atomic_load(&e->calls);
    s.texts = atomic_load(&e->texts);
    s.tokens = atomic_load(&e->tokens);
    s.failures = atomic_load(&e->failures);
    s.tokenize_ns = atomic_load(&e->tokenize_ns);
    s.encode_ns = atomic_load(&e->encode_ns);
    s.cached_texts = atomic_load(&e->cached_texts);
    s.cached_tokens = atomic_load(&e->cached_tokens);
    size_t asked = out->struct_size;
    memcpy(out, &s, QUERN__MIN(asked, sizeof s));
    out->struct_size = asked;
    return QUERN_OK;
}

double quern_embedder_estimate(const quern_embedder *e, uint64_t n)
{
    const double guess = 1e-3;
    uint64_t texts = e ? atomic_load(&e->texts) : 0;
    uint64_t free_ones = e ? atomic_load(&e->cached_texts) : 0;
    if (texts <= free_ones)
        return (double)n * guess;
    uint64_t ns = atomic_load(&e->tokenize_ns) + atomic_load(&e->encode_ns);
    return (double)n * (double)ns * 1e-9 / (double)(texts - free_ones);
}

/* ---- JSON ---- */

static int write_json(quern_embedder *e, const float *v, const quern_embed_result *r, char **json,
                      quern_error *err)
{
    char *fingerprint = NULL, hash[65];
    quern__buf b;
    quern__jsonw w;
    int rc = quern_embedder_fingerprint(e, &fingerprint, hash, err);
    if (rc != QUERN_OK)
        return rc;
    quern_free(fingerprint);
    quern__buf_init(&b, (size_t)4096 + (size_t)e->table.dimensions * 32);
    quern__jsonw_init(&w, &b);
    quern__jsonw_object(&w);
    quern__jsonw_key(&w, "embedding");
    quern__jsonw_array(&w);
    for (size_t k = 0; k < e->table.dimensions; k++)
        quern__jsonw_float(&w, v[k]);
    quern__jsonw_end_array(&w);
    quern__jsonw_put_u64(&w, "tokens", r->tokens);
    quern__jsonw_put_bool(&w, "truncated", r->truncated);
    quern__jsonw_key(&w, "inference_ms");
    const uint64_t microseconds = (r->tokenize_ns + r->encode_ns) / 1000;
    quern__jsonw_double(&w, (double)microseconds / 1000);
    quern__jsonw_put_cstr(&w, "model", e->table.name);
    quern__jsonw_put_cstr(&w, "fingerprint", hash);
    quern__jsonw_end_object(&w);
    rc = quern__buf_ok(&b, "embedding as JSON", err);
    if (rc == QUERN_OK && !(*json = quern__buf_detach(&b)))
        rc = quern__fail_memory(err, 0);
    quern__buf_dispose(&b);
    return rc;
}

int quern_embed_json(quern_embedder *e, quern_str text, const quern_embed_options *opt, char **json,
                     quern_error *err)
{
    QUERN__REQUIRE(json, err);
    *json = NULL;
    QUERN__REQUIRE(e, err);
    quern_embed_result r;
    float *v = quern__alloc_array(e->table.dimensions, sizeof *v);
    int rc = v ? quern_embed(e, &text, 1, opt, v, e->table.dimensions, &r, err)
               : quern__fail_memory(err, 0);
    if (rc == QUERN_OK)
        rc = write_json(e, v, &r, json, err);
    quern__free(v);
    return rc;
}

/* ---- jobs ---- */

struct quern_embed_job {
    quern_embedder *e;
    quern_str *texts; /* [n] into `bytes` */
    char *bytes;
    size_t n;
    quern_embed_options opt;
    float *out;
    size_t out_floats;
    quern_embed_result *results;
    quern_cancel *cancel; /* child of the caller's */
    quern__thread *thread;
    atomic_int finished;
    int rc;
    quern_error err;
};

static void run_job(void *ud)
{
    quern_embed_job *j = ud;
    j->rc = embed_with(j->e, j->texts, j->n, &j->opt, j->cancel, j->out, j->out_floats, j->results,
                       &j->err);
    atomic_store(&j->finished, 1);
}

static void free_job(quern_embed_job *j)
{
    quern_cancel_free(j->cancel);
    quern__free(j->texts);
    quern__free(j->bytes);
    quern__free(j);
}

static int copy_texts(quern_embed_job *j, const quern_str *texts, size_t n, quern_error *err)
{
    size_t total = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        if (!quern__add_size(total, texts[i].len, &total))
            return quern__fail_memory(err, SIZE_MAX);
    j->n = n;
    j->texts = quern__alloc_array(n, sizeof *j->texts);
    j->bytes = quern__alloc(total);
    if (!j->texts || !j->bytes)
        return quern__fail_memory(err, total);
    for (size_t i = 0; i < n; i++) {
        if (texts[i].len)
            memcpy(j->bytes + at, texts[i].ptr, texts[i].len);
        j->texts[i].ptr = j->bytes + at;
        j->texts[i].len = texts[i].len;
        at += texts[i].len;
    }
    return QUERN_OK;
}

int quern_embed_start(quern_embed_job **out, quern_embedder *e, const quern_str *texts, size_t n,
                      const quern_embed_options *opt, float *vectors, size_t vector_floats,
                      quern_embed_result *results, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    int rc = check_arguments(e, texts, n, opt, vectors, vector_floats, err);
    if (rc != QUERN_OK)
        return rc;
    quern_embed_job *j = quern__calloc(1, sizeof *j);
    if (!j)
        return quern__fail_memory(err, sizeof *j);
    j->e = e;
    QUERN_INIT(&j->opt);
    if (opt)
        memcpy(&j->opt, opt, QUERN__MIN(opt->struct_size, sizeof j->opt));
    j->opt.struct_size = sizeof j->opt;
    j->out = vectors;
    j->out_floats = vector_floats;
    j->results = results;
    rc = copy_texts(j, texts, n, err);
    if (rc == QUERN_OK)
        rc = quern__cancel_new_child(&j->cancel, j->opt.cancel, err);
    if (rc == QUERN_OK)
        rc = quern__thread_start(&j->thread, run_job, j, err);
    if (rc != QUERN_OK) {
        free_job(j);
        return rc;
    }
    *out = j;
    return QUERN_OK;
}

int quern_embed_poll(const quern_embed_job *job)
{
    return atomic_load(&job->finished);
}

void quern_embed_cancel(quern_embed_job *job)
{
    quern_cancel_raise(job->cancel);
}

int quern_embed_wait(quern_embed_job *job, quern_error *err)
{
    QUERN__REQUIRE(job, err);
    quern__thread_join(job->thread);
    int rc = job->rc;
    if (rc != QUERN_OK && err)
        *err = job->err;
    free_job(job);
    return rc;
}
