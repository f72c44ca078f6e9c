/*
 * recipe_scope.c — predicates that are put on top of a source's own: the scope of a generation, and what a search or a
 * requeue is restricted to.
 *
 * A scope stands in its generation's fingerprint and nowhere else, so that it cannot be changed behind the vectors; who
 * works on a generation narrows its recipe to it, and the store then reads a source with a longer predicate. No store
 * knows of scopes.
 *
 * A search asks for rows: all of the source's, or those for which a predicate holds. It is within a scope when
 * there is no row that it asks for and that the scope leaves out — the database is asked, since whether one piece of
 * SQL implies another can be known in no other way. Only the same text needs no question.
 */
#include <jansson.h>
#include <stdio.h>

#include "base/alloc.h"
#include "pipeline/recipe.h"
#include "text/prepare.h"

/* Without the blanks around it; NULL when nothing is left. */
static int copy_predicate(quern__arena *a, const char *from, const char **to, quern_error *err)
{
    static const char blanks[] = " \t\r\n";
    *to = NULL;
    if (!from)
        return QUERN_OK;
    from += strspn(from, blanks);
    size_t n = strlen(from);
    while (n && strchr(blanks, from[n - 1]))
        n--;
    if (n && !(*to = quern__arena_copy(a, from, n)))
        return quern__fail_memory(err, n);
    return QUERN_OK;
}

/* Both; a comment at the end of one must not swallow what follows it. */
static int join(quern__arena *a, const char *one, const char *two, const char *suffix,
                const char **out, quern_error *err)
{
    size_t room = strlen(two) + strlen(suffix) + (one ? strlen(one) : 0) + 32;
    char *both = quern__arena_alloc(a, room);
    if (!both)
        return quern__fail_memory(err, room);
    if (one)
        snprintf(both, room, "(%s\n) AND ((%s\n)%s)", one, two, suffix);
    else
        snprintf(both, room, "((%s\n)%s)", two, suffix);
    *out = both;
    return QUERN_OK;
}

static int narrow(quern__recipe *p, const char *predicate, quern_error *err)
{
    quern_source_spec *spec = quern__arena_alloc(&p->arena, sizeof *spec);
    if (!spec)
        return quern__fail_memory(err, sizeof *spec);
    *spec = *p->read.source;
    int rc = join(&p->arena, p->read.source->where, predicate, "", &spec->where, err);
    if (rc == QUERN_OK)
        p->read.source = spec;
    return rc;
}

int quern__recipe_check_where(const quern__recipe *p, quern_store *s, const char *where,
                              quern_error *err)
{
    /* by itself, so that "1) OR (1" is no way out of the parentheses that it will stand in */
    quern_source_spec spec = p->spec;
    spec.where = where;
    return s->table.source_check(s->self, &spec, p->columns, p->n_columns, err);
}

int quern__recipe_restrict(quern__recipe *p, quern_store *s, const char *where, quern_error *err)
{
    const char *clean;
    int rc = copy_predicate(&p->arena, where, &clean, err);
    if (rc == QUERN_OK && !clean)
        return quern__fail(err, QUERN_EINVAL, 0, "the predicate is empty");
    if (rc == QUERN_OK)
        rc = quern__recipe_check_where(p, s, clean, err);
    return rc == QUERN_OK ? narrow(p, clean, err) : rc;
}

int quern__recipe_scope(quern__recipe *p, const char *scope, quern_error *err)
{
    p->read.source = &p->spec;
    int rc = copy_predicate(&p->arena, scope, &p->scope, err);
    return rc == QUERN_OK && p->scope ? narrow(p, p->scope, err) : rc;
}

int quern__recipe_scope_of(quern__recipe *p, quern_store *s, int64_t generation, quern_error *err)
{
    char *json = NULL;
    json_t *root = NULL;
    int rc = s->table.generation_json(s->self, generation, &json, err);
    if (rc == QUERN_OK)
        rc = quern__fingerprint_load(&root, json, err);
    if (rc == QUERN_OK)
        rc = quern__recipe_scope(
            p, json_string_value(json_object_get(json_object_get(root, "scope"), "within")), err);
    json_decref(root);
    quern__free(json);
    return rc;
}

