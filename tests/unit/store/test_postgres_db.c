/* test_postgres_db.c — the wrapper over libpq against a real server: values there and back, errors by their kind,
 * transactions that are tried again, connections that go away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "db/postgres_db.h"
#include "support/postgres_server.h"

static postgres_server server;

typedef struct fixture {
    quern__pg *db, *other;
    quern_error err;
} fixture;

#define OK(call)                                                                                   \
    do {                                                                                           \
        int ok_ = (call);                                                                          \
        if (ok_ < 0)                                                                               \
            fail_msg("%s: %s", #call, f->err.msg);                                                 \
    } while (0)

static int open_both(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    char url[300];
    snprintf(url, sizeof url, "%spostgres", server.base);
    *state = f;
    if (quern__pg_open(&f->db, url, 200, &f->err))
        return -1;
    return quern__pg_again(&f->other, f->db, &f->err);
}

static int close_both(void **state)
{
    fixture *f = *state;
    quern__pg_close(f->db);
    quern__pg_close(f->other);
    free(f);
    return 0;
}

static void values_come_back(void **state)
{
    fixture *f = *state;
    static const char bytes[] = "\0\xff\x01'\\";
    static const char text[] = "a\xc3\xa4'\";--";
    quern__pg_params p;
    quern__pg_result *r;
    quern__arena arena;
    quern__arena_init(&arena, 0);
    for (int format = QUERN__PG_AS_TEXT; format <= QUERN__PG_AS_BINARY; format++) {
        quern__pg_params_init(&p);
        quern__pg_int(&p, INT64_MIN);
        quern__pg_real(&p, 0.1);
        quern__pg_text(&p, quern_str_of(text));
        quern__pg_blob(&p, bytes, 5);
        quern__pg_null(&p);
        OK(quern__pg_begin(f->db, QUERN__PG_READ, &f->err));
        OK(quern__pg_query(f->db,
                           "SELECT $1, $2, $3, $4, $5, true, -7::int, -9::smallint, 0.5::real, ''",
                           &p, format, &r, &f->err));
        OK(quern__pg_commit(f->db, &f->err));
        assert_int_equal(quern__pg_rows(r), 1);
        assert_int_equal(quern__pg_columns(r), 10);
        assert_true(quern__pg_get_int(r, 0, 0) == INT64_MIN);
        assert_true(quern__pg_get_real(r, 0, 1) == 0.1);
        assert_string_equal(quern__pg_get_text(r, 0, 2).ptr, text);
        quern_str blob;
        OK(quern__pg_get_blob(r, 0, 3, &arena, &blob, &f->err));
        assert_int_equal(blob.len, 5);
        assert_memory_equal(blob.ptr, bytes, 5);
        assert_true(quern__pg_is_null(r, 0, 4) && quern__pg_get_text(r, 0, 4).ptr == NULL);
        assert_true(quern__pg_get_int(r, 0, 5) == 1 && quern__pg_get_int(r, 0, 6) == -7);
        assert_true(quern__pg_get_int(r, 0, 7) == -9 && quern__pg_get_real(r, 0, 8) == 0.5);
        assert_true(quern__pg_get_text(r, 0, 9).ptr && quern__pg_get_text(r, 0, 9).len == 0);
        assert_int_equal(quern__pg_column_type(r, 3), QUERN__PG_BYTEA);
        quern__pg_clear(r);
    }
    quern__arena_dispose(&arena);
}

static void arrays_are_unnested(void **state)
{
    fixture *f = *state;
    quern__pg_array ints, texts, blobs;
    quern__pg_params p;
    quern__pg_result *r;
    quern__pg_array_init(&ints, QUERN__PG_INT8, 0);
    quern__pg_array_init(&texts, QUERN__PG_TEXT, 0);
    quern__pg_array_init(&blobs, QUERN__PG_BYTEA, 0);
    for (int n = 0; n < 3000; n += 1500) {
        quern__pg_array_clear(&ints);
        quern__pg_array_clear(&texts);
        quern__pg_array_clear(&blobs);
        for (int i = 0; i < n; i++) {
            quern__pg_array_int(&ints, -i);
            quern__pg_array_bytes(&texts, "{\",NULL}", (size_t)(i % 9));
            if (i % 2)
                quern__pg_array_null(&blobs);
            else
                quern__pg_array_bytes(&blobs, "\0\1", 2);
        }
        quern__pg_params_init(&p);
        quern__pg_bind_array(&p, &ints);
        quern__pg_bind_array(&p, &texts);
        quern__pg_bind_array(&p, &blobs);
        OK(quern__pg_query(f->db, "SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[])", &p,
                           QUERN__PG_AS_BINARY, &r, &f->err));
        assert_int_equal(quern__pg_rows(r), n);
        for (int i = 0; i < n; i++) {
            assert_true(quern__pg_get_int(r, (size_t)i, 0) == -i);
            assert_int_equal(quern__pg_get_text(r, (size_t)i, 1).len, i % 9);
            assert_true(quern__pg_is_null(r, (size_t)i, 2) == (i % 2 == 1));
        }
        quern__pg_clear(r);
    }
    quern__pg_array_dispose(&ints);
    quern__pg_array_dispose(&texts);
    quern__pg_array_dispose(&blobs);
}

static void too_many_values_are_an_error(void **state)
{
    fixture *f = *state;
    quern__pg_params p;
    quern__pg_result *r;
    quern__pg_params_init(&p);
    for (int i = 0; i < QUERN__PG_PARAMS + 3; i++)
        quern__pg_int(&p, i);
    assert_int_equal(quern__pg_query(f->db, "SELECT 1", &p, QUERN__PG_AS_TEXT, &r, &f->err),
                     QUERN_ENOMEM);
    assert_null(r);
}

static void errors_have_their_kind(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *sql, *says, *sqlstate;
        int status;
    } cases[] = {
        {"INSERT INTO kinds VALUES (1)", "duplicate key", "23505", QUERN_EEXISTS},
        {"SELECT nothing FROM kinds", "nothing", "42703", QUERN_EINVAL},
        {"SELECT 1 FROM nowhere", "nowhere", "42P01", QUERN_EINVAL},
        {"SELECT (", "syntax", "42601", QUERN_EINVAL},
        {"SELECT 1; SELECT 2", "multiple", "42601", QUERN_EINVAL},
        {"SELECT 1 / 0", "zero", "22012", QUERN_EINVAL},
        {"SELECT 'x'::bigint", "x", "22P02", QUERN_EINVAL},
    };
    quern__pg_result *r;
    OK(quern__pg_script(f->db,
                        "DROP TABLE IF EXISTS kinds; CREATE TABLE kinds (i int PRIMARY KEY);"
                        "INSERT INTO kinds VALUES (1)",
                        &f->err));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int rc = quern__pg_query(f->db, cases[i].sql, NULL, QUERN__PG_AS_TEXT, &r, &f->err);
        assert_int_equal(rc, cases[i].status);
        assert_non_null(strstr(f->err.msg, cases[i].says));
        assert_null(strchr(f->err.msg, '\n'));
        assert_string_equal(quern__pg_sqlstate(f->db), cases[i].sqlstate);
    }
    OK(quern__pg_begin(f->db, QUERN__PG_READ, &f->err));
    assert_int_equal(quern__pg_run(f->db, "DELETE FROM kinds", NULL, NULL, &f->err), QUERN_EINVAL);
    quern__pg_rollback(f->db);
    int64_t n = 0;
    assert_int_equal(quern__pg_scalar(f->db, "SELECT count(*) FROM kinds", NULL, &n, &f->err), 1);
    assert_true(n == 1);
    assert_int_equal(quern__pg_scalar(f->db, "SELECT 1 WHERE false", NULL, &n, &f->err), 0);
}

static void a_lock_is_not_waited_for_for_ever(void **state)
{
    fixture *f = *state;
    OK(quern__pg_script(f->db, "DROP TABLE IF EXISTS locked; CREATE TABLE locked (i int)",
                        &f->err));
    OK(quern__pg_begin(f->other, QUERN__PG_WRITE, &f->err));
    OK(quern__pg_run(f->other, "LOCK TABLE locked", NULL, NULL, &f->err));
    OK(quern__pg_begin(f->db, QUERN__PG_WRITE, &f->err));
    assert_int_equal(quern__pg_run(f->db, "DELETE FROM locked", NULL, NULL, &f->err), QUERN_EBUSY);
    assert_non_null(strstr(f->err.msg, "200 ms"));
    quern__pg_rollback(f->db);
    quern__pg_rollback(f->other);
    OK(quern__pg_run(f->db, "DELETE FROM locked", NULL, NULL, &f->err));
}

static void settings_last_for_a_transaction(void **state)
{
    fixture *f = *state;
    quern__pg_result *r;
    OK(quern__pg_script(f->db, "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'", &f->err));
    OK(quern__pg_begin(f->db, QUERN__PG_READ, &f->err));
    OK(quern__pg_query(f->db, "SELECT '2026-11-21 10:00+00'::timestamptz, '\\x00ff'::bytea", NULL,
                       QUERN__PG_AS_TEXT, &r, &f->err));
    assert_string_equal(quern__pg_get_text(r, 0, 0).ptr, "2026-11-21 10:00:00+00");
    assert_string_equal(quern__pg_get_text(r, 0, 1).ptr, "\\x00ff");
    quern__pg_clear(r);
    assert_true(quern__pg_in_transaction(f->db));
    assert_int_equal(quern__pg_begin(f->db, QUERN__PG_READ, &f->err), QUERN_EINTERNAL);
    OK(quern__pg_commit(f->db, &f->err));
    OK(quern__pg_query(f->db, "SHOW TimeZone", NULL, QUERN__PG_AS_TEXT, &r, &f->err));
    assert_string_equal(quern__pg_get_text(r, 0, 0).ptr, "Asia/Tokyo");
    quern__pg_clear(r);
}

typedef struct tries {
    fixture *f;
    const char *raises;
    int n, until;
    bool lose;
} tries;

static int64_t backend(quern__pg *db)
{
    int64_t pid = 0;
    quern__pg_scalar(db, "SELECT pg_backend_pid()", NULL, &pid, NULL);
    return pid;
}

static void end_backend(fixture *f, quern__pg *of)
{
    quern__pg_params p;
    int64_t done = 0;
    quern__pg_params_init(&p);
    quern__pg_int(&p, backend(of));
    OK(quern__pg_scalar(f->other, "SELECT pg_terminate_backend($1::int, 2000)", &p, &done,
                        &f->err));
    assert_true(done);
}

static int try_it(void *ud, quern_error *err)
{
    tries *t = ud;
    char sql[200];
    int rc = quern__pg_run(t->f->db, "INSERT INTO tried VALUES (1)", NULL, NULL, err);
    if (rc || ++t->n >= t->until)
        return rc;
    if (t->lose)
        end_backend(t->f, t->f->db);
    snprintf(sql, sizeof sql, "DO $$ BEGIN RAISE 'no' USING ERRCODE = '%s'; END $$", t->raises);
    return quern__pg_run(t->f->db, sql, NULL, NULL, err);
}

static void a_transaction_is_tried_again(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *raises;
        bool lose;
        int until, tries, rc;
    } cases[] = {
        {"40001", false, 3, 3, QUERN_OK},     {"40P01", false, 2, 2, QUERN_OK},
        {"40001", false, 99, 5, QUERN_EBUSY}, {"22012", false, 3, 1, QUERN_EINVAL},
        {"40001", true, 2, 2, QUERN_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tries t = {f, cases[i].raises, 0, cases[i].until, cases[i].lose};
        int64_t n = 0;
        OK(quern__pg_script(f->other, "DROP TABLE IF EXISTS tried; CREATE TABLE tried (i int)",
                            &f->err));
        int rc = quern__pg_transact(f->db, QUERN__PG_WRITE, try_it, &t, &f->err);
        assert_int_equal(rc, cases[i].rc);
        assert_int_equal(t.n, cases[i].tries);
        OK(quern__pg_scalar(f->db, "SELECT count(*) FROM tried", NULL, &n, &f->err));
        assert_true(n == (rc == QUERN_OK)); /* the tries that failed left nothing */
        assert_false(quern__pg_in_transaction(f->db));
    }
}

