/*
 * store.c — the face of a store: opening one, and declaring sources. Which rows are documents is checked
 * here once for every database (names, template, which fields go together); whether tables, columns and
 * predicates exist is the table's source_check.
 */
#include "store/store.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/compiler.h"
#include "base/error.h"
#include "store/asset_columns.h"
#ifdef QUERN_POSTGRES
#include "store/postgres/postgres_store.h"
#endif
#include "store/sqlite/sqlite_store.h"
#include "store/stamp_columns.h"
#include "text/prepare.h"
#include "text/template.h"

enum { LONGEST_SOURCE_NAME = 63, MOST_META = 256 };

bool quern__is_postgres_url(const char *db)
{
    return db && (strncmp(db, "postgres://", 11) == 0 || strncmp(db, "postgresql://", 13) == 0);
}

int quern__only_postgres(const quern_store_options *opt, quern_error *err)
{
    if (opt->schema && *opt->schema)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "schema '%s': only PostgreSQL has schemas, and %s is an SQLite file",
                           opt->schema, opt->db ? opt->db : "this");
    if (opt->direct_url && *opt->direct_url)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "a direct URL goes past a pooler of PostgreSQL's, and %s is an SQLite "
                           "file",
                           opt->db ? opt->db : "this");
    return QUERN_OK;
}

int quern_store_open(quern_store **out, const quern_store_options *opt, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(opt && opt->struct_size >= sizeof *opt, err);
    bool borrowed = opt->connection || opt->postgres_connection;
    if (borrowed && (opt->db || opt->store || (opt->connection && opt->postgres_connection)))
        return quern__fail(err, QUERN_EINVAL, 0,
                           "a borrowed connection and a path, or two of them: give one");
    if (!borrowed && (!opt->db || !*opt->db))
        return quern__fail(err, QUERN_EINVAL, 0, "no database given");
    if (opt->postgres_connection || quern__is_postgres_url(opt->db) ||
        quern__is_postgres_url(opt->store))
#ifdef QUERN_POSTGRES
        return quern__postgres_open(out, opt, err);
#else
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "this quern is built without PostgreSQL");
#endif
    int rc = quern__only_postgres(opt, err);
    return rc ? rc : quern__sqlite_open(out, opt, err);
}

int quern_store_from_table(quern_store **out, const quern_store_table *table, void *self,
                           quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(table && table->struct_size >= sizeof *table, err);
    QUERN__REQUIRE(table->close && table->source_check && table->source_put && table->source_each,
                   err);
    QUERN__REQUIRE(table->source_remove && table->scan && table->fetch && table->count, err);
    QUERN__REQUIRE(table->generation_find && table->generation_json && table->generation_build &&
                       table->generation_activate,
                   err);
    QUERN__REQUIRE(table->generation_purge && table->save && table->stamps && table->erase, err);
    QUERN__REQUIRE(table->tally && table->vectors && table->resolve && table->chunks &&
                       table->stage_begin,
                   err);
    QUERN__REQUIRE(table->stage_put && table->stage_publish && table->stage_drop, err);
    QUERN__REQUIRE(table->lock && table->unlock, err);
    bool tasks = table->task_put != NULL;
    QUERN__REQUIRE(tasks == (table->task_claim && table->task_renew && table->task_settle &&
                             table->task_stats && table->task_list && table->task_revive &&
                             table->task_remove),
                   err);
    bool live = table->live_set != NULL;
    QUERN__REQUIRE(live == (table->live_get && table->live_drain) && (!live || tasks), err);
    quern_store *s = quern__alloc(sizeof *s);
    if (!s)
        return quern__fail_memory(err, sizeof *s);
    s->table = *table;
    s->self = self;
    *out = s;
    return QUERN_OK;
}

void quern_store_free(quern_store *s)
{
    if (!s)
        return;
    s->table.close(s->self);
    quern__free(s);
}

int quern_store_engine(quern_store *s, quern_engine *out, quern_error *err)
{
    QUERN__REQUIRE(s && out && out->struct_size >= sizeof *out, err);
    out->name[0] = out->advice[0] = '\0';
    if (!s->table.engine)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "store %s does not say what it is made of",
                           s->table.name);
    return s->table.engine(s->self, out, err);
}

/* ---- checking a declaration ---- */

