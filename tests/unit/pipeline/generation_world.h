/*
 * generation_world.h — the rules of generations as tests that every store runs: test_generation_sqlite.c and
 * test_generation_postgres.c say how SQL is spoken there, and run `generation_tests`. Two fake models, one table.
 */
#ifndef TEST_GENERATION_WORLD_H
#define TEST_GENERATION_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "quern/generation.h"
#include "quern/search.h"
#include "unit/pipeline/fake_embedder.h"

enum { ROWS = 120, OTHER_DIM = 16 };

typedef struct stage {
    char db[300];
    const char *prefix; /* of quern's tables: "quern_" or "quern." */
    void *user, *other; /* two connections of the user's */
    quern_store *s;
    fake_embedder fake[2];
    quern_embedder *e[2];
    quern_error err;
    /* what happens while a text is embedded */
    quern__rng rng;
    int edits_left;
    int64_t act_on;
    int act;           /* 'r'etire, 'p'urge, 'a'ctivate */
    const char *scope; /* of what is built */
} stage;

/* Of the store at hand. */
static void say(void *connection, const char *sql);
static int64_t ask(void *connection, const char *sql);
/* Vectors of document "3" (or of all: NULL) in a generation are gone. */
static void lose_vectors(stage *w, int64_t generation, const char *key);
static void lose_table(stage *w, int64_t generation);

static inline void sql(stage *w, const char *format, ...) QUERN_PRINTF(2, 3);
static inline void sql(stage *w, const char *format, ...)
{
    char text[4000];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    say(w->user, text);
}

static inline void check(stage *w, int rc)
{
    if (rc != QUERN_OK)
        fail_msg("%s: %s", quern_status_name(rc), w->err.msg);
}

static inline quern_store *open_another(stage *w)
{
    quern_store_options o;
    quern_store *s = NULL;
    QUERN_INIT(&o);
    o.db = w->db;
    check(w, quern_store_open(&s, &o, &w->err));
    return s;
}

static inline void reopen(stage *w)
{
    quern_store_free(w->s);
    w->s = open_another(w);
}

/* The table, the source "items" over it and two models; the caller has connected. */
static inline void furnish(stage *w)
{
    quern_source_spec spec;
    QUERN_INIT(&spec);
    sql(w, "CREATE TABLE items (id integer PRIMARY KEY, title text, body text, gone integer "
           "DEFAULT 0)");
    for (int i = 0; i < ROWS; i++)
        sql(w, "INSERT INTO items VALUES (%d, 'title%d', 'body of %d word%d', 0)", i, i, i, i % 7);
    w->s = open_another(w);
    spec.name = "items";
    spec.table = "items";
    spec.keys = "id";
    spec.text = "{title}. {body}";
    spec.where = "gone = 0";
    check(w, quern_source_add(w->s, &spec, &w->err));
    for (int i = 0; i < 2; i++) {
        w->fake[i].name = i ? "model-two" : "model-one";
        w->e[i] = fake_open(&w->fake[i]);
        assert_non_null(w->e[i]);
    }
}

static inline void clear(stage *w)
{
    quern_store_free(w->s);
    quern_embedder_free(w->e[0]);
    quern_embedder_free(w->e[1]);
}

static inline quern_fill_report fill(stage *w, int model)
{
    quern_fill_report r;
    QUERN_INIT(&r);
    check(w, quern_fill(w->s, w->e[model], NULL, &r, &w->err));
    return r;
}

static inline int try_build(stage *w, int model, uint64_t limit, quern_build_report *r)
{
    quern_build_options o;
    QUERN_INIT(&o);
    QUERN_INIT(&o.fill);
    QUERN_INIT(r);
    o.fill.source = "items";
    o.fill.limit = limit;
    o.active = w->e[!model];
    o.where = w->scope;
    o.refresh_ms = 1;
    return quern_generation_build(w->s, w->e[model], &o, r, &w->err);
}

static inline quern_build_report build(stage *w, int model)
{
    quern_build_report r;
    check(w, try_build(w, model, 0, &r));
    return r;
}

static inline quern_generation_row row_of(stage *w, int64_t id)
{
    quern_generation_list *l = NULL;
    quern_generation_row found = {0};
    check(w, quern_generation_list_open(&l, w->s, "items", 1, NULL, &w->err));
    for (size_t i = 0; i < quern_generation_list_count(l); i++)
        if (quern_generation_list_at(l, i)->id == id)
            found = *quern_generation_list_at(l, i);
    found.state = !found.id                             ? "none"
                  : strcmp(found.state, "active") == 0  ? "active"
                  : strcmp(found.state, "retired") == 0 ? "retired"
                                                        : "building";
    quern_generation_list_free(l);
    return found;
}

/* The id of the active generation. */
static inline int64_t active(stage *w)
{
    char text[160];
    snprintf(text, sizeof text, "SELECT id FROM %sgenerations WHERE state = 'active'", w->prefix);
    return ask(w->user, text);
}

