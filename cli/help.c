/*
 * help.c — everything that is said about commands and options, from the one table of quern/options.h:
 * --help, docs/configuration.md, the manual page, shell completion. A test makes the last three again
 * and compares.
 */
#include "cli.h"

#include <stdio.h>
#include <string.h>

enum { LABEL = 30, NARROW = 60, WIDE = 100 };

static const char *const one_line = "vectors searchable by meaning, kept true";

static const struct {
    int code;
    const char *meaning;
} exits[] = {
    {0, "done; a search with no hit, and rows left for the next fill, included"},
    {1, "failed: bad input, a disk or network that refuses, findings of doctor or verify, a figure "
        "past its threshold"},
    {2, "usage or configuration"},
    {3, "done, with some documents failed"},
    {4, "no such model, source, key or generation"},
    {130, "interrupted; what was finished is saved"},
};

static int is_common(const quern_option *o)
{
    return strcmp(o->commands, "*") == 0;
}

static int hidden_flag(const quern_option *o)
{
    return o->type == QUERN_OPTION_SECRET;
}

static size_t columns(const char *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)s[i] & 0xC0) != 0x80;
    return count;
}

/* Words of text, each line at most `width` columns and moved in by `indent`; `at`: where the first begins. */
static void wrapped(const char *text, size_t at, size_t indent, size_t width)
{
    int first = 1;
    while (*text) {
        size_t n = strcspn(text, " "), wide = columns(text, n);
        if (!first && at + 1 + wide > width) {
            out_printf("\n%*s", (int)indent, "");
            at = indent;
        } else if (!first) {
            out_text(" ");
            at++;
        }
        out_bytes(text, n);
        at += wide;
        text += n;
        text += strspn(text, " ");
        first = 0;
    }
    out_text("\n");
}

static size_t page_width(void)
{
    int w = term_width(TERM_OUT);
    return w < NARROW ? NARROW : w > WIDE ? WIDE : (size_t)w;
}

/* The help of an option with its default and its environment name. */
static void describe(const quern_option *o, const char *command, char *out, size_t size)
{
    const char *choices = quern_option_choices(o, command);
    char words[160] = "";
    size_t used = 0;
    for (const char *c = choices; c && *c && used + 3 < sizeof words; c++)
        used += (size_t)snprintf(words + used, sizeof words - used, "%s%.1s", *c == '|' ? ", " : "",
                                 *c == '|' ? "" : c);
    snprintf(out, size, "%s%s%s%s%s%s%s [%s]", o->help, choices ? " One of " : "", words,
             choices ? "." : "", o->fallback ? " (default: " : "", o->fallback ? o->fallback : "",
             o->fallback ? ")" : "", o->environment);
}

static void option_line(const quern_option *o, const char *command, size_t width)
{
    char label[80], text[700];
    snprintf(label, sizeof label, "  --%s%s%s", o->name, o->placeholder ? " " : "",
             o->placeholder ? o->placeholder : "");
    describe(o, command, text, sizeof text);
    out_text(label);
    if (columns(label, strlen(label)) >= LABEL)
        out_printf("\n%*s", LABEL, "");
    else
        out_printf("%*s", (int)(LABEL - columns(label, strlen(label))), "");
    wrapped(text, LABEL, LABEL, width);
}

void help_command(const quern_command *command)
{
    size_t width = page_width(), own = 0;
    out_printf("quern %s%s%s [flags]\n\n", command->name, command->synopsis[0] ? " " : "",
               command->synopsis);
    wrapped(command->help, 0, 0, width);
    if (command->detail) {
        out_text("\n");
        wrapped(command->detail, 0, 0, width);
    }
    for (size_t i = 0; quern_option_at(i); i++) {
        const quern_option *o = quern_option_at(i);
        if (is_common(o) || hidden_flag(o) || !quern_option_applies(o, command->name))
            continue;
        out_text(own++ ? "" : "\nFlags:\n");
        option_line(o, command->name, width);
    }
    out_text("\nFlags of every command:\n");
    for (size_t i = 0; quern_option_at(i); i++)
        if (is_common(quern_option_at(i)))
            option_line(quern_option_at(i), command->name, width);
    out_printf("\nExample:\n  %s\n", command->example);
}

static void command_lines(const char *family, size_t width)
{
    size_t n = family ? strlen(family) : 0;
    for (size_t i = 0; quern_command_at(i); i++) {
        const quern_command *c = quern_command_at(i);
        if (family && (strncmp(c->name, family, n) != 0 || c->name[n] != ' '))
            continue;
        char label[80];
        snprintf(label, sizeof label, "  %s %s", c->name, c->synopsis);
        out_text(label);
        if (columns(label, strlen(label)) >= LABEL)
            out_printf("\n%*s", LABEL, "");
        else
            out_printf("%*s", (int)(LABEL - columns(label, strlen(label))), "");
        wrapped(c->help, LABEL, LABEL, width);
    }
}

