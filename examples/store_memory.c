/*
 * store_memory — a store of one's own: quern's table of store functions (quern/sys/store.h) over plain memory,
 * against the public headers alone, held to the rules of quern_store_conformance.
 *
 *     store_memory
 *
 * It has one table of the user's, `items` (id, title, body, rev), and the built-in documents. Rows are kept
 * sorted by id, so that a scan resumes behind any key. What a real one adds: more tables, predicates,
 * transactions that other processes see, and an end to calling malloc without looking (`own` stops the program).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <quern/quern.h>
#include <quern/sys/store.h>

typedef struct item { /* a row of `items`, or a document: then key is its id and title its fields */
    char *key;        /* JSON */
    int64_t id;
    char *title, *body, *rev, *origin, *source;
} item;
typedef struct source {
    char *name, *table, *keys, *text, *revision, *meta, *prepare;
} source;
typedef struct stamp {
    int64_t generation;
    char *key, *revision, *reason;
    quern_stamp s;
} stamp;
typedef struct vector {
    int64_t ref, generation;
    char *key;
    quern_chunk chunk;
    void *data;
} vector;
typedef struct generation {
    quern_generation g;
    char *source, *json;
} generation;
typedef struct task {
    quern_task t; /* its strings are ours */
    char *source, *key;
    int64_t lease;
    int again;
} task;

/* Growing arrays, freed with everything in them by close. */
#define LIST(type)                                                                                 \
    struct {                                                                                       \
        type *at;                                                                                  \
        size_t n, room;                                                                            \
    }
typedef struct memory {
    LIST(item) items, documents, staged;
    LIST(source) sources;
    LIST(stamp) stamps;
    LIST(vector) vectors;
    LIST(generation) generations;
    LIST(task) tasks;
    LIST(char *) locks;
    LIST(void *) blocks; /* every string and vector ever made: this example frees at close */
    int64_t ids, batch, phase;
    char *batch_source;
    uint64_t rescued;
} memory;

static void *own(memory *m, const void *data, size_t n)
{
    if (m->blocks.n == m->blocks.room) {
        m->blocks.room = m->blocks.room ? 2 * m->blocks.room : 64;
        m->blocks.at = realloc(m->blocks.at, m->blocks.room * sizeof *m->blocks.at);
    }
    char *copy = malloc(n + 1);
    if (!copy || !m->blocks.at)
        abort();
    if (n)
        memcpy(copy, data, n);
    copy[n] = '\0';
    return m->blocks.at[m->blocks.n++] = copy;
}
static char *text(memory *m, const char *s)
{
    return s ? own(m, s, strlen(s)) : NULL;
}
static char *text_of(memory *m, quern_str s)
{
    return own(m, s.ptr, s.len);
}
static void *room_for(void *at, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return at;
    *room = *room ? 2 * *room : 64;
    at = realloc(at, *room * size);
    if (!at)
        abort();
    return at;
}
#define PUSH(list)                                                                                 \
    ((list).at = room_for((list).at, (list).n, &(list).room, sizeof *(list).at),                   \
     &(list).at[(list).n++])
#define DROP(list, i) ((list).at[i] = (list).at[--(list).n]) /* order is lost */

static int fail(quern_error *err, int status, const char *message, const char *name)
{
    if (err) {
        memset(err, 0, sizeof *err);
        err->status = status;
        err->subject = -1;
        snprintf(err->msg, sizeof err->msg, message, name);
    }
    return status;
}
static int is(quern_str a, const char *b)
{
    return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0;
}

/* ---- sources ---- */

