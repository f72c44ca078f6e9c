/*
 * cmd_generation.c — list, build, activate, retire, purge. What cannot be undone is asked for on a terminal, and needs
 * --yes elsewhere.
 */
#include "cli.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- list ---- */

static void put_when(const char *key, int64_t ms)
{
    char text[32];
    put_key(key);
    if (ms)
        utc_time(ms, text);
    put_text(ms ? text : NULL);
}

static void row_json(const quern_generation_row *r)
{
    const struct {
        const char *key, *text;
    } texts[] = {{"source", r->source},
                 {"state", r->state},
                 {"model", r->model},
                 {"fingerprint", r->fingerprint},
                 {"vector_type", r->vector_type}};
    put_object();
    put_key("id");
    put_signed(r->id);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put_key(texts[i].key);
        put_text(texts[i].text);
    }
    put_key("dimensions");
    put_whole(r->dimensions);
    put_key("chunks");
    put_whole(r->chunks);
    if (r->counted) {
        const struct {
            const char *key;
            uint64_t value;
        } counts[] = {
            {"total", r->total}, {"done", r->done}, {"pending", r->pending}, {"failed", r->failed}};
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            put_key(counts[i].key);
            put_whole(counts[i].value);
        }
    }
    put_when("created", r->created_ms);
    put_when("activated", r->activated_ms);
    put_when("retired", r->retired_ms);
    put_key("settings");
    put_raw(r->settings, strlen(r->settings));
    put_end_object();
}

/* The generation's scope, out of its settings; "" none. */
static void scope_of(const quern_generation_row *r, char out[400])
{
    json_t *settings = json_loads(r->settings, 0, NULL);
    const char *within =
        json_string_value(json_object_get(json_object_get(settings, "scope"), "within"));
    snprintf(out, 400, "%.390s", within ? within : "");
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 0x20)
            *c = ' ';
    json_decref(settings);
}

static void row_text(const quern_generation_row *r)
{
    char when[32], since[48] = "", scope[400];
    int64_t ms = r->retired_ms ? r->retired_ms : r->activated_ms ? r->activated_ms : r->created_ms;
    utc_time(ms, when);
    snprintf(since, sizeof since, "since %s", when);
    out_printf("%4lld %-8s %-16s %s, %u x %s, %.12s\n", (long long)r->id, r->state, r->source,
               r->model, r->dimensions, r->vector_type, r->fingerprint);
    if (r->counted)
        out_printf("%30s %llu of %llu documents, %llu vectors, %s\n", "",
                   (unsigned long long)r->done, (unsigned long long)r->total,
                   (unsigned long long)r->chunks, since);
    else
        out_printf("%30s %llu vectors, %s\n", "", (unsigned long long)r->chunks, since);
    scope_of(r, scope);
    if (*scope)
        out_printf("%30s only where %s\n", "", scope);
}

static int list_one(cli *c, quern_store *s, const char *source, quern_error *err)
{
    quern_generation_list *l = NULL;
    int rc = quern_generation_list_open(&l, s, source, 1, c->cancel, err);
    for (size_t i = 0; i < quern_generation_list_count(l); i++)
        (c->json ? row_json : row_text)(quern_generation_list_at(l, i));
    quern_generation_list_free(l);
    return rc;
}

int cmd_generation_list(cli *c, quern_error *err)
{
    quern_store *store = NULL;
    char **sources = NULL;
    size_t n = 0;
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = list_sources(c, &sources, &n, err);
    if (rc == QUERN_OK)
        rc = open_store(c, 1, &store, err);
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("generations");
        put_array();
    }
    for (size_t i = 0; rc == QUERN_OK && i < (n ? n : 1); i++)
        rc = list_one(c, store, sources[i], err);
    if (rc == QUERN_OK && c->json) {
        put_end_array();
        put_end_object();
        put_line();
    }
    free(sources);
    quern_store_free(store);
    return rc;
}

/* ---- build ---- */