void help_overview(void)
{
    size_t width = page_width();
    out_printf("quern %s: %s\n\nUsage: quern COMMAND [ARGUMENTS] [FLAGS]\n\nCommands:\n",
               quern_version_string(), one_line);
    command_lines(NULL, width);
    out_text("\nExit codes:\n");
    for (size_t i = 0; i < sizeof exits / sizeof exits[0]; i++) {
        out_printf("  %-5d", exits[i].code);
        wrapped(exits[i].meaning, 7, 7, width);
    }
    out_text("\n");
    wrapped("Each flag has an environment name and a line in quern.ini (name = value); flag beats "
            "environment beats file. quern COMMAND --help says more.",
            0, 0, width);
}

int help_family(const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; quern_command_at(i); i++) {
        const char *name = quern_command_at(i)->name;
        if (strncmp(name, word, n) != 0 || name[n] != ' ')
            continue;
        out_printf("quern %s COMMAND\n\nCommands:\n", word);
        command_lines(word, page_width());
        out_printf("\nquern %s COMMAND --help says more.\n", word);
        return 1;
    }
    return 0;
}

int cmd_help(cli *c, quern_error *err)
{
    char name[160];
    if (!c->n_args) {
        help_overview();
        return QUERN_OK;
    }
    /* For the build of the documents; not for people, so not in the list of flags. */
    static const struct {
        const char *word;
        void (*write)(void);
    } pages[] = {{"--markdown", help_markdown}, {"--man", help_man}, {"--bash", help_bash}};
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++)
        if (strcmp(c->args[0], pages[i].word) == 0) {
            pages[i].write();
            return QUERN_OK;
        }
    snprintf(name, sizeof name, "%.60s%s%.60s", c->args[0], c->n_args > 1 ? " " : "",
             c->n_args > 1 ? c->args[1] : "");
    const quern_command *command = quern_command_find(name);
    if (command)
        help_command(command);
    else if (c->n_args != 1 || !help_family(name))
        return fail(err, QUERN_EINVAL, "there is no command \"%s\"; see quern --help", name);
    return QUERN_OK;
}

/* ---- docs/configuration.md ---- */

static const char *type_name(int type)
{
    static const char *const names[] = {"flag",     "yes or no", "number", "number", "bytes",
                                        "duration", "text",      "choice", "secret"};
    return names[type];
}

/* A cell of a table: | would end it. */
static void cell(const char *s)
{
    for (; *s; s++)
        out_printf(*s == '|' ? "\\|" : "%c", *s);
}

static void markdown_option(const quern_option *o)
{
    out_text("| `");
    if (!hidden_flag(o))
        out_text("--");
    out_printf("%s%s", o->name, o->placeholder && !hidden_flag(o) ? " " : "");
    cell(o->placeholder && !hidden_flag(o) ? o->placeholder : "");
    out_printf("` | `%s` | %s", o->environment, type_name(o->type));
    if (o->type == QUERN_OPTION_COUNT || o->type == QUERN_OPTION_REAL)
        out_printf(" %.0f to %.0f", o->min, o->max);
    if (o->choices) {
        out_text(": ");
        cell(o->choices);
    }
    out_printf(" | %s%s%s | ", o->fallback ? "`" : "", o->fallback ? o->fallback : "",
               o->fallback ? "`" : "");
    cell(o->help);
    out_text(" | ");
    size_t n = 0;
    for (size_t i = 0; !is_common(o) && quern_command_at(i); i++)
        if (quern_option_applies(o, quern_command_at(i)->name))
            out_printf("%s%s", n++ ? ", " : "", quern_command_at(i)->name);
    out_printf("%s |\n", is_common(o) ? "every command" : "");
}

