/*
 * fill_watermark.c — where a fill begins that comes after one that was cut off.
 *
 * A run looks at every row, always: nothing else can tell that a row was edited. So a watermark never says which rows are
 * looked at, only with which to begin. While a run saves, it notes now and then the key up to which it has found, or made,
 * every row current, in the order of the scan: a prefix without a hole. The next run begins behind that key, goes on to the last
 * row, and then takes the rows from the first up to where it began. What is left of a first build is thus gone on with at
 * once, however short-lived the runs are, and an edit in front of the watermark is found in the same run, by the same
 * comparison as ever. A run that has seen all rows takes the note away.
 *
 * Nothing depends on the key being right. One that the source cannot have (the key columns were changed, the note was
 * damaged) begins at the first row; one whose row is gone, or that an older backup brought back, merely begins elsewhere.
 *
 * Where the first part began is recognised by the first row that it saw. When that one has gone meanwhile, the second part
 * has run on to the last row, and rows were counted twice: then all of it is counted once more, from the first row.
 *
 * Rejected: leaving out the rows in front of the watermark until a full scan once a day (an edit, a requeue, a lost vector would
 * wait that long); a prefix that is put in order again by all that makes rows stale (each forgotten place would be a wrong
 * vector). Runs that may not take all rows (limit, since), or take them for other reasons (force, tasks, a dry run, a
 * schedule's pick), neither use nor make one: with a limit, edits in front of it would wait for the end of the build.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "pipeline/fill_run.h"

enum { KEY_BYTES = 1 << 20, KEY_VALUES = 64 };
static const uint64_t NOTE_NS = 1000000000u; /* between two notes */

static bool uses_watermark(const fill_run *r)
{
    const quern_store_table *t = &r->s->table;
    const quern_fill_options *o = r->opt;
    return t->watermark_get && t->watermark_put && r->generation.id && !o->dry_run && !o->limit &&
           !o->since && !o->force && !(r->aim && (r->aim->tasks || r->aim->pick));
}

static bool is_key(const char *text)
{
    quern_value values[KEY_VALUES];
    char *storage = NULL;
    size_t n = 0;
    bool good = strlen(text) < KEY_BYTES && quern_key_decode(quern_str_of(text), values, KEY_VALUES,
                                                             &n, &storage, NULL) == QUERN_OK;
    for (size_t i = 0; i < n && good; i++)
        good = values[i].type != QUERN_VALUE_NULL;
    quern_free(storage);
    return good && n > 0;
}

int quern__watermark_read(quern_store *s, int64_t generation, char **key, bool *there,
                          quern_error *err)
{
    *key = NULL;
    int rc = s->table.watermark_get && generation
                 ? s->table.watermark_get(s->self, generation, key, err)
                 : QUERN_OK;
    *there = rc == QUERN_OK && *key;
    if (*there && !is_key(*key)) {
        quern_free(*key);
        *key = NULL;
    }
    return rc;
}

int quern__watermark_drop(quern_store *s, int64_t generation, quern_error *err)
{
    const quern_str none = {NULL, 0};
    return s->table.watermark_put && generation
               ? s->table.watermark_put(s->self, generation, none, err)
               : QUERN_OK;
}

/* Only a hint: that it cannot be written is no fault of the run. */
static void put(fill_run *r, quern_str key)
{
    quern_error ignored;
    fill_watermark *w = &r->watermark;
    w->noted_ns = quern__now_ns();
    w->unwritten = false;
    if (r->s->table.watermark_put(r->s->self, r->generation.id, key, &ignored) == QUERN_OK)
        w->stored = key.len > 0;
    else
        quern__log(QUERN_LOG_DEBUG, "fill", "source %s: no watermark: %s", r->recipe->spec.name,
                   ignored.msg);
}

void quern__fill_watermark_saved(fill_batch *b, bool all)
{
    fill_run *r = b->run;
    fill_watermark *w = &r->watermark;
    w->hole = w->hole || !all || b->hole;
    if (!w->used || w->second || w->hole)
        return;
    quern__buf_clear(&w->passed);
    if (!quern__buf_append(&w->passed, b->last.ptr, b->last.len)) {
        w->hole = true;
        return;
    }
    w->unwritten = true;
    if (quern__now_ns() - w->noted_ns >= NOTE_NS)
        put(r, (quern_str){w->passed.data, w->passed.len});
}

bool quern__fill_watermark_refused(fill_run *r)
{
    fill_watermark *w = &r->watermark;
    if (!w->behind || w->second || w->first.len)
        return false;
    w->behind = false;
    quern__buf_clear(&r->after);
    return true;
}

int quern__fill_watermark_row(fill_run *r, quern_str key, bool *met)
{
    fill_watermark *w = &r->watermark;
    *met = w->second && w->first.len && key.len == w->first.len &&
           memcmp(key.ptr, w->first.data, key.len) == 0;
    w->met = w->met || *met;
    if (!w->behind || w->second || w->first.len)
        return QUERN_OK;
    quern__buf_append(&w->first, key.ptr, key.len);
    return quern__buf_ok(&w->first, "a key", r->err);
}

/* The rows from the first one on, up to where the run began. */
static int second_part(fill_run *r, quern_error *err)
{
    fill_watermark *w = &r->watermark;
    w->second = true;
    quern__buf_clear(&r->after);
    int rc = quern__fill_flow(r, err);
    if (rc != QUERN_OK || w->met || !w->first.len)
        return rc;
    quern__buf_clear(&w->first);
    quern__buf_clear(&r->after);
    memset(&r->counts, 0, sizeof r->counts);
    r->report->skipped = 0;
    rc = quern__fill_count_stamps(r, err);
    if (rc == QUERN_OK)
        rc = quern__fill_flow(r, err);
    r->report->skipped -= QUERN__MIN(r->report->skipped, r->done_here);
    return rc;
}

static int begin(fill_run *r, quern_error *err)
{
    fill_watermark *w = &r->watermark;
    char *key = NULL;
    quern__buf_init(&w->first, KEY_BYTES);
    quern__buf_init(&w->passed, KEY_BYTES);
    w->noted_ns = quern__now_ns();
    w->used = uses_watermark(r);
    if (!w->used)
        return QUERN_OK;
    int rc = quern__watermark_read(r->s, r->generation.id, &key, &w->stored, err);
    if (rc == QUERN_OK && key) {
        quern__buf_append(&r->after, key, strlen(key));
        rc = quern__buf_ok(&r->after, "a key", err);
        w->behind = true;
        /* Used up: the next run begins at the first row unless this one saves something. Else a batch that ends every run
         * would keep them all from the edits in front of it. */
        put(r, (quern_str){NULL, 0});
        w->noted_ns = 0; /* the first save is noted at once */
    }
    quern_free(key);
    return rc;
}

int quern__fill_rows(fill_run *r, quern_error *err)
{
    fill_watermark *w = &r->watermark;
    int rc = begin(r, err);
    if (rc == QUERN_OK)
        rc = quern__fill_flow(r, err);
    if (rc == QUERN_OK && w->behind)
        rc = second_part(r, err);
    if (rc == QUERN_OK && w->stored)
        put(r, (quern_str){NULL, 0});
    else if (rc != QUERN_OK && w->used && w->unwritten)
        put(r, (quern_str){w->passed.data, w->passed.len});
    quern__buf_dispose(&w->first);
    quern__buf_dispose(&w->passed);
    return rc;
}
