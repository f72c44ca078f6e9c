/* test_postgres_search.c — near vectors by pgvector's means, against all of them compared here; indexes that are absent,
 * invalid, cancelled, not to be had. */
#include <float.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/os.h"
#include "base/rng.h"
#include "quern/sys/store.h"
#include "quern/vector.h"
#include "store/postgres/postgres_store.h"
#include "store/store.h"
#include "support/postgres_server.h"

enum { ROWS = 1500, DIM = 48, SAVE = 500 };

static postgres_server server;
static PGconn *conn;
static char db[300];

static void sql(const char *text)
{
    if (postgres_exec(conn, text))
        fail_msg("%s", text);
}

static int64_t number(const char *text)
{
    PGresult *r = PQexec(conn, text);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", text, PQerrorMessage(conn));
    int64_t n = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
    PQclear(r);
    return n;
}

typedef struct world {
    quern_store *s;
    int64_t generation;
    bool half;
    float (*vectors)[DIM]; /* as stored */
    quern_error err;
} world;

static void check(world *w, int rc)
{
    if (rc)
        fail_msg("%s", w->err.msg);
}

static int yes(const quern_row *row, size_t i, void *ud)
{
    (void)row, (void)i, (void)ud;
    return 1;
}

static int64_t build(world *w, const char *type, uint32_t dimensions)
{
    quern_generation g = {.dimensions = dimensions};
    int64_t id = 0;
    snprintf(g.vector_type, sizeof g.vector_type, "%s", type);
    snprintf(g.fingerprint, sizeof g.fingerprint, "f");
    check(w, w->s->table.generation_build(w->s->self, "numbers", &g, "{}", &id, &w->err));
    return id;
}

static void random_vector(quern__rng *rng, float *v, size_t dim)
{
    for (size_t i = 0; i < dim; i++)
        v[i] = (float)quern__rng_below(rng, 2001) / 1000.0f - 1.0f;
    assert_int_equal(quern_normalize(v, dim, NULL), QUERN_OK);
}

static void save_all(world *w, const quern_source_spec *spec)
{
    static quern_save docs[SAVE];
    static quern_chunk chunks[SAVE];
    static char keys[SAVE][8];
    static uint16_t halves[SAVE][DIM];
    uint8_t stored[SAVE];
    quern__rng rng;
    quern__rng_seed(&rng, 11);
    quern_read read = {.source = spec, .generation = w->generation};
    for (size_t at = 0; at < ROWS; at += SAVE) {
        for (size_t i = 0; i < SAVE; i++) {
            float *v = w->vectors[at + i];
            random_vector(&rng, v, DIM);
            if (w->half) {
                quern_f32_to_f16(v, halves[i], DIM);
                quern_f16_to_f32(halves[i], v, DIM);
            }
            snprintf(keys[i], sizeof keys[i], "%zu", at + i + 1);
            chunks[i] = (quern_chunk){
                .end = 3, .vector = w->half ? (const void *)halves[i] : (const void *)v};
            docs[i] = (quern_save){.key = quern_str_of(keys[i]), .chunks = &chunks[i]};
            docs[i].stamp.outcome = QUERN_OUTCOME_OK;
            docs[i].stamp.chunks = 1;
            docs[i].stamp.revision = quern_str_of("r");
        }
        check(w, w->s->table.save(w->s->self, &read, docs, SAVE, yes, NULL, stored, &w->err));
        for (size_t i = 0; i < SAVE; i++)
            assert_int_equal(stored[i], 1);
    }
}

static world *make(const char *type)
{
    world *w = calloc(1, sizeof *w);
    quern_source_spec spec;
    quern_store_options opt;
    assert_non_null(w);
    w->vectors = calloc(ROWS, sizeof *w->vectors);
    assert_non_null(w->vectors);
    w->half = strcmp(type, "f16") == 0;
    sql("DROP SCHEMA IF EXISTS quern CASCADE; DROP TABLE IF EXISTS numbers;"
        "CREATE TABLE numbers (id int PRIMARY KEY);"
        "INSERT INTO numbers SELECT generate_series(1, 1500)");
    QUERN_INIT(&opt);
    opt.db = db;
    check(w, quern_store_open(&w->s, &opt, &w->err));
    QUERN_INIT(&spec);
    spec.name = "numbers";
    spec.table = "numbers";
    spec.keys = "id";
    spec.text = "{id}";
    check(w, w->s->table.source_put(w->s->self, &spec, 0, &w->err));
    w->generation = build(w, type, DIM);
    save_all(w, &spec);
    return w;
}

