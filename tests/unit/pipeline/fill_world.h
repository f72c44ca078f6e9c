/*
 * fill_world.h — a database with a table of the user's, a store over it, a fake embedder, and short names for what the
 * tests of fill and search do with them.
 */
#ifndef TEST_FILL_WORLD_H
#define TEST_FILL_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/os.h"
#include "quern/pipeline.h"
#include "quern/search.h"
#include "store/store.h"
#include "unit/pipeline/fake_embedder.h"

typedef struct world {
    char dir[64], db[96];
    sqlite3 *user; /* the user's own connection */
    quern_store *s;
    fake_embedder fake;
    quern_embedder *e;
    quern_fill_options opt;
    quern_fill_report report;
    quern_error err;
} world;

static inline void sql(world *w, const char *text)
{
    char *msg = NULL;
    if (sqlite3_exec(w->user, text, NULL, NULL, &msg) != SQLITE_OK)
        fail_msg("%s: %s", text, msg);
}

static inline int64_t number(world *w, const char *text)
{
    sqlite3_stmt *st = NULL;
    int64_t n = -1;
    if (sqlite3_prepare_v2(w->user, text, -1, &st, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(w->user));
    if (sqlite3_step(st) == SQLITE_ROW)
        n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return n;
}

/* One text out of many rows; the caller frees it. */
static inline char *text_of(world *w, const char *query)
{
    sqlite3_stmt *st = NULL;
    char *out = calloc(1, 1);
    size_t n = 0, room = 1;
    if (sqlite3_prepare_v2(w->user, query, -1, &st, NULL) != SQLITE_OK)
        fail_msg("%s: %s", query, sqlite3_errmsg(w->user));
    while (sqlite3_step(st) == SQLITE_ROW) {
        for (int c = 0; c < sqlite3_column_count(st); c++) {
            const char *t = (const char *)sqlite3_column_text(st, c);
            size_t m = t ? strlen(t) : 0;
            if (n + m + 3 > room) /* twice as much: a sanitizer's realloc copies each time */
                out = realloc(out, room = 2 * (n + m + 3));
            if (!out)
                abort();
            if (m)
                memcpy(out + n, t, m);
            n += m;
            out[n++] = '|';
        }
        out[n++] = '\n';
        out[n] = '\0';
    }
    sqlite3_finalize(st);
    return out;
}

/* Everything that a fill leaves, without ids and times: equal states are equal texts. */
static inline char *state_of(world *w)
{
    return text_of(
        w, "SELECT c.key, c.chunk, c.byte_start, c.byte_end, hex(v.data), s.outcome, s.revision "
           "FROM quern_chunks c JOIN quern_vectors v ON v.id = c.id JOIN quern_stamps s ON "
           "s.generation = c.generation AND s.key = c.key JOIN quern_generations g ON g.id = "
           "c.generation WHERE g.state = 'active' ORDER BY c.key, c.chunk");
}

static inline void check(world *w, int rc)
{
    if (rc != QUERN_OK)
        fail_msg("%s: %s", quern_status_name(rc), w->err.msg);
}

static inline void open_store(world *w)
{
    quern_store_options o;
    QUERN_INIT(&o);
    o.db = w->db;
    check(w, quern_store_open(&w->s, &o, &w->err));
}

static inline world *make_world(void)
{
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    snprintf(w->dir, sizeof w->dir, "/tmp/quern-fill-%016llx",
             (unsigned long long)quern__os_entropy());
    assert_int_equal(quern__make_dirs(w->dir, NULL), QUERN_OK);
    snprintf(w->db, sizeof w->db, "%s/user.db", w->dir);
    assert_int_equal(sqlite3_open(w->db, &w->user), SQLITE_OK);
    sqlite3_busy_timeout(w->user, 5000);
    sql(w, "PRAGMA journal_mode = WAL");
    sql(w, "CREATE TABLE items (id INTEGER PRIMARY KEY, title TEXT, body TEXT, rev TEXT, gone INT "
           "DEFAULT 0)");
    open_store(w);
    w->e = fake_open(&w->fake);
    assert_non_null(w->e);
    QUERN_INIT(&w->opt);
    QUERN_INIT(&w->report);
    return w;
}

static inline void free_world(world *w)
{
    quern_store_free(w->s);
    quern_embedder_free(w->e);
    sqlite3_close(w->user);
    quern__remove_tree(w->dir, NULL);
    free(w);
}

static inline void declare(world *w, const char *name, const char *revision, const char *where)
{
    quern_source_spec spec;
    QUERN_INIT(&spec);
    spec.name = name;
    spec.table = "items";
    spec.keys = "id";
    spec.text = "{title}. {body}";
    spec.revision = revision;
    spec.where = where;
    spec.meta = "title,rev";
    check(w, quern_source_add(w->s, &spec, &w->err));
}

/* Rows from..to-1 with texts of their own. */
static inline void put_rows(world *w, int from, int to)
{
    sql(w, "BEGIN");
    for (int i = from; i < to; i++) {
        char text[200];
        snprintf(text, sizeof text,
                 "INSERT INTO items (id, title, body, rev) VALUES (%d, 'title%d', 'body of %d "
                 "word%d', 'r1')",
                 i, i, i, i % 7);
        sql(w, text);
    }
    sql(w, "COMMIT");
}

static inline int fill(world *w)
{
    size_t size = sizeof w->report;
    memset(&w->report, 0, size);
    w->report.struct_size = size;
    w->fake.calls = w->fake.texts = 0;
    memset(&w->err, 0, sizeof w->err);
    return quern_fill(w->s, w->e, &w->opt, &w->report, &w->err);
}

/* Another model from here on. */
static inline void change_model(world *w, const char *name)
{
    quern_embedder_free(w->e);
    w->fake.name = name;
    w->e = fake_open(&w->fake);
    assert_non_null(w->e);
}

#endif