/* Is document `key` found by its own text (which the row still has)? */
static inline int finds(stage *w, int model, const char *text, const char *key)
{
    quern_results *r = NULL;
    int found = 0;
    check(w, quern_search(&r, w->s, w->e[model], quern_str_of(text), NULL, &w->err));
    for (size_t i = 0; i < quern_results_count(r); i++)
        found |= strcmp(quern_results_at(r, i)->key, key) == 0;
    quern_results_free(r);
    return found;
}

#define TEXT3 "title3. body of 3 word3"

/* ---- never a stale hit, never an orphan ---- */

static void what_is_deleted_is_no_hit(void **state)
{
    stage *w = *state;
    fill(w, 0);
    assert_true(finds(w, 0, TEXT3, "3"));
    sql(w, "DELETE FROM items WHERE id = 3");
    assert_false(finds(w, 0, TEXT3, "3"));
    assert_int_equal(fill(w, 0).deleted, 1);
    assert_int_equal(row_of(w, active(w)).chunks, ROWS - 1);
}

static void a_cleared_stamp_is_made_again(void **state)
{
    stage *w = *state;
    fill(w, 0);
    sql(w, "DELETE FROM %sstamps WHERE key = '3'", w->prefix);
    assert_false(finds(w, 0, TEXT3, "3"));
    assert_int_equal(fill(w, 0).processed, 1);
    assert_true(finds(w, 0, TEXT3, "3"));
    assert_int_equal(row_of(w, active(w)).chunks, ROWS);
}

static void a_stamp_of_another_generation_counts_for_nothing(void **state)
{
    stage *w = *state;
    fill(w, 0);
    sql(w, "UPDATE %sstamps SET generation = generation + 1000 WHERE key = '3'", w->prefix);
    assert_false(finds(w, 0, TEXT3, "3"));
    assert_int_equal(fill(w, 0).processed, 1);
    assert_true(finds(w, 0, TEXT3, "3"));
}

/* The nearest vectors all belong to rows that have changed: the hits behind them are still found. */
static void stale_vectors_hide_no_hit(void **state)
{
    stage *w = *state;
    for (int i = 1000; i < 1300; i++)
        sql(w, "INSERT INTO items VALUES (%d, 'the', 'very words', 0)", i);
    sql(w, "INSERT INTO items VALUES (2000, 'the', 'very words indeed', 0)");
    fill(w, 0);
    sql(w, "UPDATE items SET body = 'something else' WHERE id >= 1000 AND id < 1300");
    quern_search_options o;
    quern_results *r = NULL;
    QUERN_INIT(&o);
    o.limit = 1;
    check(w, quern_search(&r, w->s, w->e[0], quern_str_of("the. very words"), &o, &w->err));
    assert_int_equal(quern_results_count(r), 1);
    assert_string_equal(quern_results_at(r, 0)->key, "2000");
    quern_results_free(r);
}

/* ---- dimensions ---- */

static inline int short_embed(void *self, const quern_str *texts, size_t n,
                              const quern_embed_options *opt, float *out,
                              quern_embed_result *results, quern_error *err)
{
    (void)self, (void)texts, (void)opt, (void)err;
    memset(out, 0, n * OTHER_DIM * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        out[i * OTHER_DIM] = 1;
        if (results)
            memset(&results[i], 0, sizeof results[i]);
    }
    return QUERN_OK;
}

static void other_dimensions_are_refused_by_name(void **state)
{
    stage *w = *state;
    quern_embedder_table t;
    quern_embedder *other = NULL;
    quern_build_report built;
    memset(&t, 0, sizeof t);
    t.struct_size = sizeof t;
    t.name = "fake";
    t.dimensions = OTHER_DIM;
    t.max_length = w->fake[0].max_length;
    t.embed = short_embed;
    t.fingerprint = fake_fingerprint; /* the same as model-one's */
    t.tokenize = fake_tokenize;
    check(w, quern_embedder_from_table(&other, &t, &w->fake[0], &w->err));
    fill(w, 0);
    assert_int_equal(quern_fill(w->s, other, NULL, NULL, &w->err), QUERN_EMISMATCH);
    assert_non_null(strstr(w->err.msg, "holds vectors of 32 dimensions"));
    assert_non_null(strstr(w->err.msg, "16"));
    assert_int_equal(row_of(w, active(w)).chunks, ROWS);
    check(w, quern_generation_retire(w->s, active(w), 1, &w->err));
    check(w, try_build(w, 0, 5, &built));
    quern_build_options o;
    QUERN_INIT(&o);
    QUERN_INIT(&o.fill);
    o.fill.source = "items";
    assert_int_equal(quern_generation_build(w->s, other, &o, NULL, &w->err), QUERN_EMISMATCH);
    assert_non_null(strstr(w->err.msg, "holds vectors of 32 dimensions"));
    assert_int_equal(row_of(w, built.generation).chunks, ROWS); /* it was there already */
    quern_embedder_free(other);
}

/* ---- edits while another generation is built ---- */

