/*
 * dialect.c — nine shapes of one conversation. Most of them are OpenAI's with another name for a field, so one reader
 * serves them; the rest are lists of lists. How models that can see are asked is in dialect_vision.c.
 *
 * Vectors come as lists of numbers or as base64 of little-endian floats, whichever the provider likes, whatever it was
 * asked for: both are taken. A list whose length is a quarter of the dimension is what a client library makes that reads
 * one as the other; it has corrupted other people's stores in silence, so it gets its own words.
 *
 * Rejected: jansson here. A tree of a million numbers is 24 MB for an answer of 10; the pull reader needs none.
 */
#include "embedder/dialect.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/json.h"
#include "quern/vector.h"

const char *quern__dialect_path(int dialect)
{
    switch (dialect) {
    case QUERN__DIALECT_COHERE:
        return "/v2/embed";
    case QUERN__DIALECT_TEI:
        return "/embed";
    case QUERN__DIALECT_OLLAMA:
        return "/api/embed";
    case QUERN__DIALECT_VOYAGE_VISION:
        return "/multimodalembeddings";
    case QUERN__DIALECT_DASHSCOPE_VISION:
        return "/services/embeddings/multimodal-embedding/multimodal-embedding";
    default:
        return "/embeddings";
    }
}

/* ---- asking ---- */

static void put_texts(quern__jsonw *w, const char *key, const quern__provider_question *q)
{
    quern__jsonw_key(w, key);
    quern__jsonw_array(w);
    for (size_t i = 0; i < q->n; i++)
        quern__jsonw_str(w, q->texts[i]);
    quern__jsonw_end_array(w);
}

void quern__dialect_put_dimensions(quern__jsonw *w, const char *key,
                                   const quern__provider_question *q)
{
    if (q->dimensions)
        quern__jsonw_put_u64(w, key, q->dimensions);
}

static void put_question(quern__jsonw *w, const quern__provider_question *q)
{
    if (q->dialect != QUERN__DIALECT_TEI)
        quern__jsonw_put_cstr(w, "model", q->model);
    if (quern__dialect_sees(q->dialect)) {
        quern__dialect_ask_vision(q, w);
        return;
    }
    switch (q->dialect) {
    case QUERN__DIALECT_COHERE:
        put_texts(w, "texts", q);
        quern__jsonw_put_cstr(w, "input_type", q->query ? "search_query" : "search_document");
        quern__jsonw_put_cstr(w, "truncate", q->truncate ? "END" : "NONE");
        quern__jsonw_key(w, "embedding_types");
        quern__jsonw_raw(w, "[\"float\"]", 9);
        quern__dialect_put_dimensions(w, "output_dimension", q);
        break;
    case QUERN__DIALECT_TEI: /* a server has one model, and that its own dimension */
        put_texts(w, "inputs", q);
        quern__jsonw_put_bool(w, "truncate", q->truncate);
        quern__jsonw_put_bool(w, "normalize", false);
        break;
    case QUERN__DIALECT_OLLAMA:
        put_texts(w, "input", q);
        quern__jsonw_put_bool(w, "truncate", q->truncate);
        quern__dialect_put_dimensions(w, "dimensions", q);
        break;
    case QUERN__DIALECT_VOYAGE:
        put_texts(w, "input", q);
        quern__jsonw_put_cstr(w, "input_type", q->query ? "query" : "document");
        quern__jsonw_put_bool(w, "truncation", q->truncate);
        quern__dialect_put_dimensions(w, "output_dimension", q);
        break;
    case QUERN__DIALECT_JINA:
        put_texts(w, "input", q);
        quern__jsonw_put_cstr(w, "task", q->query ? "retrieval.query" : "retrieval.passage");
        quern__jsonw_put_bool(w, "truncate", q->truncate);
        quern__dialect_put_dimensions(w, "dimensions", q);
        break;
    default:
        put_texts(w, "input", q);
        quern__dialect_put_dimensions(w, "dimensions", q);
        break;
    }
    if (q->base64)
        quern__jsonw_put_cstr(
            w, q->dialect == QUERN__DIALECT_JINA ? "embedding_type" : "encoding_format", "base64");
}

int quern__dialect_ask(const quern__provider_question *q, quern__buf *body, quern_error *err)
{
    quern__jsonw w;
    quern__jsonw_init(&w, body);
    quern__jsonw_object(&w);
    put_question(&w, q);
    quern__jsonw_end_object(&w);
    return quern__buf_ok(body, "a call", err);
}

/* ---- one vector ---- */

