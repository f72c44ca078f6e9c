/*
 * kept.c — excerpts of the text that was embedded, for sources that keep it: what a hit is about stays visible where the
 * text cannot be had from the row again, as when a program has built it. Only the hits are asked for, when all else is
 * known; a text counts while it is of the very stamp that made its row a hit.
 */
#include "base/compiler.h"
#include "search/excerpt.h"
#include "search/search_run.h"

static int take_text(quern_str key, quern_str revision, quern_str text, void *ud)
{
    quern__search_run *r = ud;
    for (size_t i = 0; i < r->n_list; i++) {
        quern__candidate *c = &r->list[i];
        if (c->part != r->part || quern__compare_bytes(c->key, key) != 0 ||
            quern__compare_bytes(c->revision, revision) != 0)
            continue;
        quern__buf line;
        quern__buf_init(&line, 2u * QUERN__EXCERPT_BYTES);
        quern__excerpt(text, c->start, c->end, &line);
        int rc = quern__buf_ok(&line, "an excerpt", r->err);
        if (rc == QUERN_OK &&
            !(c->excerpt = quern__arena_copy(&r->arena, line.data ? line.data : "", line.len)))
            rc = quern__fail_memory(r->err, line.len);
        quern__buf_dispose(&line);
        if (rc != QUERN_OK)
            return rc;
    }
    return QUERN_OK;
}

int quern__search_kept(quern__search_run *r, quern_error *err)
{
    quern_str keys[QUERN__SEARCH_PAGE];
    r->err = err;
    for (r->part = 0; r->part < r->n_parts; r->part++) {
        const quern__search_part *p = &r->parts[r->part];
        if (!p->recipe->keeps || !r->s->table.kept_each)
            continue;
        for (size_t at = 0; at < r->n_list;) {
            size_t n = 0;
            for (; at < r->n_list && n < QUERN__SEARCH_PAGE; at++)
                if (r->list[at].part == r->part)
                    keys[n++] = r->list[at].key;
            int rc =
                n ? r->s->table.kept_each(r->s->self, p->generation.id, keys, n, take_text, r, err)
                  : QUERN_OK;
            if (rc != QUERN_OK)
                return rc;
        }
    }
    return QUERN_OK;
}
