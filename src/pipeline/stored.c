/*
 * stored.c — the vectors of one document by hand: read with all that is known of them, put in their place, taken away.
 *
 * What is read is the state of one moment: the stamp is read before and after the chunks, and the whole again when it
 * has changed in between. What is put goes the way of a fill's save, by compare-and-swap on the revision that the row had when
 * its text was looked at. Deleting is erasing a row that has gone, for a predicate that no row meets (as forget.c does).
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/compiler.h"
#include "pipeline/carry.h"
#include "pipeline/fill_run.h"
#include "pipeline/generation_find.h"
#include "quern/vector.h"
#include "text/utf8.h"
#include "text/words.h"

enum { READ_TRIES = 5 };

struct quern_stored {
    quern_stored_info info;
    quern_stored_chunk *chunks;
    size_t n, cap;
    quern__arena arena;
};

/* A document, and the row it is made of. */
typedef struct target {
    quern_store *s;
    quern__recipe *recipe;
    quern_generation generation;
    quern__fill_settings settings;
    quern_read read;
    char *key;
    quern__arena arena; /* of what follows */
    quern__buf text;
    bool found, current;
    quern_stamp stamp;
    quern__document_view doc;
    quern_str revision; /* of the row */
    uint8_t hash[32];   /* of its text, where stamp columns are written */
    quern_error *err;
} target;

static quern_str key_of(const target *t)
{
    return quern_str_of(t->key);
}

static int copy_str(quern__arena *arena, quern_str from, quern_str *to, quern_error *err)
{
    to->ptr = quern__arena_copy(arena, from.ptr ? from.ptr : "", from.len);
    to->len = from.len;
    return to->ptr ? QUERN_OK : quern__fail_memory(err, from.len);
}

static int open_target(target *t, quern_store *s, const char *source, quern_str key,
                       quern_error *err)
{
    t->s = s;
    quern__arena_init(&t->arena, 0);
    quern__buf_init(&t->text, QUERN__TEXT_BUFFER);
    int rc = quern__recipe_open(&t->recipe, s, source, err);
    if (rc == QUERN_OK)
        rc = quern__source_key(s, source, key, &t->key, err);
    if (rc == QUERN_OK)
        t->read = t->recipe->read;
    return rc;
}

static void close_target(target *t)
{
    quern__recipe_free(t->recipe);
    quern_free(t->key);
    quern__arena_dispose(&t->arena);
    quern__buf_dispose(&t->text);
}

static int take_row(const quern_row *row, void *ud)
{
    target *t = ud;
    quern_error *err = t->err;
    int rc =
        row->fault
            ? quern__fail(err, QUERN_EFORMAT, 0, "source %s, key %.*s: %s", t->recipe->spec.name,
                          (int)QUERN__MIN(row->key.len, (size_t)80), row->key.ptr, row->fault)
            : quern__recipe_document(t->recipe, row, QUERN__DOCUMENT_BYTES, &t->text, &t->doc, err);
    if (rc != QUERN_OK)
        return rc;
    t->found = true;
    t->stamp = row->stamp;
    t->current = quern__is_current(row, &t->doc);
    rc = copy_str(&t->arena, row->stamp.revision, &t->stamp.revision, err);
    if (rc == QUERN_OK)
        rc = copy_str(&t->arena, row->stamp.reason, &t->stamp.reason, err);
    return rc == QUERN_OK ? copy_str(&t->arena, t->doc.revision, &t->revision, err) : rc;
}

/* The row as it is now; ENOTFOUND. */
static int read_row(target *t, quern_error *err)
{
    quern_str key = key_of(t);
    t->err = err;
    t->found = false;
    quern__arena_dispose(&t->arena);
    int rc = t->s->table.fetch(t->s->self, &t->read, &key, 1, take_row, t, err);
    if (rc == QUERN_OK && !t->found)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "source %s has no document with the key %.200s",
                         t->recipe->spec.name, t->key);
    return rc;
}

static int find_state(target *t, const char *state, bool *found, quern_error *err)
{
    quern_error none = {0};
    int rc =
        t->s->table.generation_find(t->s->self, t->recipe->spec.name, state, &t->generation, &none);
    *found = rc == QUERN_OK;
    if (rc != QUERN_OK && rc != QUERN_ENOTFOUND && err)
        *err = none;
    return rc == QUERN_ENOTFOUND ? QUERN_OK : rc;
}

static int not_filled(const target *t, quern_error *err)
{
    return quern__fail(err, QUERN_ENOTFOUND, 0,
                       "source %s has not been filled yet; run `quern fill`", t->recipe->spec.name);
}

