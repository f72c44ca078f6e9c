/*
 * test_add.c — files, folders, JSON Lines and CSV into the documents table: ids, duplicates, what a folder
 * may hold, sync, and that a fault leaves nothing behind.
 */
#include "unit/pipeline/fill_world.h"

typedef struct add_world {
    world *w;
    quern_add_options opt;
    quern_add_report report;
    char path[8][160];
    size_t n;
} add_world;

static int set_up(void **state)
{
    add_world *a = calloc(1, sizeof *a);
    assert_non_null(a);
    a->w = make_world();
    QUERN_INIT(&a->opt);
    *state = a;
    return 0;
}

static int tear_down(void **state)
{
    add_world *a = *state;
    free_world(a->w);
    free(a);
    return 0;
}

/* A file under the world's folder; its path stays valid for eight more. */
static const char *put_file(add_world *a, const char *name, const char *data, size_t n)
{
    char *path = a->path[a->n++ % 8];
    snprintf(path, sizeof a->path[0], "%s/%s", a->w->dir, name);
    char dir[200];
    snprintf(dir, sizeof dir, "%s", path);
    *strrchr(dir, '/') = '\0';
    assert_int_equal(quern__make_dirs(dir, NULL), QUERN_OK);
    assert_int_equal(quern__write_file_atomic(path, data, n, NULL), QUERN_OK);
    return path;
}

static const char *put_text(add_world *a, const char *name, const char *data)
{
    return put_file(a, name, data, strlen(data));
}

static int add(add_world *a, const char *path)
{
    memset(&a->report, 0, sizeof a->report);
    a->report.struct_size = sizeof a->report;
    memset(&a->w->err, 0, sizeof a->w->err);
    return quern_add(a->w->s, &path, 1, &a->opt, &a->report, &a->w->err);
}

static void holds(add_world *a, const char *want)
{
    char *got = text_of(a->w, "SELECT id, fields FROM quern_documents ORDER BY id");
    assert_string_equal(got, want);
    free(got);
}

static void json_lines(void **state)
{
    add_world *a = *state;
    world *w = a->w;
    const char *f = put_text(
        a, "a.jsonl", "{\"id\":1,\"text\":\"one\",\"k\":\"v\"}\n{\"id\":\"b\",\"body\":\"two\"}\n");
    check(w, add(a, f));
    assert_int_equal(a->report.added, 2);
    assert_int_equal(a->report.files, 1);
    holds(a, "1|{\"id\":1,\"k\":\"v\",\"properties\":{\"k\":\"v\"},\"text\":\"one\"}|\nb|{\"body\":"
             "\"two\",\"id\":\"b\","
             "\"text\":\"two\"}|\n");
    check(w, add(a, f));
    assert_int_equal(a->report.unchanged, 2);
    f = put_text(a, "a.jsonl", "{\"id\":1,\"text\":\"uno\",\"k\":\"v\"}\n");
    check(w, add(a, f));
    assert_int_equal(a->report.changed, 1);
    assert_int_equal(a->report.missing, 1);
    a->opt.sync = 1;
    check(w, add(a, f));
    assert_int_equal(a->report.removed, 1);
    f = put_text(a, "a.jsonl", "");
    check(w, add(a, f));
    assert_int_equal(a->report.removed, 1);
    holds(a, "");
}

static void a_fault_leaves_nothing(void **state)
{
    add_world *a = *state;
    world *w = a->w;
    char *text = malloc(400000);
    size_t n = 0;
    for (int i = 0; i < 2000; i++)
        n += (size_t)snprintf(text + n, 400000 - n, "{\"id\":%d,\"text\":\"t%d\"}\n", i, i);
    snprintf(text + n, 400000 - n, "{\"id\":7,\"text\":\"again\"}\n");
    assert_int_equal(add(a, put_text(a, "a.jsonl", text)), QUERN_EEXISTS);
    assert_non_null(strstr(w->err.msg, "line 8 "));
    assert_non_null(strstr(w->err.msg, "line 2001"));
    snprintf(text + n, 400000 - n, "{\"id\":2000,\"text\":\n");
    assert_int_equal(add(a, put_text(a, "a.jsonl", text)), QUERN_EFORMAT);
    assert_non_null(strstr(w->err.msg, "a.jsonl:2001: "));
    assert_int_equal(number(w, "SELECT count(*) FROM quern_documents"), 0);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_staging"), 0);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_sources"), 0);
    text[n] = '\0';
    check(w, add(a, put_text(a, "a.jsonl", text)));
    assert_int_equal(a->report.added, 2000);
    free(text);
}

