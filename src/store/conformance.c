/*
 * conformance.c — the rules that every store keeps, as a suite that any store can be run through. It is part of
 * the library and not of its tests, so that a store from outside the tree is held to the same rules. It knows
 * nothing but the table of functions, and one user's table `items` that the caller edits for it.
 * Each rule runs on a fresh store; the first broken one ends the suite with its name in the error.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/os.h"
#include "store/conformance_suite.h"
#include "store/store.h"

enum { DIM = 4, MOST = 64 };

static const char *const columns[] = {"title", "body"};

static int put(suite *s, int64_t id, const char *title, const char *rev)
{
    return s->c->put(s->self, id, title, "body", rev, s->c->ud, &s->inner);
}

/* ---- what callbacks gather ---- */

typedef struct seen {
    size_t n, stop_at; /* stop_at: return 42 at this call; 0 never */
    char key[MOST][32], revision[MOST][32], title[MOST][32], asset[MOST][32];
    int outcome[MOST], chunks[MOST], redo[MOST];
    int64_t created[MOST], updated[MOST];
    int64_t ref[MOST];
    float first[MOST];
    const char *fault;
} seen;

/* A chunk of the documents that `save` makes, all but the first, has seen this. */
#define SEEN "{\"kind\":\"\xC3\xA4 'B'\"}"

static void keep(char out[32], quern_str from)
{
    snprintf(out, 32, "%.*s", (int)from.len, from.ptr ? from.ptr : "");
}

static int next(seen *v)
{
    v->n++;
    return v->stop_at == v->n ? 42 : 0;
}

static int see_row(const quern_row *row, void *ud)
{
    seen *v = ud;
    if (v->n == MOST)
        return -99;
    keep(v->key[v->n], row->key);
    keep(v->revision[v->n], row->revision);
    if (row->n_columns == 2)
        keep(v->title[v->n], row->columns[0].bytes);
    v->outcome[v->n] = row->stamp.outcome;
    v->chunks[v->n] = (int)row->stamp.chunks;
    v->redo[v->n] = row->stamp.redo;
    return next(v);
}

static int see_stamp(quern_str key, const quern_stamp *stamp, void *ud)
{
    seen *v = ud;
    if (v->n == MOST)
        return -99;
    keep(v->key[v->n], key);
    keep(v->revision[v->n], stamp->revision);
    v->outcome[v->n] = stamp->outcome;
    v->redo[v->n] = stamp->redo;
    v->created[v->n] = stamp->created_ms;
    v->updated[v->n] = stamp->updated_ms;
    return next(v);
}

static int see_vectors(const int64_t *refs, const void *data, size_t n, void *ud)
{
    seen *v = ud;
    for (size_t i = 0; i < n; i++) {
        if (v->n == MOST)
            return -99;
        v->ref[v->n] = refs[i];
        memcpy(&v->first[v->n], (const char *)data + i * DIM * sizeof(float), sizeof(float));
        v->n++;
    }
    return v->stop_at ? 42 : 0;
}

static int see_ref(const quern_chunk_ref *c, void *ud)
{
    seen *v = ud;
    if (v->n == MOST)
        return -99;
    keep(v->key[v->n], c->key);
    v->ref[v->n] = c->ref;
    v->chunks[v->n] = (int)c->index;
    v->created[v->n] = c->page;
    keep(v->title[v->n], c->heading);
    keep(v->asset[v->n], c->asset);
    return next(v);
}

static int see_chunk(const quern_chunk *c, void *ud)
{
    seen *v = ud;
    if (v->n == MOST)
        return -99;
    v->chunks[v->n] = (int)c->index;
    memcpy(&v->first[v->n], c->vector, sizeof(float));
    v->created[v->n] = c->page;
    keep(v->title[v->n], c->heading);
    keep(v->asset[v->n], c->asset);
    return next(v);
}

static int see_source(const quern_source_spec *spec, void *ud)
{
    seen *v = ud;
    if (v->n == MOST)
        return -99;
    keep(v->key[v->n], quern_str_of(spec->name));
    keep(v->title[v->n], quern_str_of(spec->text));
    keep(v->revision[v->n], quern_str_of(spec->prepare));
    return next(v);
}

/* ---- saving, the way the pipeline does ---- */

typedef struct intent {
    const char *revision[MOST]; /* NULL: do not ask, save */
    int answer;                 /* when not 1: what still() says to the last document */
    size_t n;
    seen rows;
} intent;

static int still(const quern_row *row, size_t i, void *ud)
{
    intent *w = ud;
    see_row(row, &w->rows);
    if (w->answer != 1 && i + 1 == w->n)
        return w->answer;
    return w->revision[i] == NULL ||
           (row->revision.len == strlen(w->revision[i]) &&
            memcmp(row->revision.ptr, w->revision[i], row->revision.len) == 0);
}

/* Saves documents "1".."n" with `chunks` vectors each, their first element 100 * id + chunk + base. */
static int save(suite *s, int64_t generation, size_t n, uint32_t chunks, float base, intent *w,
                uint8_t *stored)
{
    static float vectors[MOST][DIM];
    static quern_chunk parts[MOST];
    static quern_save docs[MOST];
    char keys[MOST][8];
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        snprintf(keys[i], sizeof keys[i], "%zu", i + 1);
        docs[i] = (quern_save){.key = quern_str_of(keys[i]), .chunks = &parts[at]};
        docs[i].stamp.outcome = QUERN_OUTCOME_OK;
        docs[i].stamp.chunks = chunks;
        docs[i].stamp.revision = quern_str_of(w->revision[i] ? w->revision[i] : "r");
        for (uint32_t k = 0; k < chunks; k++, at++) {
            vectors[at][0] = (float)(100 * (i + 1) + k) + base;
            parts[at] = (quern_chunk){.index = k,
                                      .start = k,
                                      .end = k + 10,
                                      .vector = vectors[at],
                                      .page = k,
                                      .heading = quern_str_of(k ? "A > \xC3\xA4 'B'" : NULL),
                                      .asset = quern_str_of(k ? SEEN : NULL)};
        }
    }
    w->n = n;
    s->read.generation = generation;
    return CALL(save, &s->read, docs, n, still, w, stored);
}

static int build(suite *s, int64_t *id)
{
    quern_generation g = {
        .state = "building", .model = "m", .vector_type = "f32", .dimensions = DIM};
    snprintf(g.fingerprint, sizeof g.fingerprint, "%064d", 7);
    return CALL(generation_build, "items", &g, "{}", id);
}

/* Source declared, rows 1..n there, a building generation. */
static int begin(suite *s, int64_t n, int64_t *generation)
{
    MUST(CALL(source_put, &s->spec, 0) == QUERN_OK);
    for (int64_t id = 1; id <= n; id++)
        MUST(put(s, id, "title", "r") == QUERN_OK);
    MUST(build(s, generation) == QUERN_OK);
    return QUERN_OK;
}

#define BEGIN(n, generation)                                                                       \
    do {                                                                                           \
        int begun = begin(s, (n), (generation));                                                   \
        if (begun)                                                                                 \
            return begun;                                                                          \
    } while (0)

/* ---- rules: sources and rows ---- */

static int sources_are_kept(suite *s)
{
    seen v = {0};
    quern_source_spec other = s->spec;
    other.name = "a-first";
    MUST(CALL(source_put, &s->spec, 0) == QUERN_OK);
    MUST(CALL(source_put, &other, 0) == QUERN_OK);
    MUST(CALL(source_put, &s->spec, 0) == QUERN_EEXISTS);
    other.text = "{body}";
    other.prepare = "html, crlf";
    MUST(CALL(source_put, &other, 1) == QUERN_OK);
    MUST(CALL(source_each, see_source, &v) == QUERN_OK);
    MUST(v.n == 2 && strcmp(v.key[0], "a-first") == 0 && strcmp(v.key[1], "items") == 0);
    MUST(strcmp(v.title[0], "{body}") == 0 && strcmp(v.title[1], s->spec.text) == 0);
    MUST(strcmp(v.revision[0], "html, crlf") == 0 && v.revision[1][0] == '\0');
    MUST(CALL(source_remove, "a-first") == QUERN_OK);
    MUST(CALL(source_remove, "a-first") == QUERN_ENOTFOUND);
    v = (seen){.stop_at = 1};
    MUST(CALL(source_each, see_source, &v) == 42 && v.n == 1);
    return QUERN_OK;
}