/* The model behind the active generation, for edits meanwhile; without it the build goes on, and says so. */
static void open_active(cli *c, quern_store *store, const char *source, quern_embedder **out)
{
    quern_generation_list *l = NULL;
    quern_error why = {0};
    char line[700];
    *out = NULL;
    int rc = quern_generation_list_open(&l, store, source, 0, c->cancel, &why);
    for (size_t i = 0; rc == QUERN_OK && i < quern_generation_list_count(l); i++) {
        const quern_generation_row *r = quern_generation_list_at(l, i);
        if (strcmp(r->state, "active") == 0)
            rc = open_other_embedder(c, r->model, r->settings, out, &why);
    }
    quern_generation_list_free(l);
    if (rc == QUERN_OK || c->quiet)
        return;
    snprintf(line, sizeof line, "the active generation is left as it is meanwhile: %s", why.msg);
    out_log(QUERN_LOG_WARN, "generation", line);
}

static void build_json(const quern_build_report *r)
{
    const quern_fill_report *f = &r->fill;
    const struct {
        const char *key;
        uint64_t value;
    } fields[] = {{"total", f->total},         {"done", f->done},     {"pending", f->pending},
                  {"stale", f->stale},         {"empty", f->empty},   {"failed", f->failed},
                  {"processed", f->processed}, {"chunks", f->chunks}, {"tokens", f->tokens},
                  {"deleted", f->deleted},     {"bytes", f->bytes}};
    put_object();
    put_key("generation");
    if (r->generation)
        put_signed(r->generation);
    else
        put_text(NULL);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        put_key(fields[i].key);
        put_whole(fields[i].value);
    }
    put_key("percent");
    put_real(f->total ? 100.0 * (double)f->done / (double)f->total : 100.0);
    put_key("seconds");
    put_real(f->seconds);
    put_key("dry_run");
    put_bool(f->dry_run);
    put_key("ended");
    put_bool(f->ended);
    put_key("last_error");
    put_text(f->last_error[0] ? f->last_error : NULL);
    put_key("active");
    put_object();
    put_key("generation");
    if (r->active)
        put_signed(r->active);
    else
        put_text(NULL);
    put_key("processed");
    put_whole(r->refresh.processed);
    put_key("deleted");
    put_whole(r->refresh.deleted);
    put_key("error");
    put_text(r->refresh_error[0] ? r->refresh_error : NULL);
    put_end_object();
    put_end_object();
    put_line();
}

static void build_text(const quern_build_report *r)
{
    const quern_fill_report *f = &r->fill;
    char took[16], size[16];
    human_time(f->seconds, took);
    human_bytes(f->bytes, size);
    if (f->dry_run) {
        out_printf(
            "would embed %llu documents: %llu chunks, %llu tokens, %s of vectors, about %s\n",
            (unsigned long long)f->processed, (unsigned long long)f->chunks,
            (unsigned long long)f->tokens, size, took);
        return;
    }
    out_printf("generation %lld holds %llu of %llu documents: embedded %llu in %s",
               (long long)r->generation, (unsigned long long)f->done, (unsigned long long)f->total,
               (unsigned long long)f->processed, took);
    if (f->failed)
        out_printf(", %llu failed", (unsigned long long)f->failed);
    if (r->refresh.processed || r->refresh.deleted)
        out_printf("; in the active one %llu were embedded and %llu dropped meanwhile",
                   (unsigned long long)r->refresh.processed,
                   (unsigned long long)r->refresh.deleted);
    if (f->ended)
        out_text("; it was retired meanwhile\n");
    else if (f->pending)
        out_printf("; %llu are left for the next build\n", (unsigned long long)f->pending);
    else
        out_printf("; quern generation activate %lld switches to it\n", (long long)r->generation);
}

int cmd_generation_build(cli *c, quern_error *err)
{
    quern_build_options opt;
    quern_build_report report;
    quern_store *store = NULL;
    quern_embedder *e = NULL, *active = NULL;
    QUERN_INIT(&opt);
    QUERN_INIT(&report);
    fill_options(c, &opt.fill);
    opt.where = quern_config_text(c->config, "where");
    opt.fill.since = NULL; /* fill's own, and perhaps set in the environment for it */
    opt.fill.force = opt.fill.full = 0;
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = one_source_name(c, &opt.fill.source, err);
    if (rc == QUERN_OK)
        rc = opt.fill.dry_run ? open_store(c, 1, &store, err) : open_existing_store(c, &store, err);
    if (rc == QUERN_OK)
        rc = open_embedder(c, store, &e, err);
    if (rc == QUERN_OK && !opt.fill.dry_run)
        open_active(c, store, opt.fill.source, &active);
    opt.active = active;
    if (rc == QUERN_OK) {
        fill_bar_begin(c);
        rc = quern_generation_build(store, e, &opt, &report, err);
        fill_bar_end();
        int finished = rc == QUERN_OK || rc == QUERN_EPARTIAL;
        if (finished && c->json)
            build_json(&report);
        else if (finished && !c->quiet)
            build_text(&report);
    }
    quern_embedder_free(active);
    quern_embedder_free(e);
    quern_store_free(store);
    return rc;
}

