/*
 * remote.c — an embedder behind an HTTP API: one quern_embed is one call. Cutting, patience and limits are wrappers
 * (batching.c, retrying.c, limited.c), so that each does one thing and any of them can stand in front of any embedder.
 *
 * What the fingerprint says: the model as the provider calls it, its dimension, the prompts; not the address: the same
 * model through another door gives vectors that may be compared, and a proxy is no new generation. That two
 * providers mean the same model by two names is nothing to build on. What one does behind a name that stays the
 * same nobody can see from here; `quern verify` embeds a sample again and compares.
 */
#include "quern/provider.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/compiler.h"
#include "base/fpenv.h"
#include "base/json.h"
#include "base/os.h"
#include "embedder/error_body.h"
#include "embedder/profile.h"
#include "embedder/retrying.h"
#include "http/client.h"
#include "quern/sys/embedder.h"
#include "quern/text.h"
#include "quern/vector.h"
#include "text/utf8.h"

enum {
    ANSWER_BYTES = 64 << 10,
    FLOAT_BYTES = 32, /* of an answer, each */
    BODY_BYTES = 64 << 20,
    HEADERS = 48,
    URL_BYTES = 2048
};

#define REPEATS 0.999f /* of providers that say nothing of it; seen: 0.9999 and better */

typedef struct remote {
    const quern__profile *profile;
    quern__http_client *client;
    char *name, *model, *url, *key_header, *headers, *prompts[2]; /* by enum quern_as */
    char *lines[HEADERS];                                         /* into headers */
    size_t n_lines;
    uint32_t dimensions, timeout_ms, max_inputs;
    bool asks_dimensions, describe_only;
    int (*authorize)(quern_provider_request *r, void *ud, quern_error *err);
    void *authorize_ud;
    void (*refused)(int status, quern_str body, void *ud);
    void *refused_ud;
    quern__answered answered;
} remote;

struct quern_provider_request {
    const remote *p;
    size_t texts;
    const char *headers[HEADERS + 4];
    size_t n_headers;
    char *added[HEADERS]; /* those that authorize made */
    size_t n_added;
};

const char *quern_provider_request_url(const quern_provider_request *r)
{
    return r->p->url;
}

size_t quern_provider_request_texts(const quern_provider_request *r)
{
    return r->texts;
}

int quern_provider_request_header(quern_provider_request *r, const char *name, const char *value,
                                  quern_error *err)
{
    QUERN__REQUIRE(r && name && value, err);
    if (r->n_headers == sizeof r->headers / sizeof *r->headers || r->n_added == HEADERS)
        return quern__fail(err, QUERN_EINVAL, 0, "too many headers for one call");
    size_t n = strlen(name) + strlen(value) + 3;
    char *line = quern__alloc(n);
    if (!line)
        return quern__fail_memory(err, n);
    snprintf(line, n, "%s: %s", name, value);
    r->added[r->n_added++] = line;
    r->headers[r->n_headers++] = line; /* the client checks it */
    return QUERN_OK;
}

/* ---- texts ---- */

typedef struct wording {
    quern_str *texts; /* as they are sent */
    char **owned;
    size_t n;
} wording;

static void dispose_wording(wording *w)
{
    for (size_t i = 0; w->owned && i < w->n; i++)
        quern__free(w->owned[i]);
    quern__free(w->owned);
    quern__free(w->texts);
}

static int word(const remote *p, const quern_str text, const quern_embed_options *opt, size_t i,
                wording *w, quern_error *err)
{
    const char *prompt = p->prompts[opt->as == QUERN_AS_QUERY];
    size_t bad = quern__utf8_check(text.ptr, text.len), front = prompt ? strlen(prompt) : 0,
           len = 0;
    char *clean = NULL;
    w->texts[i] = text;
    if (bad < text.len && opt->invalid_utf8 != QUERN_INVALID_UTF8_REPLACE)
        return quern__blame(
            err,
            quern__fail(err, QUERN_EFORMAT, (int64_t)bad, "text is not UTF-8 at byte %zu", bad), i);
    if (bad < text.len) {
        int rc = quern_utf8_replace(&clean, &len, text, err);
        if (rc)
            return rc;
        w->texts[i] = (quern_str){clean, len};
    }
    w->owned[i] = clean;
    if (!front)
        return QUERN_OK;
    char *joined = quern__alloc(front + w->texts[i].len + 1);
    if (!joined)
        return quern__fail_memory(err, front + w->texts[i].len);
    memcpy(joined, prompt, front);
    if (w->texts[i].len)
        memcpy(joined + front, w->texts[i].ptr, w->texts[i].len);
    quern__free(clean);
    w->owned[i] = joined;
    w->texts[i] = (quern_str){joined, front + w->texts[i].len};
    return QUERN_OK;
}

