/* test_postgres_store.c — what several do at once: opening an empty database, building, saving into one generation,
 * locking; what an unknown version and a missing schema say; every finite half there and back. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/os.h"
#include "quern/sys/store.h"
#include "store/postgres/postgres_store.h"
#include "store/store.h"
#include "support/postgres_server.h"

enum { MANY = 6, EACH = 40, HALVES = 65536 - 2048, WIDTH = 64 };

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

static const char *schema; /* NULL: quern's own */

static int try_open(quern_store **s, int read_only, quern_error *err)
{
    quern_store_options opt;
    QUERN_INIT(&opt);
    opt.db = db;
    opt.schema = schema;
    opt.read_only = read_only;
    return quern_store_open(s, &opt, err);
}

static quern_store *open_one(void)
{
    quern_store *s = NULL;
    quern_error err;
    if (try_open(&s, 0, &err))
        fail_msg("%s", err.msg);
    return s;
}

static quern_source_spec numbers_source(void)
{
    quern_source_spec s;
    QUERN_INIT(&s);
    s.name = "numbers";
    s.table = "numbers";
    s.keys = "id";
    s.text = "{id}";
    return s;
}

static int fresh(void **state)
{
    quern_error err;
    quern_source_spec spec = numbers_source();
    sql("ROLLBACK"); /* of a test that failed in the middle */
    sql("DROP SCHEMA IF EXISTS quern CASCADE; DROP TABLE IF EXISTS numbers;"
        "CREATE TABLE numbers (id int PRIMARY KEY);"
        "INSERT INTO numbers SELECT generate_series(1, 2000)");
    quern_store *s = open_one();
    *state = s;
    return s->table.source_put(s->self, &spec, 0, &err);
}

static int forget(void **state)
{
    quern_store_free(*state);
    return 0;
}

static int64_t build(quern_store *s, const char *type, uint32_t dimensions)
{
    quern_generation g = {.dimensions = dimensions};
    quern_error err;
    int64_t id = 0;
    snprintf(g.vector_type, sizeof g.vector_type, "%s", type);
    snprintf(g.fingerprint, sizeof g.fingerprint, "f");
    if (s->table.generation_build(s->self, "numbers", &g, "{}", &id, &err))
        fail_msg("%s", err.msg);
    return id;
}

static int yes(const quern_row *row, size_t i, void *ud)
{
    (void)row, (void)i, (void)ud;
    return 1;
}

/* ---- several at once ---- */

typedef struct worker {
    quern_store *store;
    int64_t generation;
    int number, rc;
    quern_error err;
} worker;

static void all_at_once(worker *w, void (*fn)(void *ud))
{
    quern__thread *threads[MANY];
    for (int i = 0; i < MANY; i++) {
        w[i].number = i;
        assert_int_equal(quern__thread_start(&threads[i], fn, &w[i], NULL), QUERN_OK);
    }
    for (int i = 0; i < MANY; i++)
        quern__thread_join(threads[i]);
}

static void open_in_thread(void *ud)
{
    worker *w = ud;
    w->rc = try_open(&w->store, 0, &w->err);
}

static void an_empty_database_is_opened_by_many(void **state)
{
    (void)state;
    sql("DROP SCHEMA IF EXISTS quern CASCADE");
    worker w[MANY] = {{.rc = 0}};
    all_at_once(w, open_in_thread);
    for (int i = 0; i < MANY; i++) {
        if (w[i].rc)
            fail_msg("%s", w[i].err.msg);
        quern_store_free(w[i].store);
    }
    assert_int_equal(number("SELECT count(*) - max(version) FROM quern.migrations"), 0);
}

static void build_in_thread(void *ud)
{
    worker *w = ud;
    quern_generation g = {.dimensions = 4, .vector_type = "f16", .fingerprint = "f"};
    w->rc = w->store->table.generation_build(w->store->self, "numbers", &g, "{}", &w->generation,
                                             &w->err);
}

static void one_of_many_builds(void **state)
{
    (void)state;
    worker w[MANY] = {{.rc = 0}};
    int built = 0;
    for (int i = 0; i < MANY; i++)
        w[i].store = open_one();
    all_at_once(w, build_in_thread);
    for (int i = 0; i < MANY; i++) {
        built += w[i].rc == QUERN_OK;
        if (w[i].rc && w[i].rc != QUERN_EEXISTS)
            fail_msg("%s", w[i].err.msg);
        quern_store_free(w[i].store);
    }
    assert_int_equal(built, 1);
    assert_int_equal(number("SELECT count(*) FROM quern.generations"), 1);
}