/* ---- is a search within it? ---- */

static int note_row(const quern_row *row, void *ud)
{
    (void)row;
    *(bool *)ud = true;
    return QUERN_OK;
}

static int outside(quern__recipe *p, const char *asked, quern_error *err)
{
    return quern__code(err,
                       quern__fail(err, QUERN_EMISMATCH, 0,
                                   "source %s: its active generation holds only rows where %.160s, "
                                   "and the search asks for others%s%.100s; --where with the same "
                                   "words asks for those",
                                   p->spec.name, p->scope, asked ? ": " : "", asked ? asked : ""),
                       "index_scope_mismatch");
}

int quern__recipe_search_where(quern__recipe *p, quern_store *s, const char *where,
                               quern_error *err)
{
    const char *asked;
    int rc = copy_predicate(&p->arena, where, &asked, err);
    if (rc == QUERN_OK && asked && p->scope && strcmp(asked, p->scope) == 0)
        return QUERN_OK;
    if (rc == QUERN_OK && asked)
        rc = quern__recipe_check_where(p, s, asked, err);
    if (rc == QUERN_OK && p->scope) {
        quern_source_spec spec = p->spec;
        quern_read read = p->read;
        bool found = false;
        if (asked)
            rc = join(&p->arena, spec.where, asked, "", &spec.where, err);
        if (rc == QUERN_OK) /* a row for which the scope is NULL is not in it */
            rc = join(&p->arena, spec.where, p->scope, " IS NOT TRUE", &spec.where, err);
        read.source = &spec;
        read.generation = 0;
        if (rc == QUERN_OK)
            rc = s->table.scan(s->self, &read, (quern_str){NULL, 0}, 1, note_row, &found, err);
        if (rc == QUERN_OK && found)
            return outside(p, asked, err);
    }
    return rc == QUERN_OK && asked ? narrow(p, asked, err) : rc;
}

/* ---- are the rows and their texts those that a generation was made of? ---- */

static bool same_text(json_t *object, const char *member, const char *now)
{
    const char *then = json_string_value(json_object_get(object, member));
    return strcmp(then ? then : "", now ? now : "") == 0;
}

static bool same_rows(const quern__recipe *p, json_t *root)
{
    json_t *scope = json_object_get(root, "scope");
    char prepared[QUERN__PREPARE_NAMES];
    quern__prepare_names(p->prepare, prepared);
    return same_text(scope, "keys", p->spec.keys) && same_text(scope, "query", p->spec.query) &&
           same_text(scope, "revision", p->spec.revision) &&
           same_text(scope, "table", p->spec.table) && same_text(scope, "where", p->spec.where) &&
           same_text(root, "template", p->spec.text ? p->spec.text : "{text}") &&
           same_text(root, "preprocessing", prepared);
}

int quern__recipe_check_rows(quern__recipe *p, quern_store *s, const quern_generation *g,
                             quern__fill_settings *settings, quern_error *err)
{
    char *json = NULL;
    json_t *root = NULL;
    int rc = quern__recipe_scope_of(p, s, g->id, err);
    if (rc == QUERN_OK)
        rc = s->table.generation_json(s->self, g->id, &json, err);
    if (rc == QUERN_OK)
        rc = quern__settings_of(json, settings, err);
    if (rc == QUERN_OK)
        rc = quern__fingerprint_load(&root, json, err);
    if (rc == QUERN_OK && !same_rows(p, root))
        rc = quern__code(err,
                         quern__fail(err, QUERN_EMISMATCH, g->id,
                                     "source %s was declared otherwise when generation %lld was "
                                     "made; run `quern fill`",
                                     p->spec.name, (long long)g->id),
                         "index_stale");
    json_decref(root);
    quern__free(json);
    return rc;
}