static int word_all(const remote *p, const quern_str *texts, size_t n,
                    const quern_embed_options *opt, wording *w, quern_error *err)
{
    *w = (wording){.n = n};
    w->texts = quern__calloc(n, sizeof *w->texts);
    w->owned = quern__calloc(n, sizeof *w->owned);
    int rc = w->texts && w->owned ? QUERN_OK : quern__fail_memory(err, n * sizeof *w->texts);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = word(p, texts[i], opt, i, w, err);
        if (!rc && w->texts[i].len == 0) /* most of them answer 400 for the whole call */
            rc = quern__blame(
                err, quern__fail(err, QUERN_EINVAL, 0, "%s: text %zu is empty", p->name, i), i);
    }
    return rc;
}

/* ---- what an answer means ---- */

static void hide(char *page, size_t len, const char *word, size_t n)
{
    enum { SHORTEST = 8 }; /* a shorter word is no secret, and would be struck out everywhere */
    for (size_t at = 0; n >= SHORTEST && at + n <= len; at++)
        if (memcmp(page + at, word, n) == 0)
            memset(page + at, '*', n);
}

/* A page may repeat what it was sent: whatever went out in a header is struck out of it, */
static void hide_headers(const quern_provider_request *r, char *page, size_t len)
{
    for (size_t i = 1; i < r->n_headers; i++) { /* the first is our own */
        const char *value = strchr(r->headers[i], ':') + 1, *space = strrchr(value, ' ');
        value = space ? space + 1 : value;
        hide(page, len, value, strlen(value));
    }
}

/* and of an asset's URL the query, which may be a signature; by its parts, as '&' and '=' may be escaped in JSON. */
static void hide_signatures(const quern__provider_question *q, char *page, size_t len)
{
    for (size_t i = 0; i < q->n_assets; i++) {
        quern_str url = q->assets[i].url;
        const char *end = url.ptr + url.len, *at = memchr(url.ptr, '?', url.len);
        for (const char *next; at && at < end; at = next) {
            next = at + 1;
            while (next < end && *next != '&' && *next != '=')
                next++;
            hide(page, len, at + 1, (size_t)(next - at - 1));
        }
    }
}

static const char *advice(int status)
{
    switch (status) {
    case 401:
    case 403:
        return "; is the key the right one?";
    case 404:
        return "; is the address right, and the model's name?";
    case 413:
        return "; fewer or shorter texts in a call (--batch)";
    case 429:
        return "; a limit of the provider's";
    default:
        return "";
    }
}

static void tell_refused(const remote *p, const quern__http_call *call)
{
    char body[QUERN__ERROR_BODY + 1];
    if (p->refused) {
        size_t n = quern__error_body((quern_str){call->answer.data, call->answer.len}, body);
        p->refused(call->status, (quern_str){body, n}, p->refused_ud);
    }
}

static int refuse_status(const remote *p, const quern__http_call *call, size_t n, quern_error *err)
{
    char says[300];
    bool final;
    int status = call->status;
    if (status >= 300 && status < 400)
        return quern__fail(err, QUERN_EREMOTE, status,
                           "%s answers %d, a redirect to %s: not followed; set its final address",
                           p->name, status, *call->moved_to ? call->moved_to : "nowhere");
    quern__dialect_fault((quern_str){call->answer.data, call->answer.len}, says, sizeof says,
                         &final);
    int rc = quern__fail(err, QUERN_EREMOTE, status, "%s answers %d%s%s%s", p->name, status,
                         *says ? ": " : "", says, advice(status));
    bool again = status == 408 || status == 409 || status == 429 || status >= 500;
    if (again && !final)
        /* "0" is a time that was named, too: now */
        return quern__may_retry(err, rc,
                                call->retry_ms >= 0 ? QUERN__MAX((uint32_t)call->retry_ms, 1u) : 0);
    bool about_text = status == 400 || status == 413 || status == 422;
    return about_text && n == 1 ? quern__blame(err, rc, 0) : rc;
}