static int declarations_are_tried(suite *s)
{
    static const char *const missing[] = {"title", "nowhere"};
    quern_source_spec bad = s->spec;
    MUST(CALL(source_check, &s->spec, columns, 2) == QUERN_OK);
    MUST(CALL(source_check, &s->spec, missing, 2) == QUERN_ENOTFOUND);
    bad.table = "no_such_table";
    MUST(CALL(source_check, &bad, columns, 2) == QUERN_ENOTFOUND);
    bad = s->spec;
    bad.revision = "no_such_column";
    MUST(CALL(source_check, &bad, columns, 2) == QUERN_ENOTFOUND);
    return QUERN_OK;
}

static int a_scan_sees_every_row_once(suite *s)
{
    static const int64_t ids[] = {5, -3, 1, 10, 2, INT64_MAX, INT64_MIN};
    size_t n = QUERN__COUNT(ids);
    seen all = {0};
    uint64_t rows = 99;
    MUST(CALL(source_put, &s->spec, 0) == QUERN_OK);
    MUST(CALL(scan, &s->read, quern_str_of(NULL), 10, see_row, &all) == QUERN_OK && all.n == 0);
    MUST(CALL(count, &s->read, &rows) == QUERN_OK && rows == 0);
    for (size_t i = 0; i < n; i++)
        MUST(put(s, ids[i], "t", "1") == QUERN_OK);
    MUST(CALL(count, &s->read, &rows) == QUERN_OK && rows == n);
    MUST(CALL(scan, &s->read, quern_str_of(NULL), MOST, see_row, &all) == QUERN_OK && all.n == n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            MUST(strcmp(all.key[i], all.key[k]) != 0);
    for (size_t limit = 1; limit <= n + 1;
         limit++) { /* the same rows in the same order, in pages */
        seen v = {0};
        size_t before;
        do {
            before = v.n;
            MUST(CALL(scan, &s->read, quern_str_of(before ? v.key[before - 1] : NULL), limit,
                      see_row, &v) == QUERN_OK);
            MUST(v.n - before <= limit && v.n <= n);
        } while (v.n - before == limit);
        MUST(v.n == n);
        for (size_t i = 0; i < n; i++)
            MUST(strcmp(v.key[i], all.key[i]) == 0);
    }
    return QUERN_OK;
}

static int rows_carry_columns_and_revision(suite *s)
{
    seen v = {0};
    static const quern_str keys[] = {{"2", 1}, {"77", 2}, {"1", 1}};
    MUST(CALL(source_put, &s->spec, 0) == QUERN_OK);
    MUST(put(s, 1, "one", "v1") == QUERN_OK && put(s, 2, "two", "v2") == QUERN_OK);
    MUST(put(s, 2, "two!", "v3") == QUERN_OK);
    MUST(CALL(fetch, &s->read, keys, 3, see_row, &v) == QUERN_OK && v.n == 2);
    size_t two = strcmp(v.key[0], "2") == 0 ? 0 : 1;
    MUST(strcmp(v.key[two], "2") == 0 && strcmp(v.key[1 - two], "1") == 0);
    MUST(strcmp(v.title[two], "two!") == 0 && strcmp(v.revision[two], "v3") == 0);
    MUST(strcmp(v.title[1 - two], "one") == 0 && strcmp(v.revision[1 - two], "v1") == 0);
    MUST(v.outcome[0] == QUERN_OUTCOME_NONE);
    MUST(s->c->remove(s->self, 2, s->c->ud, &s->inner) == QUERN_OK);
    v = (seen){0};
    MUST(CALL(fetch, &s->read, keys, 3, see_row, &v) == QUERN_OK && v.n == 1 &&
         strcmp(v.key[0], "1") == 0);
    return QUERN_OK;
}

static int a_callback_ends_the_call(suite *s)
{
    int64_t g;
    uint8_t stored[MOST];
    intent w = {.answer = 1};
    static const quern_str keys[] = {{"1", 1}, {"2", 1}};
    BEGIN(3, &g);
    MUST(save(s, g, 3, 2, 0, &w, stored) == QUERN_OK);
    seen v = {.stop_at = 2}, all = {0};
    MUST(CALL(scan, &s->read, quern_str_of(NULL), MOST, see_row, &v) == 42 && v.n == 2);
    v = (seen){.stop_at = 1};
    MUST(CALL(fetch, &s->read, keys, 2, see_row, &v) == 42 && v.n == 1);
    v = (seen){.stop_at = 1};
    MUST(CALL(stamps, g, quern_str_of(NULL), MOST, see_stamp, &v) == 42 && v.n == 1);
    v = (seen){.stop_at = 1};
    MUST(CALL(vectors, g, see_vectors, &v) == 42);
    v = (seen){.stop_at = 1};
    MUST(CALL(chunks, g, keys[0], see_chunk, &v) == 42 && v.n == 1);
    MUST(CALL(vectors, g, see_vectors, &all) == QUERN_OK && all.n == 6);
    v = (seen){.stop_at = 1};
    MUST(CALL(resolve, g, all.ref, 6, see_ref, &v) == 42 && v.n == 1);
    return QUERN_OK;
}

/* ---- rules: generations ---- */

static int one_building_and_one_active(suite *s)
{
    int64_t first, second, none;
    char *json = NULL;
    quern_generation g;
    MUST(CALL(source_put, &s->spec, 0) == QUERN_OK);
    MUST(CALL(generation_find, "items", "active", &g) == QUERN_ENOTFOUND);
    MUST(CALL(generation_find, "nobody", "active", &g) == QUERN_ENOTFOUND);
    MUST(build(s, &first) == QUERN_OK && first > 0);
    MUST(build(s, &none) == QUERN_EEXISTS);
    MUST(CALL(generation_json, first, &json) == QUERN_OK);
    bool kept = strcmp(json, "{}") == 0;
    quern_free(json);
    MUST(kept && CALL(generation_json, 123456, &json) == QUERN_ENOTFOUND);
    MUST(CALL(generation_find, "items", "building", &g) == QUERN_OK && g.id == first);
    MUST(g.dimensions == DIM && strcmp(g.vector_type, "f32") == 0 && strcmp(g.model, "m") == 0);
    MUST(strlen(g.fingerprint) == 64 && g.created_ms > 0 && g.chunks == 0);
    MUST(CALL(generation_activate, first) == QUERN_OK);
    MUST(CALL(generation_activate, first) != QUERN_OK);
    MUST(build(s, &second) == QUERN_OK && second != first);
    MUST(CALL(generation_activate, second) == QUERN_OK);
    MUST(CALL(generation_find, "items", "active", &g) == QUERN_OK && g.id == second &&
         g.activated_ms > 0);
    MUST(CALL(generation_find, "items", "retired", &g) == QUERN_OK && g.id == first);
    MUST(CALL(generation_find, "items", "building", &g) == QUERN_ENOTFOUND);
    MUST(CALL(generation_activate, 123456) != QUERN_OK);
    return QUERN_OK;
}

static int a_purge_takes_all_of_one(suite *s)
{
    int64_t first, second;
    uint8_t stored[MOST];
    int more = 1, rounds = 0;
    intent w = {.answer = 1};
    seen v = {0};
    quern_generation g;
    BEGIN(3, &first);
    MUST(save(s, first, 3, 2, 0, &w, stored) == QUERN_OK);
    MUST(CALL(generation_activate, first) == QUERN_OK &&
         CALL(generation_purge, first, &more) != QUERN_OK);
    MUST(build(s, &second) == QUERN_OK && save(s, second, 3, 1, 0, &w, stored) == QUERN_OK);
    MUST(CALL(generation_activate, second) == QUERN_OK);
    for (more = 1; more && rounds < 1000; rounds++)
        MUST(CALL(generation_purge, first, &more) == QUERN_OK);
    MUST(rounds < 1000);
    MUST(CALL(stamps, first, quern_str_of(NULL), MOST, see_stamp, &v) == QUERN_OK && v.n == 0);
    MUST(CALL(stamps, second, quern_str_of(NULL), MOST, see_stamp, &v) == QUERN_OK && v.n == 3);
    v = (seen){0};
    MUST(CALL(vectors, second, see_vectors, &v) == QUERN_OK && v.n == 3);
    MUST(CALL(generation_find, "items", "active", &g) == QUERN_OK && g.id == second &&
         g.chunks == 3);
    return QUERN_OK;
}

static int generations_do_not_mix(suite *s)
{
    int64_t first, second;
    uint8_t stored[MOST];
    intent w = {.answer = 1};
    seen a = {0}, b = {0}, v = {0};
    BEGIN(2, &first);
    MUST(save(s, first, 2, 1, 0, &w, stored) == QUERN_OK &&
         CALL(generation_activate, first) == QUERN_OK);
    MUST(build(s, &second) == QUERN_OK && save(s, second, 1, 1, 5000, &w, stored) == QUERN_OK);
    MUST(CALL(vectors, first, see_vectors, &a) == QUERN_OK && a.n == 2);
    MUST(CALL(vectors, second, see_vectors, &b) == QUERN_OK && b.n == 1 && b.first[0] == 5100);
    MUST(CALL(resolve, first, b.ref, 1, see_ref, &v) == QUERN_OK && v.n == 0);
    s->read.generation = second;
    MUST(CALL(scan, &s->read, quern_str_of(NULL), MOST, see_row, &v) == QUERN_OK && v.n == 2);
    MUST(v.outcome[0] + v.outcome[1] == QUERN_OUTCOME_OK);
    return QUERN_OK;
}

static int see_generation(const char *source, const quern_generation *g, void *ud)
{
    seen *v = ud;
    if (v->n == MOST)
        return -99;
    keep(v->key[v->n], quern_str_of(source));
    keep(v->title[v->n], quern_str_of(g->state));
    v->ref[v->n] = g->id;
    v->chunks[v->n] = (int)g->chunks;
    v->created[v->n] = g->retired_ms;
    return next(v);
}

static int generations_are_listed_and_retired(suite *s)
{
    int64_t first, second, third;
    uint8_t stored[MOST];
    intent w = {.answer = 1};
    seen v = {0}, none = {0};
    quern_generation g;
    quern_source_spec other = s->spec;
    if (!s->t->generation_each || !s->t->generation_retire)
        return QUERN_OK; /* a store may lack them */
    other.name = "other";
    BEGIN(2, &first);
    MUST(CALL(source_put, &other, 0) == QUERN_OK);
    MUST(save(s, first, 2, 3, 0, &w, stored) == QUERN_OK);
    MUST(CALL(generation_retire, first) == QUERN_OK); /* a build that is given up */
    MUST(CALL(generation_retire, first) == QUERN_EMISMATCH);
    MUST(CALL(generation_retire, 123456) == QUERN_ENOTFOUND);
    MUST(save(s, first, 1, 1, 0, &w, stored) == QUERN_EMISMATCH);
    MUST(build(s, &second) == QUERN_OK && CALL(generation_activate, second) == QUERN_OK);
    MUST(CALL(generation_retire, second) == QUERN_OK);
    MUST(CALL(generation_find, "items", "active", &g) == QUERN_ENOTFOUND);
    MUST(build(s, &third) == QUERN_OK && save(s, third, 1, 1, 0, &w, stored) == QUERN_OK);
    MUST(CALL(generation_each, "items", see_generation, &v) == QUERN_OK && v.n == 3);
    MUST(v.ref[0] == first && v.ref[1] == second && v.ref[2] == third);
    MUST(strcmp(v.title[0], "retired") == 0 && strcmp(v.title[1], "retired") == 0 &&
         strcmp(v.title[2], "building") == 0);
    MUST(v.chunks[0] == 6 && v.chunks[1] == 0 && v.chunks[2] == 1 && v.created[1] > 0);
    MUST(strcmp(v.key[0], "items") == 0);
    MUST(CALL(generation_each, "other", see_generation, &none) == QUERN_OK && none.n == 0);
    MUST(CALL(generation_each, "nobody", see_generation, &none) == QUERN_ENOTFOUND);
    v = (seen){.stop_at = 2};
    MUST(CALL(generation_each, NULL, see_generation, &v) == 42 && v.n == 2);
    return QUERN_OK;
}

static int retired_ones_are_resumed(suite *s)
{
    int64_t first, second, empty;
    uint8_t stored[MOST];
    intent w = {.answer = 1};
    quern_generation g;
    quern_tally tally;
    int more = 1;
    if (!s->t->generation_retire || !s->t->generation_resume)
        return QUERN_OK; /* a store may lack them */
    BEGIN(2, &first);
    MUST(save(s, first, 2, 3, 0, &w, stored) == QUERN_OK);
    MUST(CALL(generation_resume, first) == QUERN_EMISMATCH); /* it is building */
    MUST(CALL(generation_activate, first) == QUERN_OK);
    MUST(CALL(generation_resume, first) == QUERN_EMISMATCH);
    MUST(CALL(generation_retire, first) == QUERN_OK && build(s, &second) == QUERN_OK);
    MUST(CALL(generation_resume, first) == QUERN_EEXISTS);
    MUST(CALL(generation_activate, second) == QUERN_OK);
    MUST(CALL(generation_resume, first) == QUERN_OK);
    MUST(CALL(generation_find, "items", "building", &g) == QUERN_OK && g.id == first);
    MUST(g.chunks == 6 && g.activated_ms == 0 && g.retired_ms == 0);
    MUST(CALL(tally, first, &tally) == QUERN_OK && tally.ok == 2 && tally.vectors == 6);
    MUST(save(s, first, 1, 1, 0, &w, stored) == QUERN_OK && stored[0] == 1);
    MUST(CALL(generation_activate, first) == QUERN_OK);
    MUST(CALL(generation_find, "items", "retired", &g) == QUERN_OK && g.id == second);
    MUST(CALL(generation_resume, second) == QUERN_EMISMATCH); /* there is nothing in it */
    while (more)
        MUST(CALL(generation_purge, second, &more) == QUERN_OK);
    MUST(CALL(generation_resume, second) == QUERN_ENOTFOUND);
    MUST(build(s, &empty) == QUERN_OK);
    return QUERN_OK;
}

/* Only for a store that has indexes of its own. Documents 1..9 of two chunks, all in one direction. */
static int near_vectors_are_the_stored_ones(suite *s)
{
    int64_t g;
    uint8_t stored[MOST];
    intent w = {.answer = 1};
    static const float query[DIM] = {1};
    seen all = {0};
    BEGIN(9, &g);
    MUST(save(s, g, 9, 2, 0, &w, stored) == QUERN_OK);
    if (!s->t->nearest)
        return QUERN_OK;
    MUST(s->t->index_state && s->t->index_build);
    MUST(CALL(vectors, g, see_vectors, &all) == QUERN_OK && all.n == 18);
    for (int way = QUERN_INDEX_EXACT; way <= QUERN_INDEX_TWO_STAGE; way++) {
        int state = -1;
        const char *why = NULL;
        seen v = {0};
        MUST(CALL(index_state, g, way, &state, &why) == QUERN_OK && why);
        if (state == QUERN_INDEX_NONE) {
            MUST(CALL(nearest, g, query, way, 5, 2, see_vectors, &v) != QUERN_OK && v.n == 0);
            continue;
        }
        MUST(CALL(index_build, g, way, NULL) == QUERN_OK);
        MUST(CALL(index_state, g, way, &state, &why) == QUERN_OK && state == QUERN_INDEX_READY);
        MUST(CALL(nearest, g, query, way, MOST, 2, see_vectors, &v) == QUERN_OK && v.n == 18);
        for (size_t i = 0; i < v.n; i++) {
            size_t k = 0;
            while (k < all.n && all.ref[k] != v.ref[i])
                k++;
            MUST(k < all.n && all.first[k] == v.first[i]);
        }
        v = (seen){0};
        MUST(CALL(nearest, g, query, way, 5, 2, see_vectors, &v) == QUERN_OK && v.n == 5);
        if (way == QUERN_INDEX_EXACT)
            for (size_t i = 0; i < v.n; i++)
                MUST(v.first[i] >= 701);
    }
    MUST(CALL(nearest, 123456, query, QUERN_INDEX_EXACT, 5, 2, see_vectors, &all) != QUERN_OK);
    return QUERN_OK;
}

static int see_text(quern_str key, quern_str revision, double score, void *ud)
{
    seen *v = ud;
    if (v->n == MOST)
        return -99;
    keep(v->key[v->n], key);
    keep(v->revision[v->n], revision);
    v->first[v->n] = (float)score;
    return next(v);
}

/* Saves document `id` with one vector and these words. */
static int save_words(suite *s, int64_t generation, const char *id, const char *revision,
                      const char *words, int text_only, uint8_t *stored)
{
    static const float vector[DIM] = {1};
    static const quern_chunk part = {.end = 1, .vector = vector};
    intent w = {.answer = 1, .n = 1};
    quern_save doc = {.key = quern_str_of(id), .chunks = &part, .text_only = text_only};
    doc.stamp.outcome = QUERN_OUTCOME_OK;
    doc.stamp.chunks = 1;
    doc.stamp.revision = quern_str_of(revision);
    doc.words = quern_str_of(words);
    s->read.generation = generation;
    return CALL(save, &s->read, &doc, 1, still, &w, stored);
}

/* Keys of those that have the word, "1 2 ", best first. */
static int with_word(suite *s, int64_t generation, const char *a, const char *b, size_t k,
                     char *out, size_t size)
{
    quern_str words[2] = {quern_str_of(a), quern_str_of(b)};
    seen v = {0};
    size_t n = 0;
    MUST(CALL(text_find, generation, words, b ? 2 : 1, k, see_text, &v) == QUERN_OK);
    out[0] = '\0';
    for (size_t i = 0; i < v.n; i++) {
        MUST(i == 0 || v.first[i] <= v.first[i - 1]);
        n += (size_t)snprintf(out + n, size - n, "%s:%s ", v.key[i], v.revision[i]);
    }
    return QUERN_OK;
}

#define FINDS(generation, a, b, want)                                                              \
    do {                                                                                           \
        char got[200];                                                                             \
        int asked = with_word(s, (generation), (a), (b), 10, got, sizeof got);                     \
        if (asked)                                                                                 \
            return asked;                                                                          \
        MUST(strcmp(got, (want)) == 0);                                                            \
    } while (0)

/* Only for a store that has a text index. */
static int words_are_of_the_last_save(suite *s)
{
    int64_t g, other;
    uint8_t stored[MOST];
    uint64_t n = 99, removed;
    int more = 1;
    static const quern_str keys[] = {{"1", 1}, {"2", 1}};
    BEGIN(4, &g);
    if (!s->t->text_find)
        return QUERN_OK;
    MUST(CALL(text_count, g, &n) == QUERN_OK && n == 0);
    FINDS(g, "mill", NULL, "");
    MUST(save_words(s, g, "1", "r", "the mill grinds flour", 0, stored) == QUERN_OK && stored[0]);
    MUST(save_words(s, g, "2", "r", "the river", 0, stored) == QUERN_OK);
    MUST(save_words(s, g, "3", "r", "", 0, stored) == QUERN_OK);
    MUST(CALL(text_count, g, &n) == QUERN_OK && n == 3);
    FINDS(g, "mill", NULL, "1:r ");
    FINDS(g, "mil", NULL, "");
    FINDS(g, "flour", "mill", "1:r ");
    FINDS(g, "the", "flour", "1:r 2:r ");
    /* whatever stands in a word, it is no syntax */
    static const char *const hostile[] = {"NOT", "\"",  "'",  "a\" OR \"b", "x' | 'b",
                                          "b*",  "b:*", "\\", "("};
    for (size_t i = 0; i < QUERN__COUNT(hostile); i++)
        FINDS(g, hostile[i], NULL, "");
    MUST(save_words(s, g, "1", "q", "a bridge", 0, stored) == QUERN_OK);
    FINDS(g, "mill", NULL, "");
    FINDS(g, "bridge", NULL, "1:q ");
    /* words alone: there already, of another revision, of a document that has none */
    MUST(save_words(s, g, "1", "q", "not these", 1, stored) == QUERN_OK);
    FINDS(g, "these", NULL, "");
    MUST(save_words(s, g, "1", "p", "but those", 1, stored) == QUERN_OK);
    FINDS(g, "those", NULL, "1:p ");
    MUST(save(s, g, 2, 1, 0, &(intent){.answer = 1}, stored) == QUERN_OK); /* without words */
    FINDS(g, "those", "river", "");
    MUST(save_words(s, g, "2", "r", "words again", 1, stored) == QUERN_OK);
    FINDS(g, "again", NULL, "2:r ");
    MUST(save_words(s, g, "1", "r", "mill again", 0, stored) == QUERN_OK);
    MUST(s->c->remove(s->self, 2, s->c->ud, &s->inner) == QUERN_OK);
    MUST(CALL(erase, &s->read, keys, 2, &removed) == QUERN_OK && removed == 1);
    FINDS(g, "again", NULL, "1:r ");
    /* generations do not mix, and a purge takes the words */
    MUST(CALL(generation_activate, g) == QUERN_OK && build(s, &other) == QUERN_OK);
    MUST(save_words(s, other, "4", "r", "mill of the other", 0, stored) == QUERN_OK);
    FINDS(g, "mill", NULL, "1:r ");
    FINDS(other, "mill", NULL, "4:r ");
    MUST(CALL(generation_activate, other) == QUERN_OK);
    for (int rounds = 0; more && rounds < 1000; rounds++)
        MUST(CALL(generation_purge, g, &more) == QUERN_OK);
    MUST(CALL(text_count, g, &n) == QUERN_OK && n == 0);
    FINDS(g, "mill", NULL, "");
    FINDS(other, "mill", NULL, "4:r ");
    return QUERN_OK;
}

static int a_removed_source_takes_everything(suite *s)
{
    int64_t g;
    uint8_t stored[MOST];
    intent w = {.answer = 1};
    quern_generation found;
    uint64_t rows = 0;
    seen v = {0};
    BEGIN(2, &g);
    MUST(save(s, g, 2, 1, 0, &w, stored) == QUERN_OK && CALL(generation_activate, g) == QUERN_OK);
    MUST(CALL(source_remove, "items") == QUERN_OK);
    MUST(CALL(generation_find, "items", "active", &found) == QUERN_ENOTFOUND);
    MUST(CALL(stamps, g, quern_str_of(NULL), MOST, see_stamp, &v) == QUERN_OK && v.n == 0);
    MUST(CALL(source_put, &s->spec, 0) == QUERN_OK);
    MUST(CALL(generation_find, "items", "active", &found) == QUERN_ENOTFOUND);
    MUST(CALL(count, &s->read, &rows) == QUERN_OK &&
         rows == 2); /* the user's rows are not touched */
    return QUERN_OK;
}

/* ---- rules: save ---- */

static int saved_documents_come_back(suite *s)
{
    int64_t g;
    uint8_t stored[MOST] = {0};
    intent w = {.revision = {"r", "r"}, .answer = 1};
    seen v = {0}, refs = {0}, parts = {0};
    quern_generation found;
    BEGIN(3, &g);
    MUST(save(s, g, 2, 3, 0, &w, stored) == QUERN_OK && stored[0] == 1 && stored[1] == 1);
    MUST(CALL(scan, &s->read, quern_str_of(NULL), MOST, see_row, &v) == QUERN_OK && v.n == 3);
    for (size_t i = 0; i < 3; i++) {
        bool done = strcmp(v.key[i], "3") != 0;
        MUST(v.outcome[i] == (done ? QUERN_OUTCOME_OK : QUERN_OUTCOME_NONE) &&
             v.chunks[i] == (done ? 3 : 0));
    }
    v = (seen){0};
    MUST(CALL(vectors, g, see_vectors, &v) == QUERN_OK && v.n == 6);
    MUST(CALL(resolve, g, v.ref, v.n, see_ref, &refs) == QUERN_OK && refs.n == 6);
    for (size_t i = 0; i < 6; i++)
        MUST(refs.created[i] == refs.chunks[i] && !refs.title[i][0] == !refs.chunks[i] &&
             strcmp(refs.asset[i], refs.chunks[i] ? SEEN : "") == 0);
    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k < 6;
             k++) /* each vector belongs to the document and chunk it was saved for */
            if (v.ref[i] == refs.ref[k])
                MUST(v.first[i] == 100 * (float)(refs.key[k][0] - '0') + (float)refs.chunks[k]);
    MUST(CALL(chunks, g, quern_str_of("2"), see_chunk, &parts) == QUERN_OK && parts.n == 3);
    MUST(parts.created[0] == 0 && parts.created[2] == 2);
    MUST(parts.title[0][0] == '\0' && strcmp(parts.title[2], "A > \xC3\xA4 'B'") == 0);
    MUST(parts.asset[0][0] == '\0' && strcmp(parts.asset[2], SEEN) == 0);
    MUST(parts.chunks[0] == 0 && parts.chunks[2] == 2 && parts.first[2] == 202);
    MUST(CALL(generation_find, "items", "building", &found) == QUERN_OK && found.chunks == 6);
    quern_tally tally;
    MUST(CALL(tally, g, &tally) == QUERN_OK);
    MUST(tally.ok == 2 && tally.chunks == 6 && tally.vectors == 6 && !tally.empty && !tally.failed);
    return QUERN_OK;
}

