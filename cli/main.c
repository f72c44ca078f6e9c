/*
 * main.c — finds the command, puts the configuration together (flags, environment, file), runs it, and
 * turns its status into an exit code. Everything wrong with the configuration is found before any
 * work. A run that ends well and yet has not looked at a flag it was given is a bug, and says so.
 */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_PARTIAL = 3,
    EXIT_NOT_FOUND = 4,
    EXIT_INTERRUPTED = 130
};

static const struct {
    const char *name;
    cli_command_fn run;
} runners[] = {
    {"embed", cmd_embed},
    {"similarity", cmd_similarity},
    {"tokenize", cmd_tokenize},
    {"chunk", cmd_chunk},
    {"model pull", cmd_model_pull},
    {"model import", cmd_model_import},
    {"model list", cmd_model_list},
    {"model info", cmd_model_info},
    {"model verify", cmd_model_verify},
    {"model quantize", cmd_model_quantize},
    {"model remove", cmd_model_remove},
    {"add", cmd_add},
    {"source add", cmd_source_add},
    {"source set", cmd_source_set},
    {"source list", cmd_source_list},
    {"source show", cmd_source_show},
    {"source remove", cmd_source_remove},
    {"fill", cmd_fill},
    {"work", cmd_work},
    {"enqueue", cmd_enqueue},
    {"forget", cmd_forget},
    {"export", cmd_export},
    {"import", cmd_import},
    {"vector get", cmd_vector_get},
    {"vector put", cmd_vector_put},
    {"vector delete", cmd_vector_delete},
    {"generation list", cmd_generation_list},
    {"generation build", cmd_generation_build},
    {"generation activate", cmd_generation_activate},
    {"generation retire", cmd_generation_retire},
    {"generation purge", cmd_generation_purge},
    {"generation sql", cmd_generation_sql},
    {"requeue", cmd_requeue},
    {"migrate", cmd_migrate},
    {"search", cmd_search},
    {"similar", cmd_similar},
    {"status", cmd_status},
    {"verify", cmd_verify},
    {"cache stats", cmd_cache_stats},
    {"cache keys", cmd_cache_keys},
    {"cache contains", cmd_cache_contains},
    {"cache remove", cmd_cache_remove},
    {"cache warm", cmd_cache_warm},
    {"cache export", cmd_cache_export},
    {"cache import", cmd_cache_import},
    {"cache expire", cmd_cache_expire},
    {"cache resize", cmd_cache_resize},
    {"cache clear", cmd_cache_clear},
    {"shard plan", cmd_shard_plan},
    {"shard apply", cmd_shard_apply},
    {"shard status", cmd_shard_status},
    {"bench", cmd_bench},
    {"tune", cmd_tune},
    {"doctor", cmd_doctor},
    {"help", cmd_help},
};

int fail(quern_error *err, int status, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    err->status = status;
    err->subject = -1;
    err->detail = 0;
    err->code = NULL;
    err->retry_ms = -1;
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    for (char *c = err->msg; *c; c++)
        if ((unsigned char)*c < 0x20)
            *c = '?';
    return status;
}

int no_memory(quern_error *err)
{
    return fail(err, QUERN_ENOMEM, "out of memory");
}

static int exit_code(int status)
{
    switch (status) {
    case QUERN_OK:
        return EXIT_DONE;
    case QUERN_EINVAL:
        return EXIT_USAGE;
    case QUERN_EPARTIAL:
        return EXIT_PARTIAL;
    case QUERN_ENOTFOUND:
        return EXIT_NOT_FOUND;
    case QUERN_ECANCELLED:
        return EXIT_INTERRUPTED;
    default:
        return EXIT_FAILED;
    }
}

static int unknown_command(const char *word, const char *sub, quern_error *err)
{
    const char *names[64];
    size_t n = 0;
    for (size_t i = 0; quern_command_at(i) && n < 64; i++)
        names[n++] = quern_command_at(i)->name;
    char typed[160];
    snprintf(typed, sizeof typed, "%.60s%s%.60s", word, sub ? " " : "", sub ? sub : "");
    const char *near = quern_nearest(typed, names, n);
    if (!near && sub)
        near = quern_nearest(word, names, n);
    if (near)
        return fail(err, QUERN_EINVAL, "there is no command \"%s\"; did you mean \"%s\"?",
                    sub && near != quern_nearest(word, names, n) ? typed : word, near);
    return fail(err, QUERN_EINVAL, "there is no command \"%.60s\"; see quern --help", word);
}

/* The command that argv names, by one word or two; *used counts them. */
static int find_command(cli *c, int argc, char **argv, int *used, quern_error *err)
{
    char two[160];
    c->command = quern_command_find(argv[1]);
    *used = 1;
    if (c->command)
        return QUERN_OK;
    if (argc > 2) {
        snprintf(two, sizeof two, "%.60s %.60s", argv[1], argv[2]);
        c->command = quern_command_find(two);
        *used = 2;
        if (c->command)
            return QUERN_OK;
    }
    size_t length = strlen(argv[1]);
    for (size_t i = 0; quern_command_at(i); i++) {
        const char *name = quern_command_at(i)->name;
        if (strncmp(name, argv[1], length) != 0 || name[length] != ' ')
            continue;
        if (argc > 2 && argv[2][0] != '-')
            return unknown_command(argv[1], argv[2], err);
        return fail(err, QUERN_EINVAL, "%s needs one word more, such as %s; see quern %s --help",
                    argv[1], name, argv[1]);
    }
    if (argv[1][0] == '-')
        return fail(err, QUERN_EINVAL, "%.60s: the command comes first, then its flags", argv[1]);
    return unknown_command(argv[1], NULL, err);
}