/* Two documents a save: one of its own, and one that all of them save. */
static void save_in_thread(void *ud)
{
    worker *w = ud;
    static const float vector[4] = {1, 0, 0, 0};
    quern_source_spec spec = numbers_source();
    quern_read read = {.source = &spec, .generation = w->generation};
    for (int i = 0; i < EACH && !w->rc; i++) {
        char own[16], common[16];
        uint8_t stored[2];
        quern_chunk chunks[3] = {{.index = 0, .end = 1, .vector = vector},
                                 {.index = 1, .end = 1, .vector = vector},
                                 {.index = 2, .end = 1, .vector = vector}};
        snprintf(own, sizeof own, "%d", 1 + w->number * EACH + i);
        snprintf(common, sizeof common, "%d", 1000 + i % 3);
        quern_save docs[2] = {{.key = quern_str_of(own), .chunks = chunks},
                              {.key = quern_str_of(common), .chunks = chunks}};
        for (int k = 0; k < 2; k++)
            docs[k].stamp = (quern_stamp){.outcome = QUERN_OUTCOME_OK,
                                          .revision = {"r", 1},
                                          .chunks = (uint32_t)(1 + (i + w->number + k) % 3)};
        quern_save swapped[2] = {docs[1], docs[0]}; /* in either order: nobody waits in a circle */
        w->rc = w->store->table.save(w->store->self, &read, w->number % 2 ? docs : swapped, 2, yes,
                                     NULL, stored, &w->err);
    }
}

static void many_save_into_one(void **state)
{
    worker w[MANY] = {{.rc = 0}};
    int64_t g = build(*state, "f32", 4);
    for (int i = 0; i < MANY; i++) {
        w[i].store = open_one();
        w[i].generation = g;
    }
    all_at_once(w, save_in_thread);
    for (int i = 0; i < MANY; i++) {
        if (w[i].rc)
            fail_msg("%s", w[i].err.msg);
        quern_store_free(w[i].store);
    }
    char text[200];
    assert_int_equal(number("SELECT count(*) FROM quern.stamps"), MANY * EACH + 3);
    snprintf(text, sizeof text, "SELECT count(*) FROM quern.vectors_%" PRId64, g);
    int64_t vectors = number(text);
    assert_true(vectors == number("SELECT sum(chunks) FROM quern.stamps"));
    assert_true(vectors == number("SELECT chunks FROM quern.generations"));
}

/* ---- locks ---- */

static void a_lock_tells_its_holder(void **state)
{
    quern_store *first = *state, *second = open_one();
    void *held = NULL, *other = NULL;
    quern_error err;
    char host[256], pid[32];
    quern__os_hostname(host, sizeof host);
    snprintf(pid, sizeof pid, "process %u on ", quern__os_pid());
    assert_int_equal(first->table.lock(first->self, "fill:numbers", 0, &held, &err), QUERN_OK);
    uint64_t began = quern__now_ns();
    assert_int_equal(second->table.lock(second->self, "fill:numbers", 200, &other, &err),
                     QUERN_EBUSY);
    assert_true(quern__now_ns() - began >= 200 * 1000000ULL);
    assert_null(other);
    assert_non_null(strstr(err.msg, pid));
    assert_non_null(strstr(err.msg, host));
    /* the holder dies: the lock is free at once, whatever its row says */
    assert_int_equal(number("SELECT count(pg_terminate_backend(pid, 2000)) FROM pg_locks WHERE"
                            " locktype = 'advisory' AND granted"),
                     1);
    assert_int_equal(second->table.lock(second->self, "fill:numbers", 0, &other, &err), QUERN_OK);
    second->table.unlock(second->self, other);
    first->table.unlock(first->self, held); /* of a connection that is gone */
    quern_store_free(second);
}

static void a_lock_of_another_schema_is_another(void **state)
{
    quern_store *first = *state;
    void *held = NULL, *other = NULL;
    quern_error err;
    schema = "public";
    quern_store *second = open_one();
    schema = NULL;
    assert_int_equal(first->table.lock(first->self, "fill:numbers", 0, &held, &err), QUERN_OK);
    assert_int_equal(second->table.lock(second->self, "fill:numbers", 0, &other, &err), QUERN_OK);
    assert_int_equal(number("SELECT count(DISTINCT (classid, objid)) FROM pg_locks WHERE locktype ="
                            " 'advisory' AND granted"),
                     2);
    second->table.unlock(second->self, other);
    first->table.unlock(first->self, held);
    quern_store_free(second);
    sql("DO $$ DECLARE name text; BEGIN FOR name IN SELECT relname FROM pg_class WHERE relnamespace"
        " = 'public'::regnamespace AND relkind = 'r' AND relname ~ '^quern_' LOOP"
        " EXECUTE 'DROP TABLE ' || name; END LOOP; END $$");
}

