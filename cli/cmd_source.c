/*
 * cmd_source.c — which rows are documents: add, set, list, show, remove.
 */
#include "cli.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --key may be repeated: columns, joined by commas in room (of the same length). */
static const char *join_keys(const char *keys, char *room)
{
    if (!keys)
        return NULL;
    for (size_t i = 0; (room[i] = keys[i]); i++)
        if (room[i] == '\n')
            room[i] = ',';
    return room;
}

static void fill_spec(const cli *c, quern_source_spec *spec, char *keys)
{
    QUERN_INIT(spec);
    spec->name = c->args[0];
    spec->table = quern_config_text(c->config, "table");
    spec->query = quern_config_text(c->config, "query");
    spec->keys = join_keys(quern_config_text(c->config, "key"), keys);
    spec->text = quern_config_text(c->config, "text");
    spec->revision = quern_config_text(c->config, "revision");
    spec->where = quern_config_text(c->config, "where");
    spec->meta = quern_config_text(c->config, "meta");
    spec->prepare = quern_config_text(c->config, "prepare");
    spec->stamp_columns = quern_config_text(c->config, "stamp-columns");
    spec->assets = quern_config_text(c->config, "assets");
    spec->max_assets = quern_config_text(c->config, "max-assets");
    if (quern_config_is_set(c->config, "keep-text"))
        spec->keep_text = quern_config_flag(c->config, "keep-text") ? "yes" : "no";
    int words = quern_config_flag(c->config, "text-search");
    if (quern_config_is_set(c->config, "text-search"))
        spec->text_search = words ? "words" : "";
}

