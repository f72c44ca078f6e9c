/*
 * no_model.h — what benchmarks of the pipeline share: an embedder that is no model, and a table of short rows. Tokens are
 * words, the 384 dimensions hashed from the text (around one of `clusters` centres, where there are any), and each call
 * lasts call_ms, as a provider's would.
 */
#ifndef BENCH_NO_MODEL_H
#define BENCH_NO_MODEL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "db/sqlite_db.h"
#ifdef QUERN_POSTGRES
#include "db/postgres_db.h"
#endif
#include "quern/pipeline.h"
#include "quern/sys/embedder.h"
#include "quern/vector.h"

enum { DIMENSIONS = 384 };

static quern_error err;
static uint32_t call_ms, clusters;
static uint64_t first_call_ns; /* set to 0 by who wants to know of the next */

static inline void need(int rc, const char *what)
{
    if (rc == QUERN_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, err.msg);
    exit(1);
}

/* ---- the embedder ---- */

static inline int embed(void *self, const quern_str *texts, size_t n,
                        const quern_embed_options *opt, float *out, quern_embed_result *results,
                        quern_error *e)
{
    (void)self, (void)opt;
    if (!first_call_ns)
        first_call_ns = quern__now_ns();
    if (call_ms)
        quern__sleep_ms(call_ms);
    for (size_t i = 0; i < n; i++) {
        uint64_t h = 1469598103934665603u;
        for (size_t k = 0; k < texts[i].len; k++)
            h = (h ^ (unsigned char)texts[i].ptr[k]) * 1099511628211u;
        for (size_t d = 0; d < DIMENSIONS; d++) {
            h = h * 6364136223846793005u + 1442695040888963407u;
            out[i * DIMENSIONS + d] = (float)((double)(h >> 40) / 8388608.0 - 1.0);
        }
        uint64_t centre = clusters ? h % clusters * 2654435769u + 1 : 0;
        for (size_t d = 0; d < DIMENSIONS && clusters; d++) {
            centre = centre * 6364136223846793005u + 1442695040888963407u;
            out[i * DIMENSIONS + d] += (float)((double)(centre >> 40) / 8388608.0 - 1.0);
        }
        int rc = quern_normalize(out + i * DIMENSIONS, DIMENSIONS, e);
        if (rc != QUERN_OK)
            return rc;
        if (results)
            memset(&results[i], 0, sizeof results[i]);
    }
    return QUERN_OK;
}

static inline int fingerprint(void *self, char **json, quern_error *e)
{
    static const char text[] = "{\"weights\":\"none\"}";
    (void)self, (void)e;
    *json = quern_alloc(sizeof text);
    if (!*json)
        return QUERN_ENOMEM;
    memcpy(*json, text, sizeof text);
    return QUERN_OK;
}

static inline int tokenize(void *self, quern_str text, quern_tokens **out, quern_error *e)
{
    (void)self, (void)e;
    size_t n = 2;
    for (size_t i = 0; i < text.len; i++)
        n += text.ptr[i] != ' ' && (i == 0 || text.ptr[i - 1] == ' ');
    char *block = quern_alloc(sizeof(quern_tokens) + n * 13);
    if (!block)
        return QUERN_ENOMEM;
    quern_tokens *t = (quern_tokens *)(void *)block;
    int32_t *ids = (int32_t *)(void *)(block + sizeof *t);
    uint32_t *start = (uint32_t *)(void *)(ids + n), *end = start + n;
    uint8_t *special = (uint8_t *)(end + n);
    memset(ids, 0, n * 13);
    special[0] = special[n - 1] = 1;
    size_t at = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool word = text.ptr[i] != ' ';
        if (word && (i == 0 || text.ptr[i - 1] == ' '))
            start[++at] = (uint32_t)i;
        if (word)
            end[at] = (uint32_t)i + 1;
    }
    *t = (quern_tokens){n, ids, start, end, special};
    *out = t;
    return QUERN_OK;
}

/* ---- the table ---- */

/* Rows first … last; the table is made with row 1. */
static inline void make_items(const char *db, long first, long last)
{
    char insert[400];
    const char *make = "CREATE TABLE items (id INTEGER PRIMARY KEY, text TEXT, rev INTEGER)";
    if (strstr(db, "://")) {
#ifdef QUERN_POSTGRES
        quern__pg *c = NULL;
        snprintf(insert, sizeof insert,
                 "INSERT INTO items SELECT n, 'a short sentence that says number ' || n, 1"
                 " FROM generate_series(%ld, %ld) AS n",
                 first, last);
        need(quern__pg_open(&c, db, 5000, &err), db);
        if (first == 1)
            need(quern__pg_script(c, make, &err), make);
        need(quern__pg_script(c, insert, &err), insert);
        need(quern__pg_script(c, "ANALYZE items", &err), "ANALYZE");
        quern__pg_close(c);
#endif
        return;
    }
    quern__db *c = NULL;
    snprintf(insert, sizeof insert,
             "WITH RECURSIVE s(n) AS (SELECT %ld UNION ALL SELECT n + 1 FROM s WHERE n < %ld)"
             " INSERT INTO items SELECT n, 'a short sentence that says number ' || n, 1 FROM s",
             first, last);
    need(quern__db_open(&c, db, QUERN__DB_CREATE, 5000, &err), db);
    if (first == 1)
        need(quern__db_exec(c, make, &err), make);
    need(quern__db_exec(c, insert, &err), insert);
    quern__db_close(c);
}

static inline quern_embedder *open_embedder(void)
{
    quern_embedder *e = NULL;
    quern_embedder_table t;
    memset(&t, 0, sizeof t);
    t.struct_size = sizeof t;
    t.name = "no model";
    t.dimensions = DIMENSIONS;
    t.max_length = 256;
    t.embed = embed;
    t.fingerprint = fingerprint;
    t.tokenize = tokenize;
    need(quern_embedder_from_table(&e, &t, NULL, &err), "embedder");
    return e;
}

static inline quern_store *open_store(const char *db)
{
    quern_store *s = NULL;
    quern_store_options o;
    QUERN_INIT(&o);
    o.db = db;
    need(quern_store_open(&s, &o, &err), "store");
    return s;
}

/* The table and its source, unless they are there. */
static inline void declare(quern_store *s, const char *db, long rows)
{
    quern_source_list *list = NULL;
    quern_source_spec spec;
    QUERN_INIT(&spec);
    spec.name = spec.table = "items";
    spec.keys = "id";
    spec.text = "{text}";
    spec.revision = "rev";
    need(quern_source_list_open(&list, s, &err), "sources");
    if (quern_source_list_count(list) == 0) {
        make_items(db, 1, rows);
        need(quern_source_add(s, &spec, &err), "source");
    }
    quern_source_list_free(list);
}

#endif
