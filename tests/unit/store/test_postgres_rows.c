/* test_postgres_rows.c — what is PostgreSQL's own about reading and saving: keys and columns of its types, names
 * that need quotes, rows that are no documents, two savers of one document. The server is the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "quern/sys/store.h"
#include "store/store.h"
#include "support/postgres_server.h"

enum { MOST = 64, WIDE = 6000 };

static postgres_server server;
static PGconn *conn;
static quern_store *store;

static void sql(const char *text)
{
    if (postgres_exec(conn, text))
        fail_msg("%s", text);
}

static quern_store *open_one(void)
{
    quern_store *s = NULL;
    quern_store_options opt;
    quern_error err;
    char db[300];
    QUERN_INIT(&opt);
    snprintf(db, sizeof db, "%spostgres", server.base);
    opt.db = db;
    if (quern_store_open(&s, &opt, &err))
        fail_msg("%s", err.msg);
    return s;
}

static quern_source_spec source(const char *table, const char *keys)
{
    quern_source_spec s;
    QUERN_INIT(&s);
    s.name = "it";
    s.table = table;
    s.keys = keys;
    s.text = "{title}";
    return s;
}

/* ---- what a scan or a fetch delivers, as text ---- */

typedef struct seen {
    size_t n;
    char key[MOST][WIDE], revision[MOST][80], fault[MOST][120], columns[MOST][WIDE];
} seen;

static void show(const quern_value *v, char *out, size_t size)
{
    if (v->type == QUERN_VALUE_NULL)
        snprintf(out, size, "null");
    else if (v->type == QUERN_VALUE_INT)
        snprintf(out, size, "i:%lld", (long long)v->integer);
    else if (v->type == QUERN_VALUE_REAL)
        snprintf(out, size, "r:%.9g", v->real);
    else
        snprintf(out, size, "%c:%.*s", v->type == QUERN_VALUE_TEXT ? 't' : 'b', (int)v->bytes.len,
                 v->bytes.ptr);
}

static int see(const quern_row *row, void *ud)
{
    seen *v = ud;
    size_t used = 0;
    assert_true(v->n < MOST);
    snprintf(v->key[v->n], WIDE, "%.*s", (int)row->key.len, row->key.ptr);
    snprintf(v->revision[v->n], 80, "%.*s", (int)row->revision.len, row->revision.ptr);
    snprintf(v->fault[v->n], 120, "%s", row->fault ? row->fault : "");
    v->columns[v->n][0] = '\0';
    for (size_t i = 0; i < row->n_columns && used + 4 < WIDE; i++) {
        used += (size_t)snprintf(v->columns[v->n] + used, WIDE - used, "%s", i ? " " : "");
        show(&row->columns[i], v->columns[v->n] + used, WIDE - used);
        used = strlen(v->columns[v->n]);
    }
    v->n++;
    return 0;
}

#define T store->table
static void scan(const quern_read *read, size_t limit, seen *v)
{
    quern_error err;
    size_t before;
    memset(v, 0, sizeof *v);
    do {
        before = v->n;
        quern_str after = quern_str_of(before ? v->key[before - 1] : NULL);
        if (T.scan(store->self, read, after, limit, see, v, &err))
            fail_msg("%s", err.msg);
    } while (v->n - before == limit);
}

static size_t fetch(const quern_read *read, const char *key)
{
    seen v = {0};
    quern_error err;
    quern_str k = quern_str_of(key);
    if (T.fetch(store->self, read, &k, 1, see, &v, &err))
        fail_msg("%s: %s", key, err.msg);
    return v.n;
}

/* Keys that no column of another type may stumble over. */
static const char *const strange[] = {"1.5",
                                      "-7",
                                      "99999999999999",
                                      "\"\"",
                                      "\"no such thing\"",
                                      "\"zero\\u0000byte\"",
                                      "{\"blob\":\"00fe\"}",
                                      "[1,\"x\"]",
                                      "1e300",
                                      "\"2020-13-45\"",
                                      "{\"fault\":\"00\",\"n\":1}",
                                      "nonsense"};