/* In the embedder's thread, on a connection of its own: half of the edits that are left. */
static inline void edit_at_random(void *ud)
{
    stage *w = ud;
    int now = w->edits_left < 30 ? w->edits_left : w->edits_left / 2;
    w->edits_left -= now;
    for (int i = 0; i < now; i++) {
        char text[200];
        int id = (int)quern__rng_below(&w->rng, 2 * ROWS);
        int what = (int)quern__rng_below(&w->rng, 4);
        if (what == 0)
            snprintf(text, sizeof text, "DELETE FROM items WHERE id = %d", id);
        else if (what == 1)
            snprintf(text, sizeof text, "UPDATE items SET gone = 1 - gone WHERE id = %d", id);
        else
            snprintf(text, sizeof text,
                     "INSERT INTO items VALUES (%d, 'new%d', 'words %d', 0) ON CONFLICT (id) DO "
                     "UPDATE SET title = excluded.title, body = excluded.body",
                     id, i, w->edits_left + i);
        say(w->other, text);
    }
}

/* scope NULL: the whole source. */
static inline void edit_while_building(stage *w, const char *scope)
{
    quern_activate_report switched;
    char count[160];
    w->scope = scope;
    snprintf(count, sizeof count, "SELECT count(*) FROM items WHERE gone = 0 AND (%s\n)",
             scope ? scope : "1 = 1");
    fill(w, 0);
    int64_t old = active(w);
    uint64_t seed = getenv("QUERN_SEED") ? strtoull(getenv("QUERN_SEED"), NULL, 10) : 11;
    quern__rng_seed(&w->rng, seed);
    print_message("QUERN_SEED=%llu\n", (unsigned long long)seed);
    w->edits_left = getenv("QUERN_LONG") ? 1000 : 100;
    w->fake[1].before = edit_at_random;
    w->fake[1].ud = w;
    quern_build_report r = build(w, 1);
    assert_int_equal(w->edits_left, 0);
    w->fake[1].before = NULL;
    assert_string_equal(r.refresh_error, "");
    assert_int_equal(r.active, old);
    assert_true(r.refresh.processed > 0 && r.refresh.deleted > 0);
    assert_int_equal(r.fill.pending, 0);
    quern_generation_row one = row_of(w, old), two = row_of(w, r.generation);
    assert_int_equal(one.pending, 0); /* the one that serves has seen them, too */
    assert_int_equal(two.pending, 0);
    int64_t live = ask(w->user, "SELECT count(*) FROM items WHERE gone = 0");
    assert_int_equal(one.total, live);
    assert_int_equal(one.chunks, live);
    live = ask(w->user, count);
    assert_int_equal(two.total, live);
    assert_int_equal(two.chunks, live);
    QUERN_INIT(&switched);
    check(w, quern_generation_activate(w->s, r.generation, 0, NULL, &switched, &w->err));
    assert_int_equal(switched.retired, old);
    assert_int_equal(switched.missing, 0);
    quern_verify_options o;
    quern_verify_report v;
    QUERN_INIT(&o);
    QUERN_INIT(&v);
    o.sample = UINT64_MAX;
    check(w, quern_verify(w->s, w->e[1], &o, &v, &w->err));
    assert_int_equal(v.equal, live);
    assert_int_equal(v.stale, 0);
    assert_int_equal(fill(w, 1).processed, 0);
    assert_int_equal(row_of(w, active(w)).total, live);
}

static void edits_during_a_build_reach_both(void **state)
{
    edit_while_building(*state, NULL);
}

static void edits_during_a_scoped_build_reach_both(void **state)
{
    edit_while_building(*state, "id % 3 <> 1 -- and no more");
}

/* ---- the way back ---- */

static void a_build_takes_up_what_was_retired(void **state)
{
    stage *w = *state;
    quern_build_report r;
    fill(w, 0);
    int64_t first = active(w);
    int64_t second = build(w, 1).generation;
    assert_int_equal(try_build(w, 0, 0, &r), QUERN_EEXISTS);
    check(w, quern_generation_activate(w->s, second, 0, NULL, NULL, &w->err));
    assert_int_equal(quern_generation_activate(w->s, first, 0, NULL, NULL, &w->err),
                     QUERN_EMISMATCH);
    assert_non_null(strstr(w->err.msg, "`quern generation build` under its settings"));
    /* meanwhile a row is edited, one goes, one comes, and a vector is lost */
    sql(w, "UPDATE items SET body = 'edited' WHERE id = 3");
    sql(w, "DELETE FROM items WHERE id = 4");
    sql(w, "INSERT INTO items VALUES (500, 'late', 'comer', 0)");
    lose_vectors(w, first, "7");
    w->fake[0].texts = 0;
    r = build(w, 0);
    assert_int_equal(r.generation, first);
    assert_int_equal(r.fill.processed, 3);
    assert_int_equal(w->fake[0].texts, 3); /* and nothing else was embedded */
    assert_int_equal(r.fill.deleted, 1);
    assert_string_equal(row_of(w, first).state, "building");
    assert_int_equal(row_of(w, first).pending, 0);
    assert_int_equal(row_of(w, first).retired_ms, 0);
    assert_int_equal(row_of(w, first).activated_ms, 0);
    check(w, quern_generation_activate(w->s, first, 0, NULL, NULL, &w->err));
    assert_int_equal(active(w), first);
    assert_true(finds(w, 0, "title3. edited", "3"));
    quern_verify_options o;
    quern_verify_report v;
    QUERN_INIT(&o);
    QUERN_INIT(&v);
    o.sample = UINT64_MAX;
    check(w, quern_verify(w->s, w->e[0], &o, &v, &w->err));
    assert_int_equal(v.equal, ROWS);
    /* a purge that was cut off leaves nothing to build on; of a scope only the same one is taken up */
    sql(w, "UPDATE %sgenerations SET chunks = 0 WHERE id = %lld", w->prefix, (long long)second);
    r = build(w, 1);
    assert_int_not_equal(r.generation, second);
    assert_int_equal(r.fill.processed, ROWS);
    check(w, quern_generation_activate(w->s, r.generation, 0, NULL, NULL, &w->err));
    w->scope = "id < 10";
    r = build(w, 0);
    assert_int_not_equal(r.generation, first);
    assert_int_equal(r.fill.processed, 9);
    /* and never by a fill */
    w->scope = NULL;
    check(w, quern_generation_purge(w->s, r.generation, NULL, NULL, &w->err));
    fill(w, 0);
    assert_int_not_equal(active(w), first);
    assert_string_equal(row_of(w, first).state, "retired");
}