/* By its id, else the active one, else the building one. */
static int choose_generation(target *t, int64_t id, quern_error *err)
{
    bool found = true;
    int rc = QUERN_OK;
    if (id) {
        quern__generation_at at;
        rc = quern__generation_at_id(t->s, id, &at, err);
        if (rc == QUERN_OK && strcmp(at.source, t->recipe->spec.name) != 0)
            rc = quern__fail(err, QUERN_ENOTFOUND, id,
                             "generation %" PRId64 " is of source %s, not of %s", id, at.source,
                             t->recipe->spec.name);
        if (rc == QUERN_OK)
            t->generation = at.g;
    } else {
        rc = find_state(t, "active", &found, err);
        if (rc == QUERN_OK && !found)
            rc = find_state(t, "building", &found, err);
        if (rc == QUERN_OK && !found)
            rc = not_filled(t, err);
    }
    return rc;
}

/* The generation's settings and scope; declared: the source still is what it was made from. */
static int settle(target *t, bool *declared, char *what, size_t size, quern_error *err)
{
    char *json = NULL;
    int rc = t->s->table.generation_json(t->s->self, t->generation.id, &json, err);
    if (rc == QUERN_OK)
        rc = quern__settings_of(json, &t->settings, err);
    if (rc == QUERN_OK)
        rc = quern__recipe_scope_of(t->recipe, t->s, t->generation.id, err);
    if (rc == QUERN_OK)
        rc = quern__recipe_declared(t->recipe, json, declared, what, size, err);
    t->read = t->recipe->read;
    t->read.generation = t->generation.id;
    quern__free(json);
    return rc;
}

/* ---- reading ---- */

typedef struct reading {
    quern_stored *v;
    size_t dimensions, width; /* width: of an element */
    quern_error *err;
} reading;

