/*
 * test_torture_pipeline.c — every allocation of add, fill, search, status, verify, export and import fails in turn: ENOMEM, nothing
 * lost, and afterwards the store is as good as new.
 */
#include "torture/torture.h"

#include "quern/carry.h"
#include "unit/pipeline/fill_world.h"

static long stride(long short_form)
{
    return getenv("QUERN_LONG") ? 1 : short_form;
}

static int open_again(world *w, quern_store **s, quern_error *err)
{
    quern_store_options o;
    QUERN_INIT(&o);
    o.db = w->db;
    return quern_store_open(s, &o, err);
}

static int add_body(void *ud, quern_error *err)
{
    world *w = ud;
    quern_store *s = NULL;
    char csv[200];
    char in[200];
    snprintf(csv, sizeof csv, "%s/rows.csv", w->dir);
    snprintf(in, sizeof in, "%s/in", w->dir);
    const char *paths[] = {csv, in};
    quern_add_options o;
    QUERN_INIT(&o);
    o.text = "{title}: {text}";
    o.sync = 1;
    int rc = open_again(w, &s, err);
    if (rc == QUERN_OK)
        rc = quern_add(s, paths, 2, &o, NULL, err);
    quern_store_free(s);
    return rc;
}

static int fill_body(void *ud, quern_error *err)
{
    world *w = ud;
    quern_store *s = NULL;
    quern_fill_options o;
    QUERN_INIT(&o);
    o.force = 1;
    o.source = "items";
    int rc = open_again(w, &s, err);
    if (rc == QUERN_OK)
        rc = quern_fill(s, w->e, &o, NULL, err);
    quern_store_free(s);
    return rc;
}

static int search_body(void *ud, quern_error *err)
{
    world *w = ud;
    quern_store *s = NULL;
    quern_results *r = NULL;
    quern_status_report *st = NULL;
    int rc = open_again(w, &s, err);
    if (rc == QUERN_OK)
        rc = quern_search(&r, s, w->e, quern_str_of("body of 2"), NULL, err);
    if (rc == QUERN_OK && quern_results_count(r) != 5)
        rc = QUERN_EINTERNAL; /* a short answer is worse than none */
    quern_results_free(r);
    if (rc == QUERN_OK)
        rc = quern_status_open(&st, s, w->e, NULL, NULL, err);
    quern_status_free(st);
    if (rc == QUERN_OK)
        rc = quern_verify(s, w->e, NULL, NULL, err);
    quern_store_free(s);
    return rc;
}

static int export_body(void *ud, quern_error *err)
{
    world *w = ud;
    quern_store *s = NULL;
    char out[200];
    snprintf(out, sizeof out, "%s/out", w->dir);
    quern_export_options o;
    QUERN_INIT(&o);
    o.source = "items";
    o.force = 1;
    int rc = open_again(w, &s, err);
    if (rc == QUERN_OK)
        rc = quern_export(s, out, &o, NULL, err);
    quern_store_free(s);
    return rc;
}

/* Into a store whose stamps are asked for again each time, so that there is something to save. */
static int import_body(void *ud, quern_error *err)
{
    world *w = ud;
    quern_store *s = NULL;
    char out[200];
    snprintf(out, sizeof out, "%s/out", w->dir);
    sql(w, "UPDATE quern_stamps SET redo = 1");
    quern_import_options o;
    QUERN_INIT(&o);
    o.seed = 7;
    int rc = open_again(w, &s, err);
    if (rc == QUERN_OK)
        rc = quern_import(s, w->e, out, &o, NULL, err);
    quern_store_free(s);
    return rc;
}

static int stored_body(void *ud, quern_error *err)
{
    world *w = ud;
    quern_store *s = NULL;
    quern_stored *v = NULL;
    quern_stored_vector given = {.vector = NULL};
    quern_str key = {"3", 1};
    int rc = open_again(w, &s, err);
    if (rc == QUERN_OK)
        rc = quern_stored_open(&v, s, "items", key, 0, err);
    if (rc == QUERN_OK && quern_stored_count(v) == 1) {
        const quern_stored_chunk *c = quern_stored_at(v, 0);
        given = (quern_stored_vector){
            c->vector, quern_stored_about(v)->dimensions, c->start, c->end, c->page, c->heading};
        rc = quern_stored_put(s, "items", key, quern_stored_about(v)->fingerprint, &given, 1, err);
    }
    quern_stored_free(v);
    quern_store_free(s);
    return rc;
}