/* ---- scopes ---- */

/* Hits for the words that all rows have, or the error's code. */
static inline size_t hits_where(stage *w, int model, const char *where, const char **code)
{
    quern_search_options o;
    quern_results *r = NULL;
    QUERN_INIT(&o);
    o.limit = 2 * ROWS;
    o.where = where;
    w->err.code = NULL;
    int rc = quern_search(&r, w->s, w->e[model], quern_str_of("body of word"), &o, &w->err);
    size_t n = quern_results_count(r);
    quern_results_free(r);
    *code = rc == QUERN_OK ? "" : quern_error_code(&w->err);
    return n;
}

static void a_scope_is_all_that_a_generation_knows(void **state)
{
    stage *w = *state;
    const char *code;
    quern_activate_report a;
    fill(w, 0);
    int64_t whole = active(w);
    w->scope = "  id >= 100 \n";
    quern_build_report r = build(w, 1);
    assert_int_equal(r.fill.total, ROWS - 100);
    quern_generation_row g = row_of(w, r.generation);
    assert_int_equal(g.total, ROWS - 100);
    assert_int_equal(g.done, ROWS - 100);
    assert_int_equal(row_of(w, whole).total, ROWS);
    check(w, quern_generation_activate(w->s, r.generation, 0, NULL, NULL, &w->err));
    /* a search that asks for more than there is is told so; one that asks for less is not */
    assert_int_equal(hits_where(w, 1, NULL, &code), 0);
    assert_string_equal(code, "index_scope_mismatch");
    assert_non_null(strstr(w->err.msg, "holds only rows where id >= 100,"));
    assert_int_equal(hits_where(w, 1, "id > 98", &code), 0);
    assert_string_equal(code, "index_scope_mismatch");
    assert_int_equal(hits_where(w, 1, "id >= 100", &code), ROWS - 100);
    assert_int_equal(hits_where(w, 1, "id > 110", &code), ROWS - 111);
    assert_int_equal(hits_where(w, 1, "id = 5000", &code), 0);
    assert_string_equal(code, "");
    assert_int_equal(hits_where(w, 1, "1 = 1) OR (1 = 1", &code), 0);
    assert_string_equal(code, "invalid");
    /* a fill keeps to the scope; a row that comes into it or leaves it is followed */
    sql(w, "UPDATE items SET id = 1000 WHERE id = 1");
    sql(w, "UPDATE items SET id = -1 WHERE id = 119");
    quern_fill_report f = fill(w, 1);
    assert_int_equal(f.processed, 1);
    assert_int_equal(f.deleted, 1);
    assert_int_equal(f.total, ROWS - 100);
    assert_int_equal(active(w), r.generation);
    /* where no row is outside, a search of all is within it */
    sql(w, "DELETE FROM items WHERE id < 100");
    assert_int_equal(hits_where(w, 1, NULL, &code), ROWS - 100);
    /* a scope that nothing is in */
    w->scope = "id > 5000";
    quern_build_report none = build(w, 0);
    QUERN_INIT(&a);
    assert_int_equal(quern_generation_activate(w->s, none.generation, 0, NULL, &a, &w->err),
                     QUERN_EMISMATCH);
    assert_non_null(strstr(w->err.msg, "no documents in its scope; --force"));
    check(w, quern_generation_activate(w->s, none.generation, 1, NULL, &a, &w->err));
    assert_int_equal(hits_where(w, 0, w->scope, &code), 0);
    assert_string_equal(code, "");
}

