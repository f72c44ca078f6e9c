/*
 * postgres_requeue.c — marks stamps as asked for again, a thousand in a transaction, in the order in which whoever
 * saves locks them. The mark is a column of the stamp and not its removal: a document without a stamp would
 * vanish from searches until it is embedded anew.
 */
#include "store/postgres/postgres_store.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

enum { STAMPS = 1000 };

typedef struct marking {
    quern__postgres *s;
    int64_t generation;
    int what;
    const quern_str *keys; /* of this transaction */
    size_t n;
    const char *after; /* else: the last key looked at */
    char *last;        /* looked at now; NULL: there was none */
    int64_t marked;
} marking;

static const char by_key[] =
    "WITH part AS (SELECT key FROM @stamps WHERE generation = $1 AND key = ANY ($2)"
    " ORDER BY key FOR UPDATE), done AS (UPDATE @stamps AS t SET redo = true FROM part"
    " WHERE t.generation = $1 AND t.key = part.key RETURNING 1)"
    " SELECT NULL::text, count(*) FROM done";
static const char in_order[] =
    "WITH part AS (SELECT key FROM @stamps WHERE generation = $1 AND key > $2"
    " ORDER BY key LIMIT $3 FOR UPDATE), done AS (UPDATE @stamps AS t SET redo = true FROM part"
    " WHERE t.generation = $1 AND t.key = part.key AND ($4 = 0 OR t.outcome = $4) RETURNING 1)"
    " SELECT (SELECT max(key) FROM part), (SELECT count(*) FROM done)";

static int mark(void *ud, quern_error *err)
{
    marking *m = ud;
    quern__pg_generation g;
    quern__pg_params p;
    quern__pg_array keys;
    quern__pg_result *r = NULL;
    quern__free(m->last); /* of an attempt that was rolled back */
    m->last = NULL;
    int rc = quern__postgres_generation_get(m->s, m->generation, true, &g, err);
    if (!rc && strcmp(g.state, "retired") == 0)
        rc = quern__fail(err, QUERN_EMISMATCH, m->generation,
                         "generation %" PRId64 " is retired; nothing in it can be asked for again",
                         m->generation);
    if (rc)
        return rc;
    quern__pg_array_init(&keys, QUERN__PG_TEXT, 0);
    quern__pg_params_init(&p);
    quern__pg_int(&p, m->generation);
    if (m->what == QUERN_REQUEUE_KEYS) {
        for (size_t i = 0; i < m->n; i++)
            quern__pg_array_bytes(&keys, m->keys[i].ptr, m->keys[i].len);
        quern__pg_bind_array(&p, &keys);
    } else {
        quern__pg_text(&p, quern_str_of(m->after));
        quern__pg_int(&p, STAMPS);
        quern__pg_int(&p, m->what == QUERN_REQUEUE_FAILED ? QUERN_OUTCOME_FAILED : 0);
    }
    rc = quern__postgres_query(m->s, m->what == QUERN_REQUEUE_KEYS ? by_key : in_order, &p,
                               QUERN__PG_AS_TEXT, &r, err);
    if (!rc && !quern__pg_is_null(r, 0, 0)) {
        quern_str last = quern__pg_get_text(r, 0, 0);
        m->last = quern__strndup(last.ptr, last.len);
        if (!m->last)
            rc = quern__fail_memory(err, last.len);
    }
    if (!rc)
        m->marked = quern__pg_get_int(r, 0, 1);
    quern__pg_clear(r);
    quern__pg_array_dispose(&keys);
    return rc;
}

int quern__postgres_requeue(void *self, int64_t generation, int what, const quern_str *keys,
                            size_t n, uint64_t *marked, quern_error *err)
{
    quern__postgres *s = self;
    marking m = {.s = s, .generation = generation, .what = what};
    char *after = NULL;
    int rc = QUERN_OK;
    *marked = 0;
    for (size_t at = 0; !rc; at += STAMPS) {
        m.keys = keys + QUERN__MIN(at, n);
        m.n = QUERN__MIN(n - QUERN__MIN(at, n), (size_t)STAMPS);
        m.after = after ? after : "";
        rc = quern__pg_transact(s->own, QUERN__PG_WRITE, mark, &m, err);
        *marked += rc ? 0 : (uint64_t)m.marked;
        quern__free(after);
        after = m.last;
        m.last = NULL;
        if (what == QUERN_REQUEUE_KEYS ? at + STAMPS >= n : !after)
            break;
    }
    quern__free(after);
    return rc;
}