/* All rows in pages of every size come in one order and once, and each is found again by its key. */
static void every_way(const quern_read *read, size_t want)
{
    static seen all, v;
    scan(read, MOST, &all);
    assert_int_equal(all.n, want);
    for (size_t limit = 1; limit <= want + 1; limit++) {
        scan(read, limit, &v);
        assert_int_equal(v.n, want);
        for (size_t i = 0; i < want; i++)
            assert_string_equal(v.key[i], all.key[i]);
    }
    for (size_t i = 0; i < want; i++) {
        assert_string_equal(all.fault[i], "");
        assert_int_equal(fetch(read, all.key[i]), 1);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(all.key[i], all.key[k]);
    }
    for (size_t i = 0; i < QUERN__COUNT(strange); i++)
        assert_int_equal(fetch(read, strange[i]), 0);
}

static void keys_of_every_type(void **state)
{
    (void)state;
    static const struct {
        const char *type, *values, *a_key; /* a_key: one that must be there */
        size_t n;
    } cases[] = {
        {"smallint", "(1),(-5),(300)", "300", 3},
        {"integer", "(1),(2147483647),(-2147483648)", "-2147483648", 3},
        {"bigint", "(1),(9223372036854775807),(-9223372036854775808)", "9223372036854775807", 3},
        {"text", "('a'),('B'),('b'),('ä'),('a b'),('\"'),('\\')", "\"\\\\\"", 7},
        {"text COLLATE \"C\"", "('a'),('B'),('b')", "\"B\"", 3},
        {"varchar(20)", "('a'),('B'),('b')", "\"B\"", 3},
        {"char(5)", "('a'),('B'),('b b')", "\"b b\"", 3},
        {"name", "('a'),('B')", "\"B\"", 2},
        {"uuid",
         "('00000000-0000-0000-0000-0000000000AB'),('ffffffff-0000-0000-0000-000000000000')",
         "\"00000000-0000-0000-0000-0000000000ab\"", 2},
        {"numeric", "(1),(1.50),(-3e20),('NaN'),(0.000001)", "\"1.50\"", 5},
        {"double precision", "(1),(0.1),(-1e300),(1e-300)", "0.1", 4},
        {"real", "(1),(0.1),(3.4e38)", "0.1", 3},
        {"bytea", "('\\x00ff'),('\\x'),('abc')", "{\"blob\":\"\"}", 3},
        {"boolean", "(true),(false)", "\"true\"", 2},
        {"date", "('2020-02-29'),('infinity'),('0044-03-15 BC')", "\"0044-03-15 BC\"", 3},
        {"timestamp", "('2020-02-29 12:00:00.5'),('-infinity')", "\"2020-02-29 12:00:00.5\"", 2},
        {"timestamptz",
         "('2020-02-29 12:00:00+02'),('2020-02-29 12:00:00+01'),('infinity'),"
         "('0044-03-15 00:00:00+00 BC')",
         "\"2020-02-29 10:00:00+00\"", 4},
        {"interval", "('1 day'),('2 hours')", "\"PT2H\"", 2},
        {"inet", "('10.0.0.1'),('::1')", "\"10.0.0.1/32\"", 2},
        {"mood", "('sad'),('happy'),('a \"b')", "\"happy\"", 3},
        {"tiny", "(3),(4)", "4", 2},
    };
    sql("CREATE TYPE mood AS ENUM ('sad', 'happy', 'a \"b'); CREATE DOMAIN tiny AS integer CHECK "
        "(VALUE < 10)");
    sql("SET TimeZone = 'America/New_York'");
    for (size_t i = 0; i < QUERN__COUNT(cases); i++) {
        char text[600];
        snprintf(text, sizeof text,
                 "DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (k %s PRIMARY KEY, title text);"
                 "INSERT INTO t (k) VALUES %s; CREATE VIEW w AS SELECT * FROM t",
                 cases[i].type, cases[i].values);
        sql(text);
        quern_source_spec spec = source("t", "k");
        quern_read read = {.source = &spec};
        every_way(&read, cases[i].n);
        if (!fetch(&read, cases[i].a_key))
            fail_msg("%s: there is no key %s", cases[i].type, cases[i].a_key);
        if (strcmp(cases[i].type, "numeric") == 0)
            assert_int_equal(fetch(&read, "\"1.5\""), 0); /* equal, but another spelling */
        spec = source("w", "k");                          /* a view proves nothing */
        every_way(&read, cases[i].n);
    }
}