static void a_scope_is_checked_and_part_of_the_settings(void **state)
{
    stage *w = *state;
    quern_build_report r;
    w->scope = "nowhere = 3";
    assert_int_not_equal(try_build(w, 0, 0, &r), QUERN_OK);
    w->scope = "1 = 1) OR (1 = 1";
    assert_int_equal(try_build(w, 0, 0, &r), QUERN_EINVAL);
    w->scope = "id < 10";
    check(w, try_build(w, 0, 5, &r));
    w->scope = "id < 20";
    assert_int_equal(try_build(w, 0, 0, &r), QUERN_EMISMATCH);
    assert_non_null(strstr(w->err.msg, "scope differs"));
    w->scope = "id < 10";
    r = build(w, 0);
    assert_int_equal(r.fill.processed, 5);
    /* a first fill of the whole source does not throw it away */
    assert_int_equal(quern_fill(w->s, w->e[0], NULL, NULL, &w->err), QUERN_EMISMATCH);
    assert_non_null(strstr(w->err.msg, "is being built for rows where id < 10"));
    check(w, quern_generation_activate(w->s, r.generation, 0, NULL, NULL, &w->err));
    assert_int_equal(try_build(w, 0, 0, &r), QUERN_EEXISTS);
    w->scope = NULL;
    assert_int_equal(build(w, 0).fill.processed, ROWS);
}

/* ---- what searches are told ---- */

/* A server that never answers. */
static inline int never_embed(void *self, const quern_str *texts, size_t n,
                              const quern_embed_options *opt, float *out,
                              quern_embed_result *results, quern_error *err)
{
    (void)self, (void)texts, (void)n, (void)out, (void)results;
    while (!quern_cancel_raised(opt->cancel))
        ;
    return fake_fail(err, QUERN_ECANCELLED, -1, "cancelled");
}

static inline quern_embedder *silent_embedder(stage *w)
{
    quern_embedder_table t;
    quern_embedder *e = NULL;
    memset(&t, 0, sizeof t);
    t.struct_size = sizeof t;
    t.name = "fake";
    t.dimensions = FAKE_DIM;
    t.max_length = w->fake[0].max_length;
    t.embed = never_embed;
    t.fingerprint = fake_fingerprint; /* the same as model-one's */
    t.tokenize = fake_tokenize;
    check(w, quern_embedder_from_table(&e, &t, &w->fake[0], &w->err));
    return e;
}

static void a_query_has_its_time(void **state)
{
    stage *w = *state;
    quern_search_options o;
    quern_results *r = NULL;
    fill(w, 0);
    quern_embedder *silent = silent_embedder(w);
    QUERN_INIT(&o);
    o.embed_ms = 20;
    assert_int_equal(quern_search(&r, w->s, silent, quern_str_of("body"), &o, &w->err),
                     QUERN_ETIMEOUT);
    assert_string_equal(quern_error_code(&w->err), "embedding_timeout");
    quern_cancel *c = NULL;
    check(w, quern_cancel_new(&c, &w->err));
    quern_cancel_raise(c); /* by the caller: that is no matter of time */
    o.cancel = c;
    o.embed_ms = 60000;
    assert_int_equal(quern_search(&r, w->s, silent, quern_str_of("body"), &o, &w->err),
                     QUERN_ECANCELLED);
    assert_string_equal(quern_error_code(&w->err), "cancelled");
    quern_cancel_free(c);
    quern_embedder_free(silent);
    o.cancel = NULL; /* long enough */
    check(w, quern_search(&r, w->s, w->e[0], quern_str_of("body"), &o, &w->err));
    quern_results_free(r);
}

static void why_nothing_can_be_searched_is_told_apart(void **state)
{
    stage *w = *state;
    const char *code;
    quern_build_report r;
    hits_where(w, 0, NULL, &code);
    assert_string_equal(code, "not_enabled");
    check(w, try_build(w, 0, 5, &r));
    hits_where(w, 0, NULL, &code);
    assert_string_equal(code, "index_building");
    build(w, 0);
    check(w, quern_generation_activate(w->s, r.generation, 0, NULL, NULL, &w->err));
    hits_where(w, 0, NULL, &code);
    assert_string_equal(code, "");
    hits_where(w, 1, NULL, &code);
    assert_string_equal(code, "index_stale");
    quern_search_options o;
    quern_results *found = NULL;
    QUERN_INIT(&o);
    o.limit = 10001;
    assert_int_equal(quern_search(&found, w->s, w->e[0], quern_str_of("body"), &o, &w->err),
                     QUERN_EINVAL);
    assert_string_equal(quern_error_code(&w->err), "pagination_limit");
}

/* ---- a generation that changes under a run ---- */

static inline void act_now(void *ud)
{
    stage *w = ud;
    quern_store_options o;
    quern_store *s = NULL;
    quern_error err;
    if (!w->act)
        return;
    QUERN_INIT(&o);
    o.db = w->db;
    int rc = quern_store_open(&s, &o, &err);
    if (rc == QUERN_OK && w->act == 'a')
        rc = quern_generation_activate(s, w->act_on, 1, NULL, NULL, &err);
    else if (rc == QUERN_OK)
        rc = quern_generation_retire(s, w->act_on, 1, &err);
    if (rc == QUERN_OK && w->act == 'p')
        rc = quern_generation_purge(s, w->act_on, NULL, NULL, &err);
    quern_store_free(s);
    if (rc != QUERN_OK)
        fprintf(stderr, "%s\n", err.msg);
    w->act = rc == QUERN_OK ? 0 : -1;
}