void help_markdown(void)
{
    out_text(
        "# Configuration\n\n"
        "This page is made by `quern help --markdown` from the table in "
        "`src/base/options_table.c`; a test compares them.\n\n"
        "Every option is a flag, a name in the environment, and a line in `quern.ini`. A flag "
        "beats the environment, which beats the\nfile, which beats the default. A name or "
        "value that is not allowed stops every command before any work, with exit code 2, "
        "the\nplace (`quern.ini:7`) and the nearest name that is; `quern doctor --config` "
        "only checks. A secret is never a flag.\n\n"
        "`quern.ini` holds `name = value` lines of at most 198 bytes, with the names below "
        "without `--`; flags take `yes` or `no`. `#` or `;` begins a comment line;\na `;` after a "
        "blank ends a value. It is read from the current folder, or from where `--config` "
        "says. The lines behind `[name]` are a\nsection: they hold, stronger than the others, "
        "where `name` is the model that is asked for, and one of them says which model that "
        "is.\n\n"
        "```ini\n# quern.ini\ndb = /var/lib/library/library.db\nmodel = all-MiniLM-L6-v2\n"
        "threads = 4\n\n[hosted]\nmodel = openai:text-embedding-3-small\n"
        "dimensions = 512\ncache-file = vectors.cache\n```\n\n"
        "Bytes are written `1048576`, `512M` or `2G` (powers of 1024), durations `50ms`, "
        "`300s`, `5m` or `6h`; a bare number is seconds.\n\n"
        "| flag | environment | type | default | meaning | commands |\n"
        "|---|---|---|---|---|---|\n");
    for (size_t i = 0; quern_option_at(i); i++)
        markdown_option(quern_option_at(i));
    out_text(
        "\nNames that other embedding systems read are honoured, too, weaker than `QUERN_…` and "
        "stronger than the file (a bare `text-embedding-…` is OpenAI's):\n\n"
        "| environment | flag |\n|---|---|\n");
    const char *option;
    for (size_t i = 0; quern_alias_at(i, &option); i++)
        out_printf("| `%s` | `--%s` |\n", quern_alias_at(i, NULL), option);
    out_text(
        "\n`EMBEDDING_ENABLED` is `true` or `false`; `EMBEDDER_CACHE_PATH` is a folder, in which "
        "the "
        "cache is `vectors.cache`. `EMBEDDER_PORT`, `EMBEDDER_HOST`, `EMBEDDER_WORKERS` and "
        "`EMBEDDER_MAX_BATCH_SIZE` are a server's: there is none yet, and nothing reads them.\n");
    out_text("\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (size_t i = 0; i < sizeof exits / sizeof exits[0]; i++)
        out_printf("| %d | %s |\n", exits[i].code, exits[i].meaning);
}

/* ---- man/quern.1 ---- */

/* Text for roff: - is a minus, \ and leading . ' are not commands. */
static void roff(const char *s)
{
    if (*s == '.' || *s == '\'')
        out_text("\\&");
    for (; *s; s++) {
        if (*s == '-')
            out_text("\\-");
        else if (*s == '\\')
            out_text("\\e");
        else
            out_bytes(s, 1);
    }
}

static void man_command(const quern_command *c)
{
    out_text(".SS \"");
    roff(c->name);
    out_text(c->synopsis[0] ? " " : "");
    roff(c->synopsis);
    out_text("\"\n");
    roff(c->help);
    out_text("\n");
    if (c->detail) {
        out_text(".PP\n");
        roff(c->detail);
        out_text("\n");
    }
    size_t n = 0;
    for (size_t i = 0; quern_option_at(i); i++) {
        const quern_option *o = quern_option_at(i);
        if (is_common(o) || hidden_flag(o) || !quern_option_applies(o, c->name))
            continue;
        out_text(n++ ? ", " : ".PP\nFlags: ");
        out_text("\\fB");
        roff("--");
        roff(o->name);
        out_text("\\fR");
    }
    out_text(n ? ".\n" : "");
    out_text(".PP\nExample:\n.PP\n.RS\n.nf\n");
    roff(c->example);
    out_text("\n.fi\n.RE\n");
}

static void man_option(const quern_option *o)
{
    out_text(".TP\n\\fB");
    if (!hidden_flag(o))
        roff("--");
    roff(o->name);
    out_text("\\fR");
    if (o->placeholder && !hidden_flag(o)) {
        out_text(" \\fI");
        roff(o->placeholder);
        out_text("\\fR");
    }
    out_printf(" (%s)\n", o->environment);
    roff(o->help);
    if (o->choices) {
        out_text(" One of ");
        roff(o->choices);
        out_text(".");
    }
    if (o->fallback) {
        out_text(" Default: ");
        roff(o->fallback);
        out_text(".");
    }
    out_text("\n");
}

void help_man(void)
{
    out_printf(".\\\" Made by quern help --man from the table of options.\n"
               ".TH QUERN 1 \"\" \"quern %s\" \"User Commands\"\n.SH NAME\nquern \\- %s\n"
               ".SH SYNOPSIS\n.B quern\n\\fICOMMAND\\fR [\\fIARGUMENTS\\fR] [\\fIFLAGS\\fR]\n"
               ".SH DESCRIPTION\n",
               quern_version_string(), one_line);
    out_text("quern turns the rows of your own database into vectors that are searchable by "
             "meaning, and keeps them true. Data goes to standard output, everything else to "
             "standard error.\n.SH COMMANDS\n");
    for (size_t i = 0; quern_command_at(i); i++)
        man_command(quern_command_at(i));
    out_text(".SH OPTIONS\nEach has a name in the environment and a line in quern.ini. A flag "
             "beats the environment, which beats the file.\n");
    for (size_t i = 0; quern_option_at(i); i++)
        man_option(quern_option_at(i));
    out_text(".SH \"EXIT STATUS\"\n");
    for (size_t i = 0; i < sizeof exits / sizeof exits[0]; i++) {
        out_printf(".TP\n.B %d\n", exits[i].code);
        roff(exits[i].meaning);
        out_text("\n");
    }
    out_text(".SH FILES\n.TP\n.I ./quern.ini\nConfiguration: lines of name = value.\n.TP\n"
             ".I ./quern.db\nThe database, unless \\-\\-db names another.\n.TP\n"
             ".I $XDG_DATA_HOME/quern/models\nThe model shelf.\n");
}

/* ---- completions/quern.bash ---- */

static void bash_words(const char *family)
{
    size_t n = family ? strlen(family) : 0, count = 0;
    const char *last = "";
    for (size_t i = 0; quern_command_at(i); i++) {
        const char *name = quern_command_at(i)->name;
        if (family && (strncmp(name, family, n) != 0 || name[n] != ' '))
            continue;
        const char *from = family ? name + n + 1 : name;
        size_t length = strcspn(from, " ");
        if (strlen(last) >= length && strncmp(from, last, length) == 0)
            continue; /* "model" once for all its sub-commands, which stand together */
        out_printf("%s%.*s", count++ ? " " : "", (int)length, from);
        last = from;
    }
}

static void bash_flags(const quern_command *c)
{
    out_printf("        \"%s\") flags=\"", c->name);
    for (size_t i = 0; quern_option_at(i); i++)
        if (!hidden_flag(quern_option_at(i)) && quern_option_applies(quern_option_at(i), c->name))
            out_printf("--%s ", quern_option_at(i)->name);
    out_text("--help\" ;;\n");
}

static void bash_values(void)
{
    for (size_t i = 0; quern_option_at(i); i++) {
        const quern_option *o = quern_option_at(i);
        if (o->type != QUERN_OPTION_CHOICE && o->type != QUERN_OPTION_YESNO)
            continue;
        out_printf("        --%s) values=\"", o->name);
        for (const char *c = o->choices ? o->choices : "yes|no"; *c; c++)
            out_printf("%c", *c == '|' ? ' ' : *c);
        out_text("\" ;;\n");
    }
    out_text("        ");
    size_t n = 0;
    for (size_t i = 0; quern_option_at(i); i++) {
        const quern_option *o = quern_option_at(i);
        if (o->placeholder && strcmp(o->placeholder, "PATH") == 0)
            out_printf("%s--%s", n++ ? "|" : "", o->name);
    }
    out_text(") COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n");
}

void help_bash(void)
{
    out_text("# bash completion of quern; made by quern help --bash from the table of options.\n"
             "_quern()\n{\n"
             "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
             "    local command=${COMP_WORDS[1]} flags= values=\n"
             "    COMPREPLY=()\n"
             "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W \"");
    bash_words(NULL);
    out_text(" --help --version\" -- \"$word\"))\n        return\n    fi\n");
    static const char *const families[] = {"model",  "source", "generation",
                                           "vector", "cache",  "shard"};
    out_text("    case $command in\n");
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        out_printf("        %s)\n            if [ \"$COMP_CWORD\" -eq 2 ]; then\n"
                   "                COMPREPLY=($(compgen -W \"",
                   families[i]);
        bash_words(families[i]);
        out_text("\" -- \"$word\"))\n                return\n            fi\n"
                 "            command=\"$command ${COMP_WORDS[2]}\" ;;\n");
    }
    out_text("    esac\n    case $before in\n");
    bash_values();
    out_text("    esac\n"
             "    if [ -n \"$values\" ]; then\n"
             "        COMPREPLY=($(compgen -W \"$values\" -- \"$word\"))\n        return\n    fi\n"
             "    case $command in\n");
    for (size_t i = 0; quern_command_at(i); i++)
        bash_flags(quern_command_at(i));
    out_text("    esac\n"
             "    case $word in\n"
             "        -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$word\")) ;;\n"
             "        *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
             "    esac\n}\n"
             "complete -o filenames -F _quern quern\n");
}