static int a_save_replaces(suite *s)
{
    int64_t g;
    uint8_t stored[MOST];
    intent w = {.answer = 1};
    seen before = {0}, v = {0}, old = {0};
    quern_generation found;
    BEGIN(1, &g);
    MUST(save(s, g, 1, 3, 0, &w, stored) == QUERN_OK);
    MUST(CALL(vectors, g, see_vectors, &before) == QUERN_OK && before.n == 3);
    MUST(save(s, g, 1, 1, 7000, &w, stored) == QUERN_OK && stored[0] == 1);
    MUST(CALL(vectors, g, see_vectors, &v) == QUERN_OK && v.n == 1 && v.first[0] == 7100);
    MUST(CALL(resolve, g, before.ref, 3, see_ref, &old) == QUERN_OK &&
         old.n == 0); /* refs are never used twice */
    MUST(CALL(generation_find, "items", "building", &found) == QUERN_OK && found.chunks == 1);
    return QUERN_OK;
}

static int what_was_seen_goes_with_its_chunk(suite *s)
{
    int64_t g, again;
    uint8_t stored[MOST];
    uint64_t removed = 0;
    int more = 1;
    intent w = {.answer = 1};
    static const quern_str key[] = {{"1", 1}};
    seen v = {0}, after = {0};
    BEGIN(2, &g);
    MUST(save(s, g, 2, 3, 0, &w, stored) == QUERN_OK);
    MUST(save(s, g, 1, 2, 5000, &w, stored) == QUERN_OK); /* in place of what was there */
    MUST(CALL(chunks, g, key[0], see_chunk, &v) == QUERN_OK && v.n == 2);
    MUST(v.asset[0][0] == '\0' && strcmp(v.asset[1], SEEN) == 0);
    MUST(s->c->remove(s->self, 1, s->c->ud, &s->inner) == QUERN_OK);
    MUST(CALL(erase, &s->read, key, 1, &removed) == QUERN_OK && removed == 1);
    MUST(put(s, 1, "back", "r") == QUERN_OK);
    MUST(save(s, g, 1, 2, 6000, &w, stored) == QUERN_OK && stored[0]); /* in an empty place */
    while (more)
        MUST(CALL(generation_purge, g, &more) == QUERN_OK);
    MUST(build(s, &again) == QUERN_OK && save(s, again, 2, 2, 0, &w, stored) == QUERN_OK);
    MUST(CALL(chunks, again, key[0], see_chunk, &after) == QUERN_OK && after.n == 2);
    MUST(after.asset[0][0] == '\0' && strcmp(after.asset[1], SEEN) == 0);
    return QUERN_OK;
}

