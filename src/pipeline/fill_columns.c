/*
 * fill_columns.c — stamp columns: those of a source's table that say when the vectors of a row that searches use were
 * made, and by which model. Every save into the active generation writes them in its transaction. This pass is for rows
 * that are current while their columns say something else: because the source was declared so after it had been
 * filled, because another generation was switched to, or because somebody wrote there. Nothing is embedded.
 *
 * A write of ours must be no edit. Without a revision column it is none, as no stamp column may be part of the text. With
 * one, a trigger of the user's may have moved it for our UPDATE too: the store reads the row once more and asks here
 * whether its text is what it was before, told by a hash of it.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/sha256.h"
#include "pipeline/fill_pass.h"

bool quern__fill_writes_columns(const fill_run *r)
{
    return r->recipe->spec.stamp_columns && strcmp(r->generation.state, "active") == 0;
}

int quern__fill_same_text(const quern_row *row, const quern__document_view *doc, uint8_t hash[32],
                          quern_error *err)
{
    uint8_t now[32];
    int rc = quern__document_digest(doc, now, err);
    if (rc != QUERN_OK)
        return rc;
    if (row->stamped)
        return memcmp(now, hash, sizeof now) == 0;
    memcpy(hash, now, sizeof now);
    return 1;
}

/* ---- what the columns say ---- */

static bool digits(const char **at, const char *end, int n, int64_t *out)
{
    *out = 0;
    for (; n > 0 && *at < end && **at >= '0' && **at <= '9'; n--, ++*at)
        *out = *out * 10 + (**at - '0');
    return n == 0;
}

static bool skip(const char **at, const char *end, const char *any)
{
    bool there = *at < end && strchr(any, **at);
    *at += there;
    return there;
}

/* "2026-11-21T10:20:30.123Z", with or without a fraction, as databases spell it: a blank for the T, "+00" or nothing
 * for the Z. *close: how far off it may be for the digits that it has; a column may keep whole seconds, rounded. */
static bool read_time(quern_str s, int64_t *ms, int64_t *close)
{
    const char *at = s.ptr, *end = s.ptr + s.len;
    int64_t y, m, d, h, min, sec, fraction = 0;
    if (!s.len || !digits(&at, end, 4, &y) || !skip(&at, end, "-") || !digits(&at, end, 2, &m) ||
        !skip(&at, end, "-") || !digits(&at, end, 2, &d) || !skip(&at, end, "T ") ||
        !digits(&at, end, 2, &h) || !skip(&at, end, ":") || !digits(&at, end, 2, &min) ||
        !skip(&at, end, ":") || !digits(&at, end, 2, &sec))
        return false;
    *close = 1000;
    if (skip(&at, end, "."))
        for (; at < end && *at >= '0' && *at <= '9'; at++) {
            *close /= 10;
            fraction += *close * (*at - '0');
        }
    *close = *close > 1 ? *close : 0;
    quern_str rest = {at, (size_t)(end - at)};
    if (rest.len && !(rest.len == 1 && *at == 'Z') &&
        !(rest.len == 3 && memcmp(at, "+00", 3) == 0) &&
        !(rest.len == 6 && memcmp(at, "+00:00", 6) == 0))
        return false;
    if (m < 1 || m > 12 || d < 1 || d > 31)
        return false;
    y -= m <= 2;
    int64_t era = y / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t days = era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
    *ms = ((days * 24 + h) * 60 + min) * 60000 + sec * 1000 + fraction;
    return true;
}

static bool says_time(const quern_value *v, const quern_stamp *stamp)
{
    int64_t ms = 0, close = 0;
    if (stamp->outcome != QUERN_OUTCOME_OK)
        return v->type == QUERN_VALUE_NULL;
    return v->type == QUERN_VALUE_TEXT && read_time(v->bytes, &ms, &close) &&
           llabs((long long)(ms - stamp->updated_ms)) <= close;
}

static bool says_model(const quern_value *v, const quern_stamp *stamp, const char *model)
{
    if (stamp->outcome != QUERN_OUTCOME_OK)
        return v->type == QUERN_VALUE_NULL;
    return v->type == QUERN_VALUE_TEXT && v->bytes.len == strlen(model) &&
           memcmp(v->bytes.ptr, model, v->bytes.len) == 0;
}

bool quern__fill_columns_off(const fill_run *r, const quern_row *row)
{
    const quern__recipe *p = r->recipe;
    if (!p->spec.stamp_columns || row->n_columns < p->n_read)
        return false;
    return (p->generated_at != SIZE_MAX &&
            !says_time(&row->columns[p->generated_at], &row->stamp)) ||
           (p->model != SIZE_MAX &&
            !says_model(&row->columns[p->model], &row->stamp, r->generation.model));
}

/* ---- the pass ---- */

typedef struct column_pass {
    fill_pass pass;
    uint8_t text[FILL_PASS_ROWS][32]; /* hashes, see quern__fill_same_text */
} column_pass;

/* 1: the row's stamp says what it says now, and its columns do not. */
static int is_off(fill_pass *p, const quern_row *row, quern__document_view *doc)
{
    if (row->fault || row->stamp.outcome == QUERN_OUTCOME_NONE)
        return 0;
    int rc = quern__recipe_document(p->r->recipe, row, p->r->max_bytes, &p->r->text, doc, p->err);
    if (rc != QUERN_OK || row->stamped)
        return rc ? rc : 1;
    return quern__is_done(row, doc) && quern__fill_columns_off(p->r, row);
}

static int take(fill_pass *p, const quern_row *row, quern_save *d)
{
    quern__document_view doc = {.bytes = 0};
    int yes = is_off(p, row, &doc);
    d->stamp_columns = 1;
    d->model = quern_str_of(p->r->generation.model);
    return yes;
}

static int still_off(const quern_row *row, size_t i, void *ud)
{
    fill_pass *p = ud;
    column_pass *c = p->own;
    quern__document_view doc = {.bytes = 0};
    int yes = is_off(p, row, &doc);
    return yes != 1 ? yes : quern__fill_same_text(row, &doc, c->text[i], p->err);
}

int quern__fill_columns(fill_run *r, quern_error *err)
{
    if (!r->columns_off || !quern__fill_writes_columns(r) || (r->aim && r->aim->tasks))
        return QUERN_OK;
    column_pass *p = quern__calloc(1, sizeof *p);
    if (!p)
        return quern__fail_memory(err, sizeof *p);
    p->pass.own = p;
    p->pass.take = take;
    p->pass.still = still_off;
    int rc = quern__fill_pass(&p->pass, r, err);
    quern__free(p);
    return rc;
}
