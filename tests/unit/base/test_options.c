/*
 * The table of options and the values in force: shape of the table, every type with values that do and
 * do not do, which origin wins, quern.ini line by line, names that are nearly right.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quern/options.h"
#include "quern/text.h"

static quern_config *fresh(void)
{
    quern_config *c = NULL;
    quern_error err;
    assert_int_equal(quern_config_new(&c, &err), QUERN_OK);
    return c;
}

static void refused(quern_config *c, const char *name, const char *value, const char *saying)
{
    quern_error err = {0};
    assert_int_equal(quern_config_set(c, name, value, QUERN_FROM_FLAG, "here", &err), QUERN_EINVAL);
    if (!strstr(err.msg, saying))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, saying);
}

static void table_is_whole(void **state)
{
    (void)state;
    size_t n = 0;
    for (const quern_option *o; (o = quern_option_at(n)); n++) {
        assert_ptr_equal(quern_option_find(o->name), o); /* no name twice */
        assert_true(strlen(o->help) > 10 && o->help[strlen(o->help) - 1] == '.');
        assert_true((o->type == QUERN_OPTION_FLAG) == (o->placeholder == NULL));
        assert_true((o->type == QUERN_OPTION_CHOICE) == (o->choices != NULL));
        /* the environment twin follows from the name, with two stated exceptions */
        char twin[80] = "QUERN_";
        size_t at = 6;
        for (const char *c = o->name; *c; c++)
            twin[at++] = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        twin[at] = '\0';
        if (strcmp(o->name, "log-level") == 0)
            assert_string_equal(o->environment, "QUERN_LOG");
        else if (strcmp(o->name, "hf-token") == 0)
            assert_string_equal(o->environment, "HF_TOKEN");
        else
            assert_string_equal(o->environment, twin);
        size_t takers = 0;
        for (size_t i = 0; quern_command_at(i); i++)
            takers += (size_t)quern_option_applies(o, quern_command_at(i)->name);
        assert_true(takers > 0);
    }
    assert_true(n > 40);
    assert_null(quern_option_find("no-such"));
    assert_null(quern_option_at(n + 1000));
    for (size_t i = 0; quern_command_at(i); i++) {
        const quern_command *c = quern_command_at(i);
        assert_ptr_equal(quern_command_find(c->name), c);
        assert_true(strncmp(c->example, "quern ", 6) == 0);
        assert_true(strncmp(c->example + 6, c->name, strlen(c->name)) == 0);
    }
}

static void applies_to_commands(void **state)
{
    (void)state;
    const quern_option *json = quern_option_find("json"), *table = quern_option_find("table");
    assert_true(quern_option_applies(json, "model pull"));
    assert_true(quern_option_applies(json, "search"));
    assert_false(quern_option_applies(json, "help"));
    assert_true(quern_option_applies(table, "source add"));
    assert_false(quern_option_applies(table, "source remove"));
    assert_false(quern_option_applies(table, "source"));
    assert_false(quern_option_applies(table, "sourc"));
    assert_true(quern_option_applies(quern_option_find("quiet"), "help"));
    assert_string_equal(quern_option_choices(quern_option_find("format"), "add"),
                        "auto|text|jsonl|csv");
}

static void every_type_is_checked(void **state)
{
    (void)state;
    quern_config *c = fresh();
    refused(c, "batch", "0", "a whole number from 1 to 4096");
    refused(c, "batch", "4097", "4096");
    refused(c, "batch", "-1", "whole");
    refused(c, "batch", "1.5", "whole");
    refused(c, "batch", " 1", "whole");
    refused(c, "batch", "", "whole");
    refused(c, "batch", "99999999999999999999999", "whole");
    refused(c, "seed", "18446744073709551616", "whole");
    refused(c, "min-similarity", "nan", "number from -1 to 1");
    refused(c, "min-similarity", "1e999", "number");
    refused(c, "min-similarity", "1.01", "number");
    refused(c, "min-similarity", "0.5x", "number");
    refused(c, "memory-limit", "512Q", "512M");
    refused(c, "memory-limit", "M", "512M");
    refused(c, "memory-limit", "99999999999999999T", "512M");
    refused(c, "timeout", "5 s", "300s");
    refused(c, "timeout", "-5s", "300s");
    refused(c, "backstop-interval", "--5s", "300s");

    assert_int_equal(quern_config_set(c, "backstop-interval", "-5s", QUERN_FROM_FLAG, "here", NULL),
                     0);
    assert_int_equal(quern_config_count(c, "backstop-interval"), 0);
    refused(c, "auto-pull", "maybe", "yes or no");
    refused(c, "quiet", "1", "yes or no");
    refused(c, "as", "Query", "one of query, document");
    refused(c, "hf-token", "hidden", "not a flag");
    refused(c, "bacth", "1", "did you mean \"batch\"?");
    refused(c, "zzzzzz", "1", "there is no option \"zzzzzz\"");
    quern_config_free(c);
}