static void a_run_ends_with_its_generation(void **state)
{
    stage *w = *state;
    quern_build_report r;
    fill(w, 0);
    for (size_t i = 0; i < 2; i++) {
        check(w, try_build(w, 1, 5, &r));
        w->act_on = r.generation;
        w->act = i ? 'p' : 'r';
        w->fake[1].before = act_now;
        w->fake[1].ud = w;
        r = build(w, 1);
        assert_int_equal(w->act, 0);
        assert_true(r.fill.ended);
        assert_string_equal(row_of(w, w->act_on).state, i ? "none" : "retired");
    }
    /* quern_fill, whose generation is retired, ends as well; so does one whose generation is switched to by hand */
    sql(w, "UPDATE items SET body = 'edited' WHERE id < 90");
    w->act_on = active(w);
    w->act = 'r';
    w->fake[0].before = act_now;
    w->fake[0].ud = w;
    quern_fill_report f = fill(w, 0);
    assert_true(f.ended);
    w->fake[0].before = NULL;
    fill(w, 0);
    check(w, try_build(w, 1, 5, &r));
    w->act_on = r.generation;
    w->act = 'a';
    f = fill(w, 1);
    assert_int_equal(w->act, 0);
    assert_false(f.ended);
    assert_int_equal(f.done, ROWS);
    assert_int_equal(active(w), r.generation);
}

/* ---- who removes what ---- */

static void fill_removes_only_what_it_replaced(void **state)
{
    stage *w = *state;
    fill(w, 0);
    int64_t first = active(w);
    quern_build_report r = build(w, 1);
    check(w, quern_generation_activate(w->s, r.generation, 0, NULL, NULL, &w->err));
    fill(w, 1);
    fill(w, 0); /* another takes over, and what it replaces goes */
    assert_string_equal(row_of(w, first).state, "retired");
    assert_int_equal(row_of(w, first).chunks, ROWS);
    assert_string_equal(row_of(w, r.generation).state, "none");
    quern_purge_report p;
    QUERN_INIT(&p);
    check(w, quern_generation_purge(w->s, first, NULL, &p, &w->err));
    assert_int_equal(p.chunks, ROWS);
    assert_true(p.bytes > 0);
    assert_int_equal(quern_generation_purge(w->s, first, NULL, &p, &w->err), QUERN_ENOTFOUND);
    assert_int_equal(quern_generation_purge(w->s, active(w), NULL, &p, &w->err), QUERN_EMISMATCH);
}

static void a_switch_needs_everything(void **state)
{
    stage *w = *state;
    quern_build_report r;
    quern_activate_report a;
    QUERN_INIT(&a);
    fill(w, 0);
    check(w, try_build(w, 1, ROWS - 3, &r));
    assert_int_equal(quern_generation_activate(w->s, r.generation, 0, NULL, &a, &w->err),
                     QUERN_EMISMATCH);
    assert_non_null(strstr(w->err.msg, "3 of 120 documents missing; --force to switch anyway"));
    assert_int_equal(a.missing, 3);
    r = build(w, 1);
    lose_vectors(w, r.generation, "3");
    assert_int_equal(quern_generation_activate(w->s, r.generation, 0, NULL, &a, &w->err),
                     QUERN_EMISMATCH);
    assert_non_null(strstr(w->err.msg, "1 of its vectors have been lost"));
    r = build(w, 1);
    assert_int_equal(r.fill.processed, 1);
    sql(w, "UPDATE items SET gone = 1");
    assert_int_equal(quern_generation_activate(w->s, r.generation, 0, NULL, &a, &w->err),
                     QUERN_EMISMATCH);
    assert_non_null(strstr(w->err.msg, "no documents now"));
    sql(w, "UPDATE items SET gone = 0");
    check(w, quern_generation_activate(w->s, r.generation, 0, NULL, &a, &w->err));
    assert_int_equal(active(w), r.generation);
}

/* ---- vectors that are lost ---- */

static void lost_vectors_are_made_again_and_no_others(void **state)
{
    stage *w = *state;
    fill(w, 0);
    lose_vectors(w, active(w), "3");
    lose_vectors(w, active(w), "77");
    assert_false(finds(w, 0, TEXT3, "3"));
    reopen(w);
    quern_fill_report r = fill(w, 0);
    assert_int_equal(r.processed, 2);
    assert_int_equal(r.skipped, ROWS - 2);
    assert_true(finds(w, 0, TEXT3, "3"));
    lose_table(w, active(w));
    reopen(w);
    assert_int_equal(fill(w, 0).processed, ROWS);
    assert_true(finds(w, 0, TEXT3, "3"));
    assert_int_equal(fill(w, 0).processed, 0);
}

/* ---- embedding again ---- */