static int a_row_that_moved_on_is_left(suite *s)
{
    int64_t g;
    uint8_t stored[MOST] = {9, 9};
    intent w = {.revision = {"r", "r"}, .answer = 1};
    seen v = {0};
    BEGIN(2, &g);
    MUST(save(s, g, 2, 1, 0, &w, stored) == QUERN_OK);
    MUST(put(s, 2, "edited", "r2") == QUERN_OK); /* between the scan and the save */
    w.rows = (seen){0};
    MUST(save(s, g, 2, 1, 3000, &w, stored) == QUERN_OK && stored[0] == 1 && stored[1] == 0);
    MUST(w.rows.n == 2 && strcmp(w.rows.revision[1], "r2") == 0 &&
         strcmp(w.rows.title[1], "edited") == 0);
    MUST(CALL(chunks, g, quern_str_of("1"), see_chunk, &v) == QUERN_OK && v.n == 1 &&
         v.first[0] == 3100);
    v = (seen){0};
    MUST(CALL(chunks, g, quern_str_of("2"), see_chunk, &v) == QUERN_OK && v.n == 1 &&
         v.first[0] == 200);
    return QUERN_OK;
}

static int a_row_that_is_gone_is_not_saved(suite *s)
{
    int64_t g;
    uint8_t stored[MOST] = {9, 9};
    intent w = {.answer = 1};
    seen v = {0};
    BEGIN(2, &g);
    MUST(s->c->remove(s->self, 2, s->c->ud, &s->inner) == QUERN_OK);
    MUST(save(s, g, 2, 2, 0, &w, stored) == QUERN_OK && stored[0] == 1 && stored[1] == 0 &&
         w.rows.n == 1);
    MUST(CALL(stamps, g, quern_str_of(NULL), MOST, see_stamp, &v) == QUERN_OK && v.n == 1);
    v = (seen){0};
    MUST(CALL(vectors, g, see_vectors, &v) == QUERN_OK && v.n == 2);
    return QUERN_OK;
}