/* Names the provider in an error of the network's or of the reader's. */
static int name_fault(const remote *p, int rc, const quern_error *inner, quern_error *err)
{
    if (rc == QUERN_OK || !err)
        return rc;
    *err = *inner;
    if (rc == QUERN_EREMOTE)
        snprintf(err->msg, sizeof err->msg, "%.120s: %.360s", p->name, inner->msg);
    return rc;
}

/* ---- one call ---- */

/* The program's own word on a call; its refusal is its own, and named. */
static int authorize(const remote *p, quern_provider_request *r, quern_error *err)
{
    quern_error said = {.subject = -1, .retry_ms = -1};
    int rc = p->authorize(r, p->authorize_ud, &said);
    if (rc == QUERN_OK)
        return rc;
    said.msg[sizeof said.msg - 1] = '\0';
    hide_headers(r, said.msg, strlen(said.msg));
    bool known = strcmp(quern_status_name(rc), "UNKNOWN") != 0;
    quern__fail(err, known ? rc : QUERN_EREMOTE, said.detail,
                "%.120s: not sent, refused by the program%s%.300s", p->name, *said.msg ? ": " : "",
                said.msg);
    rc = known ? rc : QUERN_EREMOTE;
    return said.retry_ms < 0 ? rc : quern__may_retry(err, rc, (uint32_t)said.retry_ms);
}

static int collect_headers(const remote *p, quern_provider_request *r, quern_error *err)
{
    r->headers[r->n_headers++] = "Content-Type: application/json";
    if (p->key_header)
        r->headers[r->n_headers++] = p->key_header;
    for (size_t i = 0; i < p->n_lines; i++)
        r->headers[r->n_headers++] = p->lines[i];
    return p->authorize ? authorize(p, r, err) : QUERN_OK;
}

/* `ask` says what is asked, not of whom. dim 0: found out, one vector and room for the largest. */
static int call_provider(remote *p, const quern__provider_question *ask, const quern_cancel *cancel,
                         uint32_t *dim, float *out, uint64_t *tokens, quern_error *err)
{
    size_t n = quern__question_vectors(ask);
    quern_provider_request request = {.p = p, .texts = ask->n + ask->n_assets};
    quern__provider_question q = *ask;
    q.dialect = p->profile->dialect;
    q.model = p->model;
    q.dimensions = p->asks_dimensions ? *dim : 0;
    q.base64 = p->profile->base64;
    quern__http_call call = {.url = p->url, .timeout_ms = p->timeout_ms, .cancel = cancel};
    quern_error inner = {0};
    char said[QUERN__ANSWERED];
    quern__buf body;
    quern__buf_init(&body, BODY_BYTES);
    call.max_bytes =
        ANSWER_BYTES + n * (*dim ? *dim : (size_t)QUERN__LARGEST_DIMENSION) * FLOAT_BYTES;
    int rc = quern__dialect_ask(&q, &body, &inner);
    if (q.dialect == QUERN__DIALECT_COHERE) /* its answer holds the texts, too */
        call.max_bytes += body.len * 3; /* each of two bytes may come back as \u and four digits */
    if (!rc)
        rc = collect_headers(p, &request, &inner);
    call.headers = request.headers;
    call.n_headers = request.n_headers;
    call.body = (quern_str){body.data, body.len};
    if (!rc) {
        rc = quern__http_perform(p->client, &call, &inner);
        if (!rc && call.status != 200) {
            hide_headers(&request, call.answer.data, call.answer.len);
            hide_signatures(ask, call.answer.data, call.answer.len);
            tell_refused(p, &call);
            rc = refuse_status(p, &call, n, err);
        } else {
            if (!rc) {
                quern_str answer = {call.answer.data ? call.answer.data : "", call.answer.len};
                rc = quern__dialect_answer(answer, n, dim, out, tokens, said, &inner);
                hide_headers(&request, said, strlen(said));
                if (!rc)
                    rc = quern__answered_check(&p->answered, p->name, p->model, said, &inner);
                if (rc) {
                    hide_headers(&request, inner.msg, strlen(inner.msg));
                    hide_signatures(ask, inner.msg, strlen(inner.msg));
                }
                if (rc == QUERN_EREMOTE) /* nonsense once is not nonsense for ever */
                    quern__may_retry(&inner, rc, 0);
            }
            rc = name_fault(p, rc, &inner, err);
        }
        quern__http_call_dispose(&call);
    } else if (err) {
        *err = inner;
    }
    for (size_t i = 0; i < request.n_added; i++)
        quern__free(request.added[i]);
    quern__buf_dispose(&body);
    return rc;
}