/* A migration of one schema does not wait for one of another, and of many that make one, one does. */
static void schemas_migrate_by_themselves(void **state)
{
    (void)state;
    PGconn *slow = postgres_connect(&server, "postgres");
    assert_non_null(slow);
    sql("DROP SCHEMA IF EXISTS other CASCADE");
    schema = "other";
    worker w[MANY] = {{.rc = 0}};
    all_at_once(w, open_in_thread);
    for (int i = 0; i < MANY; i++) {
        if (w[i].rc)
            fail_msg("%s", w[i].err.msg);
        quern_store_free(w[i].store);
    }
    assert_int_equal(number("SELECT count(*) - max(version) FROM other.migrations"), 0);
    /* whoever migrates `quern` would hold its ledger so */
    assert_int_equal(postgres_exec(slow, "BEGIN; LOCK TABLE quern.migrations"), 0);
    quern_store_options opt;
    quern_error err;
    QUERN_INIT(&opt);
    opt.db = db;
    opt.schema = schema;
    assert_int_equal(quern_migrate_down(&opt, 0, &err), QUERN_OK);
    quern_store_free(open_one());
    schema = NULL;
    assert_int_equal(postgres_exec(slow, "ROLLBACK"), 0);
    PQfinish(slow);
    sql("DROP SCHEMA other CASCADE");
}

/* ---- versions ---- */