static int halves_world(void **state)
{
    *state = make("f16");
    return 0;
}

static int singles_world(void **state)
{
    *state = make("f32");
    return 0;
}

static int unmake(void **state)
{
    world *w = *state;
    quern_store_free(w->s);
    free(w->vectors);
    free(w);
    return 0;
}

/* ---- asking ---- */

typedef struct found {
    world *w;
    const float *query;
    size_t n;
    float worst;
    uint8_t seen[ROWS]; /* by row */
} found;

static float dot(const float *a, const float *b)
{
    float x = 0;
    assert_int_equal(quern_dot(a, b, DIM, &x, NULL), QUERN_OK);
    return x;
}

static int take(const int64_t *refs, const void *data, size_t n, void *ud)
{
    found *f = ud;
    for (size_t i = 0; i < n; i++) {
        float v[DIM];
        size_t row = 0;
        if (f->w->half)
            quern_f16_to_f32((const uint16_t *)data + i * DIM, v, DIM);
        else
            memcpy(v, (const float *)data + i * DIM, sizeof v);
        while (row < ROWS && memcmp(v, f->w->vectors[row], sizeof v) != 0)
            row++;
        assert_in_range(row, 0, ROWS - 1);
        assert_true(refs[i] >> 40 == f->w->generation);
        assert_false(f->seen[row]);
        f->seen[row] = 1;
        float score = dot(f->query, v);
        f->worst = score < f->worst ? score : f->worst;
        f->n++;
    }
    return 0;
}

static void ask(world *w, const float *query, int way, size_t k, size_t oversample, found *f)
{
    memset(f, 0, sizeof *f);
    f->w = w;
    f->query = query;
    f->worst = FLT_MAX;
    check(w, w->s->table.nearest(w->s->self, w->generation, query, way, k, oversample, take, f,
                                 &w->err));
}

/* How many of the k best are among those found; of the others the best score in *missed. */
static size_t best_found(const found *f, size_t k, float *missed)
{
    size_t hit = 0;
    float scores[ROWS];
    *missed = -FLT_MAX;
    for (size_t i = 0; i < ROWS; i++)
        scores[i] = dot(f->query, f->w->vectors[i]);
    for (size_t i = 0; i < ROWS; i++) {
        size_t rank = 0;
        for (size_t j = 0; j < ROWS && rank < k; j++)
            rank += scores[j] > scores[i];
        hit += rank < k && f->seen[i];
        if (!f->seen[i] && scores[i] > *missed)
            *missed = scores[i];
    }
    return hit;
}

static int state_of(world *w, int way)
{
    int state = -1;
    const char *why = NULL;
    check(w, w->s->table.index_state(w->s->self, w->generation, way, &state, &why, &w->err));
    assert_non_null(why);
    return state;
}

/* What is left out scores no better than what was given, but for the rounding of the query. */
static void exact_in_the_server(void **state)
{
    world *w = *state;
    quern__rng rng;
    float query[DIM], missed;
    found f;
    quern__rng_seed(&rng, 5);
    assert_int_equal(state_of(w, QUERN_INDEX_EXACT), QUERN_INDEX_READY);
    for (int round = 0; round < 5; round++) {
        random_vector(&rng, query, DIM);
        ask(w, query, QUERN_INDEX_EXACT, 40, 1, &f);
        assert_int_equal(f.n, 40);
        best_found(&f, 40, &missed);
        assert_true(missed <= f.worst + (w->half ? 1.5e-3f : 1e-5f));
        ask(w, query, QUERN_INDEX_EXACT, 5000, 1, &f); /* opposite ones too */
        assert_int_equal(f.n, ROWS);
        assert_true(f.worst < -0.2f);
    }
}