static int delete_body(void *ud, quern_error *err)
{
    world *w = ud;
    quern_store *s = NULL;
    quern_str key = {"4", 1};
    int rc = open_again(w, &s, err);
    if (rc == QUERN_OK)
        rc = quern_stored_delete(s, "items", key, NULL, err);
    quern_store_free(s);
    return rc;
}

static void carrying(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 5);
    sql(w, "INSERT INTO items (id) VALUES (9)");
    assert_int_equal(fill_body(w, &w->err), QUERN_OK);
    char *whole = state_of(w);
    assert_true(torture_run_strided(export_body, w, stride(3)) > 50);
    assert_int_equal(export_body(w, &w->err), QUERN_OK);
    assert_true(torture_run_strided(import_body, w, stride(5)) > 50);
    assert_int_equal(import_body(w, &w->err), QUERN_OK);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_stamps WHERE redo"), 0);
    assert_true(torture_run_strided(stored_body, w, stride(3)) > 20);
    assert_int_equal(stored_body(w, &w->err), QUERN_OK);
    char *after = state_of(w);
    assert_string_equal(whole, after);
    free(whole);
    free(after);
    assert_true(torture_run_strided(delete_body, w, stride(3)) > 10);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_stamps WHERE key = '4'"), 0);
}

static void adding(void **state)
{
    world *w = *state;
    char cmd[600];
    snprintf(cmd, sizeof cmd,
             "cd %s && mkdir in && printf 'plain' >in/a.txt && printf '{\"text\":\"x\"}\\n' "
             ">in/b.jsonl && "
             "printf 'id,title,text\\n1,T,\"one, two\"\\n2,,x\\n' >rows.csv",
             w->dir);
    assert_int_equal(system(cmd), 0);
    assert_true(torture_run_strided(add_body, w, stride(5)) > 50);
    assert_int_equal(add_body(w, &w->err), QUERN_OK);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_documents"), 4);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_staging"), 0);
}

/* Texts come in again each time, and go when they are current. */
static int strip_body(void *ud, quern_error *err)
{
    world *w = ud;
    quern_store *s = NULL;
    char csv[200];
    snprintf(csv, sizeof csv, "%s/rows.csv", w->dir);
    const char *paths[] = {csv};
    quern_add_options o;
    quern_fill_options fill;
    QUERN_INIT(&o);
    QUERN_INIT(&fill);
    o.keep_text = "no";
    fill.source = "documents";
    int rc = open_again(w, &s, err);
    if (rc == QUERN_OK)
        rc = quern_add(s, paths, 1, &o, NULL, err);
    if (rc == QUERN_OK)
        rc = quern_fill(s, w->e, &fill, NULL, err);
    if (rc == QUERN_OK)
        rc = quern_verify(s, w->e, NULL, NULL, err);
    quern_store_free(s);
    return rc;
}

static void without_texts(void **state)
{
    world *w = *state;
    char cmd[300];
    snprintf(cmd, sizeof cmd, "printf 'id,text\\n1,one\\n2,two words\\n3, \\n' >%s/rows.csv",
             w->dir);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(strip_body(w, &w->err), QUERN_OK);
    char *whole = state_of(w);
    assert_true(torture_run_strided(strip_body, w, stride(5)) > 50);
    assert_int_equal(strip_body(w, &w->err), QUERN_OK);
    char *after = state_of(w);
    assert_string_equal(whole, after);
    free(whole);
    free(after);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_documents WHERE revision IS NULL"
                               " OR digest IS NULL OR fields <> '{}'"),
                     0);
}

static void filling_and_searching(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 5);
    sql(w, "UPDATE items SET body = replace(hex(zeroblob(30)), '00', 'word ') WHERE id = 1");
    assert_int_equal(fill_body(w, &w->err), QUERN_OK);
    char *whole = state_of(w);
    assert_true(torture_run_strided(fill_body, w, stride(7)) > 50);
    assert_int_equal(fill_body(w, &w->err), QUERN_OK);
    char *after = state_of(w);
    assert_string_equal(whole, after);
    free(whole);
    free(after);
    assert_true(torture_run_strided(search_body, w, stride(7)) > 50);
}

static int set_up(void **state)
{
    *state = make_world();
    return 0;
}

static int tear_down(void **state)
{
    free_world(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(adding, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_texts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(filling_and_searching, set_up, tear_down),
        cmocka_unit_test_setup_teardown(carrying, set_up, tear_down),
    };
    torture_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