static source *find_source(memory *m, const char *name)
{
    for (size_t i = 0; i < m->sources.n; i++)
        if (strcmp(m->sources.at[i].name, name) == 0)
            return &m->sources.at[i];
    return NULL;
}
static int source_check(void *self, const quern_source_spec *spec, const char *const *columns,
                        size_t n, quern_error *err)
{
    static const char known[] = " id title body rev ";
    char word[128];
    (void)self;
    if (spec->query || spec->where)
        return fail(err, QUERN_EUNSUPPORTED, "this store has no SQL%s", "");
    if (!spec->table)
        return QUERN_OK;
    if (strcmp(spec->table, "items") != 0)
        return fail(err, QUERN_ENOTFOUND, "there is no table '%s'", spec->table);
    for (size_t i = 0; i <= n; i++) {
        const char *name = i < n ? columns[i] : spec->revision ? spec->revision : "rev";
        snprintf(word, sizeof word, " %s ", name);
        if (!strstr(known, word))
            return fail(err, QUERN_ENOTFOUND, "items has no column '%s'", name);
    }
    return QUERN_OK;
}
static int source_put(void *self, const quern_source_spec *spec, int replace, quern_error *err)
{
    memory *m = self;
    source *s = find_source(m, spec->name);
    if (s && !replace)
        return fail(err, QUERN_EEXISTS, "there is a source '%s' already", spec->name);
    if (!s)
        s = PUSH(m->sources);
    *s = (source){text(m, spec->name),   text(m, spec->table),    text(m, spec->keys),
                  text(m, spec->text),   text(m, spec->revision), text(m, spec->meta),
                  text(m, spec->prepare)};
    return QUERN_OK;
}
static int by_name(const void *a, const void *b)
{
    return strcmp(((const source *)a)->name, ((const source *)b)->name);
}
static int source_each(void *self, int (*fn)(const quern_source_spec *, void *), void *ud,
                       quern_error *err)
{
    memory *m = self;
    int rc = 0;
    (void)err;
    if (m->sources.n)
        qsort(m->sources.at, m->sources.n, sizeof *m->sources.at, by_name);
    for (size_t i = 0; i < m->sources.n && !rc; i++) {
        const source *s = &m->sources.at[i];
        quern_source_spec spec;
        QUERN_INIT(&spec);
        spec.name = s->name;
        spec.table = s->table;
        spec.keys = s->keys;
        spec.text = s->text;
        spec.revision = s->revision;
        spec.meta = s->meta;
        spec.prepare = s->prepare;
        rc = fn(&spec, ud);
    }
    return rc;
}
static void empty_generation(memory *m, int64_t id)
{
    for (size_t i = m->vectors.n; i-- > 0;)
        if (m->vectors.at[i].generation == id)
            DROP(m->vectors, i);
    for (size_t i = m->stamps.n; i-- > 0;)
        if (m->stamps.at[i].generation == id)
            DROP(m->stamps, i);
    for (size_t i = m->generations.n; i-- > 0;)
        if (m->generations.at[i].g.id == id)
            DROP(m->generations, i);
}
static int source_remove(void *self, const char *name, quern_error *err)
{
    memory *m = self;
    source *s = find_source(m, name);
    if (!s)
        return fail(err, QUERN_ENOTFOUND, "there is no source '%s'", name);
    for (size_t i = m->generations.n; i-- > 0;)
        if (strcmp(m->generations.at[i].source, name) == 0)
            empty_generation(m, m->generations.at[i].g.id);
    for (size_t i = m->documents.n; i-- > 0;)
        if (strcmp(m->documents.at[i].source, name) == 0)
            DROP(m->documents, i);
    for (size_t i = m->tasks.n; i-- > 0;)
        if (strcmp(m->tasks.at[i].source, name) == 0)
            DROP(m->tasks, i);
    DROP(m->sources, (size_t)(s - m->sources.at));
    return QUERN_OK;
}
static task *find_task(memory *m, const char *from, quern_str key)
{
    for (size_t i = 0; i < m->tasks.n; i++)
        if (strcmp(m->tasks.at[i].source, from) == 0 && is(key, m->tasks.at[i].key))
            return &m->tasks.at[i];
    return NULL;
}

/* ---- rows ---- */

static int by_key(const void *a, const void *b)
{
    const item *x = a, *y = b;
    return x->id != y->id ? (x->id < y->id ? -1 : 1) : strcmp(x->key, y->key);
}
static stamp *find_stamp(memory *m, int64_t g, quern_str key)
{
    for (size_t i = 0; i < m->stamps.n; i++)
        if (m->stamps.at[i].generation == g && is(key, m->stamps.at[i].key))
            return &m->stamps.at[i];
    return NULL;
}
/* A field of a document: enough JSON for flat objects of plain strings, which is all this example is given. */
static quern_str field(const char *json, const char *name)
{
    char begin[80];
    snprintf(begin, sizeof begin, "\"%s\":\"", name);
    const char *from = strstr(json, begin);
    quern_str s = {NULL, 0};
    if (from) {
        s.ptr = from + strlen(begin);
        s.len = strcspn(s.ptr, "\"");
    }
    return s;
}
static quern_value value(const item *row, int document, const char *column)
{
    quern_value v = {.type = QUERN_VALUE_TEXT};
    if (document)
        v.bytes = field(row->title, column);
    else if (strcmp(column, "id") == 0) {
        v.type = QUERN_VALUE_INT;
        v.integer = row->id;
    } else
        v.bytes = quern_str_of(strcmp(column, "title") == 0  ? row->title
                               : strcmp(column, "body") == 0 ? row->body
                                                             : row->rev);
    if (v.type == QUERN_VALUE_TEXT && !v.bytes.ptr)
        v.type = QUERN_VALUE_NULL;
    return v;
}
static int give(memory *m, const quern_read *read, const item *row, quern_row_fn fn, void *ud)
{
    quern_value columns[64];
    quern_row r = {.key = quern_str_of(row->key), .columns = columns, .n_columns = read->n_columns};
    for (size_t i = 0; i < read->n_columns && i < 64; i++)
        columns[i] = value(row, !read->source->table, read->columns[i]);
    if (read->source->revision)
        r.revision = quern_str_of(row->rev);
    const stamp *s = read->generation ? find_stamp(m, read->generation, r.key) : NULL;
    if (s)
        r.stamp = s->s;
    return fn(&r, ud);
}
/* The rows of a source, sorted; those of other sources among the documents are to be passed over. */
static const item *rows_of(memory *m, const quern_read *read, size_t *n)
{
    item *at = read->source->table ? m->items.at : m->documents.at;
    *n = read->source->table ? m->items.n : m->documents.n;
    if (*n)
        qsort(at, *n, sizeof *at, by_key);
    return at;
}
static int belongs(const quern_read *read, const item *row)
{
    return read->source->table || strcmp(row->source, read->source->name) == 0;
}
static int scan(void *self, const quern_read *read, quern_str after, size_t limit, quern_row_fn fn,
                void *ud, quern_error *err)
{
    size_t n;
    const item *rows = rows_of(self, read, &n);
    char last[256];
    item from = {.key = last};
    int rc = 0;
    (void)err;
    snprintf(last, sizeof last, "%.*s", (int)after.len, after.ptr ? after.ptr : "");
    from.id = read->source->table && after.len ? strtoll(last, NULL, 10) : 0;
    for (size_t i = 0; i < n && limit && !rc; i++)
        if (belongs(read, &rows[i]) && (after.len == 0 || by_key(&rows[i], &from) > 0)) {
            rc = give(self, read, &rows[i], fn, ud);
            limit--;
        }
    return rc;
}
static const item *find_row(memory *m, const quern_read *read, quern_str key)
{
    size_t n;
    const item *rows = rows_of(m, read, &n);
    for (size_t i = 0; i < n; i++)
        if (belongs(read, &rows[i]) && is(key, rows[i].key))
            return &rows[i];
    return NULL;
}
static int fetch(void *self, const quern_read *read, const quern_str *keys, size_t n,
                 quern_row_fn fn, void *ud, quern_error *err)
{
    int rc = 0;
    (void)err;
    for (size_t i = 0; i < n && !rc; i++) {
        const item *row = find_row(self, read, keys[i]);
        rc = row ? give(self, read, row, fn, ud) : 0;
    }
    return rc;
}
static int count(void *self, const quern_read *read, uint64_t *n, quern_error *err)
{
    size_t all;
    const item *rows = rows_of(self, read, &all);
    (void)err;
    *n = 0;
    for (size_t i = 0; i < all; i++)
        *n += belongs(read, &rows[i]) != 0;
    return QUERN_OK;
}

