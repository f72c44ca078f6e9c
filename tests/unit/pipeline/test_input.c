/* test_input.c — JSON Lines and CSV: what comes out, and what is refused with which line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "pipeline/record_reader.h"

typedef struct bytes {
    const char *data;
    size_t n, at, step; /* step: bytes a read gives at most, to try every split */
} bytes;

static int read_bytes(void *ud, void *buf, size_t n, size_t *got, quern_error *err)
{
    bytes *b = ud;
    (void)err;
    size_t left = b->n - b->at;
    *got = left < n ? left : n;
    if (b->step && *got > b->step)
        *got = b->step;
    memcpy(buf, b->data + b->at, *got);
    b->at += *got;
    return QUERN_OK;
}

typedef int (*next_fn)(quern__input *in, json_t **object, quern_error *err);

/* All records as canonical JSON, one a line; or the error's message. */
static int read_all(next_fn next, const char *data, size_t n, size_t step, size_t max, char *out,
                    size_t size)
{
    bytes b = {data, n, 0, step};
    quern__input in;
    quern_error err = {0};
    assert_int_equal(quern__input_init(&in, "f", read_bytes, &b, max, &err), QUERN_OK);
    size_t used = 0;
    int rc;
    out[0] = '\0';
    for (;;) {
        json_t *o = NULL;
        rc = next(&in, &o, &err);
        if (rc != QUERN_OK || !o)
            break;
        char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
        used += (size_t)snprintf(out + used, size - used, "%s\n", text);
        free(text);
        json_decref(o);
    }
    if (rc != QUERN_OK)
        snprintf(out, size, "%s", err.msg);
    quern__input_dispose(&in);
    return rc;
}

static void gives_bytes(next_fn next, const char *data, size_t n, const char *want)
{
    char got[4096];
    for (size_t step = 0; step < 5; step++) {
        int rc = read_all(next, data, n, step, 1000, got, sizeof got);
        if (rc != QUERN_OK || strcmp(got, want) != 0)
            fail_msg("step %zu: wanted\n%sgot\n%s", step, want, got);
    }
}

static void gives(next_fn next, const char *data, const char *want)
{
    gives_bytes(next, data, strlen(data), want);
}

static void refuses_bytes(next_fn next, const char *data, size_t n, const char *part)
{
    char got[4096];
    int rc = read_all(next, data, n, 0, 1000, got, sizeof got);
    assert_int_equal(rc, QUERN_EFORMAT);
    if (!strstr(got, part))
        fail_msg("wanted \"%s\" in: %s", part, got);
}

static void refuses(next_fn next, const char *data, const char *part)
{
    refuses_bytes(next, data, strlen(data), part);
}

static void jsonl_good(void **state)
{
    (void)state;
    gives(quern__jsonl_next, "", "");
    gives(quern__jsonl_next, "\n \r\n", "");
    gives(quern__jsonl_next, "{\"b\":1,\"a\":\"x\"}\n", "{\"a\":\"x\",\"b\":1}\n");
    gives(quern__jsonl_next, "\xEF\xBB\xBF{\"a\":1}\r\n\n{\"a\":2}", "{\"a\":1}\n{\"a\":2}\n");
}