static void a_lost_connection_is_made_anew(void **state)
{
    fixture *f = *state;
    int64_t n = 0;
    end_backend(f, f->db); /* while it is idle: a transaction begins all the same */
    OK(quern__pg_begin(f->db, QUERN__PG_READ, &f->err));
    OK(quern__pg_commit(f->db, &f->err));
    end_backend(f, f->db); /* a statement tells, the next one works */
    assert_int_equal(quern__pg_scalar(f->db, "SELECT 1", NULL, &n, &f->err), QUERN_EIO);
    assert_non_null(strstr(f->err.msg, "the connection is gone"));
    OK(quern__pg_scalar(f->db, "SELECT 1", NULL, &n, &f->err));
    OK(quern__pg_begin(f->db, QUERN__PG_WRITE,
                       &f->err)); /* inside a transaction nothing is made anew */
    end_backend(f, f->db);
    assert_int_equal(quern__pg_scalar(f->db, "SELECT 1", NULL, &n, &f->err), QUERN_EIO);
    assert_int_equal(quern__pg_scalar(f->db, "SELECT 1", NULL, &n, &f->err), QUERN_EIO);
    assert_int_equal(quern__pg_commit(f->db, &f->err), QUERN_EIO);
    OK(quern__pg_scalar(f->db, "SELECT 1", NULL, &n, &f->err));
    assert_int_equal(postgres_tool(&server, "restart", NULL, 0), 0);
    OK(quern__pg_begin(f->db, QUERN__PG_READ, &f->err));
    OK(quern__pg_commit(f->db, &f->err));
}