/* ---- generations ---- */

static generation *find_generation(memory *m, int64_t id)
{
    for (size_t i = 0; i < m->generations.n; i++)
        if (m->generations.at[i].g.id == id)
            return &m->generations.at[i];
    return NULL;
}
static void set_state(generation *g, const char *state)
{
    snprintf(g->g.state, sizeof g->g.state, "%s", state);
}
static generation *in_state(memory *m, const char *name, const char *state)
{
    for (size_t i = 0; i < m->generations.n; i++)
        if (strcmp(m->generations.at[i].source, name) == 0 &&
            strcmp(m->generations.at[i].g.state, state) == 0)
            return &m->generations.at[i];
    return NULL;
}
static uint64_t vectors_of(const memory *m, int64_t g)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->vectors.n; i++)
        n += m->vectors.at[i].generation == g;
    return n;
}
static int generation_find(void *self, const char *name, const char *state, quern_generation *out,
                           quern_error *err)
{
    memory *m = self;
    const generation *g = in_state(m, name, state);
    if (!g)
        return fail(err, QUERN_ENOTFOUND, "source '%s' has no such generation", name);
    *out = g->g;
    out->chunks = vectors_of(m, g->g.id);
    return QUERN_OK;
}
static int generation_build(void *self, const char *name, const quern_generation *g,
                            const char *json, int64_t *id, quern_error *err)
{
    memory *m = self;
    if (in_state(m, name, "building"))
        return fail(err, QUERN_EEXISTS, "source '%s' has a building generation already", name);
    generation *made = PUSH(m->generations);
    made->g = *g;
    made->source = text(m, name);
    made->json = text(m, json);
    made->g.id = *id = ++m->ids;
    made->g.created_ms = g->created_ms ? g->created_ms : 1;
    set_state(made, "building");
    return QUERN_OK;
}
static int generation_json(void *self, int64_t id, char **json, quern_error *err)
{
    const generation *g = find_generation(self, id);
    if (!g)
        return fail(err, QUERN_ENOTFOUND, "there is no such generation%s", "");
    return quern_utf8_replace(json, NULL, quern_str_of(g->json), err); /* a copy for quern_free */
}
static int generation_activate(void *self, int64_t id, quern_error *err)
{
    memory *m = self;
    generation *g = find_generation(m, id), *old;
    if (!g || strcmp(g->g.state, "building") != 0)
        return fail(err, QUERN_EMISMATCH, "only a building generation can be activated%s", "");
    old = in_state(m, g->source, "active");
    if (old) {
        set_state(old, "retired");
        old->g.retired_ms = 1;
    }
    set_state(g, "active");
    g->g.activated_ms = 1;
    return QUERN_OK;
}
static int generation_purge(void *self, int64_t id, int *more, quern_error *err)
{
    const generation *g = find_generation(self, id);
    *more = 0;
    if (!g || strcmp(g->g.state, "active") == 0)
        return fail(err, QUERN_EMISMATCH, "no generation that can be purged%s", "");
    empty_generation(self, id);
    return QUERN_OK;
}

static int generation_each(void *self, const char *name, quern_generation_fn fn, void *ud,
                           quern_error *err)
{
    memory *m = self;
    int rc = 0;
    if (name && !find_source(m, name))
        return fail(err, QUERN_ENOTFOUND, "there is no source '%s'", name);
    for (int64_t id = 1; id <= m->ids && !rc; id++) { /* by id, whatever order they are kept in */
        const generation *g = find_generation(m, id);
        if (!g || (name && strcmp(g->source, name) != 0))
            continue;
        quern_generation told = g->g;
        told.chunks = vectors_of(m, id);
        rc = fn(g->source, &told, ud);
    }
    return rc;
}
static int generation_retire(void *self, int64_t id, quern_error *err)
{
    generation *g = find_generation(self, id);
    if (!g)
        return fail(err, QUERN_ENOTFOUND, "there is no such generation%s", "");
    if (strcmp(g->g.state, "retired") == 0)
        return fail(err, QUERN_EMISMATCH, "it is retired already%s", "");
    set_state(g, "retired");
    g->g.retired_ms = 1;
    return QUERN_OK;
}

