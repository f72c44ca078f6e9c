/*
 * shelf_fetch.c — resuming and trying again. What came is always judged by the hash over the whole file
 * at the end, so resuming can at worst waste a download: when a resumed file turns out wrong, the parts
 * are dropped and the next try starts from nothing; a file wrong in one piece is the server's last word.
 *
 * The first try asks without a pause; then 0.5 s and 1 s, each ± half by chance so that a fleet does not
 * return in step, or what Retry-After says, up to 30 s.
 */
#include "shelf/shelf_fetch.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/log.h"
#include "base/rng.h"
#include "http/http.h"

enum {
    DEFAULT_TRIES = 3,
    BACKOFF_MS = 500,
    MAX_PAUSE_MS = 30000,
    SLEEP_SLICE_MS = 50,
    NOTE_MAX_BYTES = 8192,
    TELL_EVERY = 256 * 1024
};

typedef struct fetch {
    const quern__shelf *s;
    const char *url, *path;
    const quern__known_file *file;
    uint64_t before, total;
    char *part, *note;
    char etag[200]; /* of the bytes in .part; "" none known */
    uint64_t have;  /* bytes in .part */
    uint64_t told;
    quern__file *out;
    bool resumed;   /* this try continued an earlier one */
    bool transient; /* the last failure may pass */
    bool ours;      /* the last failure was not the network's */
    uint32_t retry_after_s;
} fetch;

/* ---- the note beside the part ---- */

static int parse_note(fetch *f, quern__json *j)
{
    quern_str key, v;
    bool same = false;
    int rc = quern__json_enter_object(j, NULL);
    if (rc)
        return rc;
    while ((rc = quern__json_next_key(j, &key, NULL)) == 1) {
        bool url = quern__str_is(key, "url"), etag = quern__str_is(key, "etag");
        rc = url || etag ? quern__json_string(j, &v, NULL) : quern__json_skip(j, NULL);
        if (rc)
            return rc;
        if (url)
            same = quern__str_is(v, f->url);
        if (etag && v.len < sizeof f->etag && !memchr(v.ptr, 0, v.len)) {
            memcpy(f->etag, v.ptr, v.len);
            f->etag[v.len] = 0;
        }
    }
    return rc < 0 || !same ? QUERN_EFORMAT : QUERN_OK;
}

/* How many bytes of .part can be built on: none unless the note names this URL and a strong ETag. A
 * note that is not what we wrote is no error: the download starts again. */
static void look_at_part(fetch *f)
{
    char *text = NULL;
    size_t len = 0;
    quern__stat st;
    quern__json j;
    f->have = 0;
    f->etag[0] = 0;
    if (quern__stat_path(f->part, &st, NULL) != QUERN_OK || !st.is_file || st.is_link ||
        st.size > f->file->size ||
        quern__read_file(f->note, NOTE_MAX_BYTES, &text, &len, NULL) != QUERN_OK)
        return;
    quern__json_init(&j, text, len, f->note);
    if (parse_note(f, &j) == QUERN_OK && f->etag[0] == '"')
        f->have = st.size;
    else
        f->etag[0] = 0;
    quern__json_dispose(&j);
    quern__free(text);
}

static int write_note(const fetch *f, quern_error *err)
{
    quern__buf text;
    quern__jsonw w;
    quern__buf_init(&text, NOTE_MAX_BYTES);
    quern__jsonw_init(&w, &text);
    quern__jsonw_object(&w);
    quern__jsonw_put_cstr(&w, "etag", f->etag);
    quern__jsonw_put_cstr(&w, "url", f->url);
    quern__jsonw_end_object(&w);
    int rc = quern__buf_ok(&text, "a download's note", err);
    if (rc == QUERN_OK)
        rc = quern__write_file_atomic(f->note, text.data, text.len, err);
    quern__buf_dispose(&text);
    return rc;
}

static void drop_part(fetch *f)
{
    quern__remove_file(f->note, NULL);
    quern__remove_file(f->part, NULL);
    f->have = 0;
    f->etag[0] = 0;
}

/* ---- one try ---- */