/* ---- which one ---- */

static int read_id(const char *word, int64_t *id, quern_error *err)
{
    char *end;
    long long v = strtoll(word, &end, 10);
    if (word[0] < '0' || word[0] > '9' || *end || v <= 0 || v > (1ll << 40))
        return fail(err, QUERN_EINVAL,
                    "%.40s is no generation's id; quern generation list shows them", word);
    *id = v;
    return QUERN_OK;
}

static const quern_generation_row *find(const quern_generation_list *l, int64_t id)
{
    for (size_t i = 0; i < quern_generation_list_count(l); i++)
        if (quern_generation_list_at(l, i)->id == id)
            return quern_generation_list_at(l, i);
    return NULL;
}

/* By id, which --source has to fit when both are given; *l holds what may be meant. */
static int open_list(cli *c, quern_store *store, int64_t *id, quern_generation_list **l,
                     quern_error *err)
{
    const char *source = NULL;
    int rc = QUERN_OK;
    *id = 0;
    if (c->n_args)
        rc = read_id(c->args[0], id, err);
    if (rc == QUERN_OK && (!*id || quern_config_is_set(c->config, "source")))
        rc = one_source_name(c, &source, err);
    if (rc == QUERN_OK)
        rc = quern_generation_list_open(l, store, source, 0, c->cancel, err);
    if (rc == QUERN_OK && *id && !find(*l, *id))
        rc = fail(
            err, QUERN_ENOTFOUND,
            "there is no generation %lld%s%s; quern generation list shows those that there are",
            (long long)*id, source ? " of source " : "", source ? source : "");
    return rc;
}

/* ---- activate ---- */

static int choose_building(const quern_generation_list *l, const cli *c, int64_t *id,
                           quern_error *err)
{
    for (size_t i = 0; i < quern_generation_list_count(l); i++)
        if (strcmp(quern_generation_list_at(l, i)->state, "building") == 0)
            *id = quern_generation_list_at(l, i)->id;
    if (*id)
        return QUERN_OK;
    return fail(err, QUERN_ENOTFOUND,
                "source %.80s has no building generation; quern generation build makes one",
                quern_config_text(c->config, "source"));
}

static void activate_answer(const cli *c, int64_t id, const quern_activate_report *r)
{
    if (c->json) {
        put_object();
        put_key("activated");
        put_signed(id);
        put_key("retired");
        if (r->retired)
            put_signed(r->retired);
        else
            put_text(NULL);
        put_key("total");
        put_whole(r->total);
        put_key("missing");
        put_whole(r->missing);
        put_key("failed");
        put_whole(r->failed);
        put_end_object();
        put_line();
    } else if (!c->quiet) {
        out_printf("generation %lld serves %llu documents", (long long)id,
                   (unsigned long long)(r->total - r->missing - r->failed));
        if (r->missing)
            out_printf(", %llu are missing", (unsigned long long)r->missing);
        if (r->failed)
            out_printf(", %llu failed", (unsigned long long)r->failed);
        if (r->retired)
            out_printf("; quern generation purge %lld frees the space of the one before",
                       (long long)r->retired);
        out_text("\n");
    }
}

/* --force is for what was missed, not for a file that is no report on this generation. */
static int pass_gate(const cli *c, const quern_generation_row *r, int force, quern_error *err)
{
    const char *path = quern_config_text(c->config, "report");
    if (!path)
        return QUERN_OK;
    int rc = quern_report_check_file(path, r->source, r->fingerprint, err);
    if (rc != QUERN_OK && strcmp(quern_error_code(err), "gate_missed") == 0) {
        char line[700];
        snprintf(line, sizeof line, "%s; %s", err->msg,
                 force ? "switching anyway" : "--force to switch anyway");
        if (!force) {
            fail(err, rc, "%s", line);
            err->code = "gate_missed";
            return rc;
        }
        if (!c->quiet)
            out_log(QUERN_LOG_WARN, "generation", line);
        rc = QUERN_OK;
    }
    return rc;
}