static int a_save_that_fails_leaves_nothing(suite *s)
{
    int64_t g;
    uint8_t stored[MOST];
    intent w = {.answer = QUERN_ECANCELLED};
    seen v = {0};
    quern_generation found;
    BEGIN(3, &g);
    MUST(save(s, g, 3, 1, 0, &w, stored) == QUERN_ECANCELLED);
    MUST(CALL(stamps, g, quern_str_of(NULL), MOST, see_stamp, &v) == QUERN_OK && v.n == 0);
    MUST(CALL(vectors, g, see_vectors, &v) == QUERN_OK && v.n == 0);
    MUST(CALL(generation_find, "items", "building", &found) == QUERN_OK && found.chunks == 0);
    return QUERN_OK;
}

static int a_retired_generation_takes_nothing(suite *s)
{
    int64_t first, second;
    uint8_t stored[MOST];
    intent w = {.answer = 1};
    BEGIN(1, &first);
    MUST(CALL(generation_activate, first) == QUERN_OK);
    MUST(save(s, first, 1, 1, 0, &w, stored) == QUERN_OK && stored[0] == 1);
    MUST(build(s, &second) == QUERN_OK && CALL(generation_activate, second) == QUERN_OK);
    MUST(save(s, first, 1, 1, 0, &w, stored) == QUERN_EMISMATCH);
    MUST(save(s, 123456, 1, 1, 0, &w, stored) == QUERN_EMISMATCH);
    return QUERN_OK;
}