static void what_is_asked_for_again_is_served_meanwhile(void **state)
{
    stage *w = *state;
    quern_requeue_options o;
    uint64_t n = 0;
    fill(w, 0);
    QUERN_INIT(&o);
    o.source = "items";
    assert_int_equal(quern_requeue(w->s, &o, &n, &w->err), QUERN_EINVAL);
    o.which = QUERN_AGAIN_ALL;
    o.where = "id = 3";
    assert_int_equal(quern_requeue(w->s, &o, &n, &w->err), QUERN_EINVAL);
    o.which = QUERN_AGAIN_KEYS;
    check(w, quern_requeue(w->s, &o, &n, &w->err));
    assert_int_equal(n, 1);
    assert_true(finds(w, 0, TEXT3, "3"));
    assert_int_equal(row_of(w, active(w)).pending, 1);
    assert_int_equal(fill(w, 0).processed, 1);
    assert_int_equal(row_of(w, active(w)).pending, 0);
    o.where = "gone = 0 OR 1 = 1"; /* narrows, and never widens */
    sql(w, "UPDATE items SET gone = 1 WHERE id = 5");
    check(w, quern_requeue(w->s, &o, &n, &w->err));
    assert_int_equal(n, ROWS - 1);
    assert_int_equal(fill(w, 0).processed, ROWS - 1);
    sql(w, "UPDATE items SET body = 'POISON' WHERE id = 7");
    assert_int_equal(quern_fill(w->s, w->e[0], NULL, NULL, &w->err), QUERN_EPARTIAL);
    o.where = NULL;
    o.which = QUERN_AGAIN_FAILED;
    check(w, quern_requeue(w->s, &o, &n, &w->err));
    assert_int_equal(n, 1);
    w->fake[0].texts = 0;
    assert_int_equal(quern_fill(w->s, w->e[0], NULL, NULL, &w->err), QUERN_EPARTIAL);
    assert_true(w->fake[0].texts > 0); /* it was tried again */
}

/* ---- what answers when the active generation cannot ---- */

typedef struct asked {
    int rc, used;
    size_t hits;
    char model[40], why[500];
    int has3; /* is document 3 among the hits? */
} asked;

static inline int open_old(quern_embedder **out, const char *model, const char *settings, void *ud,
                           quern_error *err)
{
    stage *w = ud;
    assert_non_null(strstr(settings, "\"max_length\":"));
    if (strcmp(model, "fake") != 0 && strcmp(model, w->fake[0].name) != 0)
        return fake_fail(err, QUERN_ENOTFOUND, -1, "no such model on the shelf");
    w->act++;
    *out = fake_open(&w->fake[0]);
    return *out ? QUERN_OK : QUERN_ENOMEM;
}

static inline asked ask_for(stage *w, quern_embedder *e, int fallback, const char *words)
{
    asked a = {0};
    quern_search_options o;
    quern_results *r = NULL;
    QUERN_INIT(&o);
    o.limit = 2 * ROWS;
    o.embed_ms = 50;
    o.fallback = fallback;
    o.open_previous = open_old;
    o.open_previous_ud = w;
    memset(&w->err, 0, sizeof w->err);
    a.rc = quern_search(&r, w->s, e, quern_str_of(words), &o, &w->err);
    if (a.rc != QUERN_OK)
        return a;
    a.used = quern_results_fallback(r);
    a.hits = quern_results_count(r);
    snprintf(a.model, sizeof a.model, "%s", quern_results_model(r));
    snprintf(a.why, sizeof a.why, "%s", quern_results_fallback_reason(r));
    for (size_t i = 0; i < a.hits; i++)
        a.has3 |= strcmp(quern_results_at(r, i)->key, "3") == 0;
    quern_results_free(r);
    return a;
}

static void words_answer_for_a_model(void **state)
{
    stage *w = *state;
    quern_build_report r;
    quern_source_spec spec;
    check(w, try_build(w, 0, 5, &r));
    asked a = ask_for(w, w->e[0], QUERN_FALLBACK_TEXT, "body");
    assert_int_equal(a.rc, QUERN_ENOTFOUND); /* the first fault, and why there is no way out */
    assert_string_equal(quern_error_code(&w->err), "index_building");
    assert_non_null(strstr(w->err.msg, "; and no fallback to text: source items is not declared"));
    QUERN_INIT(&spec);
    spec.name = "items";
    spec.text_search = "words";
    check(w, quern_source_set(w->s, &spec, &w->err));
    check(w, try_build(w, 0, 5, &r));
    a = ask_for(w, w->e[0], QUERN_FALLBACK_NONE, "body");
    assert_int_equal(a.rc, QUERN_ENOTFOUND);
    a = ask_for(w, w->e[0], QUERN_FALLBACK_TEXT, "body");
    assert_int_equal(a.rc, QUERN_OK); /* of what has been built so far */
    assert_int_equal(a.used, QUERN_FALLBACK_TEXT);
    assert_int_equal(a.hits, row_of(w, r.generation).chunks);
    build(w, 0);
    check(w, quern_generation_activate(w->s, r.generation, 0, NULL, NULL, &w->err));
    a = ask_for(w, w->e[0], QUERN_FALLBACK_TEXT, "body");
    assert_int_equal(a.used, QUERN_FALLBACK_NONE); /* it can answer, and does */
    assert_string_equal(a.why, "");
    a = ask_for(w, w->e[1], QUERN_FALLBACK_TEXT, "word3"); /* other settings in force */
    assert_int_equal(a.used, QUERN_FALLBACK_TEXT);
    assert_true(a.has3);
    assert_non_null(strstr(a.why, "run `quern fill`"));
    a = ask_for(w, NULL, QUERN_FALLBACK_TEXT, "word3"); /* no model */
    assert_int_equal(a.used, QUERN_FALLBACK_TEXT);
    quern_embedder *silent = silent_embedder(w);
    a = ask_for(w, silent, QUERN_FALLBACK_TEXT, "word3"); /* too slow */
    assert_int_equal(a.used, QUERN_FALLBACK_TEXT);
    assert_non_null(strstr(a.why, "within 50 ms"));
    a = ask_for(w, silent, QUERN_FALLBACK_TEXT, "  "); /* the asker's own slip */
    assert_int_equal(a.rc, QUERN_EINVAL);
    quern_embedder_free(silent);
    assert_int_equal(ask_for(w, NULL, QUERN_FALLBACK_NONE, "word3").rc, QUERN_EINVAL);
    /* joined back like all hits, and never under another declaration */
    sql(w, "UPDATE items SET body = 'edited word3' WHERE id = 3");
    a = ask_for(w, NULL, QUERN_FALLBACK_TEXT, "word3");
    assert_true(a.rc == QUERN_OK && a.hits > 0 && !a.has3);
    spec.text_search = NULL;
    spec.text = "{body}";
    check(w, quern_source_set(w->s, &spec, &w->err));
    a = ask_for(w, NULL, QUERN_FALLBACK_TEXT, "word3");
    assert_int_equal(a.rc, QUERN_EMISMATCH);
    assert_string_equal(quern_error_code(&w->err), "index_stale");
}