static void values_come_back(void **state)
{
    (void)state;
    quern_config *c = fresh();
    assert_int_equal(quern_config_count(c, "batch"), 32);
    assert_int_equal(quern_config_count(c, "timeout"), 300000);
    assert_int_equal(quern_config_count(c, "max-document"), 16u << 20);
    assert_string_equal(quern_config_text(c, "db"), "./quern.db");
    assert_null(quern_config_text(c, "store"));
    assert_false(quern_config_flag(c, "auto-pull"));
    assert_string_equal(quern_config_origin(c, "batch"), "default");
    static const struct {
        const char *name, *text;
        uint64_t value;
    } counts[] = {{"batch", "4096", 4096},
                  {"timeout", "50ms", 50},
                  {"timeout", "7", 7000},
                  {"timeout", "6h", 21600000},
                  {"memory-limit", "2G", 2ull << 30},
                  {"memory-limit", "1048576", 1048576},
                  {"max-document", "512k", 512 << 10},
                  {"quiet", "yes", 1},
                  {"auto-pull", "no", 0},
                  {"seed", "9007199254740992", 9007199254740992}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        quern_config *one = fresh();
        assert_int_equal(
            quern_config_set(one, counts[i].name, counts[i].text, QUERN_FROM_FLAG, "here", NULL),
            QUERN_OK);
        assert_int_equal(quern_config_count(one, counts[i].name), counts[i].value);
        quern_config_free(one);
    }
    assert_int_equal(quern_config_set(c, "min-similarity", "-0.25", QUERN_FROM_FLAG, "here", NULL),
                     QUERN_OK);
    assert_true(quern_config_real(c, "min-similarity") == -0.25);
    quern_config_free(c);
}

static void the_stronger_origin_wins(void **state)
{
    (void)state;
    quern_config *c = fresh();
    quern_error err = {0};
    assert_int_equal(quern_config_set(c, "batch", "3", QUERN_FROM_FLAG, "--batch", NULL), QUERN_OK);
    assert_int_equal(quern_config_set(c, "batch", "1", QUERN_FROM_FILE, "quern.ini:1", NULL), 0);
    assert_int_equal(quern_config_set(c, "batch", "2", QUERN_FROM_ENVIRONMENT, "QUERN_BATCH", NULL),
                     QUERN_OK);
    assert_int_equal(quern_config_count(c, "batch"), 3);
    assert_string_equal(quern_config_origin(c, "batch"), "--batch");
    assert_int_equal(quern_config_set(c, "batch", "4", QUERN_FROM_FLAG, "--batch", &err),
                     QUERN_EINVAL);
    assert_non_null(strstr(err.msg, "given twice"));
    /* a weak value is checked all the same */
    assert_int_equal(quern_config_set(c, "batch", "x", QUERN_FROM_FILE, "quern.ini:1", NULL),
                     QUERN_EINVAL);
    assert_int_equal(quern_config_set(c, "source", "a", QUERN_FROM_FLAG, "--source", NULL), 0);
    assert_int_equal(quern_config_set(c, "source", "b", QUERN_FROM_FLAG, "--source", NULL), 0);
    assert_string_equal(quern_config_text(c, "source"), "a\nb");
    quern_config_free(c);
}

static void ignored_flags_show(void **state)
{
    (void)state;
    quern_config *c = fresh();
    assert_null(quern_config_unread(c));
    assert_int_equal(quern_config_set(c, "threads", "2", QUERN_FROM_ENVIRONMENT, "x", NULL), 0);
    assert_null(quern_config_unread(c));
    assert_int_equal(quern_config_set(c, "batch", "2", QUERN_FROM_FLAG, "--batch", NULL), 0);
    assert_string_equal(quern_config_unread(c), "batch");
    assert_int_equal(quern_config_count(c, "batch"), 2);
    assert_null(quern_config_unread(c));
    quern_config_free(c);
}