/* What a source was declared with behind its name, as both forms show it. */
static const struct {
    const char *key, *label;
    size_t at;
} fields[] = {
#define FIELD(KEY, LABEL, MEMBER)                                                                  \
    {                                                                                              \
        KEY, LABEL, offsetof(quern_source_spec, MEMBER)                                            \
    }
    FIELD("table", "table", table),
    FIELD("query", "query", query),
    FIELD("key", "key", keys),
    FIELD("text", "text", text),
    FIELD("revision", "revision", revision),
    FIELD("where", "where", where),
    FIELD("meta", "meta", meta),
    FIELD("prepare", "prepare", prepare),
    FIELD("text_search", "words", text_search),
    FIELD("stamp_columns", "stamps", stamp_columns),
    FIELD("keep_text", "keep text", keep_text),
    FIELD("assets", "assets", assets),
    FIELD("max_assets", "at most", max_assets),
#undef FIELD
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

static const char *value_of(const quern_source_spec *s, size_t i)
{
    return *(const char *const *)(const void *)((const char *)s + fields[i].at);
}

static void write_json(const quern_source_spec *s, int live)
{
    put_object();
    put_key("name");
    put_text(s->name);
    for (size_t i = 0; i < FIELDS; i++) {
        put_key(fields[i].key);
        put_text(value_of(s, i));
    }
    put_key("live");
    put_bool(live);
    put_end_object();
}

static void write_text(const quern_source_spec *s, int live)
{
    out_printf("%s\n", s->name);
    for (size_t i = 0; i < FIELDS; i++)
        if (value_of(s, i) && *value_of(s, i))
            out_printf("  %-9s %s\n", fields[i].label, value_of(s, i));
    if (live)
        out_printf("  %-9s %s\n", "live", "yes");
}

static int write_source(const cli *c, quern_store *store, const quern_source_spec *s,
                        quern_error *err)
{
    int live = 0, rc = quern_source_is_live(store, s->name, &live, err);
    if (rc == QUERN_OK)
        (c->json ? write_json : write_text)(s, live);
    return rc;
}

static const quern_source_spec *find(const quern_source_list *l, const char *name)
{
    for (size_t i = 0; i < quern_source_list_count(l); i++)
        if (strcmp(quern_source_list_at(l, i)->name, name) == 0)
            return quern_source_list_at(l, i);
    return NULL;
}

static int unknown_source(const quern_source_list *l, const char *name, quern_error *err)
{
    const char *names[256];
    size_t n = quern_source_list_count(l);
    if (n > 256)
        n = 256;
    for (size_t i = 0; i < n; i++)
        names[i] = quern_source_list_at(l, i)->name;
    const char *near = quern_nearest(name, names, n);
    return fail(err, QUERN_ENOTFOUND, "there is no source \"%.80s\"%s%s%s", name,
                near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static int declare(cli *c, int (*how)(quern_store *, const quern_source_spec *, quern_error *),
                   const char *done, quern_error *err)
{
    quern_source_spec spec;
    quern_store *store = NULL;
    int rc = args_need(c, 1, 1, err);
    if (rc != QUERN_OK)
        return rc;
    const char *typed = quern_config_text(c->config, "key");
    char *keys = malloc(typed ? strlen(typed) + 1 : 1);
    if (!keys)
        return no_memory(err);
    fill_spec(c, &spec, keys);
    rc = how == quern_source_set ? open_existing_store(c, &store, err)
                                 : open_store(c, 0, &store, err);
    if (rc == QUERN_OK)
        rc = how(store, &spec, err);
    int live = quern_config_flag(c->config, "live");
    if (rc == QUERN_OK && quern_config_is_set(c->config, "live"))
        rc = quern_source_live(store, spec.name, live, err);
    quern_source_list *l = NULL;
    if (rc == QUERN_OK && c->json)
        rc = quern_source_list_open(&l, store, err);
    if (rc == QUERN_OK && c->json && find(l, spec.name)) {
        rc = write_source(c, store, find(l, spec.name), err);
        put_line();
    } else if (rc == QUERN_OK && !c->quiet) {
        out_printf("source %s %s; quern fill brings its vectors up to date\n", spec.name, done);
    }
    quern_source_list_free(l);
    quern_store_free(store);
    free(keys);
    return rc;
}

int cmd_source_add(cli *c, quern_error *err)
{
    return declare(c, quern_source_add, "declared", err);
}

int cmd_source_set(cli *c, quern_error *err)
{
    return declare(c, quern_source_set, "changed", err);
}

/* One source, or all of them. */
static int list(cli *c, const char *name, quern_error *err)
{
    quern_store *store = NULL;
    quern_source_list *l = NULL;
    int rc = open_store(c, 1, &store, err);
    if (rc == QUERN_OK)
        rc = quern_source_list_open(&l, store, err);
    if (rc == QUERN_OK && name && !find(l, name))
        rc = unknown_source(l, name, err);
    if (rc == QUERN_OK && name) {
        rc = write_source(c, store, find(l, name), err);
    } else if (rc == QUERN_OK) {
        if (c->json) {
            put_object();
            put_key("sources");
            put_array();
        }
        for (size_t i = 0; i < quern_source_list_count(l) && rc == QUERN_OK; i++)
            rc = write_source(c, store, quern_source_list_at(l, i), err);
        if (c->json) {
            put_end_array();
            put_end_object();
        }
    }
    if (rc == QUERN_OK && c->json)
        put_line();
    quern_source_list_free(l);
    quern_store_free(store);
    return rc;
}

int cmd_source_list(cli *c, quern_error *err)
{
    int rc = args_need(c, 0, 0, err);
    return rc == QUERN_OK ? list(c, NULL, err) : rc;
}

int cmd_source_show(cli *c, quern_error *err)
{
    int rc = args_need(c, 1, 1, err);
    return rc == QUERN_OK ? list(c, c->args[0], err) : rc;
}

int cmd_source_remove(cli *c, quern_error *err)
{
    quern_store *store = NULL;
    quern_source_list *l = NULL;
    char question[160];
    int rc = args_need(c, 1, 1, err);
    if (rc == QUERN_OK)
        rc = open_existing_store(c, &store, err);
    if (rc == QUERN_OK)
        rc = quern_source_list_open(&l, store, err);
    if (rc == QUERN_OK && !find(l, c->args[0]))
        rc = unknown_source(l, c->args[0], err);
    if (rc == QUERN_OK) {
        snprintf(question, sizeof question, "Forget source %.80s and all its vectors?", c->args[0]);
        rc = confirm(c, question, err);
    }
    if (rc == QUERN_OK)
        rc = quern_source_remove(store, c->args[0], err);
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("name");
        put_text(c->args[0]);
        put_key("removed");
        put_bool(1);
        put_end_object();
        put_line();
    } else if (rc == QUERN_OK && !c->quiet) {
        out_printf("source %s forgotten\n", c->args[0]);
    }
    quern_source_list_free(l);
    quern_store_free(store);
    return rc;
}
