/* test_tasks_sqlite.c — tasks in SQLite beside what conformance asks: in the caller's transaction, with a clock that is
 * set back, and with many workers at once. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sqlite3.h>

#include "base/os.h"
#include "quern/sys/store.h"
#include "store/store.h"

enum { WORKERS = 4, TASKS = 150 };

typedef struct world {
    char dir[256], db[300];
    sqlite3 *user;
    quern_store *store;
} world;

static void sql(world *w, const char *text)
{
    char *message = NULL;
    if (sqlite3_exec(w->user, text, NULL, NULL, &message))
        fail_msg("%s: %s", text, message);
}

static quern_store *open_store(const char *db, void *connection)
{
    quern_store_options opt;
    quern_store *s = NULL;
    quern_error err;
    QUERN_INIT(&opt);
    opt.db = db;
    opt.connection = connection;
    if (quern_store_open(&s, &opt, &err))
        fail_msg("%s", err.msg);
    return s;
}

static int setup(void **state)
{
    static int count;
    world *w = calloc(1, sizeof *w);
    const char *tmp = getenv("TMPDIR");
    quern_source_spec spec;
    quern_error err;
    snprintf(w->dir, sizeof w->dir, "%s/quern-tasks-%u-%d", tmp ? tmp : "/tmp", quern__os_pid(),
             count++);
    quern__remove_tree(w->dir, NULL);
    assert_int_equal(quern__make_dirs(w->dir, NULL), QUERN_OK);
    snprintf(w->db, sizeof w->db, "%s/user.db", w->dir);
    assert_int_equal(sqlite3_open(w->db, &w->user), SQLITE_OK);
    sqlite3_busy_timeout(w->user, 5000);
    sql(w, "CREATE TABLE items (id INTEGER PRIMARY KEY, title TEXT)");
    w->store = open_store(w->db, NULL);
    QUERN_INIT(&spec);
    spec.name = spec.table = "items";
    spec.keys = "id";
    spec.text = "{title}";
    if (quern_source_add(w->store, &spec, &err))
        fail_msg("%s", err.msg);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world *w = *state;
    quern__set_wall_clock(NULL, NULL);
    quern_store_free(w->store);
    sqlite3_close(w->user);
    quern__remove_tree(w->dir, NULL);
    free(w);
    return 0;
}

static uint64_t put(quern_store *s, const char *key)
{
    quern_str k = quern_str_of(key);
    quern_error err;
    uint64_t added = 0;
    if (quern_enqueue(s, "items", &k, 1, "test", &added, &err))
        fail_msg("%s: %s", key, err.msg);
    return added;
}

static quern_task_stats stats(quern_store *s)
{
    quern_task_stats st;
    quern_error err;
    QUERN_INIT(&st);
    if (quern_task_statistics(s, "items", &st, &err))
        fail_msg("%s", err.msg);
    return st;
}

static int count_task(const quern_task *t, void *ud)
{
    (void)t;
    ++*(int *)ud;
    return 0;
}

static int claim(quern_store *s, uint32_t lease_ms, int64_t *lease)
{
    int n = 0;
    quern_error err;
    if (s->table.task_claim(s->self, NULL, 10, lease_ms, lease, count_task, &n, &err))
        fail_msg("%s", err.msg);
    return n;
}

/* ---- the face ---- */

static void keys_are_canonical(void **state)
{
    world *w = *state;
    static const quern_str bad[] = {{"7", 1}, {"{", 1}};
    quern_error err;
    assert_int_equal(put(w->store, "42"), 1);
    assert_int_equal(put(w->store, "  42 "), 0);
    assert_int_equal(put(w->store, "\"\\u0061\""), 1);
    assert_int_equal(put(w->store, "\"a\""), 0);
    assert_int_equal(put(w->store, "[1, \"x\"]"), 1);
    assert_int_equal(put(w->store, "[1,\"x\"]"), 0);
    assert_int_not_equal(quern_enqueue(w->store, "items", bad, 2, NULL, NULL, &err), QUERN_OK);
    assert_int_equal(err.subject, 1);
    assert_int_equal(stats(w->store).ready, 3); /* nothing of the call with the bad key */
    assert_int_equal(put(w->store, "a b"), 1);  /* a bare word */
    assert_int_equal(put(w->store, "\"a b\""), 0);
    static const quern_str nothing[] = {{"", 0}};
    assert_int_equal(quern_enqueue(w->store, "items", nothing, 1, NULL, NULL, &err), QUERN_EINVAL);
    quern_source_spec notes; /* of the built-in kind, whose ids are all text */
    QUERN_INIT(&notes);
    notes.name = "notes";
    notes.text = "{text}";
    assert_int_equal(quern_source_add(w->store, &notes, &err), QUERN_OK);
    static const quern_str seven[] = {{"7", 1}, {"\"7\"", 3}};
    uint64_t added = 9;
    assert_int_equal(quern_enqueue(w->store, "notes", seven, 2, NULL, &added, &err), QUERN_OK);
    assert_int_equal(added, 1);
    assert_int_equal(quern_enqueue(w->store, "", bad, 1, NULL, NULL, &err), QUERN_EINVAL);
    assert_int_equal(quern_enqueue(w->store, "nobody", bad, 1, NULL, NULL, &err), QUERN_ENOTFOUND);
}