static void ids_that_are_derived(void **state)
{
    add_world *a = *state;
    world *w = a->w;
    check(w,
          add(a, put_text(a, "a.jsonl", "{\"text\":\"x\"}\n{\"text\":\"y\"}\n{\"text\":\"x\"}\n")));
    assert_int_equal(a->report.documents, 3);
    assert_int_equal(a->report.added, 2);
    assert_int_equal(a->report.duplicates, 1);
    assert_int_equal(number(w, "SELECT min(length(id)) FROM quern_documents"), 64);
}

/* A file named twice is one document; two files of one name are two, and must not become one. */
static void paths_given_twice(void **state)
{
    add_world *a = *state;
    const char *path = put_text(a, "a.txt", "the same");
    const char *twice[] = {path, path};
    QUERN_INIT(&a->report);
    check(a->w, quern_add(a->w->s, twice, 2, &a->opt, &a->report, &a->w->err));
    assert_int_equal(a->report.duplicates, 1);
    assert_int_equal(number(a->w, "SELECT count(*) FROM quern_documents"), 1);
}

static void csv_with_chosen_fields(void **state)
{
    add_world *a = *state;
    world *w = a->w;
    a->opt.id_field = "key";
    a->opt.text = "{title}: {note}";
    check(w, add(a, put_text(a, "a.csv", "key,title,note\n1,T,\"a, b\"\n2,,only\n")));
    holds(a, "1|{\"key\":\"1\",\"note\":\"a, b\",\"text\":\"T: a, b\",\"title\":\"T\"}|\n"
             "2|{\"key\":\"2\",\"note\":\"only\",\"text\":\"only\",\"title\":\"\"}|\n");
    a->opt.text = "note";
    check(w, add(a, put_text(a, "a.csv", "key,title,note\n1,T,n\n")));
    a->opt.text = "nota";
    assert_int_equal(add(a, put_text(a, "a.csv", "key,title,note\n1,T,n\n")), QUERN_EFORMAT);
    a->opt.text = "{title}{nota}";
    assert_int_equal(add(a, put_text(a, "a.csv", "key,title,note\n1,T,n\n")), QUERN_EINVAL);
    assert_non_null(strstr(w->err.msg, "nota"));
    a->opt.text = "{bad";
    assert_int_equal(add(a, put_text(a, "a.csv", "key,title,note\n1,T,n\n")), QUERN_EINVAL);
}

/* Links, devices and other encodings; needs the shell for what C11 cannot make. */
static void a_folder(void **state)
{
    add_world *a = *state;
    world *w = a->w;
    put_text(a, "in/a.txt", "alpha");
    put_text(a, "in/sub/b.md",
             "\xEF\xBB\xBF"
             "beta");
    put_text(a, "in/sub/c.bin", "not looked at");
    put_file(a, "in/latin.txt", "caf\xE9", 4);
    put_file(a, "in/nul.txt", "a\0b", 3);
    put_text(a, "in/rows.csv", "id,text\nrow,gamma\n");
    put_text(a, "out/secret.txt", "secret");
    char cmd[500];
    snprintf(
        cmd, sizeof cmd,
        "cd %s/in && ln -s ../out/secret.txt link.txt && ln -s ../out dir && ln -s sub inner && "
        "ln -s a.txt same.txt && ln -s nowhere gone.txt && mkfifo pipe.txt",
        w->dir);
    assert_int_equal(system(cmd), 0);
    char in[128];
    snprintf(in, sizeof in, "%s/in", w->dir);
    check(w, add(a, in));
    holds(a, "a.txt|{\"text\":\"alpha\"}|\nrow|{\"id\":\"row\",\"text\":\"gamma\"}|\nsame.txt|{"
             "\"text\":\"alpha\"}|\n"
             "sub/b.md|{\"text\":\"beta\"}|\n");
    assert_int_equal(a->report.files, 4);
    assert_int_equal(a->report.skipped_links, 3);
    assert_int_equal(a->report.skipped_special, 1);
    assert_int_equal(a->report.skipped_encoding, 2);
    snprintf(cmd, sizeof cmd, "rm %s/in/a.txt %s/in/same.txt", w->dir, w->dir);
    assert_int_equal(system(cmd), 0);
    check(w, add(a, in));
    assert_int_equal(a->report.missing, 2);
    assert_int_equal(a->report.unchanged, 2);
    a->opt.sync = 1;
    check(w, add(a, in));
    assert_int_equal(a->report.removed, 2);
    /* Named by itself, a file that is no text is refused. */
    snprintf(in, sizeof in, "%s/in/latin.txt", w->dir);
    assert_int_equal(add(a, in), QUERN_EFORMAT);
    assert_int_equal(w->err.detail, 3);
    snprintf(in, sizeof in, "%s/in/pipe.txt", w->dir);
    assert_int_equal(add(a, in), QUERN_EINVAL);
    snprintf(in, sizeof in, "%s/nothing", w->dir);
    assert_int_equal(add(a, in), QUERN_ENOTFOUND);
}

