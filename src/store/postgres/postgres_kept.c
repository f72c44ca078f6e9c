/*
 * postgres_kept.c — the texts of documents whose source keeps them, a row a document and generation, in the transactions
 * of its stamp. A zero byte, which PostgreSQL's text cannot hold, is kept as a blank: offsets stay what they are.
 */
#include "store/postgres/postgres_store.h"

#include <string.h>

#include "base/alloc.h"

enum { INSERT_BYTES = 8 << 20 };

int quern__postgres_put_arrays(quern__postgres *s, const char *sql, int64_t generation,
                               quern__pg_array *a, size_t n, quern_error *err)
{
    quern__pg_params p;
    if (!a[0].n)
        return QUERN_OK;
    quern__pg_params_init(&p);
    quern__pg_int(&p, generation);
    for (size_t i = 0; i < n; i++)
        quern__pg_bind_array(&p, &a[i]);
    int rc = quern__postgres_run(s, sql, &p, NULL, err);
    for (size_t i = 0; i < n; i++)
        quern__pg_array_clear(&a[i]);
    return rc;
}

static const char put_sql[] =
    "INSERT INTO @kept AS t (generation, key, revision, body) SELECT $1, d.key, d.revision, d.body"
    " FROM unnest($2, $3, $4) AS d(key, revision, body) ON CONFLICT (generation, key) DO UPDATE SET"
    " revision = excluded.revision, body = excluded.body";

static void put_body(quern__pg_array *a, quern_str text)
{
    char *room = quern__pg_array_room(a, text.len);
    for (size_t i = 0; room && i < text.len; i++)
        room[i] = text.ptr[i] ? text.ptr[i] : ' ';
}

int quern__postgres_kept_put(quern__postgres *s, int64_t generation, const quern_save *docs,
                             const uint8_t *stored, size_t n, quern_error *err)
{
    quern__pg_array a[3];
    size_t bytes = 0;
    int rc = QUERN_OK;
    for (int i = 0; i < 3; i++)
        quern__pg_array_init(&a[i], QUERN__PG_TEXT, 0);
    for (size_t i = 0; i < n && !rc; i++) {
        if (!stored[i] || !docs[i].text.ptr)
            continue;
        quern__pg_array_bytes(&a[0], docs[i].key.ptr, docs[i].key.len);
        quern__pg_array_bytes(&a[1], docs[i].stamp.revision.ptr, docs[i].stamp.revision.len);
        put_body(&a[2], docs[i].text);
        bytes += docs[i].text.len;
        if (bytes > INSERT_BYTES) {
            rc = quern__postgres_put_arrays(s, put_sql, generation, a, 3, err);
            bytes = 0;
        }
    }
    if (!rc)
        rc = quern__postgres_put_arrays(s, put_sql, generation, a, 3, err);
    for (int i = 0; i < 3; i++)
        quern__pg_array_dispose(&a[i]);
    return rc;
}

int quern__postgres_kept_each(void *self, int64_t generation, const quern_str *keys, size_t n,
                              int (*fn)(quern_str key, quern_str revision, quern_str text,
                                        void *ud),
                              void *ud, quern_error *err)
{
    quern__pg_params p;
    quern__pg_array a;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&p);
    quern__pg_array_init(&a, QUERN__PG_TEXT, 0);
    for (size_t i = 0; i < n; i++)
        quern__pg_array_bytes(&a, keys[i].ptr, keys[i].len);
    quern__pg_int(&p, generation);
    quern__pg_bind_array(&p, &a);
    int rc = quern__postgres_query(
        self, "SELECT key, revision, body FROM @kept WHERE generation = $1 AND key = ANY ($2)", &p,
        QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++)
        rc = fn(quern__pg_get_text(r, i, 0), quern__pg_get_text(r, i, 1),
                quern__pg_get_text(r, i, 2), ud);
    quern__pg_clear(r);
    quern__pg_array_dispose(&a);
    return rc;
}

int quern__postgres_kept_size(void *self, int64_t generation, uint64_t *documents, uint64_t *bytes,
                              quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    *documents = *bytes = 0;
    quern__pg_params_init(&p);
    quern__pg_int(&p, generation);
    int rc = quern__postgres_query(self,
                                   "SELECT count(*), coalesce(sum(octet_length(body)), 0)::bigint"
                                   " FROM @kept WHERE generation = $1",
                                   &p, QUERN__PG_AS_TEXT, &r, err);
    if (!rc && quern__pg_rows(r)) {
        *documents = (uint64_t)quern__pg_get_int(r, 0, 0);
        *bytes = (uint64_t)quern__pg_get_int(r, 0, 1);
    }
    quern__pg_clear(r);
    return rc;
}

int quern__postgres_kept_drop(void *self, int64_t generation, int *more, quern_error *err)
{
    quern__pg_params p;
    int64_t went = 0;
    quern__pg_params_init(&p);
    quern__pg_int(&p, generation);
    int rc = quern__postgres_run(self,
                                 "DELETE FROM @kept WHERE generation = $1 AND key IN"
                                 " (SELECT key FROM @kept WHERE generation = $1 LIMIT 500)",
                                 &p, &went, err);
    *more = !rc && went > 0;
    return rc;
}