static int check_name(const char *name, quern_error *err)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        bool later = i > 0 && ((c >= '0' && c <= '9') || c == '-');
        if (!letter && !later)
            return quern__fail(
                err, QUERN_EINVAL, (int64_t)i,
                "source name '%s': letters, digits, '_' and '-', a letter or '_' first", name);
    }
    if (len == 0 || len > LONGEST_SOURCE_NAME)
        return quern__fail(err, QUERN_EINVAL, (int64_t)len,
                           "source name of %zu bytes: 1 to %d are allowed", len,
                           LONGEST_SOURCE_NAME);
    return QUERN_OK;
}

static bool is_there(const char *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

/* Columns of the template and of assets, then those of meta that are new: what the store has to be able to deliver. *deciding:
 * those before meta's, of which a document is made. */
static int list_columns(const quern__template *t, const quern__asset_columns *assets,
                        const char *meta, quern__arena *arena, const char **list, size_t *n,
                        size_t *deciding, quern_error *err)
{
    *n = 0;
    for (size_t i = 0; t && i < quern__template_count(t); i++)
        list[(*n)++] = quern__template_column(t, i);
    for (size_t i = 0; i < assets->n; i++)
        if (!is_there(list, *n, assets->name[i]))
            list[(*n)++] = assets->name[i];
    *deciding = *n;
    size_t most = *n + MOST_META;
    while (meta && *meta) {
        size_t len = strcspn(meta, ",");
        const char *from = meta, *to = meta + len;
        meta += len + (meta[len] == ',');
        while (from < to && *from == ' ')
            from++;
        while (to > from && to[-1] == ' ')
            to--;
        if (from == to)
            return quern__fail(err, QUERN_EINVAL, 0, "metadata columns: an empty name in the list");
        if (*n == most)
            return quern__fail(err, QUERN_EINVAL, 0, "more than %d metadata columns", MOST_META);
        char *name = quern__arena_copy(arena, from, (size_t)(to - from));
        if (!name)
            return quern__fail_memory(err, (size_t)(to - from));
        if (!is_there(list, *n, name))
            list[(*n)++] = name;
    }
    return QUERN_OK;
}

typedef struct column_question {
    quern_store *s;
    const quern_source_spec *spec;
    quern_error *err;
} column_question;

/* Asked of the database itself, since a query's columns are written down nowhere. */
static int has_column(const char *name, void *ud)
{
    const column_question *q = ud;
    quern_error inner = {.status = 0};
    int rc = q->s->table.source_check(q->s->self, q->spec, &name, 1, &inner);
    if (rc == QUERN_OK)
        return 1;
    if (rc == QUERN_ENOTFOUND || rc == QUERN_EINVAL)
        return 0;
    if (q->err)
        *q->err = inner;
    return rc;
}

int quern__resolve_template(quern__template *t, quern_store *s, const quern_source_spec *spec,
                            quern_error *err)
{
    column_question q = {s, spec, err};
    return spec->table || spec->query ? quern__template_resolve(t, has_column, &q) : QUERN_OK;
}

static int check_text_search(const quern_store *s, const quern_source_spec *spec, quern_error *err)
{
    if (!spec->text_search)
        return QUERN_OK;
    if (strcmp(spec->text_search, "words") != 0)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "source '%s': text search '%.40s': there is only \"words\"", spec->name,
                           spec->text_search);
    if (!s->table.text_find || !s->table.text_count)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "source '%s': store %s has no text search",
                           spec->name, s->table.name);
    return QUERN_OK;
}

/* ---- kept texts ---- */

static int check_keep_text(const quern_store *s, const quern_source_spec *spec, quern_error *err)
{
    bool builtin = !spec->table && !spec->query;
    if (!spec->keep_text)
        return QUERN_OK;
    if (strcmp(spec->keep_text, builtin ? "no" : "yes") != 0)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "source '%s': keep text '%.40s': \"yes\" or \"no\"", spec->name,
                           spec->keep_text);
    if (builtin && spec->text_search)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "source '%s': text search keeps the words of every document, which "
                           "were not to be kept: either --text-search yes or --keep-text no",
                           spec->name);
    if (builtin && !s->table.strip)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "source '%s': store %s cannot take texts away again", spec->name,
                           s->table.name);
    if (builtin)
        return QUERN_OK;
    if (!s->table.kept_each || !s->table.kept_size || !s->table.kept_drop)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "source '%s': store %s keeps no texts",
                           spec->name, s->table.name);
    return QUERN_OK;
}

typedef struct generation_ids {
    int64_t ids[64];
    size_t n;
} generation_ids;

