/*
 * details.c — what a hit says beside its score: the place of its chunk, the document's own fields, where its vector comes
 * from. All of a document's fields are read from the live row, as its excerpt is: they are never older than the hit.
 */
#include "base/json.h"
#include "base/os.h"
#include "search/search_run.h"

enum { MOST_DIGITS = 15, TIME_TEXT = 32 };

/* A page is a number, or the digits of one (as CSV has it). */
static uint64_t page_number(const quern_value *v)
{
    uint64_t n = 0;
    if (v->type == QUERN_VALUE_INT)
        return v->integer > 0 ? (uint64_t)v->integer : 0;
    if (v->type != QUERN_VALUE_TEXT || v->bytes.len > MOST_DIGITS)
        return 0;
    for (size_t i = 0; i < v->bytes.len; i++) {
        if (v->bytes.ptr[i] < '0' || v->bytes.ptr[i] > '9')
            return 0;
        n = n * 10 + (uint64_t)(v->bytes.ptr[i] - '0');
    }
    return n;
}

/* A column's text if it is JSON of this kind, else nothing. */
static int take_json(quern__search_run *r, const quern_value *v, int kind, const char **out)
{
    *out = NULL;
    if (v->type != QUERN_VALUE_TEXT || !v->bytes.len)
        return QUERN_OK;
    quern__json j;
    quern__json_init(&j, v->bytes.ptr, v->bytes.len, "a field");
    bool good = quern__json_peek(&j) == kind && quern__json_skip(&j, NULL) == QUERN_OK &&
                quern__json_end(&j, NULL) == QUERN_OK;
    quern__json_dispose(&j);
    if (!good)
        return QUERN_OK;
    *out = quern__arena_copy(&r->arena, v->bytes.ptr, v->bytes.len);
    return *out ? QUERN_OK : quern__fail_memory(r->err, v->bytes.len);
}

int quern__hit_describe(quern__search_run *r, const quern__recipe *p, const quern_row *row,
                        quern__hit_details *out)
{
    out->created_ms = row->stamp.created_ms;
    out->updated_ms = row->stamp.updated_ms;
    if (p->detail[QUERN__DETAIL_PAGE] == SIZE_MAX)
        return QUERN_OK;
    const quern_value *column[QUERN__DETAILS];
    for (size_t i = 0; i < QUERN__DETAILS; i++)
        column[i] = &row->columns[p->detail[i]];
    uint64_t page = page_number(column[QUERN__DETAIL_PAGE]);
    if (page)
        out->page = page + (out->page ? out->page - 1 : 0);
    const quern_value *section = column[QUERN__DETAIL_SECTION];
    if (section->type == QUERN_VALUE_TEXT && section->bytes.len) {
        out->section = quern__arena_copy(&r->arena, section->bytes.ptr, section->bytes.len);
        if (!out->section)
            return quern__fail_memory(r->err, section->bytes.len);
    }
    int rc = take_json(r, column[QUERN__DETAIL_PROPERTIES], QUERN__JSON_OBJECT, &out->properties);
    if (rc == QUERN_OK)
        rc = take_json(r, column[QUERN__DETAIL_REFERENCES], QUERN__JSON_ARRAY, &out->references);
    return rc;
}

static const char *copy(quern__arena *arena, const char *s, bool *good)
{
    char *made = s ? quern__arena_copy(arena, s, strlen(s)) : NULL;
    *good = *good && (made || !s);
    return made;
}

int quern__hit_finish(quern__arena *arena, const quern__hit_details *from,
                      const quern_generation *g, quern_hit *hit, quern_error *err)
{
    char created[TIME_TEXT], updated[TIME_TEXT];
    bool good = true;
    quern__rfc3339(from->created_ms, created);
    quern__rfc3339(from->updated_ms, updated);
    hit->page = from->page;
    hit->heading = copy(arena, from->heading ? from->heading : "", &good);
    hit->asset = copy(arena, from->asset ? from->asset : "", &good);
    hit->section = copy(arena, from->section ? from->section : "", &good);
    hit->properties = copy(arena, from->properties, &good);
    hit->references = copy(arena, from->references, &good);
    hit->created_at = copy(arena, created, &good);
    hit->updated_at = copy(arena, updated, &good);
    hit->model = copy(arena, g->model, &good);
    hit->fingerprint = copy(arena, g->fingerprint, &good);
    hit->dimensions = g->dimensions;
    return good ? QUERN_OK : quern__fail_memory(err, 0);
}
