/*
 * cmd_doctor.c — is everything in order? Each check is one line: ok, a note (nothing to mend, but worth
 * knowing) or a finding, with what to do. The configuration has been checked before this runs, or the
 * command would not have started; --config stops after saying what it is.
 */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum kind { OK, NOTE, FINDING };

typedef struct patient {
    cli *c;
    unsigned findings;
} patient;

static void say(patient *p, enum kind kind, const char *what, const char *fmt, ...)
    QUERN_PRINTF(4, 5);

static void say(patient *p, enum kind kind, const char *what, const char *fmt, ...)
{
    static const char *const words[] = {"ok", "note", "FOUND"}, *const json[] = {"ok", "note",
                                                                                 "finding"};
    char text[600];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    p->findings += kind == FINDING;
    if (p->c->json) {
        put_object();
        put_key("check");
        put_text(what);
        put_key("result");
        put_text(json[kind]);
        put_key("message");
        put_text(text);
        put_end_object();
    } else if (!p->c->quiet || kind == FINDING) {
        out_printf("%-6s %-14s %s\n", words[kind], what, text);
    }
}

static int readable(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f)
        fclose(f);
    return f != NULL;
}

/* An option's value as it may be shown: of a URL neither user, password nor parameters. */
static const char *shown(const quern_option *o, const char *value, char out[256])
{
    const char *from = strstr(value, "://");
    if (o->type == QUERN_OPTION_SECRET)
        return "(hidden)";
    if (!from)
        return value;
    from += 3;
    const char *end = from + strcspn(from, "?");
    for (const char *at = from; at < end; at++)
        if (*at == '@')
            from = at + 1;
    snprintf(out, 256, "%.*s%.*s", (int)strcspn(value, "/") + 2, value, (int)(end - from), from);
    return out;
}

static const char *environment_of(const char *name)
{
    size_t n = name ? strlen(name) : 0;
    for (char *const *e = term_environment(); n && *e; e++)
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=' && (*e)[n + 1])
            return *e + n + 1;
    return NULL;
}

/* Where a hosted model's address and key come from; the key itself is never shown. */
static void check_hosted(patient *p)
{
    const quern_config *config = p->c->config;
    const quern_provider_profile *known = hosted_profile(p->c);
    char url[256];
    if (!known)
        return;
    const quern_option *base = quern_option_find("base-url");
    const char *variable = environment_of(known->url_variable);
    if (quern_config_is_set(config, "base-url"))
        say(p, OK, "address", "%s (%s)", shown(base, quern_config_text(config, "base-url"), url),
            quern_config_origin(config, "base-url"));
    else if (variable)
        say(p, OK, "address", "%s (%s)", shown(base, variable, url), known->url_variable);
    else if (known->base_url)
        say(p, OK, "address", "%s (%s's own)", known->base_url, known->name);
    else
        say(p, FINDING, "address", "%s has none of its own; give --base-url", known->name);
    if (quern_config_is_set(config, "api-key"))
        say(p, OK, "key", "(hidden) (%s)", quern_config_origin(config, "api-key"));
    else if (environment_of(known->key_variable))
        say(p, OK, "key", "(hidden) (%s)", known->key_variable);
    else if (known->key_required)
        say(p, FINDING, "key", "none; set %s in the environment", known->key_variable);
    else
        say(p, OK, "key", "none is sent; %s would be", known->key_variable);
}

static int check_prices(patient *p, quern_error *err)
{
    double price;
    int rc = find_price(p->c, &price, err);
    if (rc == QUERN_OK && price > 0)
        say(p, OK, "price", "$%g of 1,000,000 tokens of %s (%s)", price * 1000,
            quern_config_text(p->c->config, "model"),
            quern_config_origin(p->c->config, quern_config_is_set(p->c->config, "price")
                                                  ? "price"
                                                  : "model-price"));
    return rc;
}

static int check_configuration(patient *p, quern_error *err)
{
    const quern_config *config = p->c->config;
    const char *path = quern_config_text(config, "config");
    int there = readable(path);
    if (!there && strcmp(path, quern_option_find("config")->fallback) != 0)
        return fail(err, QUERN_EINVAL, "%s: there is no such configuration file", path);
    say(p, OK, "configuration", there ? "%s is read" : "no %s; defaults hold", path);
    for (size_t i = 0; quern_option_at(i); i++) {
        const quern_option *o = quern_option_at(i);
        if (!quern_config_is_set(config, o->name) || strcmp(o->name, "config") == 0)
            continue;
        char url[256];
        say(p, OK, "configuration", "%s = %s (%s)", o->name,
            shown(o, quern_config_text(config, o->name), url),
            quern_config_origin(config, o->name));
    }
    check_hosted(p);
    return check_prices(p, err);
}

/* Opened as fill would, in the class of the vectors that are there. What is wrong with the store is check_store's to say. */
static int open_in_class(cli *c, quern_embedder **e, quern_error *err)
{
    quern_store *store = NULL;
    quern_error no_store;
    const char *store_path = quern_config_text(c->config, "store");
    const char *file = store_path ? store_path : quern_config_text(c->config, "db");
    if (strstr(file, "://") || readable(file))
        (void)open_store(c, 1, &store, &no_store);
    int rc = open_embedder(c, store, e, err);
    quern_store_free(store);
    return rc;
}