int cmd_generation_activate(cli *c, quern_error *err)
{
    quern_store *store = NULL;
    quern_generation_list *l = NULL;
    quern_activate_report report;
    int64_t id = 0;
    int force = quern_config_flag(c->config, "force");
    QUERN_INIT(&report);
    int rc = args_need(c, 0, 1, err);
    if (rc == QUERN_OK)
        rc = open_existing_store(c, &store, err);
    if (rc == QUERN_OK)
        rc = open_list(c, store, &id, &l, err);
    if (rc == QUERN_OK && !id)
        rc = choose_building(l, c, &id, err);
    if (rc == QUERN_OK)
        rc = pass_gate(c, find(l, id), force, err);
    if (rc == QUERN_OK)
        rc = quern_generation_activate(store, id, force, c->cancel, &report, err);
    if (rc == QUERN_OK)
        activate_answer(c, id, &report);
    quern_generation_list_free(l);
    quern_store_free(store);
    return rc;
}

/* ---- retire and purge ---- */

static int ask(const cli *c, const char *what, const quern_generation_row *r, quern_error *err)
{
    char question[300];
    snprintf(question, sizeof question,
             "%s generation %lld of source %.64s (%s, %.60s, %llu vectors)?", what,
             (long long)r->id, r->source, r->state, r->model, (unsigned long long)r->chunks);
    return confirm(c, question, err);
}

int cmd_generation_retire(cli *c, quern_error *err)
{
    quern_store *store = NULL;
    quern_generation_list *l = NULL;
    int64_t id = 0;
    int force = quern_config_flag(c->config, "force-active");
    int rc = args_need(c, 1, 1, err);
    if (rc == QUERN_OK)
        rc = read_id(c->args[0], &id, err);
    if (rc == QUERN_OK)
        rc = open_existing_store(c, &store, err);
    if (rc == QUERN_OK)
        rc = quern_generation_list_open(&l, store, NULL, 0, c->cancel, err);
    if (rc == QUERN_OK && find(l, id))
        rc = ask(c, "Retire", find(l, id), err);
    if (rc == QUERN_OK)
        rc = quern_generation_retire(store, id, force, err);
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("retired");
        put_signed(id);
        put_end_object();
        put_line();
    } else if (rc == QUERN_OK && !c->quiet) {
        out_printf("generation %lld is retired; quern generation purge %lld frees its space\n",
                   (long long)id, (long long)id);
    }
    quern_generation_list_free(l);
    quern_store_free(store);
    return rc;
}

static int purge_one(cli *c, quern_store *store, const quern_generation_row *r, quern_error *err)
{
    quern_purge_report report;
    char size[16];
    QUERN_INIT(&report);
    int rc = ask(c, "Remove", r, err);
    if (rc == QUERN_OK)
        rc = quern_generation_purge(store, r->id, c->cancel, &report, err);
    if (rc != QUERN_OK)
        return rc;
    human_bytes(report.bytes, size);
    if (c->json) {
        put_object();
        put_key("id");
        put_signed(r->id);
        put_key("chunks");
        put_whole(report.chunks);
        put_key("bytes");
        put_whole(report.bytes);
        put_end_object();
    } else if (!c->quiet) {
        out_printf("generation %lld is gone: %llu vectors, %s free again\n", (long long)r->id,
                   (unsigned long long)report.chunks, size);
    }
    return QUERN_OK;
}

int cmd_generation_purge(cli *c, quern_error *err)
{
    quern_store *store = NULL;
    quern_generation_list *l = NULL;
    int64_t id = 0;
    int rc = args_need(c, 0, 1, err);
    if (rc == QUERN_OK)
        rc = open_existing_store(c, &store, err);
    if (rc == QUERN_OK)
        rc = open_list(c, store, &id, &l, err);
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("purged");
        put_array();
    }
    for (size_t i = 0; rc == QUERN_OK && i < quern_generation_list_count(l); i++) {
        const quern_generation_row *r = quern_generation_list_at(l, i);
        if (id ? r->id == id : strcmp(r->state, "retired") == 0)
            rc = purge_one(c, store, r, err);
    }
    if (rc == QUERN_OK && c->json) {
        put_end_array();
        put_end_object();
        put_line();
    }
    quern_generation_list_free(l);
    quern_store_free(store);
    return rc;
}