static int take_chunk(const quern_chunk *c, void *ud)
{
    reading *r = ud;
    quern_stored *v = r->v;
    if (v->n == v->cap) {
        size_t cap = v->cap ? 2 * v->cap : 16;
        quern_stored_chunk *grown = quern__resize_array(v->chunks, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(r->err, cap * sizeof *grown);
        v->chunks = grown;
        v->cap = cap;
    }
    char *elements = quern__arena_copy(&v->arena, c->vector, r->dimensions * r->width);
    float *floats = quern__arena_alloc(&v->arena, r->dimensions * sizeof *floats);
    char *heading =
        quern__arena_copy(&v->arena, c->heading.ptr ? c->heading.ptr : "", c->heading.len);
    char *asset = quern__arena_copy(&v->arena, c->asset.ptr ? c->asset.ptr : "", c->asset.len);
    if (!elements || !floats || !heading || !asset)
        return quern__fail_memory(r->err, r->dimensions * sizeof *floats);
    if (r->width == 2)
        quern_f16_to_f32((const uint16_t *)(const void *)elements, floats, r->dimensions);
    else
        memcpy(floats, elements, r->dimensions * sizeof *floats);
    v->chunks[v->n++] = (quern_stored_chunk){.index = c->index,
                                             .page = c->page,
                                             .start = c->start,
                                             .end = c->end,
                                             .char_start = c->char_start,
                                             .char_end = c->char_end,
                                             .heading = heading,
                                             .vector = floats,
                                             .elements = elements,
                                             .asset = asset};
    return QUERN_OK;
}

static bool same_stamp(const quern_stamp *a, const quern_stamp *b)
{
    return a->outcome == b->outcome && a->updated_ms == b->updated_ms && a->chunks == b->chunks;
}

/* Stamp and chunks of one moment. */
static int read_whole(target *t, quern_stored *v, quern_error *err)
{
    reading r = {v, t->generation.dimensions, quern__vector_width(t->generation.vector_type), err};
    int rc = read_row(t, err);
    for (int try = 0; rc == QUERN_OK && try < READ_TRIES; try++) {
        quern_stamp before = t->stamp;
        v->n = 0;
        quern__arena_dispose(&v->arena);
        rc = t->s->table.chunks(t->s->self, t->generation.id, key_of(t), take_chunk, &r, err);
        if (rc == QUERN_OK)
            rc = read_row(t, err);
        if (rc == QUERN_OK && same_stamp(&before, &t->stamp))
            return rc;
    }
    if (rc == QUERN_OK)
        rc = quern__fail(err, QUERN_EBUSY, 0, "key %.200s: it changes all the time", t->key);
    return rc;
}

static int describe(const target *t, bool declared, quern_stored *v, quern_error *err)
{
    static const char *const outcomes[] = {"none", "ok", "empty", "failed"};
    quern_stored_info *i = &v->info;
    const quern_generation *g = &t->generation;
    const struct {
        const char **to;
        quern_str from;
    } texts[] = {{&i->source, quern_str_of(t->recipe->spec.name)},
                 {&i->key, key_of(t)},
                 {&i->model, quern_str_of(g->model)},
                 {&i->fingerprint, quern_str_of(g->fingerprint)},
                 {&i->vector_type, quern_str_of(g->vector_type)},
                 {&i->reason, t->stamp.reason},
                 {&i->revision, t->stamp.revision}};
    for (size_t k = 0; k < QUERN__COUNT(texts); k++) {
        quern_str copy;
        int rc = copy_str(&v->arena, texts[k].from, &copy, err);
        if (rc != QUERN_OK)
            return rc;
        *texts[k].to = copy.ptr;
    }
    i->outcome = outcomes[t->stamp.outcome];
    i->generation = g->id;
    i->dimensions = g->dimensions;
    i->created_ms = t->stamp.created_ms;
    i->updated_ms = t->stamp.updated_ms;
    i->current = t->current && declared && t->stamp.outcome != QUERN_OUTCOME_NONE;
    return QUERN_OK;
}

int quern_stored_open(quern_stored **out, quern_store *s, const char *source, quern_str key,
                      int64_t generation, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(s && source && (key.ptr || key.len == 0) && generation >= 0, err);
    target t = {.found = false};
    char what[160];
    bool declared = false;
    quern_stored *v = quern__calloc(1, sizeof *v);
    if (!v)
        return quern__fail_memory(err, sizeof *v);
    quern__arena_init(&v->arena, 0);
    int rc = open_target(&t, s, source, key, err);
    if (rc == QUERN_OK)
        rc = choose_generation(&t, generation, err);
    if (rc == QUERN_OK)
        rc = settle(&t, &declared, what, sizeof what, err);
    if (rc == QUERN_OK)
        rc = read_whole(&t, v, err);
    if (rc == QUERN_OK)
        rc = describe(&t, declared, v, err);
    close_target(&t);
    if (rc != QUERN_OK) {
        quern_stored_free(v);
        return rc;
    }
    *out = v;
    return QUERN_OK;
}

const quern_stored_info *quern_stored_about(const quern_stored *v)
{
    return v ? &v->info : NULL;
}

size_t quern_stored_count(const quern_stored *v)
{
    return v ? v->n : 0;
}

const quern_stored_chunk *quern_stored_at(const quern_stored *v, size_t i)
{
    return v && i < v->n ? &v->chunks[i] : NULL;
}

void quern_stored_free(quern_stored *v)
{
    if (!v)
        return;
    quern__free(v->chunks);
    quern__arena_dispose(&v->arena);
    quern__free(v);
}

/* ---- putting ---- */

/* Whichever of the two has this fingerprint. */
static int find_fingerprint(target *t, const char *fingerprint, quern_error *err)
{
    static const char *const states[] = {"active", "building"};
    char other[65] = "";
    for (size_t i = 0; i < QUERN__COUNT(states); i++) {
        bool found = false;
        int rc = find_state(t, states[i], &found, err);
        if (rc != QUERN_OK)
            return rc;
        if (found && strcmp(t->generation.fingerprint, fingerprint) == 0)
            return QUERN_OK;
        if (found && !other[0])
            memcpy(other, t->generation.fingerprint, sizeof other);
    }
    if (!other[0])
        return not_filled(t, err);
    return quern__code(
        err,
        quern__fail(err, QUERN_EMISMATCH, 0,
                    "source %s: the vectors are of fingerprint %.64s, its generation "
                    "is of %s",
                    t->recipe->spec.name, fingerprint, other),
        "fingerprint_mismatch");
}

static bool at_character(quern_str text, uint64_t at)
{
    return at == text.len || ((unsigned char)text.ptr[at] & 0xC0) != 0x80;
}

static int check_vector(const target *t, const quern_stored_vector *v, size_t i, quern_error *err)
{
    char where[64];
    quern_error why = {0};
    if (!v->vector || v->dimensions != t->generation.dimensions)
        return quern__fail(err, QUERN_EINVAL, (int64_t)v->dimensions,
                           "vector %zu has %zu dimensions, the generation's have %u", i,
                           v->dimensions, t->generation.dimensions);
    snprintf(where, sizeof where, "key %.50s", t->key);
    if (quern__carry_check_unit(v->vector, 1, t->generation.dimensions, sizeof(float), i, where,
                                &why) != QUERN_OK)
        return quern__fail(err, QUERN_EINVAL, (int64_t)i, "%s", why.msg);
    return QUERN_OK;
}

static int place_chunk(const target *t, const quern_stored_vector *v, size_t i, size_t n,
                       quern_chunk *c, quern_error *err)
{
    quern_str text = t->doc.text;
    bool whole = n == 1 && v->start == 0 && v->end == 0;
    c->index = (uint32_t)i;
    c->start = whole ? 0 : v->start;
    c->end = whole ? text.len : v->end;
    c->page = v->page;
    c->heading = quern_str_of(v->heading ? v->heading : "");
    if (c->end > text.len || c->start >= c->end || !at_character(text, c->start) ||
        !at_character(text, c->end))
        return quern__fail(err, QUERN_EINVAL, (int64_t)i,
                           "key %.100s: chunk %zu from byte %" PRIu64 " to %" PRIu64
                           " is no piece of its text, which has %zu bytes",
                           t->key, i, c->start, c->end, text.len);
    if (quern__utf8_check(c->heading.ptr, c->heading.len) != c->heading.len)
        return quern__fail(err, QUERN_EINVAL, (int64_t)i, "a heading is not UTF-8");
    c->char_start = quern__utf8_count(text.ptr, c->start);
    c->char_end = c->char_start + quern__utf8_count(text.ptr + c->start, c->end - c->start);
    return QUERN_OK;
}

static int still(const quern_row *row, size_t i, void *ud)
{
    target *t = ud;
    quern__document_view now;
    (void)i;
    if (row->fault)
        return 0;
    int rc = quern__recipe_document(t->recipe, row, QUERN__DOCUMENT_BYTES, &t->text, &now, t->err);
    if (rc != QUERN_OK)
        return rc;
    if (row->stamped)
        return quern__fill_same_text(row, &now, t->hash, t->err);
    if (now.revision.len != t->revision.len ||
        (now.revision.len && memcmp(now.revision.ptr, t->revision.ptr, now.revision.len) != 0))
        return 0;
    return t->recipe->spec.stamp_columns ? quern__fill_same_text(row, &now, t->hash, t->err) : 1;
}

static int save(target *t, const quern_chunk *chunks, size_t n, quern_error *err)
{
    quern_save doc = {.key = key_of(t), .chunks = chunks};
    uint8_t stored = 0;
    quern__buf words;
    quern__buf_init(&words, QUERN__WORDS_BYTES + 1);
    doc.stamp.outcome = QUERN_OUTCOME_OK;
    doc.stamp.revision = t->revision;
    doc.stamp.chunks = (uint32_t)n;
    doc.stamp_columns = t->recipe->spec.stamp_columns && strcmp(t->generation.state, "active") == 0;
    doc.model = quern_str_of(t->generation.model);
    int rc = QUERN_OK;
    if (t->recipe->keeps) /* a copy: the row is rendered once more in the same place */
        rc = copy_str(&t->arena, t->doc.text, &doc.text, err);
    if (rc == QUERN_OK && t->recipe->spec.text_search) {
        quern__buf_append(&words, "", 1);
        quern__words(t->doc.text, &words);
        rc = quern__buf_ok(&words, "the words of a document", err);
        doc.words = (quern_str){words.data + (words.data != NULL), words.len - (words.len > 0)};
    }
    t->err = err;
    if (rc == QUERN_OK)
        rc = t->s->table.save(t->s->self, &t->read, &doc, 1, still, t, &stored, err);
    if (rc == QUERN_OK && !stored)
        rc = quern__fail(err, QUERN_EBUSY, 0,
                         "key %.200s: its row changed meanwhile; nothing was stored", t->key);
    quern__buf_dispose(&words);
    return rc;
}

static int put(target *t, const quern_stored_vector *vectors, size_t n, quern_error *err)
{
    size_t dim = t->generation.dimensions;
    size_t width = dim * quern__vector_width(t->generation.vector_type);
    quern_chunk *chunks = quern__calloc(n, sizeof *chunks);
    unsigned char *data = quern__alloc_array(n, width);
    int rc = chunks && data ? QUERN_OK : quern__fail_memory(err, n * width);
    for (size_t i = 0; rc == QUERN_OK && i < n; i++) {
        rc = check_vector(t, &vectors[i], i, err);
        if (rc == QUERN_OK)
            rc = place_chunk(t, &vectors[i], i, n, &chunks[i], err);
        if (rc != QUERN_OK)
            break;
        unsigned char *to = data + i * width;
        if (width == 2 * dim)
            quern_f32_to_f16(vectors[i].vector, (uint16_t *)(void *)to, dim);
        else
            quern_vector_to_blob(vectors[i].vector, dim, to);
        chunks[i].vector = to;
    }
    if (rc == QUERN_OK)
        rc = save(t, chunks, n, err);
    quern__free(chunks);
    quern__free(data);
    return rc;
}

/* Texts and offsets into them have to be what a fill would make of the row. */
static int may_put(target *t, size_t n, quern_error *err)
{
    char what[160];
    bool declared = false;
    int rc = settle(t, &declared, what, sizeof what, err);
    if (rc != QUERN_OK)
        return rc;
    if (!declared)
        return quern__fail(err, QUERN_EMISMATCH, t->generation.id,
                           "generation %" PRId64 " of source %s was made when it was declared "
                           "otherwise (%s differs); run `quern fill` first",
                           t->generation.id, t->recipe->spec.name, what);
    if (t->settings.builder[0])
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "source %s was filled by a program with its document builder %s: its "
                           "texts are not at hand",
                           t->recipe->spec.name, t->settings.builder);
    if (quern__settings_assets(t->recipe, &t->settings))
        return quern__fail(
            err, QUERN_EUNSUPPORTED, 0,
            "source %s has assets (%.100s): vectors of what is seen cannot be put by "
            "hand",
            t->recipe->spec.name, t->recipe->spec.assets);
    if (n > t->settings.chunking.max_chunks)
        return quern__fail(err, QUERN_EINVAL, (int64_t)n,
                           "%zu vectors of one document; its generation has at most %u", n,
                           t->settings.chunking.max_chunks);
    return QUERN_OK;
}