static void jsonl_bad(void **state)
{
    (void)state;
    refuses(quern__jsonl_next, "{\"a\":1}\n\n[1]\n", "f:3: not a JSON object");
    refuses(quern__jsonl_next, "{\"a\":1}\n{\"a\":}\n", "f:2: ");
    refuses(quern__jsonl_next, "{\"a\":1,\"a\":2}\n", "f:1: duplicate");
    refuses(quern__jsonl_next, "{\"a\":\"\\u0000\"}\n", "f:1: ");
    refuses(quern__jsonl_next, "{\"a\":\"\xFF\"}\n", "f:1: not UTF-8 at byte 6");
    refuses_bytes(quern__jsonl_next, "{\"a\":1}\n{\"\0\":1}\n", 16, "f:2: a NUL at byte 2");
    char deep[200];
    memset(deep, '[', 100);
    snprintf(deep + 100, 100, "\n");
    refuses(quern__jsonl_next, deep, "f:1: ");
    char wide[1200];
    memset(wide, ' ', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    refuses(quern__jsonl_next, wide, "f:1: the record is longer than 1000 bytes");
}

static void csv_good(void **state)
{
    (void)state;
    gives(quern__csv_next, "", "");
    gives(quern__csv_next, "a,b\n", "");
    gives(quern__csv_next, "a,b\n1,\"x, \"\"y\"\"\"\n", "{\"a\":\"1\",\"b\":\"x, \\\"y\\\"\"}\n");
    gives(quern__csv_next,
          "\xEF\xBB\xBF"
          "a,b\r\n1,\"two\r\nlines\"\r\n\r\n3,",
          "{\"a\":\"1\",\"b\":\"two\\r\\nlines\"}\n{\"a\":\"3\",\"b\":\"\"}\n");
    gives(quern__csv_next, "a\n\"\"\nx\n", "{\"a\":\"x\"}\n");
}

static void csv_bad(void **state)
{
    (void)state;
    refuses(quern__csv_next, "a,b\n1\n", "f:2: 1 fields where the header has 2");
    refuses(quern__csv_next, "a,b\n\"1\n2\",3\n4,5,6\n", "f:4: 3 fields");
    refuses(quern__csv_next, "a,a\n", "f:1: the header names column a twice");
    refuses(quern__csv_next, "a,,b\n", "f:1: column 2 has no name");
    refuses(quern__csv_next, "a\nx\"y\n", "f:2: a quote inside");
    refuses(quern__csv_next, "a\n\"x\"y\n", "f:2: a character behind the closing quote");
    refuses(quern__csv_next, "a\n\"xy\n", "f:2: a quote is opened here");
    refuses(quern__csv_next, "a\nx\ry\n", "f:2: a carriage return");
    refuses(quern__csv_next, "a\n\xC3(\n", "f:2: not UTF-8 at byte 0");
    refuses_bytes(quern__csv_next, "a\nx\0\n", 5, "f:2: a NUL at byte 1");
}

/* ---- records to documents ---- */

static int shape(const char *record, const quern__shape *how, char *id, char *fields, size_t size,
                 quern_error *err)
{
    bytes b = {record, strlen(record), 0, 0};
    quern__input in;
    assert_int_equal(quern__input_init(&in, "f", read_bytes, &b, 100000, err), QUERN_OK);
    json_t *o = NULL;
    assert_int_equal(quern__jsonl_next(&in, &o, err), QUERN_OK);
    quern__buf bid;
    quern__buf bf;
    quern__buf_init(&bid, 10000);
    quern__buf_init(&bf, 100000);
    size_t n = 0;
    int rc = quern__shape_record(&in, how, o, &bid, &bf, &n, err);
    snprintf(id, size, "%.*s", (int)bid.len, bid.data ? bid.data : "");
    snprintf(fields, size, "%.*s", (int)bf.len, bf.data ? bf.data : "");
    json_decref(o);
    quern__buf_dispose(&bid);
    quern__buf_dispose(&bf);
    quern__input_dispose(&in);
    return rc;
}

static void shapes(void **state)
{
    (void)state;
    char id[500];
    char fields[500];
    quern_error err = {0};
    quern__shape how = {.max_bytes = 100};
    assert_int_equal(shape("{\"id\":7,\"body\":\"x\",\"n\":1.5}", &how, id, fields, 500, &err), 0);
    assert_string_equal(id, "7");
    assert_string_equal(
        fields, "{\"body\":\"x\",\"id\":7,\"n\":1.5,\"properties\":{\"n\":1.5},\"text\":\"x\"}");
    assert_int_equal(shape("{\"text\":\"t\",\"body\":\"x\"}", &how, id, fields, 500, &err), 0);
    assert_string_equal(id, "");
    assert_string_equal(fields, "{\"body\":\"x\",\"properties\":{\"body\":\"x\"},\"text\":\"t\"}");
    assert_int_equal(shape("{\"title\":\"t\"}", &how, id, fields, 500, &err), QUERN_EFORMAT);
    assert_non_null(strstr(
        err.msg, "f:1: no field text, body or content for the text (this record has: title)"));
    assert_int_equal(shape("{\"id\":\"\",\"text\":\"t\"}", &how, id, fields, 500, &err),
                     QUERN_EFORMAT);
    assert_int_equal(shape("{\"id\":[1],\"text\":\"t\"}", &how, id, fields, 500, &err),
                     QUERN_EFORMAT);
    assert_int_equal(shape("{\"text\":{\"a\":1}}", &how, id, fields, 500, &err), QUERN_EFORMAT);
    how.id_field = "key";
    assert_int_equal(shape("{\"id\":1,\"text\":\"t\"}", &how, id, fields, 500, &err),
                     QUERN_EFORMAT);
    how.max_bytes = 3;
    assert_int_equal(shape("{\"key\":1,\"text\":\"four\"}", &how, id, fields, 500, &err),
                     QUERN_EFORMAT);
    assert_non_null(strstr(err.msg, "f:1: the document's text is over 3 bytes"));
}

/* What has no use of its own becomes properties, beside those that are given. */
static void properties_of(const char *record, const quern__shape *how, const char *want)
{
    char id[500];
    char fields[1000];
    quern_error err = {0};
    assert_int_equal(shape(record, how, id, fields, 1000, &err), 0);
    const char *got = strstr(fields, "\"properties\":");
    assert_int_equal(got != NULL, want != NULL);
    if (want)
        assert_memory_equal(got + 13, want, strlen(want));
}

static void other_fields_become_properties(void **state)
{
    (void)state;
    quern_error err = {0};
    quern__template *t = NULL;
    quern__shape how = {.max_bytes = 100};
    properties_of("{\"id\":1,\"text\":\"t\",\"page\":2,\"section\":\"s\",\"references\":[]}", &how,
                  NULL);
    properties_of("{\"text\":\"t\",\"z\":null,\"a\":{\"b\":[1]},\"properties\":{\"c\":1,\"a\":2}}",
                  &how, "{\"a\":2,\"c\":1,\"z\":null}");
    properties_of("{\"text\":\"t\",\"z\":1,\"properties\":null}", &how, "{\"z\":1}");
    properties_of("{\"text\":\"t\",\"z\":1,\"properties\":\"{}\"}", &how, "\"{}\"");
    how.id_field = "key";
    properties_of("{\"key\":\"k\",\"id\":5,\"text\":\"t\"}", &how, "{\"id\":5}");
    how.id_field = NULL;
    assert_int_equal(quern__template_parse(&t, "{title} {tags|join=\" \"} {a.b}", &err), 0);
    how.template = t;
    properties_of("{\"title\":\"T\",\"tags\":[\"x\"],\"a\":{\"b\":1,\"c\":2},\"more\":true}", &how,
                  "{\"a\":{\"b\":1,\"c\":2},\"more\":true,\"tags\":[\"x\"]}");
    quern__template_free(t);
    char *record = test_malloc(70000);
    char id[500];
    char *fields = test_malloc(200000);
    memset(record, 'x', 69999);
    memcpy(record, "{\"text\":\"t\",\"z\":\"", 17);
    memcpy(record + 69990, "\"}", 3);
    how.template = NULL;
    assert_int_equal(shape(record, &how, id, fields, 500, &err), QUERN_EFORMAT);
    assert_non_null(strstr(err.msg, "at most 65536"));
    test_free(record);
    test_free(fields);
}

static void shapes_by_template(void **state)
{
    (void)state;
    char id[500];
    char fields[500];
    quern_error err = {0};
    quern__template *t = NULL;
    assert_int_equal(quern__template_parse(&t, "{title}. {body}", &err), 0);
    quern__shape how = {.template = t, .max_bytes = 100};
    assert_int_equal(shape("{\"title\":\"T\",\"body\":42}", &how, id, fields, 500, &err), 0);
    assert_string_equal(fields, "{\"body\":42,\"text\":\"T. 42\",\"title\":\"T\"}");
    assert_int_equal(shape("{\"body\":\"B\"}", &how, id, fields, 500, &err), 0);
    assert_string_equal(fields, "{\"body\":\"B\",\"text\":\"B\"}");
    assert_int_equal(shape("{\"x\":\"B\"}", &how, id, fields, 500, &err), QUERN_EFORMAT);
    how.max_bytes = 2;
    assert_true(shape("{\"title\":\"T\",\"body\":42}", &how, id, fields, 500, &err) < 0);
    assert_non_null(strstr(err.msg, "f:1: the document's text is over 2 bytes"));
    quern__template_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jsonl_good),
        cmocka_unit_test(jsonl_bad),
        cmocka_unit_test(csv_good),
        cmocka_unit_test(csv_bad),
        cmocka_unit_test(shapes),
        cmocka_unit_test(shapes_by_template),
        cmocka_unit_test(other_fields_become_properties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