/* Environment and file; a file that is named must exist, the default one need not. */
static int read_configuration(cli *c, quern_error *err)
{
    int rc = quern_config_read_environment(c->config, term_environment(), err);
    if (rc != QUERN_OK)
        return rc;
    const char *path = quern_config_text(c->config, "config");
    FILE *f = NULL;
    int named = quern_config_is_set(c->config, "config") &&
                strcmp(c->command->name, "doctor") != 0; /* doctor says itself what is missing */
    if (!named && !(f = fopen(path, "rb")))
        return quern_config_check(c->config, c->command->name, err);
    if (f)
        fclose(f);
    rc = quern_config_read_file(c->config, path, err);
    const char *model = quern_config_text(c->config, "model");
    snprintf(c->model, sizeof c->model, "%s", model);
    if (rc == QUERN_OK)
        rc = quern_config_choose(c->config, err);
    return rc == QUERN_OK ? quern_config_check(c->config, c->command->name, err) : rc;
}

/* What every command obeys. */
static int apply_common(cli *c, quern_error *err)
{
    static const char levels[] = "error|warn|info|debug";
    c->quiet = quern_config_flag(c->config, "quiet");
    c->json = quern_config_flag(c->config, "json");
    const char *format = quern_config_text(c->config, "log-format");
    out_log_format(strcmp(format, "json") == 0 ? OUT_LOG_JSON : OUT_LOG_TEXT);
    const char *level = quern_config_text(c->config, "log-level");
    int number = 0;
    for (const char *at = levels; at < strstr(levels, level); at++)
        number += *at == '|';
    if (c->quiet && !quern_config_is_set(c->config, "log-level"))
        number = QUERN_LOG_ERROR;
    quern_set_log(out_log_line, number, NULL);
    uint64_t limit = quern_config_count(c->config, "memory-limit");
    if (limit && term_limit_memory(limit) != 0)
        return fail(err, QUERN_EUNSUPPORTED, "--memory-limit: this system refuses the limit");
    return quern_cpu_limit(quern_config_text(c->config, "cpu"), err);
}

static int run(cli *c, quern_error *err)
{
    for (size_t i = 0; i < sizeof runners / sizeof runners[0]; i++) {
        if (strcmp(runners[i].name, c->command->name) != 0)
            continue;
        int rc = runners[i].run(c, err);
        const char *ignored = quern_config_unread(c->config);
        if (rc == QUERN_OK && ignored && !out_broken())
            return fail(err, QUERN_EINTERNAL, "%s ignored --%s: a bug in quern", c->command->name,
                        ignored);
        return rc;
    }
    return fail(err, QUERN_EINTERNAL, "%s is listed and not built: a bug in quern",
                c->command->name);
}

static int with_arguments(cli *c, int argc, char **argv, const char **args, quern_error *err)
{
    int used = 0, help = 0;
    int rc = find_command(c, argc, argv, &used, err);
    if (rc != QUERN_OK)
        return rc;
    rc = args_parse(c, argc - 1 - used, argv + 1 + used, args, &help, err);
    if (rc != QUERN_OK)
        return rc;
    if (help) {
        help_command(c->command);
        return QUERN_OK;
    }
    if ((rc = read_configuration(c, err)) != QUERN_OK || (rc = apply_common(c, err)) != QUERN_OK)
        return rc;
    return run(c, err);
}

/* --help, --version, nothing at all, and the help of a family (`quern model --help`). */
static int spoke_for_itself(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "--help";
    if (strcmp(word, "--version") == 0) {
        out_printf("quern %s\n", quern_version_string());
        return 1;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        help_overview();
        return 1;
    }
    return argc == 3 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0) &&
           help_family(word);
}

/* A fault of the flags themselves comes before anybody has read them. */
static int asked_for_json(const cli *c, int argc, char **argv)
{
    int asked = c->json;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        asked |= strcmp(argv[i], "--json") == 0;
    return asked;
}

static void report(const cli *c, int json, int rc, const quern_error *err)
{
    char line[700];
    const char *hint = "";
    if (rc == QUERN_ENOMEM && quern_config_is_set(c->config, "memory-limit"))
        hint = quern_config_text(c->config, "memory-limit");
    snprintf(line, sizeof line, "%s%s%s%s", err->msg[0] ? err->msg : quern_status_text(rc),
             *hint ? " (the memory limit is " : "", hint, *hint ? ")" : "");
    quern_error shown = *err;
    shown.status = rc;
    if (json)
        out_error(quern_error_code(&shown), line);
    else
        out_log(QUERN_LOG_ERROR, "cli", line);
}

int main(int argc, char **argv)
{
    cli c = {0};
    quern_error err = {0};
    const char **args = NULL;
    int rc = QUERN_OK;
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    if (!(args = calloc((size_t)argc + 1, sizeof *args)))
        rc = no_memory(&err);
    if (rc == QUERN_OK && (rc = quern_cancel_new(&c.cancel, &err)) == QUERN_OK)
        rc = quern_config_new(&c.config, &err);
    if (rc == QUERN_OK) {
        term_catch_signals(c.cancel);
        if (!spoke_for_itself(argc, argv))
            rc = with_arguments(&c, argc, argv, args, &err);
    }
    quern_error late = {0};
    if (out_finish(&late) != QUERN_OK && rc == QUERN_OK) {
        rc = QUERN_EIO;
        err = late;
    }
    if (rc != QUERN_OK)
        report(&c, asked_for_json(&c, argc, argv), rc, &err);
    quern_cache_free(c.cache);
    quern_config_free(c.config);
    free(args);
    return exit_code(rc); /* c.cancel stays: a signal may still come */
}