static int note_id(const char *source, const quern_generation *g, void *ud)
{
    generation_ids *l = ud;
    (void)source;
    if (l->n < QUERN__COUNT(l->ids))
        l->ids[l->n++] = g->id;
    return QUERN_OK;
}

typedef struct words_left {
    quern_store *s;
    const char *source;
    quern_error *err;
} words_left;

static int has_no_words(const char *source, const quern_generation *g, void *ud)
{
    const words_left *w = ud;
    uint64_t n = 0;
    (void)source;
    int rc = w->s->table.text_count(w->s->self, g->id, &n, w->err);
    if (rc || !n)
        return rc;
    return quern__fail(w->err, QUERN_EMISMATCH, g->id,
                       "source '%s': generation %" PRId64 " holds the words of %" PRIu64
                       " documents for text search, and would keep them: build another one and "
                       "purge it first",
                       w->source, g->id, n);
}

/* Texts are to go: are their words in an index? */
static int no_words_left(quern_store *s, const char *source, quern_error *err)
{
    words_left w = {s, source, err};
    return s->table.generation_each && s->table.text_count
               ? s->table.generation_each(s->self, source, has_no_words, &w, err)
               : QUERN_OK;
}

/* What is no longer to be kept goes now, not with the next fill. */
static int drop_kept(quern_store *s, const char *source, quern_error *err)
{
    generation_ids l = {.n = 0};
    int rc = s->table.generation_each && s->table.kept_drop
                 ? s->table.generation_each(s->self, source, note_id, &l, err)
                 : QUERN_OK;
    for (size_t i = 0; i < l.n && !rc; i++)
        for (int more = 1; more && !rc;)
            rc = s->table.kept_drop(s->self, l.ids[i], &more, err);
    return rc;
}

/* ---- stamp columns ---- */

typedef struct neighbours {
    quern_store *s;
    const char *table; /* as the database names it */
    const quern_source_spec *spec;
    const char *const *read; /* columns of its text */
    size_t n_read;
    quern_error *err;
} neighbours;

/* By one of the two databases the case of letters makes no difference. */
static bool same_column(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if ((*a >= 'A' && *a <= 'Z' ? *a + 32 : *a) != (*b >= 'A' && *b <= 'Z' ? *b + 32 : *b))
            return false;
    return *a == *b;
}

/* Does the text hold what the other writes? */
static int reads_stamps(const neighbours *n, const quern_source_spec *other)
{
    quern__arena arena;
    quern__stamp_columns c;
    quern__arena_init(&arena, 1 << 16);
    int rc = quern__stamp_columns_parse(other->stamp_columns, other->name, &arena, &c, n->err);
    const char *const written[] = {c.generated_at, c.model};
    for (size_t i = 0; !rc && i < n->n_read; i++)
        for (size_t k = 0; !rc && k < QUERN__COUNT(written); k++)
            if (written[k] && same_column(n->read[i], written[k]))
                rc = quern__fail(n->err, QUERN_EINVAL, 0,
                                 "source '%s': its text holds %s, a stamp column of source '%s': "
                                 "each of their writes could be an edit to the other; leave it out "
                                 "of the text, or its own stamp columns away",
                                 n->spec->name, written[k], other->name);
    quern__arena_dispose(&arena);
    return rc;
}

static int name_table(quern_store *s, const quern_source_spec *spec, char **name, quern_error *err)
{
    if (s->table.table_name)
        return s->table.table_name(s->self, spec, name, err);
    *name = quern__strdup(spec->table);
    return *name ? QUERN_OK : quern__fail_memory(err, strlen(spec->table));
}

/* 1: the other source reads the same table, however it is written. One whose table has gone reads none. */
static int is_of_same_table(const neighbours *n, const quern_source_spec *other)
{
    quern_error inner = {.status = 0};
    char *name = NULL;
    int rc = name_table(n->s, other, &name, &inner);
    int same = rc == QUERN_OK && strcmp(name, n->table) == 0;
    quern__free(name);
    if (rc != QUERN_OK && rc != QUERN_ENOTFOUND && rc != QUERN_EINVAL) {
        if (n->err)
            *n->err = inner;
        return rc;
    }
    return same;
}

/* Each of two such sources would take the other's writes for edits, and answer them with writes of its own. A ring of them
 * is never closed when none that writes reads what another has been declared to write. */