static void by_an_index(void **state)
{
    world *w = *state;
    quern__rng rng;
    float query[DIM], missed;
    found f;
    size_t ways[2] = {0, 0};
    assert_int_equal(state_of(w, QUERN_INDEX_ANN), QUERN_INDEX_ABSENT);
    assert_int_equal(state_of(w, QUERN_INDEX_TWO_STAGE), QUERN_INDEX_ABSENT);
    for (int way = QUERN_INDEX_ANN; way <= QUERN_INDEX_TWO_STAGE; way++) {
        check(w, w->s->table.index_build(w->s->self, w->generation, way, NULL, &w->err));
        assert_int_equal(state_of(w, way), QUERN_INDEX_READY);
        check(w, w->s->table.index_build(w->s->self, w->generation, way, NULL, &w->err));
    }
    assert_int_equal(
        number("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%USING hnsw%' AND "
               "indexdef LIKE '%m=''16''%'"),
        2);
    quern__rng_seed(&rng, 6);
    for (int round = 0; round < 10; round++) {
        random_vector(&rng, query, DIM);
        ask(w, query, QUERN_INDEX_ANN, 64, 1, &f);
        assert_int_equal(f.n, 64);
        ways[0] += best_found(&f, 10, &missed);
        ask(w, query, QUERN_INDEX_TWO_STAGE, 64, 10, &f);
        assert_int_equal(f.n, 64);
        ways[1] += best_found(&f, 10, &missed);
    }
    assert_in_range(ways[0], 95, 100);
    assert_in_range(ways[1], 85, 100);           /* 48 signs say little */
    ask(w, query, QUERN_INDEX_ANN, 1400, 1, &f); /* more than ef_search: the scan goes on */
    assert_in_range(f.n, 1390, 1400);
    assert_true(f.worst < -0.1f); /* opposite ones are kept */
    ask(w, query, QUERN_INDEX_TWO_STAGE, 1400, 5, &f);
    assert_in_range(f.n, 1390, 1400);
    assert_true(f.worst < -0.1f);
}

static void a_broken_index_is_built_again(void **state)
{
    world *w = *state;
    int64_t before, id = w->generation;
    char text[300];
    check(w, w->s->table.index_build(w->s->self, id, QUERN_INDEX_ANN, NULL, &w->err));
    snprintf(text, sizeof text, "SELECT 'quern.vectors_%" PRId64 "_graph'::regclass::oid", id);
    before = number(text);
    sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid IN (SELECT oid FROM pg_class "
        "WHERE "
        "relname LIKE 'vectors%graph')");
    assert_int_equal(state_of(w, QUERN_INDEX_ANN), QUERN_INDEX_INVALID);
    check(w, w->s->table.index_build(w->s->self, id, QUERN_INDEX_ANN, NULL, &w->err));
    assert_int_equal(state_of(w, QUERN_INDEX_ANN), QUERN_INDEX_READY);
    assert_int_not_equal(number(text), before);
}

typedef struct canceller {
    quern_cancel *cancel;
} canceller;

static void cancel_soon(void *ud)
{
    const canceller *c = ud;
    quern__sleep_ms(300);
    quern_cancel_raise(c->cancel);
}

/* Somebody else's open transaction keeps a concurrent build waiting for as long as it likes. */
static void a_build_can_be_cancelled(void **state)
{
    world *w = *state;
    canceller c = {NULL};
    quern__thread *t = NULL;
    char text[200];
    assert_int_equal(quern_cancel_new(&c.cancel, NULL), QUERN_OK);
    sql("BEGIN");
    snprintf(text, sizeof text, "DELETE FROM quern.vectors_%" PRId64 " WHERE key = '7'",
             w->generation);
    sql(text);
    assert_int_equal(quern__thread_start(&t, cancel_soon, &c, NULL), QUERN_OK);
    uint64_t began = quern__now_ns();
    assert_int_equal(
        w->s->table.index_build(w->s->self, w->generation, QUERN_INDEX_ANN, c.cancel, &w->err),
        QUERN_ECANCELLED);
    assert_true(quern__now_ns() - began < 5000000000u);
    quern__thread_join(t);
    sql("ROLLBACK");
    assert_int_equal(state_of(w, QUERN_INDEX_ANN), QUERN_INDEX_INVALID);
    check(w, w->s->table.index_build(w->s->self, w->generation, QUERN_INDEX_ANN, NULL, &w->err));
    assert_int_equal(state_of(w, QUERN_INDEX_ANN), QUERN_INDEX_READY);
    quern_cancel_free(c.cancel);
}

