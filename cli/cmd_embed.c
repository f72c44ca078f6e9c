/*
 * cmd_embed.c — texts to vectors, as a stream. Texts are taken in batches; a batch is closed when it is
 * full or when the next text is not there yet, so that a slow writer sees each result at once and a fast
 * one gets full batches. Memory is one batch, however long the input.
 *
 * npy says the number of rows in front. Its rows are therefore put aside in a temporary file and copied
 * out behind the header at the end. Writing the header twice was rejected: it needs an output that can
 * seek, and is wrong with >>.
 */
#include "cli.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 4 << 20, BATCHES = 8, LARGEST_BATCH = 1024 };
/* Of a service that takes several calls at once: a batch ends when its slowest call has, the pauses before new attempts
 * included, and nothing else is under way then; so few of them. */
enum { FAR_BYTES = 16 << 20, FAR_BATCH = 16384, FAR_VECTORS = 32 << 20 /* bytes */ };
enum format { FORMAT_JSONL, FORMAT_JSON, FORMAT_NPY, FORMAT_F32, FORMAT_BASE64, FORMAT_NONE };

static const char *const our_fields[] = {"index",       "embedding", "tokens", "truncated", "model",
                                         "fingerprint", "precision", "seen",   NULL};

/* What became of the assets of a text. */
typedef struct seen_assets {
    uint32_t used, cut, skipped;
} seen_assets;

typedef struct work {
    cli *c;
    input *in;
    quern_embedder *e;
    quern_embed_options opt;
    enum format format;
    char hash[65], precision[16];
    uint32_t dim;
    size_t room, most_bytes, n; /* of the batch */
    text_item *items;
    quern_str *texts;
    float *vectors;
    quern_embed_result *results;
    seen_assets *seen;
    uint32_t max_assets; /* 0: the default */
    size_t ready;        /* of a batch that failed: those embedded before the call that did */
    unsigned char *row;  /* one vector as bytes */
    FILE *aside;         /* npy: its rows */
    uint64_t done;
} work;

static enum format chosen_format(const cli *c)
{
    static const char *const names[] = {"jsonl", "json", "npy", "f32", "base64"};
    const char *name = quern_config_text(c->config, "format");
    enum format f = c->json ? FORMAT_JSON : FORMAT_JSONL;
    for (int i = 0; name && i < 5; i++)
        if (strcmp(name, names[i]) == 0)
            f = (enum format)i;
    return f;
}

/* ---- writing ---- */

static void write_seen(const seen_assets *s)
{
    put_key("seen");
    put_object();
    put_key("used");
    put_whole(s->used);
    put_key("cut");
    put_whole(s->cut);
    put_key("skipped");
    put_whole(s->skipped);
    put_end_object();
}

static void write_object(const work *w, size_t i)
{
    const float *v = w->vectors + i * w->dim;
    put_object();
    put_members(w->items[i].members.ptr, w->items[i].members.len);
    put_key("index");
    put_whole(w->done + i);
    put_key("embedding");
    if (w->format == FORMAT_BASE64) {
        quern_vector_to_blob(v, w->dim, w->row);
        put_raw("\"", 1);
        out_base64(w->row, (size_t)w->dim * 4);
        out_text("\"");
    } else {
        put_array();
        for (uint32_t d = 0; d < w->dim; d++)
            put_float(v[d]);
        put_end_array();
    }
    put_key("tokens");
    put_whole(w->results[i].tokens);
    put_key("truncated");
    put_bool(w->results[i].truncated);
    const uint64_t microseconds = (w->results[i].tokenize_ns + w->results[i].encode_ns) / 1000;
    put_key("inference_ms");
    put_real((double)microseconds / 1000);
    if (w->items[i].assets)
        write_seen(&w->seen[i]);
    put_key("model");
    put_text(quern_embedder_name(w->e));
    put_key("fingerprint");
    put_text(w->hash);
    if (*w->precision) { /* a hosted model has none that is known */
        put_key("precision");
        put_text(w->precision);
    }
    put_end_object();
}