static int generation_resume(void *self, int64_t id, quern_error *err)
{
    generation *g = find_generation(self, id);
    if (!g)
        return fail(err, QUERN_ENOTFOUND, "there is no such generation%s", "");
    if (strcmp(g->g.state, "retired") != 0 || vectors_of(self, id) == 0)
        return fail(err, QUERN_EMISMATCH, "nothing of it could be used again%s", "");
    if (in_state(self, g->source, "building"))
        return fail(err, QUERN_EEXISTS, "another one is being built%s", "");
    set_state(g, "building");
    g->g.activated_ms = g->g.retired_ms = 0;
    return QUERN_OK;
}

/* ---- stamps and vectors ---- */

static void forget(memory *m, int64_t g, quern_str key)
{
    for (size_t i = m->vectors.n; i-- > 0;)
        if (m->vectors.at[i].generation == g && is(key, m->vectors.at[i].key))
            DROP(m->vectors, i);
    stamp *s = find_stamp(m, g, key);
    if (s)
        DROP(m->stamps, (size_t)(s - m->stamps.at));
}
static void keep(memory *m, const generation *g, const quern_save *doc)
{
    size_t width = g->g.dimensions * (strcmp(g->g.vector_type, "f16") == 0 ? 2u : 4u);
    const stamp *before = find_stamp(m, g->g.id, doc->key);
    int64_t created = before ? before->s.created_ms : ++m->ids; /* this example's clock */
    forget(m, g->g.id, doc->key);
    for (uint32_t i = 0; i < doc->stamp.chunks; i++) {
        vector *v = PUSH(m->vectors);
        *v = (vector){++m->ids, g->g.id, text_of(m, doc->key), doc->chunks[i],
                      own(m, doc->chunks[i].vector, width)};
        v->chunk.vector = v->data;
        v->chunk.heading = quern_str_of(text_of(m, doc->chunks[i].heading));
        v->chunk.asset = quern_str_of(text_of(m, doc->chunks[i].asset));
    }
    stamp *s = PUSH(m->stamps);
    *s = (stamp){g->g.id, text_of(m, doc->key), text_of(m, doc->stamp.revision),
                 text_of(m, doc->stamp.reason), doc->stamp};
    s->s.revision = quern_str_of(s->revision);
    s->s.reason = quern_str_of(s->reason);
    s->s.redo = 0;
    s->s.created_ms = created;
    s->s.updated_ms = ++m->ids;
}
/* The question still() wants the row: asked through give's callback. */
typedef struct question {
    int (*still)(const quern_row *row, size_t i, void *ud);
    size_t i;
    void *ud;
} question;
static int ask(const quern_row *row, void *ud)
{
    question *q = ud;
    return q->still(row, q->i, q->ud);
}
/* Everything is asked first and written after: that is this store's transaction. */
static int save(void *self, const quern_read *read, const quern_save *docs, size_t n,
                int (*still)(const quern_row *, size_t, void *), void *ud, uint8_t *stored,
                quern_error *err)
{
    const generation *g = find_generation(self, read->generation);
    if (!g || strcmp(g->g.state, "retired") == 0)
        return fail(err, QUERN_EMISMATCH, "the generation is no longer in use%s", "");
    for (size_t i = 0; i < n; i++) {
        question q = {still, i, ud};
        const item *row = find_row(self, read, docs[i].key);
        if (docs[i].stamp.outcome == QUERN_OUTCOME_NONE)
            return fail(err, QUERN_EINVAL, "a save without an outcome%s", "");
        int answer = row ? give(self, read, row, ask, &q) : 0;
        if (answer < 0)
            return answer;
        const task *t = find_task(self, read->source->name, docs[i].key);
        stored[i] = answer == 1 && (!docs[i].lease || (t && t->lease == docs[i].lease));
    }
    for (size_t i = 0; i < n; i++)
        if (stored[i])
            keep(self, g, &docs[i]);
    return QUERN_OK;
}
static int erase(void *self, const quern_read *read, const quern_str *keys, size_t n,
                 uint64_t *removed, quern_error *err)
{
    memory *m = self;
    (void)err;
    *removed = 0;
    for (size_t i = 0; i < n; i++)
        if (!find_row(m, read, keys[i])) {
            const task *t = find_task(m, read->source->name, keys[i]);
            forget(m, read->generation, keys[i]);
            for (size_t k = 0; k < m->generations.n; k++)
                if (strcmp(m->generations.at[k].g.state, "retired") == 0 &&
                    strcmp(m->generations.at[k].source, read->source->name) == 0)
                    forget(m, m->generations.at[k].g.id, keys[i]);
            if (t)
                DROP(m->tasks, (size_t)(t - m->tasks.at));
            ++*removed;
        }
    return QUERN_OK;
}
static int forget_keys(void *self, const char *name, const quern_str *keys, size_t n,
                       uint64_t *documents, quern_error *err)
{
    memory *m = self;
    (void)err;
    *documents = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = m->documents.n; k-- > 0;) {
            const item *d = &m->documents.at[k];
            if (strcmp(d->source, name) != 0 || !is(keys[i], d->key))
                continue;
            DROP(m->documents, k);
            ++*documents;
        }
    return QUERN_OK;
}
static int requeue(void *self, int64_t id, int what, const quern_str *keys, size_t n,
                   uint64_t *marked, quern_error *err)
{
    memory *m = self;
    const generation *g = find_generation(m, id);
    *marked = 0;
    if (!g)
        return fail(err, QUERN_ENOTFOUND, "there is no such generation%s", "");
    if (strcmp(g->g.state, "retired") == 0)
        return fail(err, QUERN_EMISMATCH, "the generation is no longer in use%s", "");
    for (size_t i = 0; i < m->stamps.n; i++) {
        stamp *s = &m->stamps.at[i];
        int asked = what == QUERN_REQUEUE_ALL ||
                    (what == QUERN_REQUEUE_FAILED && s->s.outcome == QUERN_OUTCOME_FAILED);
        for (size_t k = 0; what == QUERN_REQUEUE_KEYS && k < n; k++)
            asked |= is(keys[k], s->key);
        if (s->generation != id || !asked)
            continue;
        s->s.redo = 1;
        ++*marked;
    }
    return QUERN_OK;
}
static int by_stamp_key(const void *a, const void *b)
{
    return strcmp(((const stamp *)a)->key, ((const stamp *)b)->key);
}
static int stamps(void *self, int64_t g, quern_str after, size_t limit,
                  int (*fn)(quern_str, const quern_stamp *, void *), void *ud, quern_error *err)
{
    memory *m = self;
    char last[256];
    int rc = 0;
    (void)err;
    snprintf(last, sizeof last, "%.*s", (int)after.len, after.ptr ? after.ptr : "");
    if (m->stamps.n)
        qsort(m->stamps.at, m->stamps.n, sizeof *m->stamps.at, by_stamp_key);
    for (size_t i = 0; i < m->stamps.n && limit && !rc; i++) {
        const stamp *s = &m->stamps.at[i];
        if (s->generation != g || strcmp(s->key, last) <= 0)
            continue;
        rc = fn(quern_str_of(s->key), &s->s, ud);
        limit--;
    }
    return rc;
}
static int tally(void *self, int64_t g, quern_tally *out, quern_error *err)
{
    memory *m = self;
    (void)err;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < m->stamps.n; i++) {
        const stamp *s = &m->stamps.at[i];
        if (s->generation != g)
            continue;
        out->ok += s->s.outcome == QUERN_OUTCOME_OK;
        out->empty += s->s.outcome == QUERN_OUTCOME_EMPTY;
        out->failed += s->s.outcome == QUERN_OUTCOME_FAILED;
        out->chunks += s->s.chunks;
    }
    for (size_t i = 0; i < m->vectors.n; i++)
        out->vectors += m->vectors.at[i].generation == g;
    return QUERN_OK;
}
static int vectors(void *self, int64_t g, quern_block_fn fn, void *ud, quern_error *err)
{
    memory *m = self;
    int rc = 0;
    (void)err;
    for (size_t i = 0; i < m->vectors.n && !rc; i++)
        if (m->vectors.at[i].generation == g)
            rc = fn(&m->vectors.at[i].ref, m->vectors.at[i].data, 1, ud);
    return rc;
}
static int resolve(void *self, int64_t g, const int64_t *refs, size_t n, quern_chunk_ref_fn fn,
                   void *ud, quern_error *err)
{
    memory *m = self;
    int rc = 0;
    (void)err;
    for (size_t i = 0; i < n && !rc; i++)
        for (size_t k = 0; k < m->vectors.n && !rc; k++) {
            const vector *v = &m->vectors.at[k];
            quern_chunk_ref c = {v->ref,           quern_str_of(v->key), v->chunk.index,
                                 v->chunk.start,   v->chunk.end,         v->chunk.page,
                                 v->chunk.heading, v->chunk.asset};
            if (v->ref == refs[i] && v->generation == g)
                rc = fn(&c, ud);
        }
    return rc;
}
static int chunks(void *self, int64_t g, quern_str key, int (*fn)(const quern_chunk *, void *),
                  void *ud, quern_error *err)
{
    memory *m = self;
    int rc = 0, found = 1;
    (void)err;
    for (uint32_t index = 0; found && !rc; index++) {
        found = 0;
        for (size_t i = 0; i < m->vectors.n && !rc; i++) {
            const vector *v = &m->vectors.at[i];
            if (v->generation == g && v->chunk.index == index && is(key, v->key)) {
                found = 1;
                rc = fn(&v->chunk, ud);
            }
        }
    }
    return rc;
}

