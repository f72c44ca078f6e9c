/*
 * sqlite_search.c — exact search as SQL that needs no extension: the query as a JSON array, the elements of stored vectors
 * taken out of their blobs by hand. Slow (about a microsecond an element); it is for looking at, for checking and
 * for small tables. The library itself never runs it.
 */
#include <inttypes.h>

#include "base/buf.h"
#include "store/sqlite/sqlite_store.h"

/* Byte number `byte` of element q.i, out of its hexadecimal spelling x.h. */
static void put_byte(quern__buf *sql, int byte, unsigned factor)
{
    static const char digits[] = "'123456789ABCDEF'"; /* instr of '0' is 0 */
    quern__buf_printf(sql, "instr(%s, substr(h, %d, 1)) * %u + instr(%s, substr(h, %d, 1)) * %u",
                      digits, 2 * byte + 1, 16 * factor, digits, 2 * byte + 2, factor);
}

static void put_statement(quern__buf *sql, int64_t generation, size_t element)
{
    quern__buf_puts(sql,
                    "-- ?1: the vector of the query, '[0.1,0.2,...]'; ?2: how many documents\n"
                    "WITH query AS MATERIALIZED (SELECT key AS i, value AS x FROM json_each(?1)),\n"
                    "chunks AS (\n    SELECT c.key, c.chunk, (\n        SELECT sum(x * ");
    if (element == 2)
        quern__buf_puts(
            sql, "(1 - (u >> 15) * 2) * CASE (u >> 10) & 31 WHEN 0 THEN (u & 1023) / 16777216.0"
                 "\n            ELSE (1024 + (u & 1023)) * (1 << ((u >> 10) & 31)) / "
                 "33554432.0 END)");
    else
        quern__buf_puts(sql,
                        "(1 - (u >> 31) * 2) * CASE WHEN (u >> 23) & 255 < 88 THEN 0\n"
                        "            ELSE (8388608 + (u & 8388607)) * (1.0 * (1 << (((u >> 23) & "
                        "255) - 88))) / 4611686018427387904.0 END)");
    quern__buf_puts(sql, "\n        FROM (SELECT x, ");
    for (int byte = 0; byte < (int)element; byte++) {
        quern__buf_puts(sql, byte ? "\n            + " : "");
        put_byte(sql, byte, 1u << (8 * byte));
    }
    quern__buf_printf(
        sql,
        " AS u\n            FROM (SELECT x, hex(substr(v.data, %zu * i + 1, %zu)) AS h"
        " FROM query))\n    ) AS similarity\n"
        "    FROM quern_chunks AS c JOIN quern_vectors AS v ON v.id = c.id\n"
        "    JOIN quern_stamps AS s ON s.generation = c.generation AND s.key = c.key AND"
        " s.outcome = 1\n    WHERE c.generation = %" PRId64
        "\n), best AS (SELECT key, chunk, max(similarity) AS similarity FROM chunks GROUP BY"
        " key)\n"
        "SELECT key, chunk, similarity FROM best\nORDER BY similarity DESC, ltrim(key, '-')"
        " GLOB '*[^0-9]*',\n         CASE WHEN ltrim(key, '-') NOT GLOB '*[^0-9]*' THEN"
        " CAST(key AS INTEGER) END, key\nLIMIT ?2;\n",
        element, element, generation);
}

int quern__sqlite_search_sql(void *self, int64_t generation, int way, char **sql, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    quern__buf b;
    bool half = true;
    *sql = NULL;
    if (way != QUERN_INDEX_EXACT)
        return quern__fail(err, QUERN_EUNSUPPORTED, generation,
                           "no SQL for this: SQLite has no such index; there is kind exact");
    int rc = quern__db_prepare(
        s->own, "SELECT vector_type = 'f16' FROM quern_generations WHERE id = ?1", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, generation);
    rc = quern__db_step(s->own, stmt, err);
    if (rc == 1)
        half = quern__db_get_int(stmt, 0) != 0;
    quern__db_finish(s->own, stmt);
    if (rc <= 0)
        return rc ? rc
                  : quern__fail(err, QUERN_ENOTFOUND, generation, "there is no generation %" PRId64,
                                generation);
    quern__buf_init(&b, 16384);
    put_statement(&b, generation, half ? 2 : 4);
    rc = quern__buf_ok(&b, "a statement", err);
    if (!rc && !(*sql = quern__buf_detach(&b)))
        rc = quern__fail_memory(err, b.len);
    quern__buf_dispose(&b);
    return rc;
}