/* Each text's share of what the provider counted, by its bytes; the sum stays what it was. */
static void share_tokens(const quern_str *texts, size_t n, uint64_t tokens,
                         quern_embed_result *results)
{
    uint64_t bytes = 0, seen = 0, given = 0;
    for (size_t i = 0; i < n; i++)
        bytes += texts[i].len;
    for (size_t i = 0; i < n; i++) {
        seen += texts[i].len;
        uint64_t up_to = bytes ? (uint64_t)((double)tokens * (double)seen / (double)bytes) : 0;
        if (i + 1 == n)
            up_to = tokens;
        results[i].tokens = (uint32_t)QUERN__MIN(up_to - given, (uint64_t)UINT32_MAX);
        results[i].tokens_full = results[i].tokens;
        given = up_to;
    }
}

/* And of the time that the call took, by its tokens, as a local model does; by the head where none were counted. */
static void share_time(uint64_t tokens, uint64_t ns, size_t n, quern_embed_result *results)
{
    uint64_t seen = 0, given = 0;
    for (size_t i = 0; i < n; i++) {
        seen += tokens ? results[i].tokens : 1;
        uint64_t of = tokens ? tokens : n;
        uint64_t up_to = i + 1 == n ? ns : (uint64_t)((double)ns * (double)seen / (double)of);
        up_to = QUERN__MIN(QUERN__MAX(up_to, given), ns);
        results[i].encode_ns = up_to - given;
        given = up_to;
    }
}

static int scale(const remote *p, float *v, size_t i, const quern_embed_options *opt,
                 quern_error *err)
{
    double sum = 0;
    for (size_t k = 0; k < p->dimensions; k++)
        sum += (double)v[k] * (double)v[k];
    if (!(sum > 0) || (!opt->no_normalize && quern_normalize(v, p->dimensions, NULL) != QUERN_OK)) {
        int rc = quern__fail(err, QUERN_EREMOTE, 200,
                             "%s: the vector of text %zu is zero: it has no direction", p->name, i);
        return quern__blame(err, quern__may_retry(err, rc, 0), i);
    }
    return QUERN_OK;
}

static int scale_all(const remote *p, float *vectors, size_t n, const quern_embed_options *opt,
                     quern_error *err)
{
    int rc = QUERN_OK;
    quern__fpenv env = quern__fpenv_enter();
    for (size_t i = 0; i < n && !rc; i++)
        rc = scale(p, vectors + i * p->dimensions, i, opt, err);
    quern__fpenv_leave(env);
    return rc;
}

static int remote_embed(void *self, const quern_str *texts, size_t n,
                        const quern_embed_options *opt, float *out, quern_embed_result *results,
                        quern_error *err)
{
    remote *p = self;
    wording w;
    uint64_t tokens = 0, began = quern__now_ns();
    uint32_t dim = p->dimensions;
    if (p->describe_only)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "%s was opened to be described only",
                           p->name);
    if (n > p->max_inputs)
        return quern__fail(err, QUERN_EINVAL, (int64_t)n,
                           "%s takes at most %u texts a call, not %zu", p->name, p->max_inputs, n);
    int rc = word_all(p, texts, n, opt, &w, err);
    quern__provider_question ask = {.texts = w.texts,
                                    .n = n,
                                    .query = opt->as == QUERN_AS_QUERY,
                                    .truncate = opt->truncation == QUERN_TRUNCATION_CUT};
    if (!rc)
        rc = call_provider(p, &ask, opt->cancel, &dim, out, &tokens, err);
    if (!rc)
        rc = scale_all(p, out, n, opt, err);
    if (!rc) {
        share_tokens(w.texts, n, tokens, results);
        share_time(tokens, quern__now_ns() - began, n, results);
    }
    dispose_wording(&w);
    return rc;
}