static int stamps_without_chunks(suite *s)
{
    int64_t g;
    uint8_t stored[2];
    intent w = {.answer = 1, .n = 2};
    seen v = {0};
    BEGIN(2, &g);
    quern_save docs[2] = {{.key = {"1", 1}}, {.key = {"2", 1}}};
    docs[0].stamp = (quern_stamp){.outcome = QUERN_OUTCOME_EMPTY, .revision = {"e", 1}};
    docs[1].stamp = (quern_stamp){
        .outcome = QUERN_OUTCOME_FAILED, .revision = {"f", 1}, .reason = {"too long", 8}};
    s->read.generation = g;
    MUST(CALL(save, &s->read, docs, 2, still, &w, stored) == QUERN_OK && stored[0] && stored[1]);
    MUST(CALL(stamps, g, quern_str_of(NULL), MOST, see_stamp, &v) == QUERN_OK && v.n == 2);
    size_t two = strcmp(v.key[0], "2") == 0 ? 0 : 1;
    MUST(v.outcome[two] == QUERN_OUTCOME_FAILED && strcmp(v.revision[two], "f") == 0);
    MUST(v.outcome[1 - two] == QUERN_OUTCOME_EMPTY && strcmp(v.revision[1 - two], "e") == 0);
    quern_tally tally;
    MUST(CALL(tally, g, &tally) == QUERN_OK);
    MUST(tally.empty == 1 && tally.failed == 1 && !tally.ok && !tally.chunks && !tally.vectors);
    docs[0].stamp.outcome = QUERN_OUTCOME_NONE;
    MUST(CALL(save, &s->read, docs, 1, still, &w, stored) != QUERN_OK);
    return QUERN_OK;
}

/* The stamp of document "1".."9" among those gathered, or MOST. */
static size_t stamp_of(const seen *v, char key)
{
    size_t i = 0;
    while (i < v->n && v->key[i][0] != key)
        i++;
    return i < v->n ? i : MOST;
}

static int what_is_asked_for_again_keeps_its_vectors(suite *s)
{
    int64_t first, second;
    uint8_t stored[MOST];
    uint64_t marked = 9;
    intent w = {.answer = 1};
    seen before = {0}, v = {0}, rows = {0}, after = {0};
    static const quern_str keys[] = {{"2", 1}, {"77", 2}};
    quern_save failed = {.key = {"3", 1},
                         .stamp = {.outcome = QUERN_OUTCOME_FAILED, .revision = {"f", 1}}};
    if (!s->t->requeue)
        return QUERN_OK; /* a store may lack it */
    BEGIN(3, &first);
    MUST(save(s, first, 3, 2, 0, &w, stored) == QUERN_OK);
    MUST(CALL(generation_activate, first) == QUERN_OK && build(s, &second) == QUERN_OK);
    MUST(save(s, second, 3, 1, 0, &w, stored) == QUERN_OK);
    MUST(CALL(stamps, first, quern_str_of(NULL), MOST, see_stamp, &before) == QUERN_OK);
    MUST(before.n == 3 && before.created[0] > 0 && before.updated[0] >= before.created[0]);
    MUST(CALL(requeue, first, QUERN_REQUEUE_KEYS, keys, 2, &marked) == QUERN_OK && marked == 1);
    MUST(CALL(stamps, first, quern_str_of(NULL), MOST, see_stamp, &v) == QUERN_OK && v.n == 3);
    size_t two = stamp_of(&v, '2');
    MUST(two < MOST && v.redo[two] == 1 && v.redo[0] + v.redo[1] + v.redo[2] == 1);
    MUST(v.outcome[two] == QUERN_OUTCOME_OK && strcmp(v.revision[two], "r") == 0);
    s->read.generation = first;
    MUST(CALL(fetch, &s->read, keys, 2, see_row, &rows) == QUERN_OK && rows.n == 1);
    MUST(rows.redo[0] == 1 && rows.outcome[0] == QUERN_OUTCOME_OK);
    v = (seen){0};
    MUST(CALL(chunks, first, keys[0], see_chunk, &v) == QUERN_OK && v.n == 2);
    v = (seen){0}; /* the other generation's stamps are its own */
    MUST(CALL(stamps, second, quern_str_of(NULL), MOST, see_stamp, &v) == QUERN_OK &&
         v.redo[0] + v.redo[1] + v.redo[2] == 0);
    w = (intent){.answer = 1};
    MUST(save(s, first, 2, 2, 0, &w, stored) == QUERN_OK); /* 1 and 2 */
    MUST(CALL(stamps, first, quern_str_of(NULL), MOST, see_stamp, &after) == QUERN_OK);
    two = stamp_of(&after, '2');
    MUST(after.redo[two] == 0 && after.created[two] == before.created[stamp_of(&before, '2')]);
    MUST(after.updated[two] >= before.updated[stamp_of(&before, '2')]);
    w = (intent){.answer = 1, .n = 1};
    MUST(CALL(save, &s->read, &failed, 1, still, &w, stored) == QUERN_OK);
    MUST(CALL(requeue, first, QUERN_REQUEUE_FAILED, NULL, 0, &marked) == QUERN_OK && marked == 1);
    v = (seen){0};
    MUST(CALL(stamps, first, quern_str_of(NULL), MOST, see_stamp, &v) == QUERN_OK &&
         v.redo[stamp_of(&v, '3')] == 1 && v.redo[stamp_of(&v, '2')] == 0);
    MUST(CALL(requeue, first, QUERN_REQUEUE_ALL, NULL, 0, &marked) == QUERN_OK && marked == 3);
    MUST(CALL(requeue, first, QUERN_REQUEUE_KEYS, NULL, 0, &marked) == QUERN_OK && marked == 0);
    MUST(CALL(generation_activate, second) == QUERN_OK);
    MUST(CALL(requeue, first, QUERN_REQUEUE_ALL, NULL, 0, &marked) == QUERN_EMISMATCH);
    MUST(CALL(requeue, 123456, QUERN_REQUEUE_ALL, NULL, 0, &marked) != QUERN_OK);
    return QUERN_OK;
}

static int stamps_come_in_pages(suite *s)
{
    int64_t g;
    uint8_t stored[MOST];
    intent w = {.answer = 1};
    BEGIN(11, &g);
    MUST(save(s, g, 11, 1, 0, &w, stored) == QUERN_OK);
    for (size_t limit = 1; limit < 13; limit++) {
        seen v = {0};
        size_t before;
        do {
            before = v.n;
            const char *after = before ? v.key[before - 1] : NULL;
            MUST(CALL(stamps, g, quern_str_of(after), limit, see_stamp, &v) == QUERN_OK);
            MUST(v.n - before <= limit && v.n <= 11);
        } while (v.n - before == limit);
        MUST(v.n == 11);
    }
    return QUERN_OK;
}