static void many_keys_go_in_pieces(void **state)
{
    enum { MANY = 3000 };
    world *w = *state;
    static char text[MANY][12];
    static quern_str keys[MANY];
    quern_error err;
    uint64_t added = 0, removed = 0;
    for (int i = 0; i < MANY; i++) {
        snprintf(text[i], sizeof text[i], "%d", i / 2);
        keys[i] = quern_str_of(text[i]);
    }
    assert_int_equal(quern_enqueue(w->store, "items", keys, MANY, NULL, &added, &err), QUERN_OK);
    assert_int_equal(added, MANY / 2);
    assert_int_equal(stats(w->store).ready, MANY / 2);
    assert_int_equal(quern_task_remove(w->store, "items", NULL, 0, &removed, &err), QUERN_OK);
    assert_int_equal(removed, MANY / 2);
}

/* ---- the caller's transaction ---- */

static void a_rollback_takes_the_task_along(void **state)
{
    world *w = *state;
    sql(w, "BEGIN; INSERT INTO items VALUES (1, 'one')");
    quern_store *mine = open_store(NULL, w->user);
    assert_int_equal(put(mine, "1"), 1);
    sql(w, "ROLLBACK");
    assert_int_equal(stats(w->store).ready, 0);
    sql(w, "BEGIN; INSERT INTO items VALUES (2, 'two')");
    assert_int_equal(put(mine, "2"), 1);
    quern_str bad = quern_str_of("{no key");
    assert_int_not_equal(quern_enqueue(mine, "items", &bad, 1, NULL, NULL, NULL), QUERN_OK);
    sql(w, "COMMIT");
    quern_store_free(mine);
    assert_int_equal(stats(w->store).ready, 1);
}

/* ---- the clock ---- */

static int64_t the_time;
static int64_t tell_time(void *ud)
{
    (void)ud;
    return the_time;
}

static void a_clock_set_back_keeps_leases_as_long_as_they_are(void **state)
{
    world *w = *state;
    int64_t first, second;
    the_time = quern__wall_ms();
    quern__set_wall_clock(tell_time, NULL);
    put(w->store, "1");
    assert_int_equal(claim(w->store, 30000, &first), 1);
    the_time -= 3600000;
    assert_int_equal(claim(w->store, 30000, &second), 0); /* none stolen early */
    the_time += 29000;
    assert_int_equal(claim(w->store, 30000, &second), 0);
    the_time += 1000;
    assert_int_equal(claim(w->store, 30000, &second), 1); /* none immortal */
    assert_int_equal(stats(w->store).rescued, 1);
}

static void a_clock_set_back_keeps_no_task_waiting(void **state)
{
    world *w = *state;
    int64_t lease;
    the_time = quern__wall_ms();
    quern__set_wall_clock(tell_time, NULL);
    put(w->store, "1");
    the_time -= 3600000;
    assert_int_equal(claim(w->store, 30000, &lease), 1);
}

/* ---- many at once ---- */

typedef struct worker {
    const char *db;
    int64_t ids[TASKS];
    size_t n;
    int rc;
} worker;

static int take_note(const quern_task *t, void *ud)
{
    worker *me = ud;
    me->ids[me->n++] = t->id;
    return 0;
}

static void work(void *ud)
{
    worker *me = ud;
    quern_store *s = open_store(me->db, NULL);
    quern_error err;
    for (int idle = 0; idle < 3 && !me->rc;) {
        size_t before = me->n;
        int64_t lease;
        quern_task_end ends[7];
        uint8_t settled[7];
        me->rc = s->table.task_claim(s->self, NULL, 7, 60000, &lease, take_note, me, &err);
        for (size_t i = before; i < me->n; i++)
            ends[i - before] = (quern_task_end){.id = me->ids[i], .kind = QUERN_TASK_DONE};
        if (!me->rc)
            me->rc = s->table.task_settle(s->self, lease, ends, me->n - before, settled, &err);
        for (size_t i = before; i < me->n && !me->rc; i++)
            me->rc = settled[i - before] ? 0 : -1;
        idle = me->n == before ? idle + 1 : 0;
    }
    quern_store_free(s);
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void each_task_has_one_worker(void **state)
{
    world *w = *state;
    static worker workers[WORKERS];
    quern__thread *threads[WORKERS];
    static char text[TASKS][12];
    static quern_str keys[TASKS];
    static int64_t all[TASKS];
    size_t n = 0;
    memset(workers, 0, sizeof workers);
    for (int i = 0; i < TASKS; i++) {
        snprintf(text[i], sizeof text[i], "%d", i);
        keys[i] = quern_str_of(text[i]);
    }
    assert_int_equal(quern_enqueue(w->store, "items", keys, TASKS, NULL, NULL, NULL), QUERN_OK);
    for (int i = 0; i < WORKERS; i++) {
        workers[i].db = w->db;
        assert_int_equal(quern__thread_start(&threads[i], work, &workers[i], NULL), QUERN_OK);
    }
    for (int i = 0; i < WORKERS; i++)
        quern__thread_join(threads[i]);
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(workers[i].rc, 0);
        for (size_t k = 0; k < workers[i].n && n < TASKS; k++)
            all[n++] = workers[i].ids[k];
    }
    assert_int_equal(n, TASKS);
    qsort(all, n, sizeof *all, by_number);
    for (size_t i = 1; i < n; i++)
        assert_true(all[i] != all[i - 1]);
    assert_int_equal(stats(w->store).ready + stats(w->store).leased, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_are_canonical, setup, teardown),
        cmocka_unit_test_setup_teardown(many_keys_go_in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rollback_takes_the_task_along, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clock_set_back_keeps_leases_as_long_as_they_are, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_clock_set_back_keeps_no_task_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(each_task_has_one_worker, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