static int write_row(work *w, size_t i, quern_error *err)
{
    quern_vector_to_blob(w->vectors + i * w->dim, w->dim, w->row);
    if (!w->aside)
        out_bytes(w->row, (size_t)w->dim * 4);
    else if (fwrite(w->row, 4, w->dim, w->aside) != w->dim)
        return fail(err, QUERN_EIO, "temporary file: cannot write");
    return QUERN_OK;
}

static int write_batch(work *w, size_t n, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; i < n && rc == QUERN_OK && w->format != FORMAT_NONE; i++) {
        if (w->format == FORMAT_NPY || w->format == FORMAT_F32) {
            rc = write_row(w, i, err);
            continue;
        }
        if (w->format == FORMAT_JSON && w->done + i > 0)
            out_text("\n");
        write_object(w, i);
        if (w->format != FORMAT_JSON)
            put_line();
    }
    w->done += n;
    out_flush();
    return rc;
}

/* ---- embedding ---- */

/* An error of the library's about text i, with the place of that text in the input. */
static int at_place(const work *w, size_t i, int rc, quern_error *err)
{
    char place[48], what[sizeof err->msg];
    if (!w->c->n_args && quern_config_is_set(w->c->config, "asset"))
        snprintf(place, sizeof place, "--asset");
    else
        input_place(w->in, w->items[i].line, place);
    memcpy(what, err->msg, sizeof what);
    if (rc == QUERN_ETOOLONG)
        snprintf(err->msg, sizeof err->msg,
                 "%s: %lld tokens, the model reads %u; --truncate cuts it", place,
                 (long long)err->detail, quern_embedder_max_length(w->e));
    else
        snprintf(err->msg, sizeof err->msg, "%s: %.400s", place, what);
    return rc;
}

/* A text with its assets: one vector of both. */
static int embed_seen(work *w, size_t i, quern_error *err)
{
    quern_asset_options o;
    quern_asset_result r;
    const quern_asset_list *l = w->items[i].assets;
    QUERN_INIT(&o);
    o.as = w->opt.as;
    o.truncation = w->opt.truncation;
    o.cancel = w->opt.cancel;
    o.max_assets = w->max_assets;
    QUERN_INIT(&r);
    r.fused = w->vectors + i * w->dim;
    r.fused_floats = w->dim;
    int rc = w->opt.no_normalize
                 ? fail(err, QUERN_EINVAL, "--no-normalize: what is seen has unit length always")
                 : quern_embed_assets(w->e, w->texts[i], quern_asset_list_all(l),
                                      quern_asset_list_count(l), &o, &r, err);
    if (rc == QUERN_OK && r.empty)
        rc = fail(err, QUERN_EINVAL, "no text, and no asset that can be had");
    if (rc != QUERN_OK) {
        err->subject = (int32_t)i;
        return rc;
    }
    w->results[i] = (quern_embed_result){.tokens = (uint32_t)r.tokens};
    w->seen[i] = (seen_assets){r.used, r.cut, r.skipped};
    return rc;
}

/* Texts [from, to). */
static int embed(work *w, size_t from, size_t to, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t end; from < to && rc == QUERN_OK; from = end) {
        w->ready = from;
        for (end = from; end < to && !w->items[end].assets;)
            end++;
        if (end == from) {
            rc = embed_seen(w, end++, err);
            continue;
        }
        size_t n = end - from;
        rc = quern_embed(w->e, w->texts + from, n, &w->opt, w->vectors + from * w->dim, n * w->dim,
                         w->results + from, err);
        if (rc != QUERN_OK && err->subject >= 0)
            err->subject += (int32_t)from;
    }
    return rc;
}