static void two_files_of_one_name(void **state)
{
    add_world *a = *state;
    world *w = a->w;
    const char *paths[2] = {put_text(a, "x/readme.txt", "one"), put_text(a, "y/readme.txt", "two")};
    assert_int_equal(quern_add(w->s, paths, 2, &a->opt, NULL, &w->err), QUERN_EEXISTS);
    assert_non_null(strstr(w->err.msg, "x/readme.txt"));
    assert_non_null(strstr(w->err.msg, "y/readme.txt"));
    a->opt.max_bytes = 2;
    assert_int_equal(add(a, paths[0]), QUERN_EFORMAT);
}

static void a_source_of_the_users_is_left_alone(void **state)
{
    add_world *a = *state;
    world *w = a->w;
    declare(w, "items", NULL, NULL);
    a->opt.source = "items";
    assert_int_equal(add(a, put_text(a, "a.txt", "x")), QUERN_EINVAL);
    a->opt.source = "no good name!";
    assert_int_equal(add(a, put_text(a, "a.txt", "x")), QUERN_EINVAL);
}

static int stop(uint64_t documents, uint64_t bytes, void *ud)
{
    (void)bytes;
    (void)ud;
    return documents > 300;
}

static void cancelled(void **state)
{
    add_world *a = *state;
    world *w = a->w;
    char *text = malloc(400000);
    size_t n = 0;
    for (int i = 0; i < 2000; i++)
        n += (size_t)snprintf(text + n, 400000 - n, "{\"id\":%d,\"text\":\"t%d\"}\n", i, i);
    a->opt.progress = stop;
    assert_int_equal(add(a, put_text(a, "a.jsonl", text)), QUERN_ECANCELLED);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_documents"), 0);
    free(text);
}

/* The whole way: added, filled, found, replaced, removed. */
static void added_documents_are_found(void **state)
{
    add_world *a = *state;
    world *w = a->w;
    check(w, add(a, put_text(a, "a.jsonl",
                             "{\"id\":\"n\",\"text\":\"red "
                             "green\",\"s\":\"x\"}\n{\"id\":\"m\",\"text\":\"blue\"}\n")));
    check(w, fill(w));
    quern_results *r = NULL;
    check(w, quern_search(&r, w->s, w->e, quern_str_of("green red"), NULL, &w->err));
    assert_int_equal(quern_results_count(r), 2);
    assert_string_equal(quern_results_at(r, 0)->key, "\"n\"");
    assert_string_equal(quern_results_at(r, 0)->source, "documents");
    assert_string_equal(quern_results_at(r, 0)->excerpt, "red green");
    quern_results_free(r);
    a->opt.sync = 1;
    check(w, add(a, put_text(a, "a.jsonl", "{\"id\":\"m\",\"text\":\"blue\"}\n")));
    check(w, quern_search(&r, w->s, w->e, quern_str_of("green red"), NULL, &w->err));
    assert_int_equal(quern_results_count(r), 1);
    quern_results_free(r);
}

#define ADD_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ADD_TEST(json_lines),
        ADD_TEST(a_fault_leaves_nothing),
        ADD_TEST(ids_that_are_derived),
        ADD_TEST(paths_given_twice),
        ADD_TEST(csv_with_chosen_fields),
        ADD_TEST(a_folder),
        ADD_TEST(two_files_of_one_name),
        ADD_TEST(a_source_of_the_users_is_left_alone),
        ADD_TEST(cancelled),
        ADD_TEST(added_documents_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