static void keys_of_several_columns(void **state)
{
    (void)state;
    sql("DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (a integer, b text, c uuid, title text,"
        " PRIMARY KEY (b, a, c));"
        "INSERT INTO t SELECT i % 3, 'x' || i % 5, CAST(md5(CAST(i AS text)) AS uuid), 't' || i"
        " FROM generate_series(1, 30) AS i; CREATE VIEW w AS SELECT * FROM t");
    quern_source_spec spec = source("t", "a, b ,c");
    quern_read read = {.source = &spec};
    every_way(&read, 30);
    assert_int_equal(fetch(&read, "[1,\"x1\",\"c4ca4238-a0b9-2382-0dcc-509a6f75849b\"]"), 1);
    assert_int_equal(fetch(&read, "[1,\"x1\",\"c4ca4238\"]"), 0);
    spec = source("w", "c,b,a");
    every_way(&read, 30);
}

static void rows_without_a_key_are_faults(void **state)
{
    (void)state;
    static seen all, v;
    char text[200];
    sql("DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (k numeric, j text, title text);"
        "INSERT INTO t VALUES (1, 'a', 'one'), (1, 'a', 'two'), (1.0, 'a', 'other spelling'),"
        " (2, 'a', 'fine'), (2, 'b', 'fine'), (3, 'c', '1'), (3, 'c', '2'), (3, 'c', '3'),"
        " (NULL, 'a', 'x'), (1, NULL, 'y'), (NULL, NULL, 'z'), ('NaN', 'q', 'fine');"
        "CREATE VIEW w AS SELECT * FROM t");
    quern_source_spec spec = source("w", "k,j");
    quern_read read = {.source = &spec};
    scan(&read, MOST, &all);
    assert_int_equal(all.n, 12);
    size_t nulls = 0, twice = 0;
    for (size_t i = 0; i < all.n; i++) {
        nulls += strstr(all.fault[i], "is NULL") != NULL;
        twice += strstr(all.fault[i], "the same key") != NULL;
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(all.key[i], all.key[k]);
    }
    assert_int_equal(nulls, 3);
    assert_int_equal(twice, 5);
    for (size_t limit = 1; limit < 14; limit++) {
        scan(&read, limit, &v);
        assert_int_equal(v.n, 12);
        for (size_t i = 0; i < v.n; i++)
            assert_string_equal(v.fault[i], all.fault[i]);
    }
    assert_int_equal(fetch(&read, "[\"1.0\",\"a\"]"), 1);
    assert_int_equal(fetch(&read, "[\"NaN\",\"q\"]"), 1);
    sql("DROP VIEW w; DROP TABLE t; CREATE TABLE t (k double precision PRIMARY KEY, title text);"
        "INSERT INTO t VALUES ('NaN'), ('Infinity'), (1)");
    spec = source("t", "k");
    for (size_t limit = 1; limit < 5; limit++) {
        scan(&read, limit, &v);
        assert_int_equal(v.n, 3);
        assert_non_null(strstr(v.fault[1], "not a finite number"));
    }
    snprintf(text, sizeof text,
             "DROP TABLE t; CREATE TABLE t (k text PRIMARY KEY, title text);"
             "INSERT INTO t VALUES (repeat('x', 2597)), (repeat('x', 2600)), ('y')");
    sql(text);
    scan(&read, 1, &v);
    assert_int_equal(v.n, 3);
    assert_string_equal(v.fault[0], "");
    assert_non_null(strstr(v.fault[1], "PostgreSQL's indexes hold"));
}