/* fill holds its lock while the index is built: a snapshot in it would have the build wait for its own end. */
static void a_lock_keeps_no_snapshot(void **state)
{
    world *w = *state;
    void *held = NULL;
    check(w, w->s->table.lock(w->s->self, "fill:numbers", 0, &held, &w->err));
    assert_int_equal(number("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in "
                            "transaction' AND backend_xmin IS NOT NULL"),
                     0);
    check(w, w->s->table.index_build(w->s->self, w->generation, QUERN_INDEX_ANN, NULL, &w->err));
    w->s->table.unlock(w->s->self, held);
}

static void what_no_index_takes(void **state)
{
    world *w = *state;
    const char *why;
    int found_state = -1;
    check(w, w->s->table.generation_activate(w->s->self, w->generation, &w->err));
    w->generation = build(w, "f16", 4096);
    assert_int_equal(state_of(w, QUERN_INDEX_ANN), QUERN_INDEX_NONE);
    check(w, w->s->table.index_state(w->s->self, w->generation, QUERN_INDEX_ANN, &found_state, &why,
                                     &w->err));
    assert_non_null(strstr(why, "4000"));
    assert_int_equal(
        w->s->table.index_build(w->s->self, w->generation, QUERN_INDEX_ANN, NULL, &w->err),
        QUERN_EUNSUPPORTED);
    assert_int_equal(state_of(w, QUERN_INDEX_EXACT), QUERN_INDEX_READY);
    check(w,
          w->s->table.index_build(w->s->self, w->generation, QUERN_INDEX_TWO_STAGE, NULL, &w->err));
    check(w, w->s->table.generation_activate(w->s->self, w->generation, &w->err));
    w->generation = build(w, "f16", 20000); /* more than pgvector's types hold: bytea */
    for (int way = QUERN_INDEX_EXACT; way <= QUERN_INDEX_TWO_STAGE; way++) {
        assert_int_equal(state_of(w, way), QUERN_INDEX_NONE);
        assert_int_equal(
            w->s->table.nearest(w->s->self, w->generation, NULL, way, 1, 1, take, NULL, &w->err),
            QUERN_EUNSUPPORTED);
    }
    assert_int_equal(
        w->s->table.index_state(w->s->self, 12345, QUERN_INDEX_ANN, &found_state, &why, &w->err),
        QUERN_ENOTFOUND);
}

static int start(void **state)
{
    (void)state;
    if (postgres_start(&server))
        return -1;
    snprintf(db, sizeof db, "%spostgres", server.base);
    conn = postgres_connect(&server, "postgres");
    return conn ? postgres_exec(conn, "CREATE EXTENSION vector") : -1;
}

static int stop(void **state)
{
    (void)state;
    PQfinish(conn);
    postgres_stop(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(exact_in_the_server, halves_world, unmake),
        cmocka_unit_test_setup_teardown(exact_in_the_server, singles_world, unmake),
        cmocka_unit_test_setup_teardown(by_an_index, halves_world, unmake),
        cmocka_unit_test_setup_teardown(by_an_index, singles_world, unmake),
        cmocka_unit_test_setup_teardown(a_broken_index_is_built_again, halves_world, unmake),
        cmocka_unit_test_setup_teardown(a_build_can_be_cancelled, halves_world, unmake),
        cmocka_unit_test_setup_teardown(a_lock_keeps_no_snapshot, halves_world, unmake),
        cmocka_unit_test_setup_teardown(what_no_index_takes, halves_world, unmake),
    };
    return cmocka_run_group_tests_name("postgres search", tests, start, stop);
}