/* A row that comes back under its old key and revision is another one: no generation may take it for what it embedded. */
static int erase_ends_it_in_retired_ones(suite *s)
{
    int64_t first, second;
    uint8_t stored[MOST];
    uint64_t removed = 0;
    intent w = {.answer = 1};
    seen v = {0};
    static const quern_str keys[] = {{"1", 1}, {"2", 1}};
    BEGIN(2, &first);
    MUST(save(s, first, 2, 2, 0, &w, stored) == QUERN_OK);
    MUST(CALL(generation_activate, first) == QUERN_OK && build(s, &second) == QUERN_OK);
    MUST(save(s, second, 2, 2, 0, &w, stored) == QUERN_OK);
    MUST(CALL(generation_activate, second) == QUERN_OK);
    s->read.generation = second;
    MUST(s->c->remove(s->self, 2, s->c->ud, &s->inner) == QUERN_OK);
    MUST(CALL(erase, &s->read, keys, 2, &removed) == QUERN_OK && removed == 1);
    MUST(CALL(stamps, first, quern_str_of(NULL), MOST, see_stamp, &v) == QUERN_OK && v.n == 1);
    MUST(strcmp(v.key[0], "1") == 0);
    return QUERN_OK;
}

static int erase_takes_only_what_is_gone(suite *s)
{
    int64_t g;
    uint8_t stored[MOST];
    uint64_t removed = 0;
    intent w = {.answer = 1};
    seen v = {0};
    static const quern_str keys[] = {{"1", 1}, {"2", 1}};
    quern_generation found;
    BEGIN(2, &g);
    MUST(save(s, g, 2, 2, 0, &w, stored) == QUERN_OK);
    MUST(s->c->remove(s->self, 2, s->c->ud, &s->inner) == QUERN_OK);
    MUST(CALL(erase, &s->read, keys, 2, &removed) == QUERN_OK && removed == 1);
    MUST(CALL(stamps, g, quern_str_of(NULL), MOST, see_stamp, &v) == QUERN_OK && v.n == 1);
    MUST(strcmp(v.key[0], "1") == 0);
    v = (seen){0};
    MUST(CALL(vectors, g, see_vectors, &v) == QUERN_OK && v.n == 2 && v.first[0] < 200 &&
         v.first[1] < 200);
    MUST(CALL(generation_find, "items", "building", &found) == QUERN_OK && found.chunks == 2);
    return QUERN_OK;
}

/* ---- rules: documents ---- */

static int publish(suite *s, int64_t batch, const char *roots, int sync, quern_publish_report *r)
{
    int more = 1, rounds = 0;
    memset(r, 0, sizeof *r);
    while (more && rounds++ < 1000)
        MUST(CALL(stage_publish, batch, roots, sync, r, &more) == QUERN_OK);
    MUST(!more);
    return QUERN_OK;
}

static quern_document document(const char *id, const char *fields, const char *origin)
{
    return (quern_document){
        .id = quern_str_of(id), .fields = quern_str_of(fields), .origin = quern_str_of(origin)};
}

/* Revisions and chunks of what is left once a server of the store's forgot the last saves; *lost: documents. */
static int see_what_is_left(suite *s, int64_t g, size_t edited, size_t *lost)
{
    enum { ROWS = 24, GONE = 20, CHUNKS = 2 };
    seen rows = {0}, all = {0};
    quern_tally tally = {0};
    *lost = 0;
    MUST(CALL(scan, &s->read, quern_str_of(NULL), MOST, see_row, &rows) == QUERN_OK);
    MUST(rows.n == ROWS - 1);
    for (size_t i = 0; i < rows.n; i++) {
        bool none = rows.outcome[i] == QUERN_OUTCOME_NONE;
        MUST(none || (rows.outcome[i] == QUERN_OUTCOME_OK && rows.chunks[i] == CHUNKS));
        MUST(!none || (size_t)strtol(rows.key[i], NULL, 10) <= edited);
        *lost += none;
    }
    MUST(CALL(vectors, g, see_vectors, &all) == QUERN_OK);
    MUST(all.n == (rows.n - *lost) * CHUNKS);
    for (size_t i = 0; i < all.n; i++) {
        size_t id = (size_t)all.first[i] / 100;
        bool new = (size_t)all.first[i] % 100 >= 50;
        MUST(id != GONE && new == (id <= edited)); /* never one of before */
    }
    MUST(CALL(tally, g, &tally) == QUERN_OK && tally.vectors == all.n);
    MUST(tally.chunks == rows.n * CHUNKS);
    return QUERN_OK;
}

static int a_server_that_goes_back(suite *s)
{
    enum { ROWS = 24, GONE = 20, EDITED = 16, CHUNKS = 2 };
    static const quern_str gone[] = {{"20", 2}};
    int64_t g;
    uint8_t stored[MOST];
    uint64_t removed = 0;
    size_t lost = 0;
    seen stamps = {0};
    intent first = {.answer = 1}, second = {.answer = 1}, third = {.answer = 1};
    if (!s->c->back)
        return QUERN_OK;
    BEGIN(ROWS, &g);
    MUST(save(s, g, ROWS, CHUNKS, 0, &first, stored) == QUERN_OK);
    MUST(s->c->back(s->self, 0, s->c->ud, &s->inner) == QUERN_OK);
    for (size_t i = 0; i < EDITED; i++) {
        MUST(put(s, (int64_t)i + 1, "title", "q") == QUERN_OK);
        second.revision[i] = third.revision[i] = "q";
    }
    MUST(save(s, g, EDITED, CHUNKS, 50, &second, stored) == QUERN_OK);
    MUST(s->c->remove(s->self, GONE, s->c->ud, &s->inner) == QUERN_OK);
    MUST(CALL(erase, &s->read, gone, 1, &removed) == QUERN_OK && removed == 1);
    int rc = see_what_is_left(s, g, EDITED, &lost);
    MUST(rc || lost == 0);
    if (rc)
        return rc;
    MUST(s->c->back(s->self, 1, s->c->ud, &s->inner) == QUERN_OK);
    if ((rc = see_what_is_left(s, g, EDITED, &lost)) != QUERN_OK)
        return rc;
    MUST(lost > 0 && lost < EDITED);
    MUST(save(s, g, EDITED, CHUNKS, 50, &third, stored) == QUERN_OK);
    if ((rc = see_what_is_left(s, g, EDITED, &lost)) != QUERN_OK)
        return rc;
    MUST(lost == 0);
    MUST(CALL(stamps, g, quern_str_of(NULL), MOST, see_stamp, &stamps) == QUERN_OK);
    MUST(stamps.n == ROWS - 1);
    for (size_t i = 0; i < stamps.n; i++)
        MUST(!stamps.redo[i] && stamps.revision[i][0]);
    if (s->t->sweep)
        MUST(CALL(sweep, g, &removed) == QUERN_OK && removed <= CHUNKS);
    return QUERN_OK;
}