static void columns_of_every_type(void **state)
{
    (void)state;
    static const char *const columns[] = {"i", "b",  "n",  "m",  "huge", "f",  "g",   "nan",
                                          "j", "jb", "ar", "ia", "by",   "ts", "nul", "e"};
    static seen v;
    sql("DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (k int PRIMARY KEY, title text, i smallint,"
        " b boolean, n numeric, m numeric(10,2), huge numeric, f double precision, g real,"
        " nan double precision, j json, jb jsonb, ar text[], ia int[], by bytea, ts timestamptz,"
        " nul text, e char(4));"
        "INSERT INTO t VALUES (1, 't', 7, true, 12.00, 12.50, 12345678901234567890, 0.1, 0.1,"
        " 'NaN', '{\"a\" : 1}', '{\"a\" : 1}', ARRAY['x', 'y \"z'], ARRAY[1, NULL], '\\x4142',"
        " '2020-01-01 00:00:00+01', NULL, 'ab')");
    quern_source_spec spec = source("t", "k");
    quern_read read = {.source = &spec, .columns = columns, .n_columns = QUERN__COUNT(columns)};
    spec.revision = "ts";
    scan(&read, 10, &v);
    assert_string_equal(v.columns[0],
                        "i:7 t:true i:12 r:12.5 t:12345678901234567890 r:0.1 r:0.1 null"
                        " t:{\"a\" : 1} t:{\"a\": 1} t:[\"x\",\"y \\\"z\"] t:[1,null] b:AB"
                        " t:2019-12-31 23:00:00+00 null t:ab");
    assert_string_equal(v.revision[0], "2019-12-31 23:00:00+00");
    spec.revision = "by";
    scan(&read, 10, &v);
    assert_string_equal(v.revision[0], "4142");
}

static void names_predicates_and_since(void **state)
{
    (void)state;
    static seen v;
    quern_error err;
    uint64_t n = 0;
    sql("DROP SCHEMA IF EXISTS \"Sa\"\"les\" CASCADE; CREATE SCHEMA \"Sa\"\"les\";"
        "CREATE TABLE \"Sa\"\"les\".\"we\"\"ird; --\" (\"k k\" int PRIMARY KEY, \"ti\"\"tle\" text,"
        " rev int, day date);"
        "INSERT INTO \"Sa\"\"les\".\"we\"\"ird; --\" SELECT i, 't' || i, NULLIF(i, 5),"
        " date '2020-01-01' + i FROM generate_series(1, 10) AS i");
    static const char *const columns[] = {"ti\"tle"};
    quern_source_spec spec = source("Sa\"les.we\"ird; --", "k k");
    quern_read read = {.source = &spec, .columns = columns, .n_columns = 1};
    scan(&read, 3, &v);
    assert_int_equal(v.n, 10);
    assert_string_equal(v.columns[0], "t:t1");
    spec.where = "\"k k\" % 2 = 1 -- odd";
    scan(&read, 2, &v);
    assert_int_equal(v.n, 5);
    assert_int_equal(fetch(&read, "2"), 0);
    assert_int_equal(fetch(&read, "3"), 1);
    spec.where = NULL;
    spec.revision = "rev";
    read.since = "9";
    scan(&read, 2, &v);
    assert_int_equal(v.n, 3); /* 9, 10 and the one without */
    assert_int_equal(T.count(store->self, &read, &n, &err), QUERN_OK);
    assert_int_equal(n, 3);
    assert_int_equal(fetch(&read, "10"), 1);
    spec.revision = "day";
    read.since = "2020-01-10";
    scan(&read, 1, &v);
    assert_int_equal(v.n, 2);
    read.since = "when pigs fly";
    assert_int_equal(T.count(store->self, &read, &n, &err), QUERN_EINVAL);
    assert_non_null(strstr(err.msg, "when pigs fly"));
    read.since = NULL;
    spec.table = NULL;
    spec.query = "SELECT \"k k\", 'q' AS \"ti\"\"tle\", day FROM \"Sa\"\"les\".\"we\"\"ird; --\"";
    scan(&read, 3, &v);
    assert_int_equal(v.n, 10);
    spec.query = "SELECT 1 AS nothing";
    assert_int_equal(T.count(store->self, &read, &n, &err), QUERN_EINVAL);
    spec = source("no.such", "k");
    assert_int_equal(T.count(store->self, &read, &n, &err), QUERN_ENOTFOUND);
    assert_non_null(strstr(err.msg, "no.such"));
}