/* One bad text does not take its neighbours along: those before it are written first. */
static int finish_batch(work *w, quern_error *err)
{
    if (!w->n)
        return QUERN_OK;
    for (size_t i = 0; i < w->n; i++)
        w->texts[i] = w->items[i].text;
    int rc = embed(w, 0, w->n, err);
    size_t good = w->n;
    if (rc != QUERN_OK && err->subject >= 0 && (size_t)err->subject < w->n) {
        good = (size_t)err->subject;
        rc = at_place(w, good, rc, err);
        quern_error other;
        if (embed(w, w->ready, good, &other) != QUERN_OK)
            good = w->ready;
    } else if (rc != QUERN_OK) {
        good = 0;
    }
    quern_error late;
    int wrote = write_batch(w, good, &late);
    if (rc == QUERN_OK && wrote != QUERN_OK) {
        rc = wrote;
        *err = late;
    }
    for (size_t i = 0; i < w->n; i++)
        text_item_free(&w->items[i]);
    w->n = 0;
    return rc;
}

static int stream(work *w, quern_error *err)
{
    size_t bytes = 0;
    for (;;) {
        quern_error why;
        int got = input_next(w->in, &w->items[w->n], &why);
        if (got == 1)
            bytes += w->items[w->n++].text.len;
        int close = got != 1 || w->n == w->room || bytes >= w->most_bytes || !input_ready(w->in);
        if (close) {
            bytes = 0;
            int rc = finish_batch(w, err);
            if (rc != QUERN_OK || out_broken())
                return rc;
        }
        if (got < 0)
            *err = why;
        if (got != 1)
            return got;
    }
}

static int copy_aside(work *w, quern_error *err)
{
    char block[1 << 14];
    size_t n;
    rewind(w->aside);
    out_npy_header("<f4", w->done, w->dim);
    while ((n = fread(block, 1, sizeof block, w->aside)) > 0)
        out_bytes(block, n);
    return ferror(w->aside) ? fail(err, QUERN_EIO, "temporary file: cannot read") : QUERN_OK;
}

static void size_batches(work *w)
{
    size_t ours = (size_t)quern_config_count(w->c->config, "batch") * BATCHES;
    size_t far = FAR_VECTORS / (w->dim * sizeof *w->vectors);
    w->room = ours < LARGEST_BATCH ? ours : LARGEST_BATCH;
    w->most_bytes = MOST_BYTES;
    if (quern_embedder_parallel(w->e) > 1) {
        w->room = far > FAR_BATCH ? FAR_BATCH : far ? far : 1;
        w->most_bytes = FAR_BYTES;
    }
}

static int prepare(work *w, quern_error *err)
{
    char *json = NULL;
    cli *c = w->c;
    QUERN_INIT(&w->opt);
    w->opt.as = option_as(c, QUERN_AS_DOCUMENT);
    w->opt.truncation =
        quern_config_flag(c->config, "truncate") ? QUERN_TRUNCATION_CUT : QUERN_TRUNCATION_ERROR;
    w->opt.no_normalize = quern_config_flag(c->config, "no-normalize");
    w->opt.cancel = c->cancel;
    w->format = chosen_format(c);
    w->max_assets = (uint32_t)quern_config_count(c->config, "max-assets");
    int rc = input_open(&w->in, c, our_fields, err);
    if (rc == QUERN_OK)
        rc = open_embedder(c, NULL, &w->e, err);
    if (rc == QUERN_OK)
        rc = quern_embedder_fingerprint(w->e, &json, w->hash, err);
    if (rc == QUERN_OK)
        precision_of(json, w->precision);
    quern_free(json);
    if (rc != QUERN_OK)
        return rc;
    w->dim = quern_embedder_dimensions(w->e);
    size_batches(w);
    w->items = calloc(w->room, sizeof *w->items);
    w->texts = calloc(w->room, sizeof *w->texts);
    w->results = calloc(w->room, sizeof *w->results);
    w->vectors = calloc(w->room * w->dim, sizeof *w->vectors);
    w->seen = calloc(w->room, sizeof *w->seen);
    w->row = calloc(w->dim, 4);
    if (!w->items || !w->texts || !w->results || !w->vectors || !w->seen || !w->row)
        return no_memory(err);
    if (w->format == FORMAT_NPY && !(w->aside = tmpfile()))
        return fail(err, QUERN_EIO, "npy: cannot make a temporary file for the rows");
    return QUERN_OK;
}