/* ---- documents ---- */

static int stage_begin(void *self, const char *name, int64_t *batch, quern_error *err)
{
    memory *m = self;
    if (!find_source(m, name))
        return fail(err, QUERN_ENOTFOUND, "there is no source '%s'", name);
    m->staged.n = 0;
    m->batch = *batch = ++m->ids;
    m->batch_source = text(m, name);
    return QUERN_OK;
}
static item *find_by_id(item *at, size_t n, const char *name, quern_str key)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(at[i].source, name) == 0 && is(key, at[i].key))
            return &at[i];
    return NULL;
}
static int same_fields(const item *staged, quern_str fields)
{
    return strlen(staged->title) == fields.len &&
           memcmp(staged->title, fields.ptr, fields.len) == 0;
}

static int stage_put(void *self, int64_t batch, const quern_document *docs, size_t n,
                     uint64_t *duplicates, quern_error *err)
{
    memory *m = self;
    if (batch != m->batch)
        return fail(err, QUERN_EMISMATCH, "the batch is gone%s", "");
    for (size_t i = 0; i < n; i++) {
        quern_value id = {.type = QUERN_VALUE_TEXT, .bytes = docs[i].id};
        char *key;
        int rc = quern_key_encode(&id, 1, &key, err);
        if (rc)
            return rc;
        const item *old = find_by_id(m->staged.at, m->staged.n, m->batch_source, quern_str_of(key));
        if (old && !(docs[i].derived_id && same_fields(old, docs[i].fields))) {
            char both[200];
            snprintf(both, sizeof both, "%s: %s line %" PRId64 ", and line %" PRIu64, key,
                     old->origin, old->id, docs[i].line);
            quern_free(key);
            return fail(err, QUERN_EEXISTS, "given twice: %s", both);
        }
        *duplicates += old != NULL;
        if (!old)
            *(item *)PUSH(m->staged) = (item){.key = text(m, key),
                                              .id = (int64_t)docs[i].line,
                                              .title = text_of(m, docs[i].fields),
                                              .origin = text_of(m, docs[i].origin),
                                              .source = m->batch_source};
        quern_free(key);
    }
    return QUERN_OK;
}
/* Does the path belong to the batch: one of its origins, or under one of the roots? */
static int covered(const memory *m, const char *origin, const char *roots)
{
    char root[300];
    for (size_t i = 0; i < m->staged.n; i++)
        if (strcmp(m->staged.at[i].origin, origin) == 0)
            return 1;
    for (size_t n = strlen(origin); roots && n > 0; n--) {
        snprintf(root, sizeof root, "\"%.*s\"", (int)n, origin);
        if ((origin[n] == '\0' || origin[n] == '/') && strstr(roots, root))
            return 1;
    }
    return 0;
}
static int stage_publish(void *self, int64_t batch, const char *roots, int sync,
                         quern_publish_report *report, int *more, quern_error *err)
{
    memory *m = self;
    *more = 0;
    if (batch != m->batch)
        return fail(err, QUERN_EMISMATCH, "the batch is gone%s", "");
    for (size_t i = 0; i < m->staged.n; i++) {
        item *new = &m->staged.at[i];
        item *old =
            find_by_id(m->documents.at, m->documents.n, m->batch_source, quern_str_of(new->key));
        int same = old && strcmp(old->title, new->title) == 0;
        report->added += !old;
        report->unchanged += same != 0;
        report->changed += old && !same;
        if (!old)
            old = PUSH(m->documents);
        *old = *new;
        old->id = 0;
    }
    for (size_t i = m->documents.n; i-- > 0;) {
        const item *d = &m->documents.at[i];
        if (strcmp(d->source, m->batch_source) != 0 || !covered(m, d->origin, roots) ||
            find_by_id(m->staged.at, m->staged.n, m->batch_source, quern_str_of(d->key)))
            continue;
        report->missing += !sync;
        report->removed += sync != 0;
        if (sync)
            DROP(m->documents, i);
    }
    m->staged.n = 0;
    m->batch = 0;
    return QUERN_OK;
}
static int stage_drop(void *self, int64_t batch, quern_error *err)
{
    memory *m = self;
    (void)err;
    if (batch == m->batch)
        m->batch = 0;
    return QUERN_OK;
}