static int is_no_rival(const quern_source_spec *other, void *ud)
{
    const neighbours *n = ud;
    if (!other->table || !other->stamp_columns || strcmp(other->name, n->spec->name) == 0)
        return QUERN_OK;
    int same = is_of_same_table(n, other);
    if (same != 1)
        return same;
    if (!other->revision || !n->spec->revision)
        return reads_stamps(n, other);
    return quern__fail(n->err, QUERN_EINVAL, 0,
                       "source '%s': source '%s' writes stamp columns of the same table, and both "
                       "have a revision column: each would take the other's writes for edits; "
                       "leave the stamp columns or the revision column of one away",
                       n->spec->name, other->name);
}

static int check_stamp_columns(quern_store *s, const quern_source_spec *spec,
                               const char *const *read, size_t n, quern_error *err)
{
    char *table = NULL;
    if (!s->table.stamp_columns_check)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "source '%s': store %s writes no stamp columns", spec->name,
                           s->table.name);
    int rc = s->table.stamp_columns_check(s->self, spec, read, n, err);
    if (!rc)
        rc = name_table(s, spec, &table, err);
    neighbours all = {s, table, spec, read, n, err};
    if (!rc)
        rc = s->table.source_each(s->self, is_no_rival, &all, err);
    quern__free(table);
    return rc;
}

/* The whole declaration against rules and database. */
static int check_spec(quern_store *s, const quern_source_spec *spec, quern_error *err)
{
    quern__arena arena;
    quern__template *t = NULL;
    quern__asset_columns assets = {.n = 0};
    size_t n = 0, deciding = 0;
    uint32_t steps;
    quern__arena_init(&arena, 1 << 20);
    const char **list = quern__arena_alloc(
        &arena, (QUERN__TEMPLATE_FIELDS + QUERN__ASSET_COLUMNS + MOST_META) * sizeof *list);
    int rc = list ? check_name(spec->name, err) : quern__fail_memory(err, 0);
    bool builtin = !spec->table && !spec->query;
    if (!rc && !builtin && !spec->text)
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "source '%s': no text template; one is 'Title: {title}. {body}'",
                         spec->name);
    if (!rc)
        rc = quern__prepare_parse(spec->prepare, &steps, err);
    if (!rc)
        rc = check_text_search(s, spec, err);
    if (!rc)
        rc = check_keep_text(s, spec, err);
    if (!rc && spec->text)
        rc = quern__template_parse(&t, spec->text, err);
    if (!rc && t)
        rc = quern__resolve_template(t, s, spec, err);
    if (!rc)
        rc = quern__asset_columns_parse(spec, &arena, &assets, err);
    if (!rc)
        rc = list_columns(t, &assets, spec->meta, &arena, list, &n, &deciding, err);
    if (!rc)
        rc = s->table.source_check(s->self, spec, list, n, err);
    if (!rc && spec->stamp_columns)
        rc = check_stamp_columns(s, spec, list, deciding, err);
    quern__template_free(t);
    quern__arena_dispose(&arena);
    return rc;
}

/* What the caller's version of the struct has. */
static quern_source_spec given(const quern_source_spec *spec)
{
    quern_source_spec t;
    QUERN_INIT(&t);
    memcpy(&t, spec, QUERN__MIN(spec->struct_size, sizeof t));
    t.struct_size = sizeof t;
    return t;
}

/* "" says "none", as NULL does. */
static const char *none_if_empty(const char *s)
{
    return s && *s ? s : NULL;
}

static quern_source_spec tidy(const quern_source_spec *spec)
{
    quern_source_spec t;
    QUERN_INIT(&t);
    t.name = spec->name;
    t.table = none_if_empty(spec->table);
    t.query = none_if_empty(spec->query);
    t.keys = none_if_empty(spec->keys);
    t.text = none_if_empty(spec->text);
    t.revision = none_if_empty(spec->revision);
    t.where = none_if_empty(spec->where);
    t.meta = none_if_empty(spec->meta);
    t.prepare = none_if_empty(spec->prepare);
    t.text_search = none_if_empty(spec->text_search);
    t.stamp_columns = none_if_empty(spec->stamp_columns);
    t.keep_text = none_if_empty(spec->keep_text);
    if (t.keep_text && strcmp(t.keep_text, t.table || t.query ? "no" : "yes") == 0)
        t.keep_text = NULL; /* as it is anyway */
    t.assets = none_if_empty(spec->assets);
    t.max_assets = t.assets || spec->assets == NULL ? none_if_empty(spec->max_assets) : NULL;
    return t;
}