typedef struct reading {
    quern__json j;
    size_t n, found;
    uint32_t dim;
    float *out;
    unsigned char *seen;
    uint64_t tokens;
    char *said;
    bool odd; /* a count was not one */
    quern_error *err;
} reading;

static int wrong_length(const reading *r, size_t has, const char *unit)
{
    if (has * 4 == r->dim)
        return quern__fail(
            r->err, QUERN_EREMOTE, 200,
            "a vector of %zu %s where %u were expected: a quarter, as when base64 is "
            "read as numbers",
            has, unit, r->dim);
    return quern__fail(r->err, QUERN_EREMOTE, 200,
                       "a vector of %zu %s where %u were expected: is it the right model, and does "
                       "it know 'dimensions'?",
                       has, unit, r->dim);
}

static int read_numbers(reading *r, float *to)
{
    size_t most = r->dim ? r->dim : QUERN__LARGEST_DIMENSION, n = 0;
    int rc = quern__json_enter_array(&r->j, r->err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_item(&r->j, r->err)) == 1) {
        double v;
        rc = quern__json_double(&r->j, &v, r->err);
        if (rc)
            return rc;
        if (n < most)
            to[n] = (float)v;
        if (n < most && !isfinite(to[n]))
            return quern__fail(r->err, QUERN_EREMOTE, 200,
                               "number %zu of a vector, %g, is no float", n, v);
        n++;
    }
    if (rc)
        return rc;
    if (!r->dim && n <= most)
        r->dim = (uint32_t)n;
    return n == r->dim && n ? QUERN_OK : wrong_length(r, n, "numbers");
}

static int read_bytes(reading *r, float *to)
{
    quern_str s;
    size_t most = r->dim ? r->dim : QUERN__LARGEST_DIMENSION, n = 0;
    int rc = quern__json_string(&r->j, &s, r->err);
    if (rc)
        return rc;
    if (quern_vector_from_base64(s.ptr, s.len, to, most, &n, NULL))
        return quern__fail(r->err, QUERN_EREMOTE, 200,
                           "a vector that is neither numbers nor base64");
    if (!r->dim && n <= most)
        r->dim = (uint32_t)n;
    if (n != r->dim)
        return wrong_length(r, n, "floats");
    for (size_t i = 0; i < n; i++)
        if (!isfinite(to[i]))
            return quern__fail(r->err, QUERN_EREMOTE, 200, "number %zu of a vector is not finite",
                               i);
    return QUERN_OK;
}

/* The vector at the reader's place is that of text `index`. */
static int read_vector(reading *r, uint64_t index)
{
    if (index >= r->n)
        return quern__fail(r->err, QUERN_EREMOTE, 200, "a vector with index %llu for %zu texts",
                           (unsigned long long)index, r->n);
    if (r->seen[index])
        return quern__fail(r->err, QUERN_EREMOTE, 200, "two vectors with index %llu",
                           (unsigned long long)index);
    r->seen[index] = 1;
    r->found++;
    float *to = r->out + index * r->dim;
    int kind = quern__json_peek(&r->j);
    if (kind == QUERN__JSON_ARRAY)
        return read_numbers(r, to);
    if (kind == QUERN__JSON_STRING)
        return read_bytes(r, to);
    return quern__fail(r->err, QUERN_EREMOTE, 200, "a vector that is neither numbers nor base64");
}

/* [[…],[…]]: the place is the index. */
static int read_list(reading *r)
{
    int rc = quern__json_enter_array(&r->j, r->err);
    uint64_t at = 0;
    if (rc)
        return rc;
    while ((rc = quern__json_next_item(&r->j, r->err)) == 1)
        if ((rc = read_vector(r, at++)) != QUERN_OK)
            return rc;
    return rc;
}

/* ---- OpenAI's list of objects ---- */

/* {"index":0,"embedding":…}: the index may stand behind the vector, so the place is kept and read again. */
static int read_entry(reading *r, uint64_t place)
{
    quern_str key;
    quern__json at_vector;
    bool has_vector = false;
    uint64_t index = place;
    int rc = quern__json_enter_object(&r->j, r->err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_key(&r->j, &key, r->err)) == 1) {
        if (quern__str_is(key, "embedding")) {
            at_vector = r->j;
            has_vector = true;
            rc = quern__json_skip(&r->j, r->err);
        } else if (quern__str_is(key, "index")) {
            rc = quern__json_u64(&r->j, &index, r->err);
        } else {
            rc = quern__json_skip(&r->j, r->err);
        }
        if (rc)
            return rc;
    }
    if (rc)
        return rc;
    if (!has_vector)
        return quern__fail(r->err, QUERN_EREMOTE, 200, "an entry without \"embedding\"");
    quern__json behind = r->j;
    at_vector.scratch = r->j.scratch; /* one buffer, whoever grows it */
    r->j = at_vector;
    rc = read_vector(r, index);
    behind.scratch = r->j.scratch;
    r->j = behind;
    return rc;
}