static int wrong_size(const fetch *f, uint64_t size, quern_error *err)
{
    return quern__fail(err, QUERN_EMISMATCH, (int64_t)size,
                       "%s: the server has %llu bytes, the published file %llu; check --model-url",
                       f->file->name, (unsigned long long)size, (unsigned long long)f->file->size);
}

static int on_head(void *ud, const quern__http_response *r, quern_error *err)
{
    fetch *f = ud;
    f->ours = true; /* until this returns 0: what fails here is not the network */
    f->resumed = r->status == 206 && f->have > 0;
    if (r->status == 206) {
        if (!f->resumed || !r->has_range || r->range_first != f->have ||
            (r->etag[0] && strcmp(r->etag, f->etag) != 0)) {
            drop_part(f);
            f->transient = true; /* the next try asks for all of it */
            return quern__fail(err, QUERN_EREMOTE, 206,
                               "%s: the server answers with another part "
                               "than was asked for",
                               f->file->name);
        }
        if (r->range_total && r->range_total != f->file->size)
            return wrong_size(f, r->range_total, err);
    } else {
        if (r->has_length && r->length != f->file->size)
            return wrong_size(f, r->length, err);
        /* All of it from the start: no ranges here, or the file has changed since the first part. */
        drop_part(f);
        memcpy(f->etag, r->etag, sizeof f->etag);
    }
    int rc = f->resumed ? QUERN_OK : write_note(f, err);
    if (rc == QUERN_OK)
        rc = quern__file_open(&f->out, f->part, f->resumed ? QUERN__FILE_APPEND : QUERN__FILE_WRITE,
                              err);
    f->ours = rc != QUERN_OK;
    return rc;
}

static int on_body(void *ud, const void *data, size_t n, quern_error *err)
{
    fetch *f = ud;
    if (n > f->file->size - f->have) {
        drop_part(f);
        return quern__fail(err, QUERN_EMISMATCH, 0,
                           "%s: the server sends more than the published "
                           "file's %llu bytes",
                           f->file->name, (unsigned long long)f->file->size);
    }
    int rc = quern__file_write(f->out, data, n, err);
    f->have += n;
    if (rc == QUERN_OK && (f->have - f->told >= TELL_EVERY || f->have == f->file->size)) {
        f->told = f->have;
        rc = quern__shelf_tell(f->s, f->file->name, f->before + f->have, f->total, err);
    }
    f->ours = rc != QUERN_OK;
    return rc;
}

static int request(fetch *f, quern_error *err)
{
    const quern_shelf_options *o = &f->s->opt;
    quern__http_response r;
    quern__http_request q = {.url = f->url, .bearer = o->token, .cancel = o->cancel};
    look_at_part(f);
    if (f->have == f->file->size)
        return QUERN_OK; /* complete, but not yet hashed when the last run ended */
    q.from = f->have;
    q.if_range = f->have ? f->etag : NULL;
    q.stall_ms = o->timeout_ms;
    q.max_bytes = f->file->size; /* the server may answer a request for the rest with all of it */
    q.head = on_head;
    q.body = on_body;
    q.ud = f;
    f->told = f->have;
    f->ours = f->transient = f->resumed = false;
    int rc = quern__http_get(&q, &r, err);
    f->retry_after_s = r.retry_after_s;
    if (f->out) {
        /* What came is kept even when the rest did not: that is what resuming builds on. */
        int late = quern__file_sync(f->out, rc ? NULL : err);
        int closed = quern__file_close(f->out, rc || late ? NULL : err);
        f->out = NULL;
        if (rc == QUERN_OK)
            rc = late ? late : closed;
    }
    if (rc == QUERN_EREMOTE && !f->ours)
        f->transient = r.transient;
    if (rc == QUERN_EREMOTE && r.status == 416) { /* our part is longer than their file */
        drop_part(f);
        f->transient = true;
    }
    return rc;
}