static void the_generation_before_answers(void **state)
{
    stage *w = *state;
    fill(w, 0);
    int64_t first = active(w);
    quern_build_report r = build(w, 1);
    check(w, quern_generation_activate(w->s, r.generation, 0, NULL, NULL, &w->err));
    sql(w, "UPDATE items SET body = 'edited word3' WHERE id = 3");
    sql(w, "DELETE FROM items WHERE id = 4");
    w->act = 0;
    w->fake[1].outages = 1; /* the model's server is down */
    asked a = ask_for(w, w->e[1], QUERN_FALLBACK_PREVIOUS, "body of word");
    assert_int_equal(a.rc, QUERN_OK);
    assert_int_equal(a.used, QUERN_FALLBACK_PREVIOUS);
    assert_int_equal(w->act, 1); /* its own model was opened */
    assert_int_equal(a.hits, ROWS - 2);
    assert_false(a.has3);
    assert_true(a.why[0] != '\0');
    a = ask_for(w, w->e[1], QUERN_FALLBACK_PREVIOUS, "body of word");
    assert_int_equal(a.used, QUERN_FALLBACK_NONE);
    /* who still asks with the old model, or with none */
    a = ask_for(w, w->e[0], QUERN_FALLBACK_PREVIOUS, "body of word");
    assert_int_equal(a.used, QUERN_FALLBACK_PREVIOUS);
    assert_int_equal(w->act, 1); /* it is the one at hand */
    a = ask_for(w, NULL, QUERN_FALLBACK_PREVIOUS, "body of word");
    assert_int_equal(a.used, QUERN_FALLBACK_PREVIOUS);
    assert_int_equal(w->act, 2);
    /* a purged one cannot */
    check(w, quern_generation_purge(w->s, first, NULL, NULL, &w->err));
    a = ask_for(w, w->e[0], QUERN_FALLBACK_PREVIOUS, "body of word");
    assert_int_equal(a.rc, QUERN_EMISMATCH);
    assert_string_equal(quern_error_code(&w->err), "index_stale");
    assert_non_null(strstr(w->err.msg, "and no fallback to previous: source items has no "
                                       "generation before this one"));
    w->act = 0;
}

static int enter(void **state);
static int leave(void **state);

static inline int generation_tests(const char *name)
{
#define GENERATION_TEST(f) cmocka_unit_test_setup_teardown(f, enter, leave)
    const struct CMUnitTest tests[] = {
        GENERATION_TEST(what_is_deleted_is_no_hit),
        GENERATION_TEST(a_cleared_stamp_is_made_again),
        GENERATION_TEST(a_stamp_of_another_generation_counts_for_nothing),
        GENERATION_TEST(stale_vectors_hide_no_hit),
        GENERATION_TEST(other_dimensions_are_refused_by_name),
        GENERATION_TEST(edits_during_a_build_reach_both),
        GENERATION_TEST(edits_during_a_scoped_build_reach_both),
        GENERATION_TEST(a_build_takes_up_what_was_retired),
        GENERATION_TEST(a_scope_is_all_that_a_generation_knows),
        GENERATION_TEST(a_scope_is_checked_and_part_of_the_settings),
        GENERATION_TEST(why_nothing_can_be_searched_is_told_apart),
        GENERATION_TEST(a_query_has_its_time),
        GENERATION_TEST(words_answer_for_a_model),
        GENERATION_TEST(the_generation_before_answers),
        GENERATION_TEST(a_run_ends_with_its_generation),
        GENERATION_TEST(fill_removes_only_what_it_replaced),
        GENERATION_TEST(a_switch_needs_everything),
        GENERATION_TEST(lost_vectors_are_made_again_and_no_others),
        GENERATION_TEST(what_is_asked_for_again_is_served_meanwhile),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

#endif
