/*
 * postgres_text.c — the text index: a tsvector a document, under GIN. Words come ready made, so a tsvector is spelled out
 * with each word's position and no text search configuration, parser or dictionary of the server's is asked: its answers
 * depend on the database's locale, and parse "a.b@c" its own way. A query is spelled out likewise, each word quoted.
 *
 * Ranks: how many of the query's words a document has, then ts_rank_cd with its value brought below 1 (normalisation
 * 32). ts_rank_cd alone would put one word many times above all words once.
 */
#include "store/postgres/postgres_store.h"

#include <inttypes.h>
#include <string.h>

#include "text/words.h"

enum { SPELLED_BYTES = 16 << 20, QUERY_BYTES = 64 * 1024, INSERT_BYTES = 8 << 20 };

/* 'word', quotes and backslashes doubled. */
static void put_word(quern__buf *out, quern_str word)
{
    quern__buf_putc(out, '\'');
    for (size_t i = 0; i < word.len; i++) {
        if (word.ptr[i] == '\'' || word.ptr[i] == '\\')
            quern__buf_putc(out, word.ptr[i]);
        quern__buf_putc(out, word.ptr[i]);
    }
    quern__buf_putc(out, '\'');
}

static void spell_words(quern_str words, quern__buf *out)
{
    enum { LAST_POSITION = 16383 };
    quern_str word;
    for (int position = 1; quern__words_next(&words, &word); position++) {
        put_word(out, word);
        quern__buf_printf(out, ":%d ", position < LAST_POSITION ? position : LAST_POSITION);
    }
}

static int put_texts(quern__postgres *s, int64_t generation, quern__pg_array *a, quern_error *err)
{
    quern__pg_params p;
    quern__pg_params_init(&p);
    quern__pg_int(&p, generation);
    for (int i = 0; i < 3; i++)
        quern__pg_bind_array(&p, &a[i]);
    int rc = quern__postgres_run(
        s,
        "INSERT INTO @texts AS t SELECT $1, d.key, d.revision, CAST(d.words AS tsvector)"
        " FROM unnest($2::text[], $3::text[], $4::text[]) AS d (key, revision, words)"
        " ON CONFLICT (generation, key) DO UPDATE SET revision = excluded.revision,"
        " words = excluded.words WHERE t.revision <> excluded.revision",
        &p, NULL, err);
    for (int i = 0; i < 3; i++)
        quern__pg_array_clear(&a[i]);
    return rc;
}

int quern__postgres_text_put(quern__postgres *s, int64_t generation, const quern_save *docs,
                             const uint8_t *stored, size_t n, quern_error *err)
{
    quern__pg_array a[3];
    quern__buf spelled;
    size_t bytes = 0;
    int rc = QUERN_OK;
    quern__buf_init(&spelled, SPELLED_BYTES);
    for (int i = 0; i < 3; i++)
        quern__pg_array_init(&a[i], QUERN__PG_TEXT, 0);
    for (size_t i = 0; i < n && !rc; i++) {
        if (!stored[i] || !docs[i].words.ptr)
            continue;
        quern__buf_clear(&spelled);
        spell_words(docs[i].words, &spelled);
        rc = quern__buf_ok(&spelled, "the words of a document", err);
        quern__pg_array_bytes(&a[0], docs[i].key.ptr, docs[i].key.len);
        quern__pg_array_bytes(&a[1], docs[i].stamp.revision.ptr, docs[i].stamp.revision.len);
        quern__pg_array_bytes(&a[2], spelled.data, spelled.len);
        bytes += spelled.len;
        if (!rc && bytes > INSERT_BYTES) {
            rc = put_texts(s, generation, a, err);
            bytes = 0;
        }
    }
    if (!rc && a[0].n)
        rc = put_texts(s, generation, a, err);
    for (int i = 0; i < 3; i++)
        quern__pg_array_dispose(&a[i]);
    quern__buf_dispose(&spelled);
    return rc;
}

int quern__postgres_text_count(void *self, int64_t generation, uint64_t *documents,
                               quern_error *err)
{
    quern__pg_params p;
    int64_t n = 0;
    quern__pg_params_init(&p);
    quern__pg_int(&p, generation);
    int rc = quern__postgres_scalar(self, "SELECT count(*) FROM @texts WHERE generation = $1", &p,
                                    &n, err);
    *documents = (uint64_t)n;
    return rc < 0 ? rc : QUERN_OK;
}

/* The operator is @@, so the statement is put together here and not by quern__postgres_query. */
static int ask(quern__postgres *s, const quern__pg_params *p, quern__pg_result **r,
               quern_error *err)
{
    quern__buf sql;
    quern__buf_init(&sql, 8192);
    quern__buf_printf(
        &sql,
        "SELECT t.key, t.revision, (SELECT count(*) FROM unnest($3::text[]) AS w (word)"
        " WHERE t.words @@ CAST(w.word AS tsquery)) +"
        " ts_rank_cd(t.words, CAST($2 AS tsquery), 32)::float8 AS score"
        " FROM %stexts AS t WHERE t.generation = $1 AND t.words @@ CAST($2 AS tsquery)"
        " ORDER BY score DESC, t.key LIMIT $4",
        s->prefix);
    int rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = quern__pg_query(s->own, sql.data, p, QUERN__PG_AS_BINARY, r, err);
    quern__buf_dispose(&sql);
    return rc;
}

int quern__postgres_text_find(void *self, int64_t generation, const quern_str *words, size_t n,
                              size_t k,
                              int (*fn)(quern_str key, quern_str revision, double score, void *ud),
                              void *ud, quern_error *err)
{
    quern__pg_params p;
    quern__pg_array each;
    quern__buf any;
    quern__pg_result *r = NULL;
    if (n == 0 || k == 0)
        return QUERN_OK;
    quern__buf_init(&any, QUERY_BYTES);
    quern__pg_array_init(&each, QUERN__PG_TEXT, 0);
    for (size_t i = 0; i < n; i++) {
        size_t from = any.len;
        put_word(&any, words[i]);
        if (!any.failed)
            quern__pg_array_bytes(&each, any.data + from, any.len - from);
        if (i + 1 < n)
            quern__buf_puts(&any, " | ");
    }
    int rc = quern__buf_ok(&any, "a text query", err);
    quern__pg_params_init(&p);
    quern__pg_int(&p, generation);
    quern__pg_text(&p, (quern_str){any.data, any.len});
    quern__pg_bind_array(&p, &each);
    quern__pg_int(&p, (int64_t)k);
    if (!rc)
        rc = ask(self, &p, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++)
        rc = fn(quern__pg_get_text(r, i, 0), quern__pg_get_text(r, i, 1),
                quern__pg_get_real(r, i, 2), ud);
    quern__pg_clear(r);
    quern__buf_dispose(&any);
    quern__pg_array_dispose(&each);
    return rc;
}