static int check_assets(const remote *p, const quern_asset_call *c, quern_error *err)
{
    size_t first = c->text.len > 0, parts = first + c->n;
    if (p->describe_only)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "%s was opened to be described only",
                           p->name);
    if (parts > p->max_inputs)
        return quern__fail(err, QUERN_EINVAL, (int64_t)parts,
                           "%s takes at most %u texts and assets a call, not %zu", p->name,
                           p->max_inputs, parts);
    for (size_t i = 0; i < c->n; i++)
        if (!quern__dialect_takes(p->profile->dialect, c->assets[i].kind))
            return quern__blame(
                err, quern__fail(err, QUERN_EUNSUPPORTED, 0, "%s takes no videos", p->name),
                c->together ? 0 : first + i);
    return QUERN_OK;
}

static int remote_assets(void *self, const quern_asset_call *c, quern_error *err)
{
    remote *p = self;
    wording w = {0};
    uint64_t tokens = 0, began = quern__now_ns();
    uint32_t dim = p->dimensions;
    size_t texts = c->text.len > 0;
    int rc = check_assets(p, c, err);
    if (!rc && texts)
        rc = word_all(p, &c->text, 1, c->opt, &w, err);
    quern__provider_question ask = {.texts = w.texts,
                                    .n = texts,
                                    .assets = c->assets,
                                    .n_assets = c->n,
                                    .together = c->together,
                                    .query = c->opt->as == QUERN_AS_QUERY,
                                    .truncate = c->opt->truncation == QUERN_TRUNCATION_CUT};
    if (!rc)
        rc = call_provider(p, &ask, c->opt->cancel, &dim, c->out, &tokens, err);
    if (!rc)
        rc = scale_all(p, c->out, quern__question_vectors(&ask), c->opt, err);
    if (!rc) {
        c->result->tokens = (uint32_t)QUERN__MIN(tokens, (uint64_t)UINT32_MAX);
        c->result->encode_ns = quern__now_ns() - began;
    }
    dispose_wording(&w);
    return rc;
}

static bool fuses(const remote *p)
{
    return quern__dialect_fuses(p->profile->dialect, p->model);
}

static int remote_fingerprint(void *self, char **json, quern_error *err)
{
    const remote *p = self;
    quern__buf b;
    quern__jsonw w;
    quern__buf_init(&b, 1 << 20);
    quern__jsonw_init(&w, &b);
    quern__jsonw_object(&w); /* keys in order: the form is canonical */
    quern__jsonw_put_u64(&w, "dimensions", p->dimensions);
    if (quern__dialect_sees(p->profile->dialect)) /* how several parts become one vector */
        quern__jsonw_put_cstr(&w, "fusion", fuses(p) ? "model" : "mean");
    quern__jsonw_put_cstr(&w, "kind", "remote");
    quern__jsonw_put_cstr(&w, "model", p->model);
    quern__jsonw_put_bool(&w, "normalize", true);
    quern__jsonw_key(&w, "prompts");
    quern__jsonw_object(&w);
    quern__jsonw_put_cstr(&w, "document",
                          p->prompts[QUERN_AS_DOCUMENT] ? p->prompts[QUERN_AS_DOCUMENT] : "");
    quern__jsonw_put_cstr(&w, "query",
                          p->prompts[QUERN_AS_QUERY] ? p->prompts[QUERN_AS_QUERY] : "");
    quern__jsonw_end_object(&w);
    quern__jsonw_end_object(&w);
    int rc = quern__buf_ok(&b, "a fingerprint", err);
    if (!rc && !(*json = quern__buf_detach(&b)))
        rc = quern__fail_memory(err, 0);
    quern__buf_dispose(&b);
    return rc;
}