static void what_cannot_be_opened_says_why(void **state)
{
    fixture *f = *state;
    quern__pg *db;
    static const struct {
        const char *url;
        int status;
    } cases[] = {
        {"postgres://u:secret@127.0.0.1:1/x", QUERN_EIO},
        {"postgres://u:secret@[::1/x", QUERN_EINVAL},
        {"postgres://u:secret@127.0.0.1/x?no_such_option=1", QUERN_EINVAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(quern__pg_open(&db, cases[i].url, 100, &f->err), cases[i].status);
        assert_null(db);
        assert_null(strstr(f->err.msg, "secret"));
    }
    char url[300];
    snprintf(url, sizeof url, "%snowhere", server.base);
    assert_int_equal(quern__pg_open(&db, url, 100, &f->err), QUERN_EIO);
    assert_non_null(strstr(f->err.msg, "\"nowhere\" does not exist"));
}

static void trusted_sql_balances(void **state)
{
    fixture *f = *state;
    static const char *const good[] = {
        "a = 1",
        "(a)",
        "a = 'it''s'",
        "a = E'\\''",
        "a = E'x'' \\' y'",
        "\"we;ird)\" = 1",
        "a[1] = 2",
        "a -- ;)\n",
        "/* ) /* ; */ ( */ true",
        "a = ';'",
        "na$me = 1",
        "a = e'\\\\'",
        "a -- at the end",
        "t.e = 'x\\'",
    };
    static const char *const bad[] = {
        "a = 1; drop table x",
        ")",
        "(",
        "a) or (b",
        "a = '",
        "a = E'\\'",
        "/* /* */",
        "\"a",
        "$1 = 1",
        "a = $$x$$",
        "a = $tag$ ; $tag$",
        "a -- \r; b",
        "E'a'\n'\\' ; '",
        "a = 'x\\''",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (quern__pg_balanced(good[i], "predicate", &f->err))
            fail_msg("%s: %s", good[i], f->err.msg);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (quern__pg_balanced(bad[i], "predicate", &f->err) != QUERN_EINVAL)
            fail_msg("%s was taken", bad[i]);
}

static int start(void **state)
{
    (void)state;
    return postgres_start(&server);
}

static int stop(void **state)
{
    (void)state;
    postgres_stop(&server);
    return 0;
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_both, close_both)
    const struct CMUnitTest tests[] = {
        CASE(values_come_back),
        CASE(arrays_are_unnested),
        CASE(too_many_values_are_an_error),
        CASE(errors_have_their_kind),
        CASE(a_lock_is_not_waited_for_for_ever),
        CASE(settings_last_for_a_transaction),
        CASE(a_transaction_is_tried_again),
        CASE(a_lost_connection_is_made_anew),
        CASE(what_cannot_be_opened_says_why),
        CASE(trusted_sql_balances),
    };
    return cmocka_run_group_tests_name("postgres_db", tests, start, stop);
}
