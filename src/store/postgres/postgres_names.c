/*
 * postgres_names.c — how quern's tables are called. In a schema that quern makes (`quern`, or one that was not there)
 * they have plain names: quern.tasks. In a schema that somebody else made (`public`) each begins with quern_:
 * public.quern_tasks. Which of the two holds is never written down in a place of its own: the ledger of migrations
 * that is there says it, and where there is none yet, whether the schema is there and, by its comment, quern's.
 *
 * What is the whole database's and not a schema's (servers of shards, channels) or another table's (triggers) has the
 * schema's tag in front: `quern` for the schema quern, else a hash, so that two schemas of one database never meet.
 *
 * In a statement '@' stands for the schema and what a table's name begins with, '@@' for the tag. In a migration's
 * script, which runs with the search path set, '@' stands for what a name begins with alone: a script names indexes,
 * which have no schema in CREATE INDEX, and puts names between quotes, where the schema's own quotes would do harm.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sha256.h"
#include "store/postgres/postgres_store.h"

enum { LONGEST_SCHEMA = 63 };

static const char default_schema[] = "quern", guest_base[] = "quern_";

static void put_names(const char *text, const char *name, const char *tag, quern__buf *out)
{
    while (*text) {
        size_t n = strcspn(text, "@");
        quern__buf_append(out, text, n);
        text += n;
        if (*text == '@') {
            bool shared = text[1] == '@';
            quern__buf_puts(out, shared ? tag : name);
            text += shared ? 2 : 1;
        }
    }
}

void quern__postgres_put_script(const quern__postgres *s, const char *script, quern__buf *out)
{
    put_names(script, s->base, s->tag, out);
}

int quern__postgres_put_names(quern__postgres *s, const char *sql, quern_error *err)
{
    quern__buf_clear(&s->sql);
    put_names(sql, s->prefix, s->tag, &s->sql);
    return quern__buf_ok(&s->sql, "a statement", err);
}

int quern__postgres_relation(quern__postgres *s, const char *name, quern_error *err)
{
    quern__pg_params p;
    int64_t there = 0;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(s->schema));
    quern__pg_text(&p, quern_str_of(s->base));
    quern__pg_text(&p, quern_str_of(name));
    return quern__pg_scalar(s->own,
                            "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
                            " ON n.oid = c.relnamespace WHERE n.nspname = $1"
                            " AND c.relname = $2 || $3",
                            &p, &there, err);
}

static int check_name(const char *name, quern_error *err)
{
    int rc = quern__sql_name(name, "schema", err);
    if (!rc && (strlen(name) > LONGEST_SCHEMA || strncmp(name, "pg_", 3) == 0 ||
                strcmp(name, "information_schema") == 0))
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "schema '%s': at most %d bytes, and not one of the server's (pg_…)", name,
                         (int)LONGEST_SCHEMA);
    return rc;
}

static int make_tag(quern__postgres *s, quern_error *err)
{
    uint8_t digest[32];
    char hex[65];
    snprintf(s->tag, sizeof s->tag, "%s", default_schema);
    if (strcmp(s->schema, default_schema) == 0)
        return QUERN_OK;
    int rc = quern__sha256_of(s->schema, strlen(s->schema), digest, err);
    if (rc)
        return rc;
    quern__hex32(digest, hex);
    snprintf(s->tag, sizeof s->tag, "%s_%.12s", default_schema, hex);
    return QUERN_OK;
}

/* before + text (its quotes doubled) + behind, in place of *out */
static void name_anew(char **out, const char *before, const char *text, char quote,
                      const char *behind)
{
    quern__buf b;
    quern__buf_init(&b, 1024);
    quern__buf_puts(&b, before);
    for (; *text; text++) {
        if (*text == quote)
            quern__buf_putc(&b, quote);
        quern__buf_putc(&b, *text);
    }
    quern__buf_puts(&b, behind);
    quern__free(*out);
    *out = quern__buf_detach(&b);
}

static int set_names(quern__postgres *s, const char *base, quern_error *err)
{
    char behind[16];
    snprintf(behind, sizeof behind, "\".%s", base);
    s->base = base;
    name_anew(&s->quoted, "\"", s->schema, '"', "\"");
    name_anew(&s->prefix, "\"", s->schema, '"', behind);
    if (s->prefix)
        name_anew(&s->inside, "", s->prefix, '\'', "");
    return s->quoted && s->prefix && s->inside ? QUERN_OK
                                               : quern__fail_memory(err, strlen(s->schema));
}

int quern__postgres_names(quern__postgres *s, const char *schema, quern_error *err)
{
    /* a table `migrations` of somebody else's has not these columns */
    static const char sql[] =
        "WITH ledger AS (SELECT n.nspname, c.relname FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'"
        " AND (SELECT count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid"
        " AND a.attname IN ('version', 'applied_ms', 'quern_version')) = 3)"
        " SELECT EXISTS (SELECT 1 FROM ledger WHERE nspname = $1 AND relname = 'migrations'),"
        " EXISTS (SELECT 1 FROM ledger WHERE nspname = $1 AND relname = 'quern_migrations'),"
        " (SELECT coalesce(pg_catalog.obj_description(oid, 'pg_namespace'), '') = $2"
        " FROM pg_catalog.pg_namespace WHERE nspname = $1)";
    quern__pg_params p;
    quern__pg_result *r = NULL;
    schema = schema && *schema ? schema : default_schema;
    int rc = check_name(schema, err);
    if (!rc && !s->schema && !(s->schema = quern__strdup(schema)))
        rc = quern__fail_memory(err, strlen(schema));
    if (!rc)
        rc = make_tag(s, err);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(schema));
    quern__pg_text(&p, quern_str_of(QUERN__PG_SCHEMA_COMMENT));
    if (!rc)
        rc = quern__pg_query(s->own, sql, &p, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    bool plain = quern__pg_get_int(r, 0, 0) != 0, guest = quern__pg_get_int(r, 0, 1) != 0;
    bool ours = quern__pg_get_int(r, 0, 2) != 0;
    s->no_schema = quern__pg_is_null(r, 0, 2);
    quern__pg_clear(r);
    bool own = strcmp(schema, default_schema) == 0 || plain || (!guest && (s->no_schema || ours));
    s->no_ledger = own ? !plain : !guest;
    return set_names(s, own ? "" : guest_base, err);
}
