/*
 * fill_build.c — in place of what the template made of a batch's documents, what the program builds of them. Before the
 * batch is cut, when no statement is open: the program may well ask the same database.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/compiler.h"
#include "pipeline/build.h"
#include "pipeline/fill_run.h"
#include "text/prepare.h"
#include "text/utf8.h"

typedef struct building {
    fill_batch *b;
    size_t which[FILL_DOCS]; /* document of each that is built */
    quern_error *err;
} building;

static int fail_document(building *w, fill_doc *d, const char *reason)
{
    size_t n = strlen(reason);
    if (quern__utf8_check(reason, n) != n) { /* it is kept in the database */
        reason = "its builder gave a reason that is not UTF-8";
        n = strlen(reason);
    }
    n = quern__utf8_floor(reason, n, QUERN__MIN(n, (size_t)FILL_REASON));
    d->code = QUERN_EFORMAT;
    d->text = (quern_str){"", 0};
    d->reason = quern__arena_copy(&w->b->arena, reason, n);
    return d->reason ? QUERN_OK : quern__fail_memory(w->err, n);
}

/* What the builder names in place of what the columns do. */
static int take_assets(building *w, fill_doc *d, const quern_built *built)
{
    const fill_run *r = w->b->run;
    char why[QUERN__SIGHT_REASON];
    uint32_t most = quern__settings_assets(r->recipe, &r->settings);
    bool same = d->sight ? built->assets == d->sight->assets && built->n_assets == d->sight->n
                         : !built->n_assets;
    if (same)
        return QUERN_OK;
    if (!most)
        return quern__fail(w->err, QUERN_EINVAL, (int64_t)built->n_assets,
                           "document builder %s: it names assets, and its max_assets is 0",
                           r->opt->builder->id);
    d->sight = quern__arena_alloc(&w->b->arena, sizeof *d->sight);
    if (!d->sight)
        return quern__fail_memory(w->err, sizeof *d->sight);
    int rc = quern__sight_take(built->assets, built->n_assets, most, &w->b->arena, d->sight, why,
                               w->err);
    return rc == QUERN_OK && why[0] ? fail_document(w, d, why) : rc;
}

static int take_built(const quern_built *built, size_t i, void *ud)
{
    building *w = ud;
    const fill_run *r = w->b->run;
    fill_doc *d = &w->b->docs[w->which[i]];
    char why[FILL_REASON];
    if (built->fault)
        return fail_document(w, d, built->fault);
    if (built->text.len > r->max_bytes) {
        snprintf(why, sizeof why, "%zu bytes > %" PRIu64, built->text.len, r->max_bytes);
        return fail_document(w, d, why);
    }
    size_t bad = built->text.len ? quern__utf8_check(built->text.ptr, built->text.len) : 0;
    if (bad < built->text.len) {
        snprintf(why, sizeof why, "not UTF-8 at byte %zu of its built text", bad);
        return fail_document(w, d, why);
    }
    char *text =
        quern__arena_copy(&w->b->arena, built->text.len ? built->text.ptr : "", built->text.len);
    if (!text)
        return quern__fail_memory(w->err, built->text.len);
    d->text = (quern_str){text, quern__prepare(r->recipe->prepare, text, built->text.len)};
    return take_assets(w, d, built);
}

int quern__fill_build(fill_batch *b, quern_error *err)
{
    const quern_document_builder *builder = b->run->opt->builder;
    quern_built docs[FILL_DOCS];
    building w = {.b = b, .err = err};
    size_t n = 0;
    for (size_t i = 0; builder && i < b->n_docs; i++) {
        if (b->docs[i].reason || b->docs[i].no_text)
            continue;
        w.which[n] = i;
        docs[n] = (quern_built){.key = b->docs[i].key, .text = b->docs[i].text};
        if (b->docs[i].sight) {
            docs[n].assets = b->docs[i].sight->assets;
            docs[n].n_assets = b->docs[i].sight->n;
        }
        n++;
    }
    return n ? quern__build(builder, docs, n, take_built, &w, err) : QUERN_OK;
}
