/*
 * bench_fill.c — what a fill costs beside the model: rows of a table through scan, cut, save and scan again.
 *
 *     bench_fill DB ROWS [CALL_MS [INDEX]]
 *
 * DB is a SQLite file or postgres://…; without a source `items` its table is made first. The embedder is no model: its tokens
 * are words, its 384 dimensions hashed from the text, and each call lasts CALL_MS (0), as a provider's would. The
 * first fill writes everything; the second finds everything current, by the revision column. Prints times and the
 * most memory the process ever held.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/os.h"
#include "db/sqlite_db.h"
#ifdef QUERN_POSTGRES
#include "db/postgres_db.h"
#endif
#include "quern/pipeline.h"
#include "quern/sys/embedder.h"
#include "quern/vector.h"

enum { DIMENSIONS = 384 };

static quern_error err;
static uint32_t call_ms;
static quern_fill_options fill_options;

static void need(int rc, const char *what)
{
    if (rc == QUERN_OK)
        return;
    fprintf(stderr, "bench_fill: %s: %s\n", what, err.msg);
    exit(1);
}

/* ---- the embedder ---- */

static int embed(void *self, const quern_str *texts, size_t n, const quern_embed_options *opt,
                 float *out, quern_embed_result *results, quern_error *e)
{
    (void)self, (void)opt;
    if (call_ms)
        quern__sleep_ms(call_ms);
    for (size_t i = 0; i < n; i++) {
        uint64_t h = 1469598103934665603u;
        for (size_t k = 0; k < texts[i].len; k++)
            h = (h ^ (unsigned char)texts[i].ptr[k]) * 1099511628211u;
        for (size_t d = 0; d < DIMENSIONS; d++) {
            h = h * 6364136223846793005u + 1442695040888963407u;
            out[i * DIMENSIONS + d] = (float)((double)(h >> 40) / 8388608.0 - 1.0);
        }
        int rc = quern_normalize(out + i * DIMENSIONS, DIMENSIONS, e);
        if (rc != QUERN_OK)
            return rc;
        if (results)
            memset(&results[i], 0, sizeof results[i]);
    }
    return QUERN_OK;
}

static int fingerprint(void *self, char **json, quern_error *e)
{
    static const char text[] = "{\"weights\":\"none\"}";
    (void)self, (void)e;
    *json = quern_alloc(sizeof text);
    if (!*json)
        return QUERN_ENOMEM;
    memcpy(*json, text, sizeof text);
    return QUERN_OK;
}

static int tokenize(void *self, quern_str text, quern_tokens **out, quern_error *e)
{
    (void)self, (void)e;
    size_t n = 2;
    for (size_t i = 0; i < text.len; i++)
        n += text.ptr[i] != ' ' && (i == 0 || text.ptr[i - 1] == ' ');
    char *block = quern_alloc(sizeof(quern_tokens) + n * 13);
    if (!block)
        return QUERN_ENOMEM;
    quern_tokens *t = (quern_tokens *)(void *)block;
    int32_t *ids = (int32_t *)(void *)(block + sizeof *t);
    uint32_t *start = (uint32_t *)(void *)(ids + n), *end = start + n;
    uint8_t *special = (uint8_t *)(end + n);
    memset(ids, 0, n * 13);
    special[0] = special[n - 1] = 1;
    size_t at = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool word = text.ptr[i] != ' ';
        if (word && (i == 0 || text.ptr[i - 1] == ' '))
            start[++at] = (uint32_t)i;
        if (word)
            end[at] = (uint32_t)i + 1;
    }
    *t = (quern_tokens){n, ids, start, end, special};
    *out = t;
    return QUERN_OK;
}

/* ---- the table ---- */

static void make_items(const char *db, long rows)
{
    char insert[400];
    const char *make = "CREATE TABLE items (id INTEGER PRIMARY KEY, text TEXT, rev INTEGER)";
    if (strstr(db, "://")) {
#ifdef QUERN_POSTGRES
        quern__pg *c = NULL;
        snprintf(insert, sizeof insert,
                 "INSERT INTO items SELECT n, 'a short sentence that says number ' || n, 1"
                 " FROM generate_series(1, %ld) AS n",
                 rows);
        need(quern__pg_open(&c, db, 5000, &err), db);
        need(quern__pg_script(c, make, &err), make);
        need(quern__pg_script(c, insert, &err), insert);
        need(quern__pg_script(c, "ANALYZE items", &err), "ANALYZE");
        quern__pg_close(c);
#endif
        return;
    }
    quern__db *c = NULL;
    snprintf(insert, sizeof insert,
             "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %ld)"
             " INSERT INTO items SELECT n, 'a short sentence that says number ' || n, 1 FROM s",
             rows);
    need(quern__db_open(&c, db, QUERN__DB_CREATE, 5000, &err), db);
    need(quern__db_exec(c, make, &err), make);
    need(quern__db_exec(c, insert, &err), insert);
    quern__db_close(c);
}

static double peak_mib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024;
}

static void run(quern_store *s, quern_embedder *e, const char *what)
{
    quern_fill_report r;
    QUERN_INIT(&r);
    need(quern_fill(s, e, &fill_options, &r, &err), what);
    printf("%-16s %9llu rows, %9llu embedded, %8.2f s, %6.2f us a row, embedder busy %3.0f %%, "
           "peak %.0f MiB, index built in %.1f s\n",
           what, (unsigned long long)r.total, (unsigned long long)r.processed, r.seconds,
           r.seconds * 1e6 / (double)r.total, 100 * r.encode_seconds / r.seconds, peak_mib(),
           r.index_seconds);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s DB ROWS [CALL_MS [INDEX]]\n", argv[0]);
        return 2;
    }
    call_ms = argc > 3 ? (uint32_t)atol(argv[3]) : 0;
    QUERN_INIT(&fill_options);
    fill_options.index = argc > 4 ? argv[4] : "exact";
    quern_store *s = NULL;
    quern_embedder *e = NULL;
    quern_store_options o;
    quern_source_spec spec;
    quern_embedder_table t;
    memset(&t, 0, sizeof t);
    t.struct_size = sizeof t;
    t.name = "no model";
    t.dimensions = DIMENSIONS;
    t.max_length = 256;
    t.embed = embed;
    t.fingerprint = fingerprint;
    t.tokenize = tokenize;
    QUERN_INIT(&o);
    QUERN_INIT(&spec);
    o.db = argv[1];
    spec.name = spec.table = "items";
    spec.keys = "id";
    spec.text = "{text}";
    spec.revision = "rev";
    need(quern_embedder_from_table(&e, &t, NULL, &err), "embedder");
    need(quern_store_open(&s, &o, &err), "store");
    quern_source_list *list = NULL;
    need(quern_source_list_open(&list, s, &err), "sources");
    if (quern_source_list_count(list) == 0) {
        make_items(argv[1], atol(argv[2]));
        need(quern_source_add(s, &spec, &err), "source");
    }
    quern_source_list_free(list);
    run(s, e, "fill");
    run(s, e, "all current");
    quern_store_free(s);
    quern_embedder_free(e);
    return 0;
}
