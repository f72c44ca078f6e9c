/*
 * shelf_driver.c — one call of quern/shelf.h from the command line, its answer as one JSON line.
 *
 *   shelf_driver CALL NAME-OR-PATH [key=value…]     pull import find verify remove list
 *   keys: folder base token timeout(ms) tries offline name cancel(bytes)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "quern/shelf.h"

static unsigned long long cancel_at, most_seen;

static int on_progress(const char *what, uint64_t done, uint64_t total, void *ud)
{
    (void)what;
    (void)total;
    (void)ud;
    if (done > most_seen)
        most_seen = done;
    return cancel_at && done >= cancel_at;
}

static int set(quern_shelf_options *o, const char **name, char *pair)
{
    char *value = strchr(pair, '=');
    if (!value)
        return 0;
    *value++ = 0;
    if (strcmp(pair, "folder") == 0)
        o->folder = value;
    else if (strcmp(pair, "base") == 0)
        o->base_url = value;
    else if (strcmp(pair, "token") == 0)
        o->token = value;
    else if (strcmp(pair, "timeout") == 0)
        o->timeout_ms = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(pair, "tries") == 0)
        o->tries = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(pair, "offline") == 0)
        o->offline = value[0] == '1';
    else if (strcmp(pair, "name") == 0)
        *name = value;
    else if (strcmp(pair, "cancel") == 0)
        cancel_at = strtoull(value, NULL, 10);
    else
        return 0;
    return 1;
}

static int list(const quern_shelf_options *o, json_t *answer, quern_error *err)
{
    quern_shelf_list *l = NULL;
    json_t *models = json_array();
    int rc = quern_shelf_open(&l, o, err);
    for (size_t i = 0; i < quern_shelf_count(l); i++) {
        const quern_shelf_entry *e = quern_shelf_at(l, i);
        json_array_append_new(models, json_pack("{s:s,s:s,s:s,s:s,s:s,s:I}", "name", e->name,
                                                "path", e->path, "origin", e->origin, "imported_at",
                                                e->imported_at, "weights_sha256", e->weights_sha256,
                                                "bytes", (json_int_t)e->bytes));
    }
    quern_shelf_free(l);
    json_object_set_new(answer, "models", models);
    return rc;
}

static int call(const char *verb, const char *what, const char *name, const quern_shelf_options *o,
                json_t *answer, quern_error *err)
{
    char *path = NULL;
    int rc = QUERN_EINVAL;
    if (strcmp(verb, "pull") == 0) {
        rc = quern_shelf_pull(what, o, err);
    } else if (strcmp(verb, "import") == 0) {
        rc = quern_shelf_import(what, name, o, err);
    } else if (strcmp(verb, "verify") == 0) {
        rc = quern_shelf_verify(what, o, err);
    } else if (strcmp(verb, "remove") == 0) {
        rc = quern_shelf_remove(what, o, err);
    } else if (strcmp(verb, "list") == 0) {
        rc = list(o, answer, err);
    } else if (strcmp(verb, "find") == 0) {
        rc = quern_shelf_find(what, o, &path, err);
        if (path)
            json_object_set_new(answer, "path", json_string(path));
        quern_free(path);
    }
    return rc;
}

int main(int argc, char **argv)
{
    quern_shelf_options o;
    quern_error err;
    const char *name = NULL;
    memset(&err, 0, sizeof err);
    QUERN_INIT(&o);
    o.progress = on_progress;
    for (int i = 3; i < argc; i++)
        if (!set(&o, &name, argv[i]))
            return 2;
    if (argc < 3)
        return 2;
    json_t *answer = json_object();
    int rc = call(argv[1], argv[2], name, &o, answer, &err);
    json_object_set_new(answer, "status", json_string(quern_status_name(rc)));
    json_object_set_new(answer, "detail", json_integer(err.detail));
    json_object_set_new(answer, "message", json_string(err.msg));
    json_object_set_new(answer, "seen", json_integer((json_int_t)most_seen));
    json_dumpf(answer, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(answer);
    return 0;
}