static int conflict(const char *command, const char *a, const char *va, int sa, const char *b,
                    const char *vb, int sb)
{
    quern_config *c = fresh();
    assert_int_equal(quern_config_set(c, a, va, sa, "first", NULL), QUERN_OK);
    assert_int_equal(quern_config_set(c, b, vb, sb, "second", NULL), QUERN_OK);
    quern_error err = {0};
    int rc = quern_config_check(c, command, &err);
    if (rc != QUERN_OK)
        assert_true(strstr(err.msg, "first") && strstr(err.msg, "second"));
    quern_config_free(c);
    return rc;
}

static void conflicts_are_refused(void **state)
{
    (void)state;
    enum { FILE_ = QUERN_FROM_FILE, FLAG = QUERN_FROM_FLAG };
    assert_int_equal(conflict("source add", "table", "t", FLAG, "query", "q", FLAG), QUERN_EINVAL);
    assert_int_equal(conflict("source add", "table", "t", FILE_, "query", "q", FLAG), QUERN_EINVAL);
    assert_int_equal(conflict("search", "table", "t", FLAG, "query", "q", FLAG), QUERN_OK);
    assert_int_equal(conflict("fill", "wal", "yes", FLAG, "store", "s", FLAG), QUERN_EINVAL);
    assert_int_equal(conflict("fill", "wal", "no", FLAG, "store", "s", FLAG), QUERN_OK);
    assert_int_equal(conflict("embed", "offline", "yes", FLAG, "auto-pull", "yes", FLAG),
                     QUERN_EINVAL);
    assert_int_equal(conflict("embed", "offline", "yes", FLAG, "auto-pull", "yes", FILE_),
                     QUERN_OK);
    assert_int_equal(conflict("embed", "json", "yes", FLAG, "format", "npy", FLAG), QUERN_EINVAL);
    assert_int_equal(conflict("embed", "json", "yes", FLAG, "format", "json", FLAG), QUERN_OK);
    assert_int_equal(conflict("bench", "baseline", "a", FLAG, "save-baseline", "b", FLAG),
                     QUERN_EINVAL);
    quern_config *c = fresh();
    assert_int_equal(quern_config_set(c, "format", "npy", QUERN_FROM_FLAG, "--format", NULL), 0);
    assert_int_equal(quern_config_check(c, "embed", NULL), QUERN_OK);
    quern_error err = {0};
    assert_int_equal(quern_config_check(c, "add", &err), QUERN_EINVAL);
    assert_non_null(strstr(err.msg, "one of auto, text, jsonl, csv"));
    quern_config_free(c);
}