static void check_model(patient *p, quern_embedder **e)
{
    cli *c = p->c;
    const char *name = quern_config_text(c->config, "model");
    quern_shelf_options opt;
    quern_error err;
    QUERN_INIT(&opt);
    opt.folder = quern_config_text(c->config, "models");
    opt.offline = 1;
    opt.cancel = c->cancel;
    int rc = open_in_class(c, e, &err);
    if (rc != QUERN_OK) {
        say(p, FINDING, "model", "%s", err.msg);
        return;
    }
    if (*device_in_use())
        say(p, OK, "device", "%s", device_in_use());
    if (!strchr(name, '/') && quern_shelf_verify(name, &opt, &err) != QUERN_OK) {
        say(p, FINDING, "model", "%s", err.msg);
        return;
    }
    quern_str text = quern_str_of("a cat sleeps on the sofa");
    quern_embed_options how;
    QUERN_INIT(&how);
    how.truncation = QUERN_TRUNCATION_CUT;
    how.cancel = c->cancel;
    char *json = NULL;
    rc = quern_embed_json(*e, text, &how, &json, &err);
    quern_free(json);
    if (rc != QUERN_OK)
        say(p, FINDING, "model", "%s", err.msg);
    else
        say(p, OK, "model", "%s: files intact, %u dimensions, %u tokens, embeds",
            quern_embedder_name(*e), quern_embedder_dimensions(*e), quern_embedder_max_length(*e));
}

static void check_sources(patient *p, quern_store *store, quern_embedder *e)
{
    quern_status_report *r = NULL;
    quern_error err;
    if (quern_status_open(&r, store, e, NULL, p->c->cancel, &err) != QUERN_OK) {
        say(p, FINDING, "sources", "%s", err.msg);
        return;
    }
    for (size_t i = 0; i < quern_status_count(r); i++) {
        const quern_status_row *row = quern_status_at(r, i);
        const char *note = row->note ? row->note : "";
        say(p, *note ? NOTE : OK, "source", "%s: %.1f %% of %llu documents current%s%s",
            row->source, row->percent, (unsigned long long)row->total, *note ? "; " : "", note);
        if (row->failed)
            say(p, FINDING, "source",
                "%s: %llu documents failed; mend them, or quern fill --force tries again",
                row->source, (unsigned long long)row->failed);
    }
    quern_status_free(r);
}

/* Every vector belongs to a stamp and a row, every stamp has its vectors; no model is needed for that. */
static void check_vectors(patient *p, quern_store *store)
{
    quern_verify_options opt;
    quern_verify_report report;
    quern_error err;
    QUERN_INIT(&opt);
    QUERN_INIT(&report);
    opt.cancel = p->c->cancel;
    int rc = quern_verify(store, NULL, &opt, &report, &err);
    if (rc == QUERN_EMISMATCH)
        say(p, FINDING, "vectors",
            "%llu belong to no document or to one that has gone, %llu are missing; quern fill "
            "mends "
            "both",
            (unsigned long long)report.orphans, (unsigned long long)report.missing_vectors);
    else if (rc != QUERN_OK)
        say(p, FINDING, "vectors", "%s", err.msg);
    else
        say(p, OK, "vectors", "each belongs to a document, and none is missing");
}

static void check_engine(patient *p, quern_store *store)
{
    quern_engine engine;
    quern_error err;
    QUERN_INIT(&engine);
    int rc = quern_store_engine(store, &engine, &err);
    if (rc != QUERN_OK)
        say(p, FINDING, "engine", "%s", err.msg);
    else
        say(p, OK, "engine", "%s", engine.name);
    if (rc == QUERN_OK && *engine.advice)
        say(p, NOTE, "engine", "%s", engine.advice);
}

static void check_store(patient *p, quern_embedder *e)
{
    cli *c = p->c;
    const char *store_path = quern_config_text(c->config, "store");
    const char *db = quern_config_text(c->config, "db");
    const char *file = store_path ? store_path : db;
    if (!strstr(file, "://") && !readable(file)) {
        say(p, NOTE, "store", "%s is not there yet; quern add or quern source add makes it", file);
        return;
    }
    quern_store *store = NULL;
    quern_error err;
    char url[256];
    int rc = open_store(c, 1, &store, &err);
    if (rc == QUERN_ENOTFOUND)
        say(p, NOTE, "store", "%s", err.msg);
    else if (rc != QUERN_OK)
        say(p, FINDING, "store", "%s", err.msg);
    else
        say(p, OK, "store", "%s opens, its schema is this version's",
            shown(quern_option_find("db"), file, url));
    if (rc == QUERN_OK) {
        check_engine(p, store);
        check_sources(p, store, e);
        check_vectors(p, store);
    }
    quern_store_free(store);
}

int cmd_doctor(cli *c, quern_error *err)
{
    patient p = {.c = c};
    quern_embedder *e = NULL;
    int rc = args_need(c, 0, 0, err);
    if (rc != QUERN_OK)
        return rc;
    if (c->json) {
        put_object();
        put_key("checks");
        put_array();
    }
    rc = check_configuration(&p, err);
    int configuration_only = strcmp(quern_config_origin(c->config, "config"), "--config") == 0;
    if (rc == QUERN_OK && !configuration_only) {
        say(&p, OK, "quern", "%s", quern_version_string());
        say(&p, OK, "processor", "%s; features up to %s", quern_cpu_describe(), quern_cpu_level());
        char kernels[512];
        quern_kernels_describe(kernels, sizeof kernels);
        say(&p, OK, "kernels", "%s", kernels);
        check_model(&p, &e);
        check_store(&p, e);
    }
    if (c->json) {
        put_end_array();
        put_key("findings");
        put_whole(p.findings);
        put_end_object();
        put_line();
    }
    quern_embedder_free(e);
    if (rc == QUERN_OK && quern_cancel_raised(c->cancel))
        return fail(err, QUERN_ECANCELLED, "interrupted");
    if (rc == QUERN_OK && p.findings)
        return fail(err, QUERN_EMISMATCH, "doctor: %u finding%s", p.findings,
                    p.findings == 1 ? "" : "s");
    return rc;
}