static int read_entries(reading *r)
{
    int rc = quern__json_enter_array(&r->j, r->err);
    uint64_t at = 0;
    if (rc)
        return rc;
    while ((rc = quern__json_next_item(&r->j, r->err)) == 1)
        if ((rc = read_entry(r, at++)) != QUERN_OK)
            return rc;
    return rc;
}

/* ---- whole answers ---- */

/* The members of an object that have these names, whole numbers; the last one counts. */
static int read_counts(reading *r, const char *const *names, size_t n)
{
    quern_str key;
    if (quern__json_peek(&r->j) != QUERN__JSON_OBJECT)
        return quern__json_skip(&r->j, r->err);
    int rc = quern__json_enter_object(&r->j, r->err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_key(&r->j, &key, r->err)) == 1) {
        bool taken = false;
        for (size_t i = 0; i < n && !taken; i++)
            taken = quern__str_is(key, names[i]) && quern__json_peek(&r->j) == QUERN__JSON_NUMBER;
        double v = 0;
        if (taken)
            rc = quern__json_double(&r->j, &v, r->err);
        else if (quern__str_is(key, "billed_units"))
            rc = read_counts(r, names, n);
        else
            rc = quern__json_skip(&r->j, r->err);
        if (rc)
            return rc;
        if (taken && v >= 0 && v < 1e15)
            r->tokens = (uint64_t)v;
        else if (taken)
            r->odd = true;
    }
    return rc;
}

static int read_cohere(reading *r)
{
    quern_str key;
    if (quern__json_peek(&r->j) != QUERN__JSON_OBJECT)
        return read_list(r);
    int rc = quern__json_enter_object(&r->j, r->err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_key(&r->j, &key, r->err)) == 1) {
        bool ours = quern__str_is(key, "float") || quern__str_is(key, "base64");
        rc = ours ? read_list(r) : quern__json_skip(&r->j, r->err);
        if (rc)
            return rc;
    }
    return rc;
}

/* "base_resp":{"status_code":1002,…}: an error in an answer of status 200. */
static int read_status(reading *r)
{
    static const char *const code[] = {"status_code"};
    uint64_t tokens = r->tokens;
    r->tokens = 0;
    r->odd = false;
    int rc = read_counts(r, code, 1);
    uint64_t status = r->odd ? UINT64_MAX : r->tokens;
    r->tokens = tokens;
    if (!rc && status)
        rc = quern__may_retry(r->err,
                              quern__fail(r->err, QUERN_EREMOTE, 200,
                                          "status_code %lld in an answer of status 200",
                                          (long long)status),
                              0);
    return rc;
}

/* DashScope's "output":{"embeddings":[{"index":0,"embedding":…}]} */
static int read_output(reading *r)
{
    quern_str key;
    if (quern__json_peek(&r->j) != QUERN__JSON_OBJECT)
        return quern__json_skip(&r->j, r->err);
    int rc = quern__json_enter_object(&r->j, r->err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_key(&r->j, &key, r->err)) == 1) {
        rc = quern__str_is(key, "embeddings") ? read_entries(r) : quern__json_skip(&r->j, r->err);
        if (rc)
            return rc;
    }
    return rc;
}

/* Control characters and what is too long for a name are no part of it. */
static int read_model(reading *r)
{
    quern_str name;
    int rc = quern__json_string(&r->j, &name, r->err);
    size_t n = 0;
    for (size_t i = 0; !rc && i < name.len && n + 1 < QUERN__ANSWERED; i++)
        if ((unsigned char)name.ptr[i] >= ' ' && name.ptr[i] != 0x7f)
            r->said[n++] = name.ptr[i];
    r->said[n] = '\0';
    return rc;
}

static int read_member(reading *r, quern_str key)
{
    static const char *const counts[] = {"prompt_tokens", "total_tokens", "input_tokens"};
    if (quern__str_is(key, "data"))
        return read_entries(r);
    if (quern__str_is(key, "embeddings"))
        return read_cohere(r);
    if (quern__str_is(key, "output"))
        return read_output(r);
    if (quern__str_is(key, "usage") || quern__str_is(key, "meta"))
        return read_counts(r, counts, 3);
    if (quern__str_is(key, "base_resp"))
        return read_status(r);
    if (quern__str_is(key, "model") && quern__json_peek(&r->j) == QUERN__JSON_STRING)
        return read_model(r);
    if (quern__str_is(key, "prompt_eval_count")) {
        double v;
        int rc = quern__json_double(&r->j, &v, r->err);
        r->tokens = !rc && v >= 0 && v < 1e15 ? (uint64_t)v : 0;
        return rc;
    }
    return quern__json_skip(&r->j, r->err);
}