static int read_ini(quern_config *c, const void *text, size_t n, quern_error *err)
{
    FILE *f = fopen("test_options.ini", "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    int rc = quern_config_read_file(c, "test_options.ini", err);
    remove("test_options.ini");
    return rc;
}

static void ini_is_read(void **state)
{
    (void)state;
    static const char text[] =
        "\xEF\xBB\xBF# a comment\n"
        "; another, longer than a line may be ................................"
        "....................................................................."
        "..............................................................\r\n"
        "\n"
        "  batch = 16 ; with a remark\r\n"
        "model: somewhere/else\n"
        "source = a\nsource = b\n"
        "auto-pull = yes\n"
        "text = {title}. {body}";
    quern_config *c = fresh();
    quern_error err = {0};
    if (read_ini(c, text, sizeof text - 1, &err) != QUERN_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(quern_config_count(c, "batch"), 16);
    assert_string_equal(quern_config_origin(c, "batch"), "test_options.ini:4");
    assert_string_equal(quern_config_text(c, "model"), "somewhere/else");
    assert_string_equal(quern_config_text(c, "source"), "a\nb");
    assert_true(quern_config_flag(c, "auto-pull"));
    assert_string_equal(quern_config_text(c, "text"), "{title}. {body}");
    quern_config_free(c);
}

static void ini_faults_name_their_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *saying;
    } bad[] = {
        {"batch = 1\nbacth = 2\n", "test_options.ini:2: there is no option \"bacth\"; did you mean "
                                   "\"batch\"?"},
        {"\n\nbatch = many\n", "test_options.ini:3: batch = \"many\" is not a whole number"},
        {"batch = 1\n\nbatch = 2\n",
         "test_options.ini:3: batch is given twice (test_options.ini:1)"},
        {"[fill\nbatch = 1\n", "test_options.ini:1: a section is [name]"},
        {"[a b]\n", "test_options.ini:1: a section is [name]"},
        {"[]\n", "test_options.ini:1: a section is [name]"},
        {"[a] b\n", "test_options.ini:1: a section is [name]"},
        {"[aaaaaaaaaabbbbbbbbbbccccccccccddddddddddx]\n",
         "test_options.ini:1: a section is [name]"},
        {"[a]\nbatch = 0\n", "test_options.ini:2: batch = \"0\""},
        {"[a]\nbatsch = 1\n", "test_options.ini:2: there is no option \"batsch\"; did you mean"},
        {"[a]\nbatch = 1\n[b]\nbatch = 1\n[a]\nbatch = 2\n",
         "test_options.ini:6: batch is given twice (test_options.ini:2)"},
        {"batch\n", "test_options.ini:1: expected name = value"},
        {"= 5\n", "test_options.ini:1: there is no option \"\""},
        {"config = other.ini\n", "test_options.ini:1: config"},
        {"hf-token = ok\ntimeout = x", "test_options.ini:2: timeout = \"x\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        quern_config *c = fresh();
        quern_error err = {0};
        assert_int_equal(read_ini(c, bad[i].text, strlen(bad[i].text), &err), QUERN_EINVAL);
        if (!strstr(err.msg, bad[i].saying))
            fail_msg("\"%s\" does not say \"%s\"", err.msg, bad[i].saying);
        quern_config_free(c);
    }
    char line[400] = "where = ";
    memset(line + 8, 'x', 300);
    quern_config *c = fresh();
    quern_error err = {0};
    assert_int_equal(read_ini(c, line, strlen(line), &err), QUERN_EINVAL);
    assert_non_null(strstr(err.msg, "too long"));
    assert_int_equal(read_ini(c, "db = a\0b\n", 9, &err), QUERN_EINVAL);
    assert_non_null(strstr(err.msg, "NUL"));
    assert_int_equal(quern_config_read_file(c, "/nonexistent/quern.ini", &err), QUERN_EINVAL);
    assert_non_null(strstr(err.msg, "/nonexistent/quern.ini"));
    quern_config_free(c);
}

static int read_env(char *entry, quern_config *c, quern_error *err)
{
    char *environment[] = {(char[]){"PATH=/bin"}, entry, NULL};
    return quern_config_read_environment(c, environment, err);
}

static void environment_is_read(void **state)
{
    (void)state;
    quern_config *c = fresh();
    quern_error err = {0};
    assert_int_equal(read_env((char[]){"QUERN_LOG=debug"}, c, &err), QUERN_OK);
    assert_string_equal(quern_config_text(c, "log-level"), "debug");
    assert_int_equal(read_env((char[]){"HF_TOKEN=abc"}, c, &err), QUERN_OK);
    assert_string_equal(quern_config_text(c, "hf-token"), "abc");
    assert_int_equal(read_env((char[]){"QUERN_BATCH="}, c, &err), QUERN_OK);
    assert_false(quern_config_is_set(c, "batch"));
    assert_int_equal(read_env((char[]){"QUERN_BATCH=x"}, c, &err), QUERN_EINVAL);
    assert_non_null(strstr(err.msg, "QUERN_BATCH: \"x\" is not"));
    assert_int_equal(read_env((char[]){"QUERN_THREDS=2"}, c, &err), QUERN_EINVAL);
    assert_non_null(strstr(err.msg, "QUERN_THREADS"));
    /* somebody else's names */
    assert_int_equal(read_env((char[]){"QUERN_SERVICE_HOST=10.0.0.1"}, c, &err), QUERN_OK);
    assert_int_equal(read_env((char[]){"QUERN_TEST_MODEL=x"}, c, &err), QUERN_OK);
    assert_int_equal(read_env((char[]){"QUERN_LONG=1"}, c, &err), QUERN_OK);
    quern_config_free(c);
}

static void nearest_word(void **state)
{
    (void)state;
    static const char *const words[] = {"embed", "search", "similarity", "status", "tokenize"};
    assert_string_equal(quern_nearest("serach", words, 5), "search");
    assert_string_equal(quern_nearest("statsu", words, 5), "status");
    assert_string_equal(quern_nearest("tok", words, 5), "tokenize");
    assert_string_equal(quern_nearest("similarty", words, 5), "similarity");
    assert_null(quern_nearest("s", words, 5));
    assert_null(quern_nearest("", words, 5));
    assert_null(quern_nearest(NULL, words, 5));
    assert_null(quern_nearest("completely-different", words, 5));
    char huge[500];
    memset(huge, 'e', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    assert_null(quern_nearest(huge, words, 5));
    assert_null(quern_nearest("embed", NULL, 0));
}

static void public_text_helpers(void **state)
{
    (void)state;
    assert_int_equal(quern_utf8_check(quern_str_of("gr\xC3\xBC\xC3\x9F")), 6);
    assert_int_equal(quern_utf8_check(quern_str_of("ab\xFFz")), 2);
    assert_int_equal(quern_utf8_check(quern_str_of(NULL)), 0);
    char *out = NULL;
    size_t len = 0;
    quern_str bad = {"a\xE2\x82z\0\xFF", 6};
    assert_int_equal(quern_utf8_replace(&out, &len, bad, NULL), QUERN_OK);
    assert_int_equal(len, 9);
    assert_memory_equal(out, "a\xEF\xBF\xBDz\0\xEF\xBF\xBD", 10);
    quern_free(out);
    assert_int_equal(quern_utf8_replace(&out, NULL, quern_str_of(NULL), NULL), QUERN_OK);
    assert_string_equal(out, "");
    quern_free(out);
    assert_int_equal(quern_json_scan(quern_str_of("[[[[1]]]]"), 100, 3, 100, NULL), QUERN_EFORMAT);
    assert_int_equal(quern_json_scan(quern_str_of("[1,2,3]"), 100, 3, 100, NULL), QUERN_OK);
    assert_int_equal(quern_json_scan(quern_str_of("[1,2,3]"), 3, 3, 100, NULL), QUERN_EFORMAT);
}

/* A section holds where the model's name calls it, stronger than the file and weaker than the environment. */
static void sections(void **state)
{
    static const char ini[] = "model = far\nbatch = 1\nthreads = 2\n"
                              "[far]\nmodel = openai:big\nbatch = 3\nmax-inputs = 5\n"
                              "[near]\nmodel = small\nbatch = 4\n"
                              "[bare]\nbatch = 9\n";
    (void)state;
    quern_error err = {0};
    quern_config *c = fresh();
    assert_int_equal(quern_config_set(c, "max-inputs", "6", QUERN_FROM_ENVIRONMENT, "E", NULL), 0);
    assert_int_equal(read_ini(c, ini, sizeof ini - 1, &err), 0);
    assert_int_equal(quern_config_count(c, "batch"), 1); /* not chosen yet */
    assert_int_equal(quern_config_choose(c, &err), 0);
    assert_string_equal(quern_config_text(c, "model"), "openai:big");
    assert_int_equal(quern_config_count(c, "batch"), 3);
    assert_int_equal(quern_config_count(c, "threads"), 2);
    assert_int_equal(quern_config_count(c, "max-inputs"), 6);
    assert_string_equal(quern_config_origin(c, "batch"), "test_options.ini:6");
    quern_config_free(c);
    c = fresh();
    assert_int_equal(quern_config_set(c, "model", "near", QUERN_FROM_FLAG, "--model", NULL), 0);
    assert_int_equal(read_ini(c, ini, sizeof ini - 1, &err), 0);
    assert_int_equal(quern_config_choose(c, &err), 0);
    assert_string_equal(quern_config_text(c, "model"), "small");
    assert_int_equal(quern_config_count(c, "batch"), 4);
    quern_config_free(c);
    c = fresh();
    assert_int_equal(quern_config_set(c, "model", "bare", QUERN_FROM_FLAG, "--model", NULL), 0);
    assert_int_equal(read_ini(c, ini, sizeof ini - 1, &err), 0);
    assert_int_equal(quern_config_choose(c, &err), QUERN_EINVAL);
    assert_non_null(strstr(err.msg, "[bare] has no line"));
    quern_config_free(c);
    c = fresh();
    assert_int_equal(quern_config_set(c, "model", "none", QUERN_FROM_FLAG, "--model", NULL), 0);
    assert_int_equal(read_ini(c, ini, sizeof ini - 1, &err), 0);
    assert_int_equal(quern_config_choose(c, &err), 0); /* a model of the shelf */
    assert_int_equal(quern_config_count(c, "batch"), 1);
    quern_config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_whole),        cmocka_unit_test(applies_to_commands),
        cmocka_unit_test(every_type_is_checked), cmocka_unit_test(sections),
        cmocka_unit_test(values_come_back),      cmocka_unit_test(the_stronger_origin_wins),
        cmocka_unit_test(ignored_flags_show),    cmocka_unit_test(conflicts_are_refused),
        cmocka_unit_test(ini_is_read),           cmocka_unit_test(ini_faults_name_their_line),
        cmocka_unit_test(environment_is_read),   cmocka_unit_test(nearest_word),
        cmocka_unit_test(public_text_helpers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