/* In the user's own transaction, what he edits behind a save of ours is an edit. */
static void a_lent_transaction_notes_edits_behind_a_save(void **state)
{
    quern_source_spec spec = numbers_source();
    quern_store_options opt;
    quern_store *lent = NULL;
    quern_error err;
    uint8_t stored = 0;
    (void)state;
    sql("ALTER TABLE numbers ADD COLUMN made text, ADD COLUMN body text");
    QUERN_INIT(&opt);
    opt.postgres_connection = conn;
    if (quern_store_open(&lent, &opt, &err))
        fail_msg("%s", err.msg);
    spec.text = "{body}";
    spec.stamp_columns = "model=made";
    assert_int_equal(lent->table.source_put(lent->self, &spec, 1, &err), QUERN_OK);
    assert_int_equal(lent->table.live_set(lent->self, &spec, 1, &err), QUERN_OK);
    int64_t g = build(lent, "f32", 4);
    static const char *const columns[] = {"body", "made"};
    const quern_read read = {.source = &spec, .columns = columns, .n_columns = 2, .generation = g};
    quern_save doc = {.key = {"7", 1}, .stamp_columns = 1, .model = {"m", 1}};
    doc.stamp.outcome = QUERN_OUTCOME_EMPTY;
    doc.stamp.revision = quern_str_of("r");
    sql("BEGIN");
    if (lent->table.save(lent->self, &read, &doc, 1, yes, NULL, &stored, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(stored, 1);
    assert_int_equal(number("SELECT count(*) FROM quern.changes"), 0);
    sql("UPDATE numbers SET body = 'another' WHERE id = 7");
    assert_int_equal(number("SELECT count(*) FROM quern.changes"), 2); /* before and after */
    sql("COMMIT");
    quern_store_free(lent);
}

static void an_unknown_version_is_left_alone(void **state)
{
    (void)state;
    quern_store *s = NULL;
    quern_error err;
    sql("INSERT INTO quern.migrations VALUES (99, 'later', 0, '9.9.9')");
    assert_int_equal(try_open(&s, 0, &err), QUERN_EMISMATCH);
    assert_non_null(strstr(err.msg, "9.9.9"));
    assert_non_null(strstr(err.msg, quern_version_string()));
    assert_int_equal(try_open(&s, 1, &err), QUERN_EMISMATCH);
    sql("DROP SCHEMA quern CASCADE");
    assert_int_equal(try_open(&s, 1, &err), QUERN_ENOTFOUND);
    assert_int_equal(number("SELECT count(*) FROM pg_namespace WHERE nspname = 'quern'"), 0);
}

static void the_schema_goes_down_and_up(void **state)
{
    quern_store *s = *state;
    quern__postgres *inside = s->self;
    const char *left = "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'S') AND"
                       " relnamespace = 'quern'::regnamespace";
    int64_t before = number(left);
    build(s, "f16", 3);
    assert_true(number(left) > before);
    assert_int_equal(quern__postgres_migrate_down(inside, 0, NULL), QUERN_OK);
    assert_int_equal(number(left), 0);
    assert_int_equal(quern__postgres_migrate_down(inside, 0, NULL), QUERN_OK);
    assert_int_equal(quern__postgres_migrate(inside, NULL), QUERN_OK);
    assert_int_equal(number(left), before);
}

/* ---- vectors ---- */

static int compare_chunk(const quern_chunk *c, void *ud)
{
    const uint16_t(*all)[WIDTH] = ud;
    assert_memory_equal(c->vector, all[c->index], sizeof all[0]);
    return 0;
}

static void every_finite_half_comes_back(void **state)
{
    quern_store *s = *state;
    static uint16_t all[HALVES / WIDTH][WIDTH];
    static quern_chunk chunks[HALVES / WIDTH];
    size_t n = 0;
    for (uint32_t bits = 0; bits < 65536; bits++)
        if ((bits & 0x7c00) != 0x7c00) { /* neither infinite nor NaN */
            all[n / WIDTH][n % WIDTH] = (uint16_t)bits;
            n++;
        }
    assert_int_equal(n, HALVES);
    for (uint32_t i = 0; i < HALVES / WIDTH; i++)
        chunks[i] = (quern_chunk){.index = i, .end = 1, .vector = all[i]};
    quern_source_spec spec = numbers_source();
    quern_save doc = {.key = {"7", 1}, .chunks = chunks};
    doc.stamp =
        (quern_stamp){.outcome = QUERN_OUTCOME_OK, .revision = {"r", 1}, .chunks = HALVES / WIDTH};
    quern_read read = {.source = &spec, .generation = build(s, "f16", WIDTH)};
    uint8_t stored = 0;
    quern_error err;
    if (s->table.save(s->self, &read, &doc, 1, yes, NULL, &stored, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(stored, 1);
    assert_int_equal(number("SELECT count(*) FROM quern.generations WHERE storage = 'halfvec'"), 1);
    assert_int_equal(s->table.chunks(s->self, read.generation, doc.key, compare_chunk, all, &err),
                     QUERN_OK);
}

static void a_purge_gives_the_space_back(void **state)
{
    quern_store *s = *state;
    quern_error err;
    int more = 1;
    int64_t g = build(s, "f16", 4);
    sql("INSERT INTO quern.stamps SELECT 1, i::text, 1, '', '', 0, 0, 0 FROM"
        " generate_series(1, 5000) AS i");
    assert_int_equal(g, 1);
    while (more)
        assert_int_equal(s->table.generation_purge(s->self, g, &more, &err), QUERN_OK);
    assert_int_equal(number("SELECT count(*) FROM pg_class WHERE relname LIKE 'vectors%'"), 0);
    assert_int_equal(number("SELECT count(*) FROM quern.stamps"), 0);
    assert_int_equal(build(s, "f16", 4), 2); /* an id is never used twice */
}

static void pieces_of_two_kinds_are_refused(void **state)
{
    (void)state;
    quern_store *s = NULL;
    quern_store_options opt;
    quern_error err;
    QUERN_INIT(&opt);
    opt.db = db;
    opt.store = "vectors.db";
    assert_int_equal(quern_store_open(&s, &opt, &err), QUERN_EUNSUPPORTED);
    opt.db = "file.db";
    opt.store = db;
    assert_int_equal(quern_store_open(&s, &opt, &err), QUERN_EUNSUPPORTED);
    opt.db = db;
    opt.store = NULL;
    opt.wal = 1;
    assert_int_equal(quern_store_open(&s, &opt, &err), QUERN_EINVAL);
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
#define CASE(name) cmocka_unit_test_setup_teardown(name, fresh, forget)
    const struct CMUnitTest tests[] = {
        CASE(an_empty_database_is_opened_by_many),
        CASE(one_of_many_builds),
        CASE(many_save_into_one),
        CASE(a_lock_tells_its_holder),
        CASE(a_lock_of_another_schema_is_another),
        CASE(schemas_migrate_by_themselves),
        CASE(a_lent_transaction_notes_edits_behind_a_save),
        CASE(an_unknown_version_is_left_alone),
        CASE(the_schema_goes_down_and_up),
        CASE(every_finite_half_comes_back),
        CASE(a_purge_gives_the_space_back),
        CASE(pieces_of_two_kinds_are_refused),
    };
    return cmocka_run_group_tests_name("postgres store", tests, start, stop);
}