int quern_source_add(quern_store *s, const quern_source_spec *spec, quern_error *err)
{
    QUERN__REQUIRE(s && spec && spec->struct_size > offsetof(quern_source_spec, meta) && spec->name,
                   err);
    quern_source_spec own = given(spec);
    quern_source_spec t = tidy(&own);
    int rc = check_spec(s, &t, err);
    return rc ? rc : s->table.source_put(s->self, &t, 0, err);
}

/* ---- lists ---- */

struct quern_source_list {
    quern__arena arena;
    quern_source_spec *specs;
    size_t n, room;
    int rc;
};

static const char *keep(quern_source_list *l, const char *s)
{
    if (!s || l->rc)
        return NULL;
    const char *copy = quern__arena_copy(&l->arena, s, strlen(s));
    if (!copy)
        l->rc = QUERN_ENOMEM;
    return copy;
}

static int collect(const quern_source_spec *spec, void *ud)
{
    quern_source_list *l = ud;
    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 16;
        quern_source_spec *more = quern__resize_array(l->specs, room, sizeof *more);
        if (!more)
            return QUERN_ENOMEM;
        l->specs = more;
        l->room = room;
    }
    quern_source_spec *t = &l->specs[l->n];
    QUERN_INIT(t);
    t->name = keep(l, spec->name);
    t->table = keep(l, spec->table);
    t->query = keep(l, spec->query);
    t->keys = keep(l, spec->keys);
    t->text = keep(l, spec->text);
    t->revision = keep(l, spec->revision);
    t->where = keep(l, spec->where);
    t->meta = keep(l, spec->meta);
    t->prepare = keep(l, spec->prepare);
    t->text_search = keep(l, spec->text_search);
    t->stamp_columns = keep(l, spec->stamp_columns);
    t->keep_text = keep(l, spec->keep_text);
    t->assets = keep(l, spec->assets);
    t->max_assets = keep(l, spec->max_assets);
    l->n += l->rc == 0;
    return l->rc;
}

int quern_source_list_open(quern_source_list **out, quern_store *s, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(s, err);
    quern_source_list *l = quern__calloc(1, sizeof *l);
    if (!l)
        return quern__fail_memory(err, sizeof *l);
    quern__arena_init(&l->arena, 0);
    quern_error inner = {.status = 0};
    int rc = s->table.source_each(s->self, collect, l, &inner);
    if (rc) {
        if (inner.status == 0) /* our own callback ended it */
            rc = quern__fail_memory(err, 0);
        else if (err)
            *err = inner;
        quern_source_list_free(l);
        return rc;
    }
    *out = l;
    return QUERN_OK;
}

size_t quern_source_list_count(const quern_source_list *l)
{
    return l ? l->n : 0;
}

const quern_source_spec *quern_source_list_at(const quern_source_list *l, size_t i)
{
    return l && i < l->n ? &l->specs[i] : NULL;
}

void quern_source_list_free(quern_source_list *l)
{
    if (!l)
        return;
    quern__free(l->specs);
    quern__arena_dispose(&l->arena);
    quern__free(l);
}

/* ---- set and remove ---- */

static const quern_source_spec *find(const quern_source_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->specs[i].name, name) == 0)
            return &l->specs[i];
    return NULL;
}

