/*
 * cmd_add.c — files into the built-in documents table.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static progress bar;

static int on_progress(uint64_t documents, uint64_t bytes, void *ud)
{
    const cli *c = ud;
    char size[16], detail[80];
    human_bytes(bytes, size);
    snprintf(detail, sizeof detail, "%llu documents, %s", (unsigned long long)documents, size);
    progress_draw(&bar, "reading", -1, detail);
    return quern_cancel_raised(c->cancel);
}

static void write_json(const quern_add_report *r)
{
    const struct {
        const char *key;
        uint64_t value;
    } fields[] = {
        {"files", r->files},
        {"documents", r->documents},
        {"added", r->added},
        {"changed", r->changed},
        {"unchanged", r->unchanged},
        {"removed", r->removed},
        {"missing", r->missing},
        {"duplicates", r->duplicates},
        {"skipped_links", r->skipped_links},
        {"skipped_special", r->skipped_special},
        {"skipped_encoding", r->skipped_encoding},
    };
    put_object();
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        put_key(fields[i].key);
        put_whole(fields[i].value);
    }
    put_end_object();
    put_line();
}

static void also(uint64_t n, const char *what)
{
    if (n)
        out_printf(", %llu %s", (unsigned long long)n, what);
}

static void write_text(const quern_add_report *r)
{
    out_printf("%llu documents: %llu added, %llu changed, %llu unchanged",
               (unsigned long long)r->documents, (unsigned long long)r->added,
               (unsigned long long)r->changed, (unsigned long long)r->unchanged);
    also(r->removed, "removed");
    also(r->missing, "gone but kept (--sync removes them)");
    also(r->duplicates, "the same as others");
    also(r->skipped_links, "links skipped");
    also(r->skipped_special, "special files skipped");
    also(r->skipped_encoding, "files skipped that are not UTF-8");
    out_text("\n");
}

static int chosen_format(const cli *c)
{
    const char *format = quern_config_text(c->config, "format");
    if (!format || strcmp(format, "auto") == 0)
        return QUERN_ADD_AUTO;
    if (strcmp(format, "text") == 0)
        return QUERN_ADD_TEXT;
    return strcmp(format, "csv") == 0 ? QUERN_ADD_CSV : QUERN_ADD_JSONL;
}

/* Before the store is opened: a mistyped path shall not leave an empty database behind. */
static int check_paths(const cli *c, quern_error *err)
{
    for (size_t i = 0; i < c->n_args; i++)
        if (strcmp(c->args[i], "-") != 0 && !term_path_exists(c->args[i]))
            return fail(err, QUERN_EIO, "%s: no such file or folder", c->args[i]);
    return QUERN_OK;
}

int cmd_add(cli *c, quern_error *err)
{
    quern_add_options opt;
    quern_add_report report;
    quern_store *store = NULL;
    char **sources = NULL;
    size_t n = 0;
    int rc = args_need(c, 1, SIZE_MAX, err);
    if (rc == QUERN_OK)
        rc = list_sources(c, &sources, &n, err);
    if (rc == QUERN_OK && n > 1)
        rc = fail(err, QUERN_EINVAL, "--source: documents go into one source, %zu are given", n);
    QUERN_INIT(&opt);
    QUERN_INIT(&report);
    opt.format = chosen_format(c);
    opt.id_field = quern_config_text(c->config, "id-field");
    opt.text = quern_config_text(c->config, "text");
    opt.sync = quern_config_flag(c->config, "sync");
    opt.max_bytes = quern_config_count(c->config, "max-document");
    if (quern_config_is_set(c->config, "keep-text"))
        opt.keep_text = quern_config_flag(c->config, "keep-text") ? "yes" : "no";
    opt.progress = on_progress;
    opt.progress_ud = c;
    opt.cancel = c->cancel;
    if (rc == QUERN_OK)
        rc = check_paths(c, err);
    if (rc == QUERN_OK)
        rc = open_store(c, 0, &store, err);
    if (rc == QUERN_OK) {
        opt.source = sources[0];
        progress_begin(&bar, c);
        rc = quern_add(store, c->args, c->n_args, &opt, &report, err);
        progress_end(&bar);
        if (rc == QUERN_ENOTFOUND)
            rc = QUERN_EIO; /* gone meanwhile; exit 4 is for models, sources and keys */
    }
    if (rc == QUERN_OK && c->json)
        write_json(&report);
    else if (rc == QUERN_OK && !c->quiet)
        write_text(&report);
    free(sources);
    quern_store_free(store);
    return rc;
}
