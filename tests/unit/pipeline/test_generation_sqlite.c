/* test_generation_sqlite.c — generation_world.h on SQLite. */
#include "unit/pipeline/generation_world.h"

#include <sqlite3.h>

#include "base/os.h"

static void say(void *connection, const char *text)
{
    char *message = NULL;
    if (sqlite3_exec(connection, text, NULL, NULL, &message) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", text, message);
        abort(); /* perhaps in a thread, where no test can fail */
    }
}

static int64_t ask(void *connection, const char *text)
{
    sqlite3_stmt *stmt = NULL;
    int64_t n = -1;
    assert_int_equal(sqlite3_prepare_v2(connection, text, -1, &stmt, NULL), SQLITE_OK);
    if (sqlite3_step(stmt) == SQLITE_ROW)
        n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return n;
}

static void lose_vectors(stage *w, int64_t generation, const char *key)
{
    sql(w,
        "DELETE FROM quern_vectors WHERE id IN (SELECT id FROM quern_chunks WHERE generation = %lld"
        " AND key = '%s')",
        (long long)generation, key);
}

static void lose_table(stage *w, int64_t generation)
{
    (void)generation;
    sql(w, "DROP TABLE quern_vectors");
}

static int enter(void **state)
{
    stage *w = calloc(1, sizeof *w);
    char dir[100];
    sqlite3 *user, *other;
    snprintf(dir, sizeof dir, "/tmp/quern-generation-%u", quern__os_pid());
    quern__remove_tree(dir, NULL);
    if (!w || quern__make_dirs(dir, NULL) != QUERN_OK)
        return -1;
    snprintf(w->db, sizeof w->db, "%s/user.db", dir);
    if (sqlite3_open(w->db, &user) || sqlite3_open(w->db, &other))
        return -1;
    sqlite3_busy_timeout(user, 10000);
    sqlite3_busy_timeout(other, 10000);
    w->user = user;
    w->other = other;
    w->prefix = "quern_";
    say(user, "PRAGMA journal_mode = WAL; PRAGMA synchronous = off");
    *state = w;
    furnish(w);
    return 0;
}

static int leave(void **state)
{
    stage *w = *state;
    clear(w);
    sqlite3_close(w->user);
    sqlite3_close(w->other);
    *strrchr(w->db, '/') = '\0';
    quern__remove_tree(w->db, NULL);
    free(w);
    return 0;
}

int main(void)
{
    return generation_tests("generations on SQLite");
}