static void dispose(work *w)
{
    for (size_t i = 0; w->items && i < w->n; i++)
        text_item_free(&w->items[i]);
    if (w->aside)
        fclose(w->aside);
    free(w->items);
    free(w->texts);
    free(w->results);
    free(w->seen);
    free(w->vectors);
    free(w->row);
    input_free(w->in);
    quern_embedder_free(w->e);
}

/* The same without writing anything: what is embedded is then in the cache. */
int cmd_cache_warm(cli *c, quern_error *err)
{
    work w = {.c = c};
    if (!quern_config_text(c->config, "cache-file") && !quern_config_text(c->config, "cache-redis"))
        return fail(err, QUERN_EINVAL, "cache warm: --cache-file or --cache-redis names the cache");
    int rc = prepare(&w, err);
    w.format = FORMAT_NONE;
    if (rc == QUERN_OK)
        rc = stream(&w, err);
    if (rc == QUERN_OK && !c->quiet)
        fprintf(stderr, "%llu texts are in the cache\n", (unsigned long long)w.done);
    dispose(&w);
    return rc;
}

/* "[KIND=]URL" as an object of the list. */
static json_t *asset_of(const char *from, size_t n)
{
    static const char *const kinds[] = {"image", "frame", "video"};
    const char *kind = kinds[0];
    for (size_t i = 0; i < 3; i++) {
        size_t len = strlen(kinds[i]);
        if (n > len && memcmp(from, kinds[i], len) == 0 && from[len] == '=') {
            kind = kinds[i];
            from += len + 1;
            n -= len + 1;
            break;
        }
    }
    return json_pack("{s:s,s:s%}", "kind", kind, "url", from, n);
}

static int flag_assets(const cli *c, quern_asset_list **out, quern_error *err)
{
    json_t *list = json_array();
    int bad = 0;
    for (const char *at = quern_config_text(c->config, "asset"); at && *at;) {
        size_t n = strcspn(at, "\n");
        bad |= json_array_append_new(list, asset_of(at, n));
        at += n + (at[n] == '\n');
    }
    char *dump = bad ? NULL : json_dumps(list, JSON_COMPACT);
    json_decref(list);
    int rc = dump ? quern_asset_list_parse(out, quern_str_of(dump), QUERN_ASSET_IMAGE, err)
                  : fail(err, QUERN_EINVAL, "--asset: not UTF-8");
    free(dump);
    return rc;
}

/* --asset: the one argument, or nothing, with these. */
static int one_text(work *w, quern_error *err)
{
    text_item *item = &w->items[0];
    if (w->c->n_args > 1 || quern_config_flag(w->c->config, "jsonl"))
        return fail(err, QUERN_EINVAL,
                    "--asset goes with one text; with --jsonl each line has \"assets\" of its own");
    int rc = w->c->n_args ? input_next(w->in, item, err) : 1;
    if (rc < 0)
        return rc;
    w->n = 1;
    item->line = 1;
    rc = flag_assets(w->c, &item->assets, err);
    return rc == QUERN_OK ? finish_batch(w, err) : rc;
}

int cmd_embed(cli *c, quern_error *err)
{
    work w = {.c = c};
    int rc = prepare(&w, err);
    if (rc == QUERN_OK) {
        if (w.format == FORMAT_JSON)
            put_array();
        rc = quern_config_is_set(c->config, "asset") ? one_text(&w, err) : stream(&w, err);
        if (w.format == FORMAT_JSON) {
            put_end_array();
            put_line();
        }
        if (rc == QUERN_OK && w.aside)
            rc = copy_aside(&w, err);
    }
    dispose(&w);
    return rc;
}