int quern_stored_put(quern_store *s, const char *source, quern_str key, const char *fingerprint,
                     const quern_stored_vector *vectors, size_t n, quern_error *err)
{
    QUERN__REQUIRE(s && source && (key.ptr || key.len == 0), err);
    QUERN__REQUIRE(fingerprint && vectors && n, err);
    target t = {.found = false};
    int rc = open_target(&t, s, source, key, err);
    if (rc == QUERN_OK)
        rc = find_fingerprint(&t, fingerprint, err);
    if (rc == QUERN_OK)
        rc = may_put(&t, n, err);
    if (rc == QUERN_OK)
        rc = read_row(&t, err);
    if (rc == QUERN_OK && t.doc.reason[0])
        rc = quern__fail(err, QUERN_EFORMAT, 0, "key %.200s: %s", t.key, t.doc.reason);
    if (rc == QUERN_OK)
        rc = put(&t, vectors, n, err);
    close_target(&t);
    return rc;
}

/* ---- deleting ---- */

/* erase counts keys, not stamps: asking for it again tells whether there is one, and it goes in any case. */
static int delete_from(target *t, uint64_t *removed, quern_error *err)
{
    quern_source_spec none = t->recipe->spec;
    quern_read read = t->recipe->read;
    quern_str key = key_of(t);
    uint64_t stamps = 0;
    uint64_t erased = 0;
    const quern_store_table *table = &t->s->table;
    int rc = table->requeue ? table->requeue(t->s->self, t->generation.id, QUERN_REQUEUE_KEYS, &key,
                                             1, &stamps, err)
                            : QUERN_OK;
    none.where = "1 = 0";
    read.source = &none;
    read.generation = t->generation.id;
    if (rc == QUERN_OK)
        rc = table->erase(t->s->self, &read, &key, 1, &erased, err);
    *removed += table->requeue ? stamps : erased;
    return rc;
}

int quern_stored_delete(quern_store *s, const char *source, quern_str key, uint64_t *removed,
                        quern_error *err)
{
    static const char *const states[] = {"active", "building"};
    QUERN__REQUIRE(s && source && (key.ptr || key.len == 0), err);
    target t = {.found = false};
    uint64_t all = 0;
    int rc = open_target(&t, s, source, key, err);
    for (size_t i = 0; rc == QUERN_OK && i < QUERN__COUNT(states); i++) {
        bool found = false;
        rc = find_state(&t, states[i], &found, err);
        if (rc == QUERN_OK && found)
            rc = delete_from(&t, &all, err);
    }
    if (rc == QUERN_OK && !all)
        rc = read_row(&t, err); /* a key that nobody knows */
    if (removed)
        *removed = all;
    close_target(&t);
    return rc;
}