static int staged_documents_show_when_published(suite *s)
{
    quern_source_spec docs;
    QUERN_INIT(&docs);
    docs.name = "documents";
    docs.text = "{text}";
    static const char *const text[] = {"text", "title"};
    quern_read read = {.source = &docs, .columns = text, .n_columns = 2};
    quern_document two[] = {document("a", "{\"text\":\"one\"}", "f1"),
                            document("b", "{\"text\":\"two\"}", "d/f2")};
    int64_t batch;
    uint64_t rows = 9, duplicates = 0;
    quern_publish_report r;
    seen v = {0};
    MUST(CALL(source_put, &docs, 0) == QUERN_OK);
    MUST(CALL(stage_begin, "documents", &batch) == QUERN_OK);
    MUST(CALL(stage_put, batch, two, 2, &duplicates) == QUERN_OK && duplicates == 0);
    MUST(CALL(count, &read, &rows) == QUERN_OK && rows == 0);
    MUST(publish(s, batch, NULL, 0, &r) == QUERN_OK && r.added == 2 &&
         r.changed + r.unchanged + r.removed == 0);
    MUST(CALL(scan, &read, quern_str_of(NULL), MOST, see_row, &v) == QUERN_OK && v.n == 2);
    MUST(strcmp(v.key[0], "\"a\"") == 0 && strcmp(v.title[0], "one") == 0);

    two[0].fields = quern_str_of("{\"text\":\"changed\"}");
    MUST(CALL(stage_begin, "documents", &batch) == QUERN_OK &&
         CALL(stage_put, batch, two, 2, &duplicates) == QUERN_OK);
    MUST(publish(s, batch, NULL, 0, &r) == QUERN_OK && r.changed == 1 && r.unchanged == 1 &&
         r.added == 0);

    MUST(CALL(stage_begin, "documents", &batch) == QUERN_OK &&
         CALL(stage_put, batch, two, 1, &duplicates) == QUERN_OK);
    MUST(publish(s, batch, "[\"d\"]", 0, &r) == QUERN_OK && r.missing == 1 && r.removed == 0 &&
         r.unchanged == 1);
    MUST(CALL(stage_begin, "documents", &batch) == QUERN_OK &&
         CALL(stage_put, batch, two, 1, &duplicates) == QUERN_OK);
    MUST(publish(s, batch, "[\"other\"]", 1, &r) == QUERN_OK && r.missing == 0 && r.removed == 0);
    MUST(CALL(stage_begin, "documents", &batch) == QUERN_OK &&
         CALL(stage_put, batch, two, 1, &duplicates) == QUERN_OK);
    MUST(publish(s, batch, "[\"d\"]", 1, &r) == QUERN_OK && r.removed == 1);
    MUST(CALL(count, &read, &rows) == QUERN_OK && rows == 1);
    quern_str gone[] = {quern_str_of("\"a\""), quern_str_of("\"never\""), quern_str_of("7")};
    if (!s->t->forget)
        return QUERN_OK;
    MUST(CALL(forget, "documents", gone, 3, &rows) == QUERN_OK && rows == 1);
    MUST(CALL(count, &read, &rows) == QUERN_OK && rows == 0);
    return QUERN_OK;
}

static int given_ids_are_given_once(suite *s)
{
    quern_source_spec docs;
    QUERN_INIT(&docs);
    docs.name = "documents";
    docs.text = "{text}";
    quern_document same[] = {document("a", "{\"text\":\"one\"}", "f1"),
                             document("a", "{\"text\":\"two\"}", "f2")};
    int64_t batch;
    uint64_t duplicates = 0, rows = 9;
    quern_read read = {.source = &docs};
    same[0].line = 11;
    same[1].line = 22;
    MUST(CALL(source_put, &docs, 0) == QUERN_OK &&
         CALL(stage_begin, "nobody", &batch) == QUERN_ENOTFOUND);
    MUST(CALL(stage_begin, "documents", &batch) == QUERN_OK);
    MUST(CALL(stage_put, batch, same, 2, &duplicates) == QUERN_EEXISTS);
    MUST(strstr(s->inner.msg, "11") && strstr(s->inner.msg, "22"));
    MUST(CALL(stage_drop, batch) == QUERN_OK &&
         CALL(stage_put, batch, same, 1, &duplicates) != QUERN_OK);
    MUST(CALL(count, &read, &rows) == QUERN_OK && rows == 0);
    same[1].derived_id = 1; /* two documents that differ never collapse into one */
    MUST(CALL(stage_begin, "documents", &batch) == QUERN_OK);
    MUST(CALL(stage_put, batch, same, 2, &duplicates) == QUERN_EEXISTS);
    same[1].fields = same[0].fields;
    MUST(CALL(stage_begin, "documents", &batch) == QUERN_OK);
    MUST(CALL(stage_put, batch, same, 2, &duplicates) == QUERN_OK && duplicates == 1);
    int64_t later;
    MUST(CALL(stage_begin, "documents", &later) == QUERN_OK &&
         later != batch); /* drops the abandoned one */
    MUST(CALL(stage_put, batch, same, 1, &duplicates) != QUERN_OK);
    return QUERN_OK;
}

static int a_lock_has_one_holder(suite *s)
{
    void *first = NULL, *second = NULL, *other = NULL;
    MUST(CALL(lock, "fill:items", 0, &first) == QUERN_OK && first);
    MUST(CALL(lock, "fill:items", 0, &second) == QUERN_EBUSY && !second);
    MUST(CALL(lock, "fill:more", 0, &other) == QUERN_OK);
    s->t->unlock(s->self, first);
    MUST(CALL(lock, "fill:items", 0, &second) == QUERN_OK);
    s->t->unlock(s->self, second);
    s->t->unlock(s->self, other);
    return QUERN_OK;
}

static const suite_rule rules[] = {
    RULE(sources_are_kept),
    RULE(declarations_are_tried),
    RULE(a_scan_sees_every_row_once),
    RULE(rows_carry_columns_and_revision),
    RULE(a_callback_ends_the_call),
    RULE(one_building_and_one_active),
    RULE(a_purge_takes_all_of_one),
    RULE(generations_do_not_mix),
    RULE(generations_are_listed_and_retired),
    RULE(retired_ones_are_resumed),
    RULE(near_vectors_are_the_stored_ones),
    RULE(words_are_of_the_last_save),
    RULE(a_removed_source_takes_everything),
    RULE(saved_documents_come_back),
    RULE(a_save_replaces),
    RULE(what_was_seen_goes_with_its_chunk),
    RULE(a_row_that_moved_on_is_left),
    RULE(a_row_that_is_gone_is_not_saved),
    RULE(a_save_that_fails_leaves_nothing),
    RULE(a_retired_generation_takes_nothing),
    RULE(stamps_without_chunks),
    RULE(what_is_asked_for_again_keeps_its_vectors),
    RULE(stamps_come_in_pages),
    RULE(erase_takes_only_what_is_gone),
    RULE(erase_ends_it_in_retired_ones),
    RULE(a_server_that_goes_back),
    RULE(staged_documents_show_when_published),
    RULE(given_ids_are_given_once),
    RULE(a_lock_has_one_holder),
};

static int run_rule(const quern_conformance *c, const suite_rule *rule, quern_error *err)
{
    suite whole = {.c = c, .t = c->table, .rule = rule->name, .err = err}, *s = &whole;
    QUERN_INIT(&s->spec);
    s->spec.name = "items";
    s->spec.table = "items";
    s->spec.keys = "id";
    s->spec.text = "{title}. {body}";
    s->spec.revision = "rev";
    s->read = (quern_read){.source = &s->spec, .columns = columns, .n_columns = 2};
    if (c->note)
        c->note(s->rule, c->ud);
    int rc = c->open(&s->self, c->ud, err);
    if (rc)
        return rc;
    rc = rule->run(s);
    s->t->close(s->self);
    return rc;
}

int quern_store_conformance(const quern_conformance *c, quern_error *err)
{
    QUERN__REQUIRE(c && c->struct_size >= sizeof *c && c->open && c->put && c->remove && c->table,
                   err);
    int rc = QUERN_OK;
    for (size_t i = 0; i < QUERN__COUNT(rules) && !rc; i++)
        rc = run_rule(c, &rules[i], err);
    for (const suite_rule *r = quern__run_rules; r->name && !rc; r++)
        rc = run_rule(c, r, err);
    for (const suite_rule *r = quern__task_rules; c->table->task_put && r->name && !rc; r++)
        rc = run_rule(c, r, err);
    for (const suite_rule *r = quern__column_rules; c->table->stamp_columns_check && r->name && !rc;
         r++)
        rc = run_rule(c, r, err);
    return rc;
}