static int read_object(reading *r, quern_str body)
{
    quern_str key;
    int rc = quern__json_enter_object(&r->j, r->err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_key(&r->j, &key, r->err)) == 1) {
        if (quern__str_is(key, "error") && quern__json_peek(&r->j) != QUERN__JSON_NULL) {
            char says[300];
            bool final;
            quern__dialect_fault(body, says, sizeof says, &final);
            return quern__fail(r->err, QUERN_EREMOTE, 200,
                               "an error in an answer of status 200: %s", says);
        }
        if ((rc = read_member(r, key)) != QUERN_OK)
            return rc;
    }
    return rc;
}

int quern__dialect_answer(quern_str body, size_t n, uint32_t *dim, float *out, uint64_t *tokens,
                          char said[QUERN__ANSWERED], quern_error *err)
{
    quern_error inner = {0};
    reading r = {.n = n, .dim = *dim, .out = out, .said = said, .err = &inner};
    *tokens = 0;
    said[0] = '\0';
    r.seen = quern__calloc(n + 1, 1);
    if (!r.seen)
        return quern__fail_memory(err, n);
    quern__json_init(&r.j, body.ptr, body.len, "the answer");
    int rc = quern__json_peek(&r.j) == QUERN__JSON_ARRAY ? read_list(&r) : read_object(&r, body);
    if (!rc)
        rc = quern__json_end(&r.j, &inner);
    if (!rc && r.found != n)
        rc = quern__fail(&inner, QUERN_EREMOTE, 200, "%zu vectors for %zu texts", r.found, n);
    quern__json_dispose(&r.j);
    quern__free(r.seen);
    if (rc == QUERN_EFORMAT)
        rc = quern__fail(err, QUERN_EREMOTE, 200, "%s", inner.msg);
    else if (rc && err)
        *err = inner;
    if (!rc) {
        *dim = r.dim;
        *tokens = r.tokens;
    }
    return rc;
}

/* ---- error pages ---- */

static void copy_line(quern_str from, char *out, size_t size)
{
    quern_error clean; /* its message is what a message may hold */
    quern__fail(&clean, QUERN_EREMOTE, 0, "%.*s", (int)QUERN__MIN(from.len, sizeof clean.msg),
                from.ptr ? from.ptr : "");
    snprintf(out, size, "%.*s", (int)size - 1, clean.msg);
}

/* The first text under one of the usual names, from the outside in. */
static bool find_message(quern__json *j, int depth, char *out, size_t size)
{
    static const char *const names[] = {"error", "message", "detail", "msg", "errors"};
    quern_str key, text;
    int kind = quern__json_peek(j);
    if (kind == QUERN__JSON_STRING && depth) {
        if (quern__json_string(j, &text, NULL) != QUERN_OK || !text.len)
            return false;
        copy_line(text, out, size);
        return true;
    }
    if (kind == QUERN__JSON_ARRAY && depth < 4) {
        if (quern__json_enter_array(j, NULL) != QUERN_OK)
            return false;
        return quern__json_next_item(j, NULL) == 1 && find_message(j, depth + 1, out, size);
    }
    if (kind != QUERN__JSON_OBJECT || depth >= 4 || quern__json_enter_object(j, NULL) != QUERN_OK)
        return false;
    while (quern__json_next_key(j, &key, NULL) == 1) {
        bool named = false;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            named = named || quern__str_is(key, names[i]);
        if (named && find_message(j, depth + 1, out, size))
            return true;
        if (!named && quern__json_skip(j, NULL) != QUERN_OK)
            return false;
    }
    return false;
}

void quern__dialect_fault(quern_str body, char *out, size_t size, bool *final)
{
    static const char *const lasting[] = {"insufficient_quota", "billing_hard_limit",
                                          "account_deactivated"};
    quern__json j;
    quern__json_init(&j, body.ptr, body.len, "an error");
    if (!find_message(&j, 0, out, size))
        copy_line((quern_str){body.ptr, QUERN__MIN(body.len, (size_t)200)}, out, size);
    quern__json_dispose(&j);
    *final = false;
    for (size_t i = 0; i < sizeof lasting / sizeof *lasting; i++) {
        size_t k = strlen(lasting[i]);
        for (size_t at = 0; at + k <= body.len && !*final; at++)
            *final = memcmp(body.ptr + at, lasting[i], k) == 0;
    }
}