/* ---- tasks ---- */

static int64_t now_ms(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
static int state_of(const task *t)
{
    return t->t.state == QUERN_TASK_DEAD        ? QUERN_TASK_DEAD
           : t->lease && t->t.due_ms > now_ms() ? QUERN_TASK_LEASED
                                                : QUERN_TASK_READY;
}
static int is_due(const task *t)
{
    return t->t.state != QUERN_TASK_DEAD && t->t.due_ms <= now_ms();
}
static int task_put(void *self, const char *from, const quern_str *keys, size_t n,
                    const char *reason, uint64_t *added, quern_error *err)
{
    memory *m = self;
    *added = 0;
    if (!find_source(m, from))
        return fail(err, QUERN_ENOTFOUND, "there is no source '%s'", from);
    for (size_t i = 0; i < n; i++) {
        task *t = find_task(m, from, keys[i]);
        if (!t) {
            t = PUSH(m->tasks);
            *t = (task){.source = text(m, from), .key = text_of(m, keys[i])};
            t->t = (quern_task){.id = ++m->ids, .created_ms = now_ms(), .due_ms = now_ms()};
            t->t.source = quern_str_of(t->source);
            t->t.key = quern_str_of(t->key);
            ++*added;
        }
        t->t.reason = quern_str_of(text(m, reason));
        t->again = t->lease != 0;
        if (t->t.state == QUERN_TASK_DEAD)
            t->t.attempts = 0;
        t->t.state = QUERN_TASK_READY;
        if (!t->lease && t->t.due_ms > now_ms())
            t->t.due_ms = now_ms();
    }
    return QUERN_OK;
}
static int by_due(const void *a, const void *b)
{
    const task *x = a, *y = b;
    int64_t d = x->t.due_ms != y->t.due_ms ? x->t.due_ms - y->t.due_ms : x->t.id - y->t.id;
    return (d > 0) - (d < 0);
}
static int task_claim(void *self, const char *from, size_t limit, uint32_t lease_ms, int64_t *lease,
                      quern_task_fn fn, void *ud, quern_error *err)
{
    memory *m = self;
    int64_t token = ++m->ids;
    int rc = 0;
    (void)err;
    *lease = 0;
    if (m->tasks.n)
        qsort(m->tasks.at, m->tasks.n, sizeof *m->tasks.at, by_due);
    for (size_t i = 0; i < m->tasks.n && limit && !rc; i++) {
        task *t = &m->tasks.at[i];
        if (!is_due(t) || (from && strcmp(t->source, from) != 0))
            continue;
        t->t.rescued = t->lease != 0;
        m->rescued += t->lease != 0;
        t->lease = *lease = token;
        t->again = 0;
        t->t.attempts++;
        t->t.due_ms = now_ms() + lease_ms;
        t->t.state = QUERN_TASK_LEASED;
        rc = fn(&t->t, ud);
        limit--;
    }
    return rc;
}
static int task_renew(void *self, int64_t lease, uint32_t lease_ms, uint64_t *held,
                      quern_error *err)
{
    memory *m = self;
    (void)err;
    *held = 0;
    for (size_t i = 0; i < m->tasks.n && lease; i++)
        if (m->tasks.at[i].lease == lease) {
            m->tasks.at[i].t.due_ms = now_ms() + lease_ms;
            ++*held;
        }
    return QUERN_OK;
}
static int task_settle(void *self, int64_t lease, const quern_task_end *ends, size_t n,
                       uint8_t *settled, quern_error *err)
{
    memory *m = self;
    (void)err;
    for (size_t i = 0; i < n; i++) {
        size_t at = 0;
        while (at < m->tasks.n && m->tasks.at[at].t.id != ends[i].id)
            at++;
        task *t = at < m->tasks.n && m->tasks.at[at].lease == lease ? &m->tasks.at[at] : NULL;
        settled[i] = t != NULL;
        if (!t)
            continue;
        int kind = ends[i].kind, given_up = kind == QUERN_TASK_GIVE_UP;
        if (kind == QUERN_TASK_DONE && !t->again) {
            DROP(m->tasks, at);
            continue;
        }
        if (kind == QUERN_TASK_RETRY || given_up) {
            t->t.error = quern_str_of(text_of(m, ends[i].error));
            t->t.failed_ms = now_ms();
            t->t.generation = ends[i].generation;
        }
        if (t->again && (kind == QUERN_TASK_DONE || given_up))
            t->t.attempts = 0;
        else if (kind == QUERN_TASK_RELEASE)
            t->t.attempts--;
        t->t.state = given_up && !t->again ? QUERN_TASK_DEAD : QUERN_TASK_READY;
        t->t.due_ms = now_ms() + (t->again ? 0 : (int64_t)ends[i].delay_ms);
        t->lease = 0;
        t->again = 0;
    }
    return QUERN_OK;
}
static int task_stats(void *self, const char *from, quern_task_stats *out, quern_error *err)
{
    memory *m = self;
    QUERN_INIT(out);
    if (from && !find_source(m, from))
        return fail(err, QUERN_ENOTFOUND, "there is no source '%s'", from);
    out->rescued = m->rescued;
    for (size_t i = 0; i < m->tasks.n; i++) {
        const task *t = &m->tasks.at[i];
        uint64_t age = (uint64_t)(now_ms() - t->t.created_ms);
        uint32_t most = QUERN_TASK_HISTOGRAM - 1;
        if (from && strcmp(t->source, from) != 0)
            continue;
        if (t->t.state == QUERN_TASK_DEAD) {
            out->dead++;
            continue;
        }
        *(is_due(t) ? &out->ready : t->lease ? &out->leased : &out->waiting) += 1;
        out->attempts[t->t.attempts < most ? t->t.attempts : most]++;
        out->oldest_ms = age > out->oldest_ms ? age : out->oldest_ms;
    }
    return QUERN_OK;
}
static int by_task_id(const void *a, const void *b)
{
    const task *x = a, *y = b;
    return (x->t.id > y->t.id) - (x->t.id < y->t.id);
}
static int task_list(void *self, const char *from, int state, int64_t after, size_t limit,
                     quern_task_fn fn, void *ud, quern_error *err)
{
    memory *m = self;
    int rc = 0;
    (void)err;
    if (m->tasks.n)
        qsort(m->tasks.at, m->tasks.n, sizeof *m->tasks.at, by_task_id);
    for (size_t i = 0; i < m->tasks.n && limit && !rc; i++) {
        const task *t = &m->tasks.at[i];
        quern_task shown = t->t;
        if (state_of(t) != state || t->t.id <= after || (from && strcmp(t->source, from) != 0))
            continue;
        shown.state = state;
        rc = fn(&shown, ud);
        limit--;
    }
    return rc;
}
static int named(const task *t, const char *from, const quern_str *keys, size_t n)
{
    int found = keys == NULL;
    for (size_t i = 0; i < n && !found; i++)
        found = is(keys[i], t->key);
    return found && strcmp(t->source, from) == 0;
}
static int task_revive(void *self, const char *from, const quern_str *keys, size_t n,
                       uint64_t *revived, quern_error *err)
{
    memory *m = self;
    *revived = 0;
    if (!find_source(m, from))
        return fail(err, QUERN_ENOTFOUND, "there is no source '%s'", from);
    for (size_t i = 0; i < m->tasks.n; i++) {
        task *t = &m->tasks.at[i];
        if (t->t.state != QUERN_TASK_DEAD || !named(t, from, keys, n))
            continue;
        t->t.state = QUERN_TASK_READY;
        t->t.attempts = 0;
        t->t.due_ms = now_ms();
        ++*revived;
    }
    return QUERN_OK;
}
static int task_remove(void *self, const char *from, const quern_str *keys, size_t n,
                       uint64_t *removed, quern_error *err)
{
    memory *m = self;
    *removed = 0;
    if (!find_source(m, from))
        return fail(err, QUERN_ENOTFOUND, "there is no source '%s'", from);
    for (size_t i = m->tasks.n; i-- > 0;)
        if (named(&m->tasks.at[i], from, keys, n)) {
            DROP(m->tasks, i);
            ++*removed;
        }
    return QUERN_OK;
}

/* ---- locks, close, table ---- */

static int lock(void *self, const char *name, uint32_t wait_ms, void **held, quern_error *err)
{
    memory *m = self;
    (void)wait_ms; /* one thread: nobody could let go meanwhile */
    *held = NULL;
    for (size_t i = 0; i < m->locks.n; i++)
        if (strcmp(m->locks.at[i], name) == 0)
            return fail(err, QUERN_EBUSY, "'%s' is held", name);
    *(char **)PUSH(m->locks) = *held = text(m, name);
    return QUERN_OK;
}
static void unlock(void *self, void *held)
{
    memory *m = self;
    for (size_t i = m->locks.n; i-- > 0;)
        if (m->locks.at[i] == held)
            DROP(m->locks, i);
}
static void close_memory(void *self)
{
    memory *m = self;
    for (size_t i = 0; i < m->blocks.n; i++)
        free(m->blocks.at[i]);
    free(m->blocks.at);
    free(m->items.at);
    free(m->documents.at);
    free(m->staged.at);
    free(m->sources.at);
    free(m->stamps.at);
    free(m->vectors.at);
    free(m->generations.at);
    free(m->tasks.at);
    free(m->locks.at);
    free(m);
}
static const quern_store_table table = {
    .struct_size = sizeof(quern_store_table),
    .name = "memory",
    .close = close_memory,
    .source_check = source_check,
    .source_put = source_put,
    .source_each = source_each,
    .source_remove = source_remove,
    .scan = scan,
    .fetch = fetch,
    .count = count,
    .generation_find = generation_find,
    .generation_build = generation_build,
    .generation_json = generation_json,
    .generation_activate = generation_activate,
    .generation_purge = generation_purge,
    .generation_each = generation_each,
    .generation_retire = generation_retire,
    .generation_resume = generation_resume,
    .requeue = requeue,
    .forget = forget_keys,
    .save = save,
    .stamps = stamps,
    .erase = erase,
    .tally = tally,
    .vectors = vectors,
    .resolve = resolve,
    .chunks = chunks,
    .stage_begin = stage_begin,
    .stage_put = stage_put,
    .stage_publish = stage_publish,
    .stage_drop = stage_drop,
    .lock = lock,
    .unlock = unlock,
    .task_put = task_put,
    .task_claim = task_claim,
    .task_renew = task_renew,
    .task_settle = task_settle,
    .task_stats = task_stats,
    .task_list = task_list,
    .task_revive = task_revive,
    .task_remove = task_remove,
};

/* ---- what the suite needs: a fresh store, and a user who edits `items` ---- */

static int open_memory(void **self, void *ud, quern_error *err)
{
    (void)ud;
    *self = calloc(1, sizeof(memory));
    return *self ? QUERN_OK : fail(err, QUERN_ENOMEM, "out of memory%s", "");
}
static int remove_item(void *self, int64_t id, void *ud, quern_error *err)
{
    memory *m = self;
    (void)ud, (void)err;
    for (size_t i = m->items.n; i-- > 0;)
        if (m->items.at[i].id == id)
            DROP(m->items, i);
    return QUERN_OK;
}
static int put_item(void *self, int64_t id, const char *title, const char *body, const char *rev,
                    void *ud, quern_error *err)
{
    memory *m = self;
    char key[24];
    remove_item(self, id, ud, err);
    snprintf(key, sizeof key, "%" PRId64, id);
    *(item *)PUSH(m->items) = (item){.key = text(m, key),
                                     .id = id,
                                     .title = text(m, title),
                                     .body = text(m, body),
                                     .rev = text(m, rev)};
    return QUERN_OK;
}
static void note(const char *rule, void *ud)
{
    (void)ud;
    printf("%s\n", rule);
}

/* The same store behind the ordinary face: declare, list. */
static int through_the_face(quern_error *err)
{
    quern_store *store = NULL;
    quern_source_list *list = NULL;
    quern_source_spec spec;
    void *self;
    int rc = open_memory(&self, NULL, err);
    if (rc)
        return rc;
    rc = quern_store_from_table(&store, &table, self, err);
    if (rc) {
        close_memory(self);
        return rc;
    }
    QUERN_INIT(&spec);
    spec.name = "things";
    spec.table = "items";
    spec.keys = "id";
    spec.text = "{title}. {body}";
    rc = quern_source_add(store, &spec, err);
    if (!rc)
        rc = quern_source_list_open(&list, store, err);
    if (!rc)
        printf("declared: %s\n", quern_source_list_at(list, 0)->name);
    quern_source_list_free(list);
    quern_store_free(store);
    return rc;
}

int main(void)
{
    quern_conformance c;
    quern_error err;
    QUERN_INIT(&c);
    c.open = open_memory;
    c.put = put_item;
    c.remove = remove_item;
    c.table = &table;
    c.note = note;
    int rc = quern_store_conformance(&c, &err);
    if (!rc)
        rc = through_the_face(&err);
    if (rc) {
        fprintf(stderr, "%s: %s\n", quern_status_name(rc), err.msg);
        return 1;
    }
    printf("all rules kept\n");
    return 0;
}