int quern_source_set(quern_store *s, const quern_source_spec *spec, quern_error *err)
{
    QUERN__REQUIRE(s && spec && spec->struct_size > offsetof(quern_source_spec, meta) && spec->name,
                   err);
    quern_source_spec own = given(spec);
    quern_source_list *list = NULL;
    spec = &own;
    int rc = quern_source_list_open(&list, s, err);
    const quern_source_spec *old = rc ? NULL : find(list, spec->name);
    if (!rc && !old)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "there is no source '%s'", spec->name);
    if (!rc) {
        quern_source_spec merged = *spec;
        /* a table takes the place of a query and the other way round */
        merged.table = spec->table ? spec->table : spec->query ? NULL : old->table;
        merged.query = spec->query ? spec->query : spec->table ? NULL : old->query;
        merged.keys = spec->keys ? spec->keys : old->keys;
        merged.text = spec->text ? spec->text : old->text;
        merged.revision = spec->revision ? spec->revision : old->revision;
        merged.where = spec->where ? spec->where : old->where;
        merged.meta = spec->meta ? spec->meta : old->meta;
        merged.prepare = spec->prepare ? spec->prepare : old->prepare;
        merged.text_search = spec->text_search ? spec->text_search : old->text_search;
        merged.stamp_columns = spec->stamp_columns ? spec->stamp_columns : old->stamp_columns;
        merged.keep_text = spec->keep_text ? spec->keep_text : old->keep_text;
        merged.assets = spec->assets ? spec->assets : old->assets;
        merged.max_assets = spec->max_assets ? spec->max_assets : old->max_assets;
        merged = tidy(&merged);
        int live = 0;
        rc = check_spec(s, &merged, err);
        if (!rc && merged.keep_text && !merged.table && !merged.query)
            rc = no_words_left(s, spec->name, err);
        if (!rc)
            rc = quern_source_is_live(s, spec->name, &live, err);
        /* The triggers first, all of them at once: cut off behind that, the source is live still, and the same call mends
         * the rest; the other way round it would be live no more, and nobody would know. */
        if (!rc && live)
            rc = s->table.live_set(s->self, &merged, merged.query ? 0 : 1, err);
        if (!rc) {
            rc = s->table.source_put(s->self, &merged, 1, err);
            if (rc && live)
                s->table.live_set(s->self, old, 1, NULL);
        }
        if (!rc && !merged.keep_text &&
            (merged.table || merged.query)) /* or was it cut off in the middle of this, before? */
            rc = drop_kept(s, spec->name, err);
    }
    quern_source_list_free(list);
    return rc;
}

/* ---- live ---- */

static int have_live(const quern_store *s, quern_error *err)
{
    return s->table.live_set ? QUERN_OK
                             : quern__fail(err, QUERN_EUNSUPPORTED, 0,
                                           "the store '%s' has no live sources", s->table.name);
}

int quern_source_live(quern_store *s, const char *name, int on, quern_error *err)
{
    QUERN__REQUIRE(s && name, err);
    quern_source_list *list = NULL;
    int rc = have_live(s, err);
    if (!rc)
        rc = quern_source_list_open(&list, s, err);
    const quern_source_spec *spec = rc ? NULL : find(list, name);
    if (!rc && !spec)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "there is no source '%s'", name);
    if (!rc && on && spec->query)
        rc =
            quern__fail(err, QUERN_EINVAL, 0,
                        "source '%s' is a query, which has no triggers; a table can be live", name);
    if (!rc)
        rc = s->table.live_set(s->self, spec, on, err);
    quern_source_list_free(list);
    return rc;
}

int quern_source_is_live(quern_store *s, const char *name, int *on, quern_error *err)
{
    QUERN__REQUIRE(s && name && on, err);
    *on = 0;
    return s->table.live_get ? s->table.live_get(s->self, name, on, err) : QUERN_OK;
}

int quern_source_remove(quern_store *s, const char *name, quern_error *err)
{
    QUERN__REQUIRE(s && name, err);
    return s->table.source_remove(s->self, name, err);
}

/* ---- the log of fills ---- */

static int is_source(const quern_source_spec *spec, void *ud)
{
    return strcmp(spec->name, ud) == 0;
}

static int check_source(quern_store *s, const char *source, quern_error *err)
{
    char name[LONGEST_SOURCE_NAME + 1];
    if (strlen(source) > LONGEST_SOURCE_NAME)
        return quern__fail(err, QUERN_ENOTFOUND, 0, "no source %.80s", source);
    memcpy(name, source, strlen(source) + 1);
    int rc = s->table.source_each(s->self, is_source, name, err);
    return rc == 1 ? QUERN_OK
           : rc    ? rc
                   : quern__fail(err, QUERN_ENOTFOUND, 0, "no source %s", source);
}

int quern_runs_each(quern_store *s, const char *source, size_t limit,
                    int (*fn)(const quern_run *run, void *ud), void *ud, quern_error *err)
{
    QUERN__REQUIRE(s && fn, err);
    if (!s->table.run_each)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "store %s keeps no log of its fills",
                           s->table.name);
    int rc = source ? check_source(s, source, err) : QUERN_OK;
    return rc ? rc : s->table.run_each(s->self, source, limit, fn, ud, err);
}

int quern_usage_each(quern_store *s, const char *source, size_t days,
                     int (*fn)(const quern_usage *usage, void *ud), void *ud, quern_error *err)
{
    QUERN__REQUIRE(s && fn, err);
    if (!s->table.usage_each)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "store %s keeps no count of what is used",
                           s->table.name);
    int rc = source ? check_source(s, source, err) : QUERN_OK;
    return rc ? rc : s->table.usage_each(s->self, source, days, fn, ud, err);
}