static void remote_release(void *self)
{
    remote *p = self;
    if (!p)
        return;
    quern__http_client_free(p->client);
    quern__answered_dispose(&p->answered);
    quern__free(p->name);
    quern__free(p->model);
    quern__free(p->url);
    quern__free(p->key_header);
    quern__free(p->headers);
    quern__free(p->prompts[0]);
    quern__free(p->prompts[1]);
    quern__free(p);
}

/* ---- making one ---- */

static int copy(char **out, const char *text, quern_error *err)
{
    *out = text ? quern__strdup(text) : NULL;
    return text && !*out ? quern__fail_memory(err, strlen(text)) : QUERN_OK;
}

static int join(char **out, quern_error *err, const char *a, const char *b, const char *c)
{
    size_t n = strlen(a) + strlen(b) + strlen(c) + 1;
    *out = quern__alloc(n);
    if (!*out)
        return quern__fail_memory(err, n);
    snprintf(*out, n, "%s%s%s", a, b, c);
    return QUERN_OK;
}

static int set_url(remote *p, const char *base, quern_error *err)
{
    char trimmed[URL_BYTES];
    const char *scheme = "";
    size_t n = base ? strlen(base) : 0;
    if (!n)
        return quern__fail(err, QUERN_EINVAL, 0, "%s has no address of its own: give a base URL",
                           p->profile->known.name);
    while (n && base[n - 1] == '/')
        n--;
    if (n >= sizeof trimmed)
        return quern__fail(err, QUERN_EINVAL, (int64_t)n, "a base URL of %zu bytes", n);
    memcpy(trimmed, base, n);
    trimmed[n] = '\0';
    if (p->profile->dialect == QUERN__DIALECT_OLLAMA && !strstr(trimmed, "://"))
        scheme = "http://"; /* OLLAMA_HOST is a host and a port, as a rule */
    return join(&p->url, err, scheme, trimmed, quern__dialect_path(p->profile->dialect));
}

static int set_headers(remote *p, const char *headers, quern_error *err)
{
    int rc = copy(&p->headers, headers, err);
    for (char *at = p->headers; !rc && at && *at;) {
        size_t n = strcspn(at, "\n");
        bool last = at[n] == '\0';
        at[n] = '\0';
        if (n && p->n_lines == HEADERS)
            rc = quern__fail(err, QUERN_EINVAL, 0, "more than %d extra headers", HEADERS);
        else if (n)
            p->lines[p->n_lines++] = at;
        at += last ? n : n + 1;
    }
    return rc;
}

static int set_key(remote *p, const char *key, quern_error *err)
{
    if (!key || !*key) {
        if (p->profile->known.key_required && !p->describe_only)
            return quern__fail(err, QUERN_EINVAL, 0, "%s needs a key: set %s in the environment",
                               p->profile->known.name, p->profile->known.key_variable);
        return QUERN_OK;
    }
    for (size_t i = 0; key[i]; i++)
        if (key[i] <= ' ' || key[i] > '~' || i > 4000)
            return quern__fail(err, QUERN_EINVAL, 0,
                               "the key of %s holds a character that no key has",
                               p->profile->known.name);
    return join(&p->key_header, err, "Authorization: Bearer ", key, "");
}

static int set_texts(remote *p, const quern_provider_options *o, quern_error *err)
{
    const char *provider = p->profile->known.name;
    const char *model = quern__profile_model(provider, o->model);
    int rc = join(&p->name, err, provider, ":", o->model);
    if (!rc)
        rc = copy(&p->model, model, err);
    if (!rc)
        rc = copy(&p->prompts[QUERN_AS_QUERY], o->query_prompt, err);
    if (!rc)
        rc = copy(&p->prompts[QUERN_AS_DOCUMENT], o->document_prompt, err);
    if (!rc)
        rc = set_url(p, o->base_url ? o->base_url : p->profile->known.base_url, err);
    if (!rc)
        rc = set_headers(p, o->headers, err);
    return rc ? rc : set_key(p, o->api_key, err);
}

typedef struct probe {
    remote *p;
    const quern_cancel *cancel;
    float *room;
} probe;