static int check_hash(fetch *f, quern_error *err)
{
    char hex[65];
    uint64_t size;
    int rc = quern__shelf_hash(f->s, f->part, f->file->name, hex, &size, err);
    if (rc)
        return rc;
    if (strcmp(hex, f->file->sha256) == 0 && size == f->file->size)
        return QUERN_OK;
    f->transient = f->resumed; /* an old part may have been the wrong one */
    drop_part(f);
    return quern__fail(err, QUERN_EMISMATCH, 0,
                       "%s: SHA-256 %s, the published file has %s; not kept, check --model-url",
                       f->file->name, hex, f->file->sha256);
}

static int one_try(fetch *f, quern_error *err)
{
    f->resumed = true; /* where no request was needed, the bytes are an earlier run's */
    int rc = request(f, err);
    if (rc)
        return rc;
    rc = check_hash(f, err);
    if (rc == QUERN_OK)
        rc = quern__rename(f->part, f->path, err);
    if (rc == QUERN_OK)
        quern__remove_file(f->note, NULL);
    return rc;
}

/* ---- trying again ---- */

static int pause_before(fetch *f, uint32_t failures, quern__rng *rng, quern_error *err)
{
    uint32_t base = BACKOFF_MS << QUERN__MIN(failures - 1, 6u);
    uint32_t ms = base / 2 + quern__rng_below(rng, base);
    if (f->retry_after_s)
        ms = f->retry_after_s * 1000;
    ms = QUERN__MIN(ms, (uint32_t)MAX_PAUSE_MS);
    for (uint32_t slept = 0; slept < ms; slept += SLEEP_SLICE_MS) {
        int rc = quern__check_cancel(f->s->opt.cancel, err);
        if (rc)
            return rc;
        quern__sleep_ms(SLEEP_SLICE_MS);
    }
    return quern__shelf_tell(f->s, f->file->name, f->before, f->total, err);
}

/* 401 and 403 have one cure that the bare message does not name. */
static int explain(const fetch *f, int rc, uint32_t tries, quern_error *err)
{
    if (rc != QUERN_EREMOTE || !err)
        return rc;
    quern_error cause = *err;
    const char *advice = "";
    if (cause.detail == 401 || cause.detail == 403)
        advice = f->s->opt.token ? "; the access token is not accepted" : "; set HF_TOKEN";
    else if (cause.detail == 404)
        advice = "; check --model-url";
    if (tries > 1)
        return quern__fail(err, rc, cause.detail, "%.400s (%u tries)%s", cause.msg, (unsigned)tries,
                           advice);
    return quern__fail(err, rc, cause.detail, "%.420s%s", cause.msg, advice);
}

static int try_all(fetch *f, quern_error *err)
{
    quern__rng rng;
    uint32_t tries = f->s->opt.tries ? f->s->opt.tries : DEFAULT_TRIES;
    quern__rng_seed(&rng, quern__os_entropy());
    for (uint32_t i = 1;; i++) {
        int rc = one_try(f, err);
        if (rc == QUERN_OK)
            return rc;
        bool again = (rc == QUERN_EREMOTE || rc == QUERN_EMISMATCH) && f->transient;
        if (!again || i >= tries)
            return explain(f, rc, i, err);
        quern__log(QUERN_LOG_WARN, "shelf", "%s: try %u of %u: %s", f->file->name, (unsigned)i,
                   (unsigned)tries, err ? err->msg : quern_status_text(rc));
        rc = pause_before(f, i, &rng, err);
        if (rc)
            return rc;
    }
}

int quern__shelf_fetch(const quern__shelf *s, const char *url, const quern__known_file *file,
                       const char *path, uint64_t before, uint64_t total, quern_error *err)
{
    fetch f = {.s = s, .url = url, .path = path, .file = file, .before = before, .total = total};
    int rc = quern__make_parent(path, err);
    if (rc == QUERN_OK && !(f.part = quern__alloc(strlen(path) + 16)))
        rc = quern__fail_memory(err, 0);
    if (rc == QUERN_OK && !(f.note = quern__alloc(strlen(path) + 16)))
        rc = quern__fail_memory(err, 0);
    if (rc == QUERN_OK) {
        snprintf(f.part, strlen(path) + 16, "%s.part", path);
        snprintf(f.note, strlen(path) + 16, "%s.part.json", path);
        rc = try_all(&f, err);
    }
    quern__free(f.part);
    quern__free(f.note);
    return rc;
}