/* ---- saving ---- */

static int64_t build(const char *type, uint32_t dimensions)
{
    int64_t id = 0;
    quern_error err;
    quern_source_spec spec = source("t", "k");
    quern_generation g = {.model = "m", .dimensions = dimensions};
    snprintf(g.vector_type, sizeof g.vector_type, "%s", type);
    snprintf(g.fingerprint, sizeof g.fingerprint, "%064d", 7);
    T.source_remove(store->self, "it", &err);
    if (T.source_put(store->self, &spec, 0, &err) ||
        T.generation_build(store->self, "it", &g, "{}", &id, &err))
        fail_msg("%s", err.msg);
    return id;
}

typedef struct intent {
    quern_store *other; /* saves the same document while we are asked about it */
    const quern_read *read;
    const quern_save *docs;
    size_t n;
} intent;

static int yes(const quern_row *row, size_t i, void *ud)
{
    const intent *w = ud;
    (void)row, (void)i;
    if (w && w->other && i == 0) {
        uint8_t stored[4];
        quern_error err;
        if (w->other->table.save(w->other->self, w->read, w->docs, w->n, yes, NULL, stored, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(stored[0], 1);
    }
    return 1;
}

static int take_vector(const quern_chunk *c, void *ud)
{
    memcpy(ud, c->vector, 16);
    return 0;
}

static void vectors_keep_their_bits(void **state)
{
    (void)state;
    static const uint8_t halves[16] = {0x00, 0x80, 0x01, 0x00, 0xff, 0x7b, 0xff, 0x03,
                                       0x00, 0x3c, 0x01, 0x3c, 0xff, 0xfb, 0x00, 0x04};
    static const uint8_t floats[16] = {0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80,
                                       0xff, 0xff, 0x7f, 0x7f, 0xdb, 0x0f, 0x49, 0x40};
    sql("DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (k int PRIMARY KEY, title text);"
        "INSERT INTO t VALUES (1, 'x')");
    for (int f32 = 0; f32 < 2; f32++) {
        uint8_t stored = 0, got[16] = {0};
        quern_error err;
        quern_source_spec spec = source("t", "k");
        quern_chunk chunk = {.end = 1, .vector = f32 ? floats : halves};
        quern_save doc = {.key = {"1", 1}, .chunks = &chunk};
        quern_read read = {.source = &spec};
        read.generation = build(f32 ? "f32" : "f16", f32 ? 4 : 8);
        doc.stamp = (quern_stamp){.outcome = QUERN_OUTCOME_OK, .chunks = 1, .revision = {"r", 1}};
        if (T.save(store->self, &read, &doc, 1, yes, NULL, &stored, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(stored, 1);
        assert_int_equal(T.chunks(store->self, read.generation, doc.key, take_vector, got, &err),
                         QUERN_OK);
        assert_memory_equal(got, chunk.vector, 16);
    }
}

static int count_refs(const int64_t *refs, const void *data, size_t n, void *ud)
{
    (void)refs, (void)data;
    *(size_t *)ud += n;
    return 0;
}

/* Both read a row that has no stamp; who commits second leaves the document to the first. */
static void two_savers_of_a_first_stamp(void **state)
{
    (void)state;
    static const float mine[4] = {1, 0, 0, 0}, his[4] = {0, 1, 0, 0};
    float got[4] = {0};
    uint8_t stored[2] = {9, 9};
    size_t n = 0;
    quern_error err;
    sql("DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (k int PRIMARY KEY, title text);"
        "INSERT INTO t VALUES (1, 'x'), (2, 'y')");
    quern_source_spec spec = source("t", "k");
    quern_read read = {.source = &spec};
    quern_chunk a = {.end = 1, .vector = mine}, b = {.end = 1, .vector = his};
    quern_save ours[2] = {{.key = {"1", 1}, .chunks = &a}, {.key = {"2", 1}, .chunks = &a}};
    quern_save theirs = {.key = {"1", 1}, .chunks = &b};
    ours[0].stamp = ours[1].stamp = theirs.stamp =
        (quern_stamp){.outcome = QUERN_OUTCOME_OK, .chunks = 1, .revision = {"r", 1}};
    read.generation = build("f32", 4);
    intent w = {.other = open_one(), .read = &read, .docs = &theirs, .n = 1};
    if (T.save(store->self, &read, ours, 2, yes, &w, stored, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(stored[0], 0);
    assert_int_equal(stored[1], 1);
    T.chunks(store->self, read.generation, ours[0].key, take_vector, got, &err);
    assert_memory_equal(got, his, sizeof his);
    T.vectors(store->self, read.generation, count_refs, &n, &err);
    assert_int_equal(n, 2);
    quern_store_free(w.other);
    w.other = NULL; /* the same document twice in one save: the last is what stays */
    quern_save twice[2] = {ours[0], ours[0]};
    twice[1].chunks = &b;
    if (T.save(store->self, &read, twice, 2, yes, &w, stored, &err))
        fail_msg("%s", err.msg);
    n = 0;
    T.vectors(store->self, read.generation, count_refs, &n, &err);
    assert_int_equal(n, 2);
    T.chunks(store->self, read.generation, ours[0].key, take_vector, got, &err);
    assert_memory_equal(got, his, sizeof his);
    quern_generation g;
    assert_int_equal(T.generation_find(store->self, "it", "building", &g, &err), QUERN_OK);
    assert_int_equal(g.chunks, 2);
}

/* ---- many keys at once ---- */

typedef struct in_order {
    quern_str *keys; /* as they were asked for */
    size_t n, at;
    size_t gone; /* every so manieth has no row; 0: all have one */
    int64_t drop;
} in_order;

static int next_of(const quern_row *row, void *ud)
{
    in_order *w = ud;
    if (w->drop) { /* a row that was not read yet is one that can go */
        char text[80];
        snprintf(text, sizeof text, "DELETE FROM many WHERE id = %lld", (long long)w->drop);
        w->drop = 0;
        sql(text);
    }
    while (w->gone && w->at % w->gone == 1)
        w->at++;
    assert_true(w->at < w->n);
    assert_int_equal(row->key.len, w->keys[w->at].len);
    assert_memory_equal(row->key.ptr, w->keys[w->at].ptr, row->key.len);
    w->at++;
    return 0;
}

/* In the caller's order; and long rows are not held by the hundred. */
static void many_keys_in_parts(void **state)
{
    enum { MANY = 600, LONG_ROWS = 64 };
    (void)state;
    quern_error err;
    quern_str keys[MANY];
    char text[MANY][24];
    sql("DROP TABLE IF EXISTS many; CREATE TABLE many (id bigint PRIMARY KEY, title text);"
        "INSERT INTO many SELECT i, 't' FROM generate_series(1, 600) AS i");
    quern_source_spec spec = source("many", "id");
    spec.name = "many";
    static const char *const columns[] = {"title"};
    quern_read read = {.source = &spec, .columns = columns, .n_columns = 1};
    assert_int_equal(T.source_put(store->self, &spec, 0, &err), QUERN_OK);
    for (size_t i = 0; i < MANY; i++) { /* from the last; some are not there, some come twice */
        snprintf(text[i], sizeof text[i], "%zu", i % 7 == 1 ? 1000 + i : (MANY - i) / 2 + 1);
        keys[i] = quern_str_of(text[i]);
    }
    in_order w = {.keys = keys, .n = MANY, .gone = 7};
    if (T.fetch(store->self, &read, keys, MANY, next_of, &w, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(w.at, MANY);
    sql("UPDATE many SET title = repeat('x', 200000) WHERE id <= 64");
    for (size_t i = 0; i < LONG_ROWS; i++) {
        snprintf(text[i], sizeof text[i], "%zu", i + 1);
        keys[i] = quern_str_of(text[i]);
    }
    w = (in_order){.keys = keys, .n = LONG_ROWS, .drop = LONG_ROWS};
    if (T.fetch(store->self, &read, keys, LONG_ROWS, next_of, &w, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(w.at, LONG_ROWS - 1);
}

/* No transaction of ours is left behind, whatever a callback or a fault did. */
static void nothing_stays_open(void **state)
{
    (void)state;
    PGresult *r = PQexec(conn, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'");
    assert_string_equal(PQgetvalue(r, 0, 0), "0");
    PQclear(r);
}

static void documents_that_cannot_be_held(void **state)
{
    (void)state;
    int64_t batch;
    uint64_t duplicates = 0;
    quern_error err;
    quern_source_spec docs;
    char longest[4000];
    memset(longest, 'x', sizeof longest);
    QUERN_INIT(&docs);
    docs.name = "documents";
    docs.text = "{text}";
    T.source_put(store->self, &docs, 0, &err);
    assert_int_equal(T.stage_begin(store->self, "documents", &batch, &err), QUERN_OK);
    quern_document d = {.id = {"a\0b", 3}, .fields = {"{}", 2}, .origin = {"f", 1}};
    assert_int_equal(T.stage_put(store->self, batch, &d, 1, &duplicates, &err), QUERN_EINVAL);
    assert_non_null(strstr(err.msg, "zero byte"));
    d.id = (quern_str){longest, sizeof longest};
    assert_int_equal(T.stage_put(store->self, batch, &d, 1, &duplicates, &err), QUERN_EINVAL);
    assert_non_null(strstr(err.msg, "4000"));
    d.id = (quern_str){longest, 2598};
    d.origin = (quern_str){longest, sizeof longest};
    assert_int_equal(T.stage_put(store->self, batch, &d, 1, &duplicates, &err), QUERN_OK);
    quern_publish_report report = {0};
    int more = 1;
    while (more)
        assert_int_equal(T.stage_publish(store->self, batch, NULL, 0, &report, &more, &err),
                         QUERN_OK);
    assert_int_equal(report.added, 1);
}

static int start(void **state)
{
    (void)state;
    if (postgres_start(&server))
        return -1;
    conn = postgres_connect(&server, "postgres");
    if (!conn || postgres_exec(conn, "SET client_min_messages = warning; CREATE EXTENSION vector"))
        return -1;
    store = open_one();
    return 0;
}

static int stop(void **state)
{
    (void)state;
    quern_store_free(store);
    PQfinish(conn);
    postgres_stop(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_every_type),
        cmocka_unit_test(keys_of_several_columns),
        cmocka_unit_test(rows_without_a_key_are_faults),
        cmocka_unit_test(columns_of_every_type),
        cmocka_unit_test(names_predicates_and_since),
        cmocka_unit_test(vectors_keep_their_bits),
        cmocka_unit_test(two_savers_of_a_first_stamp),
        cmocka_unit_test(documents_that_cannot_be_held),
        cmocka_unit_test(many_keys_in_parts),
        cmocka_unit_test(nothing_stays_open),
    };
    return cmocka_run_group_tests_name("rows, postgres", tests, start, stop);
}