static int embed_a_word(void *ud, quern_error *err)
{
    static const quern_str one = {"quern", 5};
    const probe *b = ud;
    uint64_t tokens;
    quern__provider_question ask = {.texts = &one, .n = 1};
    return call_provider(b->p, &ask, b->cancel, &b->p->dimensions, b->room, &tokens, err);
}

/* The provider says it by embedding a word. */
static int find_dimensions(remote *p, const quern_provider_options *o, quern_error *err)
{
    quern_retry_options retry;
    QUERN_INIT(&retry);
    retry.attempts = o->attempts;
    probe b = {p, o->cancel, quern__alloc_array(QUERN__LARGEST_DIMENSION, sizeof(float))};
    if (!b.room)
        return quern__fail_memory(err, QUERN__LARGEST_DIMENSION * sizeof(float));
    int rc = quern__try_again(&retry, embed_a_word, &b, o->cancel, err);
    quern__free(b.room);
    return rc;
}

static void look_around(const remote *p, quern_provider_options *o)
{
    const quern_provider_profile *known = &p->profile->known;
    if (!o->api_key && known->key_variable)
        o->api_key = quern__env(known->key_variable);
    if (!o->base_url && known->url_variable)
        o->base_url = quern__env(known->url_variable);
}

static int set_up(remote *p, quern_provider_options *o, quern_error *err)
{
    if (o->use_environment)
        look_around(p, o);
    quern__http_client_options http = {.connect_ms = o->connect_ms,
                                       .connections = o->connections,
                                       .proxy = o->proxy,
                                       .ca_file = o->ca_file};
    p->describe_only = o->describe_only != 0;
    p->timeout_ms = o->timeout_ms;
    p->authorize = o->authorize;
    p->authorize_ud = o->authorize_ud;
    p->refused = o->refused;
    p->refused_ud = o->refused_ud;
    p->max_inputs = o->max_inputs ? o->max_inputs : p->profile->known.max_inputs;
    int rc = set_texts(p, o, err);
    if (!rc)
        rc = quern__answered_init(&p->answered, err);
    if (!rc)
        rc = quern__http_client_new(&p->client, &http, err);
    p->asks_dimensions = o->dimensions != 0;
    if (rc)
        return rc;
    p->dimensions = o->dimensions ? o->dimensions : quern__profile_dimensions(p->model);
    if (!p->dimensions && p->describe_only)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "%s: how many dimensions it has is not known without asking it; give "
                           "them",
                           p->name);
    return p->dimensions ? QUERN_OK : find_dimensions(p, o, err);
}

int quern_embedder_from_provider(quern_embedder **out, const quern_provider_options *opt,
                                 quern_error *err)
{
    quern_provider_options o;
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(opt && opt->struct_size >= sizeof(size_t), err);
    QUERN_INIT(&o);
    memcpy(&o, opt, QUERN__MIN(opt->struct_size, sizeof o));
    QUERN__REQUIRE(o.model && *o.model, err);
    if (o.dimensions > QUERN__LARGEST_DIMENSION)
        return quern__fail(err, QUERN_EINVAL, o.dimensions, "%u dimensions; at most %d",
                           o.dimensions, QUERN__LARGEST_DIMENSION);
    remote *p = quern__calloc(1, sizeof *p);
    if (!p)
        return quern__fail_memory(err, sizeof *p);
    p->profile = quern__profile_find(o.provider ? o.provider : "compatible");
    int rc = p->profile
                 ? set_up(p, &o, err)
                 : quern__fail(err, QUERN_EINVAL, 0, "no provider is called '%.100s'", o.provider);
    if (!rc) {
        quern_embedder_table table = {
            .struct_size = sizeof table,
            .name = p->name,
            .dimensions = p->dimensions,
            .max_length = p->profile->known.max_input_tokens,
            .embed = remote_embed,
            .fingerprint = remote_fingerprint,
            .embed_assets = quern__dialect_sees(p->profile->dialect) ? remote_assets : NULL,
            .fuses = fuses(p),
            .release = remote_release,
            .repeats = REPEATS};
        rc = quern_embedder_from_table(out, &table, p, err);
    }
    if (rc)
        remote_release(p);
    return rc;
}
