/*
 * args.c — the words after the command. Long flags only, `--name value` or `--name=value`; `--` ends
 * them, `-` is an argument. getopt_long was rejected: it knows neither which command a flag belongs to
 * nor what is nearest to a wrong one, and takes unique beginnings of names, which then break when a new
 * flag arrives.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FLAGS = 128 };

static void list_takers(const quern_option *o, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; quern_command_at(i) && used + 1 < size; i++)
        if (quern_option_applies(o, quern_command_at(i)->name))
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "",
                                     quern_command_at(i)->name);
}

static int unknown_flag(const cli *c, const char *name, quern_error *err)
{
    const char *command = c->command->name;
    const quern_option *elsewhere = quern_option_find(name);
    if (elsewhere && elsewhere->type != QUERN_OPTION_SECRET) {
        char takers[200];
        list_takers(elsewhere, takers, sizeof takers);
        return fail(err, QUERN_EINVAL, "%s has no flag --%s; it belongs to %s", command, name,
                    takers);
    }
    if (elsewhere)
        return fail(err, QUERN_EINVAL,
                    "--%s: a secret is not a flag, others could read it; set %s or write it into "
                    "quern.ini",
                    name, elsewhere->environment);
    const char *names[MOST_FLAGS];
    size_t n = 0;
    for (size_t i = 0; quern_option_at(i) && n < MOST_FLAGS - 1; i++)
        if (quern_option_applies(quern_option_at(i), command))
            names[n++] = quern_option_at(i)->name;
    names[n++] = "help";
    const char *near = quern_nearest(name, names, n);
    if (near)
        return fail(err, QUERN_EINVAL, "%s has no flag --%.80s; did you mean --%s?", command, name,
                    near);
    return fail(err, QUERN_EINVAL, "%s has no flag --%.80s; see quern %s --help", command, name,
                command);
}

/* `quern doctor --config` alone means: the configuration only. */
static int value_optional(const cli *c, const quern_option *o)
{
    return strcmp(c->command->name, "doctor") == 0 && strcmp(o->name, "config") == 0;
}

/* One flag at argv[*at]; moves *at past what it used. */
static int take_flag(cli *c, int argc, char **argv, int *at, quern_error *err)
{
    const char *word = argv[(*at)++] + 2, *equals = strchr(word, '=');
    char name[64];
    size_t n = equals ? (size_t)(equals - word) : strlen(word);
    if (n >= sizeof name)
        return fail(err, QUERN_EINVAL, "there is no flag --%.80s", word);
    memcpy(name, word, n);
    name[n] = '\0';
    const quern_option *o = quern_option_find(name);
    if (!o || o->type == QUERN_OPTION_SECRET || !quern_option_applies(o, c->command->name))
        return unknown_flag(c, name, err);
    const char *value = equals ? equals + 1 : NULL;
    if (!value && o->type == QUERN_OPTION_FLAG)
        value = "yes";
    if (!value && *at < argc && strncmp(argv[*at], "--", 2) != 0)
        value = argv[(*at)++];
    if (!value && o->type == QUERN_OPTION_YESNO)
        value = "yes";
    if (!value && value_optional(c, o))
        value = o->fallback;
    if (!value)
        return fail(err, QUERN_EINVAL, "--%s needs a value: --%s %s%s", name, name, o->placeholder,
                    *at < argc ? " (write = between them if it begins with --)" : "");
    char origin[72];
    snprintf(origin, sizeof origin, "--%s", name);
    return quern_config_set(c->config, name, value, QUERN_FROM_FLAG, origin, err);
}

int args_parse(cli *c, int argc, char **argv, const char **args, int *help, quern_error *err)
{
    c->args = args;
    *help = 0;
    for (int at = 0; at < argc;) {
        const char *word = argv[at];
        int rc = QUERN_OK;
        if (strcmp(word, "--") == 0) {
            for (at++; at < argc; at++)
                args[c->n_args++] = argv[at];
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            *help = 1;
            return QUERN_OK;
        } else if (strncmp(word, "--", 2) == 0 && strcmp(c->command->name, "help") != 0) {
            rc = take_flag(c, argc, argv, &at, err);
        } else if (word[0] == '-' && word[1] && word[1] != '-') {
            rc = fail(err, QUERN_EINVAL,
                      "flags are long words: %.40s is none; put -- before texts that begin with -",
                      word);
        } else {
            args[c->n_args++] = word;
            at++;
        }
        if (rc != QUERN_OK)
            return rc;
    }
    return QUERN_OK;
}

int args_need(const cli *c, size_t least, size_t most, quern_error *err)
{
    if (c->n_args >= least && c->n_args <= most)
        return QUERN_OK;
    return fail(err, QUERN_EINVAL, "%s: %zu argument%s; usage: quern %s%s%s", c->command->name,
                c->n_args, c->n_args == 1 ? "" : "s", c->command->name,
                c->command->synopsis[0] ? " " : "", c->command->synopsis);
}
