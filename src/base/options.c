/*
 * options.c — the values in force. Each option keeps the strongest value it was given, as text and
 * read, with the place it came from, so that every complaint can name that place.
 *
 * A value is checked when it is set, not when it is used: a bad line in quern.ini stops a command
 * that would never have read it, before any work. Which values were read is remembered, so that a
 * flag that a command takes and then ignores shows as what it is, a bug (quern_config_unread).
 */
#include "quern/options.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/json.h"
#include "quern/text.h"

enum { MOST_OPTIONS = 192, LONGEST_VALUE = 65536, MOST_LINES = 10000 };

typedef struct value {
    char *text, *origin; /* NULL until set; origin NULL: the default */
    int strength;
    uint64_t whole; /* COUNT, BYTES, DURATION; FLAG and YESNO as 0 or 1 */
    double real;
} value;

/* A line of quern.ini that holds only where its section is chosen. */
typedef struct section_line {
    char *section, *text, *origin;
    const quern_option *option;
} section_line;

struct quern_config {
    section_line *lines;
    size_t n_lines, cap_lines;
    unsigned char *seen; /* [count] read by anybody; a pointer, so that reading stays const */
    size_t count;
    value values[MOST_OPTIONS];
};

/* ---- reading one value ---- */

static bool digits(const char *s, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9' || v > (UINT64_MAX - (uint64_t)(s[i] - '0')) / 10)
            return false;
        v = v * 10 + (uint64_t)(s[i] - '0');
    }
    *out = v;
    return n > 0;
}

/* A whole number with one of the endings, which multiplies it; "" is an ending too. */
static bool scaled(const char *s, const char *const *endings, const uint64_t *factors, size_t n,
                   uint64_t *out)
{
    size_t number = strspn(s, "0123456789");
    uint64_t v;
    if (!digits(s, number, &v))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(s + number, endings[i]) != 0)
            continue;
        if (v > UINT64_MAX / factors[i])
            return false;
        *out = v * factors[i];
        return true;
    }
    return false;
}

static bool read_bytes(const char *s, uint64_t *out)
{
    static const char *const endings[] = {"", "K", "M", "G", "T", "k", "m", "g", "t"};
    static const uint64_t factors[] = {1,          1ull << 10, 1ull << 20, 1ull << 30, 1ull << 40,
                                       1ull << 10, 1ull << 20, 1ull << 30, 1ull << 40};
    return scaled(s, endings, factors, QUERN__COUNT(endings), out);
}

static bool read_duration(const char *s, uint64_t *out)
{
    static const char *const endings[] = {"", "ms", "s", "m", "h", "d"};
    static const uint64_t factors[] = {1000, 1, 1000, 60000, 3600000, 86400000};
    return scaled(s, endings, factors, QUERN__COUNT(endings), out);
}

static bool read_real(const char *s, double *out)
{
    quern__json j;
    quern__json_init(&j, s, strlen(s), "value");
    bool good =
        quern__json_double(&j, out, NULL) == QUERN_OK && quern__json_end(&j, NULL) == QUERN_OK;
    quern__json_dispose(&j);
    return good;
}

static bool is_choice(const char *choices, const char *s)
{
    for (size_t n; *choices; choices += n + (choices[n] == '|')) {
        n = strcspn(choices, "|");
        if (strlen(s) == n && memcmp(choices, s, n) == 0)
            return true;
    }
    return false;
}

/* What would do, for a person: "a whole number from 1 to 4096". */
static void wanted(const quern_option *o, const char *choices, char *out, size_t size)
{
    switch (o->type) {
    case QUERN_OPTION_FLAG:
    case QUERN_OPTION_YESNO:
        snprintf(out, size, "yes or no");
        break;
    case QUERN_OPTION_COUNT:
        snprintf(out, size, "a whole number from %.0f to %.0f", o->min, o->max);
        break;
    case QUERN_OPTION_REAL:
        snprintf(out, size, "a number from %g to %g", o->min, o->max);
        break;
    case QUERN_OPTION_BYTES:
        snprintf(out, size, "a number of bytes from %.0f to %.0f, such as 512M or 2G", o->min,
                 o->max);
        break;
    case QUERN_OPTION_DURATION:
        snprintf(out, size, "a time of at most %.0fs, such as 50ms, 300s or 6h", o->max / 1000);
        break;
    case QUERN_OPTION_CHOICE: {
        size_t used = (size_t)snprintf(out, size, "one of ");
        for (const char *c = choices; *c && used + 3 < size; c++)
            used += (size_t)snprintf(out + used, size - used, *c == '|' ? ", %.0s" : "%.1s", c);
        break;
    }
    default:
        snprintf(out, size, "some text");
    }
}

static bool read_value(const quern_option *o, const char *s, value *v)
{
    switch (o->type) {
    case QUERN_OPTION_FLAG:
    case QUERN_OPTION_YESNO:
        v->whole = strcmp(s, "yes") == 0;
        return v->whole || strcmp(s, "no") == 0;
    case QUERN_OPTION_COUNT:
        if (!digits(s, strlen(s), &v->whole))
            return false;
        break;
    case QUERN_OPTION_BYTES:
        if (!read_bytes(s, &v->whole))
            return false;
        break;
    case QUERN_OPTION_DURATION: {
        bool negative = *s == '-' && o->min < 0; /* as good as none */
        if (!read_duration(s + negative, &v->whole))
            return false;
        v->whole = negative ? 0 : v->whole;
        break;
    }
    case QUERN_OPTION_REAL:
        return read_real(s, &v->real) && v->real >= o->min && v->real <= o->max;
    case QUERN_OPTION_CHOICE:
        return is_choice(o->choices, s);
    default:
        return true;
    }
    return (double)v->whole >= o->min && (double)v->whole <= o->max;
}

/* ---- the set ---- */

static size_t index_of(const char *name)
{
    const quern_option *o = quern_option_find(name);
    assert(o && "the option is in the table");
    return o ? (size_t)(o - quern_option_at(0)) : 0;
}

int quern_config_new(quern_config **out, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    quern_config *c = quern__calloc(1, sizeof *c);
    if (!c)
        return quern__fail_memory(err, sizeof *c);
    while (quern_option_at(c->count))
        c->count++;
    assert(c->count <= MOST_OPTIONS);
    c->seen = quern__calloc(c->count, 1);
    if (!c->seen) {
        quern__free(c);
        return quern__fail_memory(err, MOST_OPTIONS);
    }
    for (size_t i = 0; i < c->count; i++) {
        const quern_option *o = quern_option_at(i);
        if (o->fallback && !read_value(o, o->fallback, &c->values[i])) {
            quern_config_free(c);
            return quern__fail(err, QUERN_EINTERNAL, 0, "default of --%s: \"%s\" is not allowed",
                               o->name, o->fallback);
        }
    }
    *out = c;
    return QUERN_OK;
}

void quern_config_free(quern_config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->count; i++) {
        quern__free(c->values[i].text);
        quern__free(c->values[i].origin);
    }
    for (size_t i = 0; i < c->n_lines; i++) {
        quern__free(c->lines[i].section);
        quern__free(c->lines[i].text);
        quern__free(c->lines[i].origin);
    }
    quern__free(c->lines);
    quern__free(c->seen);
    quern__free(c);
}

static int unknown_option(const char *name, const char *origin, quern_error *err)
{
    const char *names[MOST_OPTIONS];
    size_t n = 0;
    for (const quern_option *o; (o = quern_option_at(n)) && n < MOST_OPTIONS; n++)
        names[n] = o->name;
    const char *near = quern_nearest(name, names, n);
    return quern__fail(err, QUERN_EINVAL, 0, "%s: there is no option \"%.80s\"%s%s%s", origin, name,
                       near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static int bad_value(const quern_option *o, const char *choices, const char *text,
                     const char *origin, quern_error *err)
{
    char would[256];
    wanted(o, choices, would, sizeof would);
    if (o->type == QUERN_OPTION_SECRET)
        text = "(hidden)";
    bool named = strstr(origin, o->name) || strcmp(origin, o->environment) == 0;
    return quern__fail(err, QUERN_EINVAL, 0, "%s: %s%s\"%.80s\" is not %s", origin,
                       named ? "" : o->name, named ? "" : " = ", text, would);
}

/* Joined to what an equally strong origin gave before, for options that repeat. */
static char *joined(const char *before, const char *text)
{
    quern__buf b;
    quern__buf_init(&b, LONGEST_VALUE);
    if (before) {
        quern__buf_puts(&b, before);
        quern__buf_putc(&b, '\n');
    }
    quern__buf_puts(&b, text);
    return quern__buf_detach(&b);
}

/* The option of that name, and the value read; strength: where it comes from. */
static int check_value(const char *name, const char *text, int strength, const char *origin,
                       const quern_option **out, value *fresh, quern_error *err)
{
    const quern_option *o = *out = quern_option_find(name);
    if (!o)
        return unknown_option(name, origin, err);
    if (o->type == QUERN_OPTION_SECRET && strength == QUERN_FROM_FLAG)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "%s: a secret is not a flag, others could read it; set %s or write it "
                           "into quern.ini",
                           origin, o->environment);
    if (strlen(text) >= LONGEST_VALUE || (o->repeated && strchr(text, '\n')))
        return quern__fail(err, QUERN_EINVAL, 0, "%s: a value of %zu bytes%s", origin, strlen(text),
                           strchr(text, '\n') ? " with a line break in it" : "");
    *fresh = (value){.strength = strength};
    if (!read_value(o, text, fresh))
        return bad_value(o, o->choices, text, origin, err);
    return QUERN_OK;
}

int quern_config_set(quern_config *c, const char *name, const char *text, int strength,
                     const char *origin, quern_error *err)
{
    QUERN__REQUIRE(c && name && text && origin, err);
    const quern_option *o;
    value fresh;
    int rc = check_value(name, text, strength, origin, &o, &fresh, err);
    if (rc != QUERN_OK)
        return rc;
    value *v = &c->values[o - quern_option_at(0)];
    if (strength < v->strength)
        return QUERN_OK;
    bool again = v->text && v->strength == strength;
    if (again && !o->repeated)
        return quern__fail(err, QUERN_EINVAL, 0, "%s: %s is given twice (%s)", origin, o->name,
                           v->origin);
    fresh.text = joined(again ? v->text : NULL, text);
    fresh.origin = quern__strdup(origin);
    if (!fresh.text || !fresh.origin) {
        quern__free(fresh.text);
        quern__free(fresh.origin);
        return quern__fail_memory(err, strlen(text) + 1);
    }
    quern__free(v->text);
    quern__free(v->origin);
    *v = fresh;
    return QUERN_OK;
}

/* ---- sections ---- */

static int find_line(const quern_config *c, const char *section, const quern_option *o)
{
    for (size_t i = 0; i < c->n_lines; i++)
        if (c->lines[i].option == o && strcmp(c->lines[i].section, section) == 0)
            return (int)i;
    return -1;
}

int quern_config_add(quern_config *c, const char *section, const char *name, const char *text,
                     const char *origin, quern_error *err)
{
    QUERN__REQUIRE(c && section && name && text && origin, err);
    const quern_option *o;
    value fresh;
    int rc = check_value(name, text, QUERN_FROM_SECTION, origin, &o, &fresh, err);
    if (rc != QUERN_OK)
        return rc;
    int before = find_line(c, section, o);
    if (before >= 0 && !o->repeated)
        return quern__fail(err, QUERN_EINVAL, 0, "%s: %s is given twice (%s)", origin, o->name,
                           c->lines[before].origin);
    if (c->n_lines == MOST_LINES)
        return quern__fail(err, QUERN_EINVAL, 0, "%s: over %d lines in sections", origin,
                           MOST_LINES);
    if (c->n_lines == c->cap_lines) {
        size_t cap = c->cap_lines ? 2 * c->cap_lines : 16;
        section_line *grown = quern__resize_array(c->lines, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, cap * sizeof *grown);
        c->lines = grown;
        c->cap_lines = cap;
    }
    section_line *line = &c->lines[c->n_lines++];
    *line = (section_line){quern__strdup(section), quern__strdup(text), quern__strdup(origin), o};
    return line->section && line->text && line->origin ? QUERN_OK : quern__fail_memory(err, 0);
}

int quern_config_choose(quern_config *c, quern_error *err)
{
    QUERN__REQUIRE(c, err);
    size_t model = index_of("model");
    const char *name = quern_config_text(c, "model");
    char *chosen = name ? quern__strdup(name) : NULL; /* its value is about to be replaced */
    bool there = false, has_model = false;
    int rc = name && !chosen ? quern__fail_memory(err, 0) : QUERN_OK;
    for (size_t i = 0; i < c->n_lines && rc == QUERN_OK; i++) {
        const section_line *line = &c->lines[i];
        if (!chosen || strcmp(line->section, chosen) != 0)
            continue;
        there = true;
        int strength = QUERN_FROM_SECTION;
        if (line->option == quern_option_at(model)) { /* whatever has chosen the section */
            has_model = true;
            strength = c->values[model].strength + 1;
        }
        rc = quern_config_set(c, line->option->name, line->text, strength, line->origin, err);
    }
    if (rc == QUERN_OK && there && !has_model)
        rc = quern__fail(err, QUERN_EINVAL, 0, "quern.ini: section [%.80s] has no line 'model = …'",
                         chosen);
    quern__free(chosen);
    return rc;
}

/* ---- the environment ---- */

/*
 * A name that begins with QUERN_ and is none of ours is refused when it is near to one of ours: a slip
 * of the hand must not be ignored. One that resembles none is left alone: other programs put names
 * there too (a cluster that runs a service called quern sets QUERN_SERVICE_HOST).
 */
static int foreign_name(const char *name, size_t n, quern_error *err)
{
    static const char prefix[] = "QUERN_";
    enum { PREFIX = sizeof prefix - 1, SHORTEST = 5 };
    char tail[64];
    if (n <= PREFIX || memcmp(name, prefix, PREFIX) != 0 || n - PREFIX >= sizeof tail ||
        n - PREFIX < SHORTEST)
        return QUERN_OK;
    memcpy(tail, name + PREFIX, n - PREFIX);
    tail[n - PREFIX] = '\0';
    const char *names[MOST_OPTIONS];
    size_t count = 0;
    for (size_t i = 0; quern_option_at(i) && i < MOST_OPTIONS; i++)
        if (strncmp(quern_option_at(i)->environment, prefix, PREFIX) == 0)
            names[count++] = quern_option_at(i)->environment + PREFIX;
    const char *near = quern_nearest(tail, names, count);
    if (!near)
        return QUERN_OK;
    return quern__fail(err, QUERN_EINVAL, 0,
                       "environment: there is no option %s%s; did you mean %s%s?", prefix, tail,
                       prefix, near);
}

/* What other systems call it. `after` is the unit that its numbers have there, or the file's name in its folder. */
static const struct alias {
    const char *name, *option, *after;
} aliases[] = {
    {"EMBEDDING_MODEL", "model", ""},
    {"EMBEDDING_API_BASE_URL", "base-url", ""},
    {"EMBEDDING_REQUESTS_PER_MINUTE", "requests-per-minute", ""},
    {"EMBEDDING_SCHEDULER_INTERVAL_MINUTES", "interval", "m"},
    {"EMBEDDING_ENABLED", "enabled", ""},
    {"EMBEDDER_MODEL_TYPE", "model", ""},
    {"EMBEDDER_MODEL_PATH", "models", ""},
    {"EMBEDDER_CACHE_PATH", "cache-file", "/vectors.cache"},
    {"EMBEDDER_BATCH_SIZE", "batch", ""},
    {"EMBEDDER_CACHE_SIZE", "cache-entries", ""},
};

/* There a switch is true or false, or 1 or 0. */
static const char *switch_word(const char *given)
{
    static const char *const words[][2] = {{"true", "yes"}, {"1", "yes"}, {"on", "yes"},
                                           {"false", "no"}, {"0", "no"},  {"off", "no"}};
    for (size_t i = 0; i < QUERN__COUNT(words); i++) {
        const char *a = given, *b = words[i][0];
        while (*a && *b && (*a == *b || *a == *b - 'a' + 'A'))
            a++, b++;
        if (!*a && !*b)
            return words[i][1];
    }
    return given;
}

const char *quern_alias_at(size_t i, const char **option)
{
    bool there = i < QUERN__COUNT(aliases);
    if (option)
        *option = there ? aliases[i].option : NULL;
    return there ? aliases[i].name : NULL;
}

/* There a model of OpenAI's is called by its bare name. */
static int set_alias(quern_config *c, const struct alias *a, const char *given, quern_error *err)
{
    static const char bare[] = "text-embedding-";
    char text[300];
    if (quern_option_find(a->option)->type == QUERN_OPTION_YESNO)
        given = switch_word(given);
    bool hosted = strcmp(a->option, "model") == 0 && strncmp(given, bare, sizeof bare - 1) == 0;
    int n = snprintf(text, sizeof text, "%s%s%s", hosted ? "openai:" : "", given, a->after);
    if (n < 0 || (size_t)n >= sizeof text)
        return quern__fail(err, QUERN_EINVAL, n, "%s: a value of %zu bytes", a->name,
                           strlen(given));
    return quern_config_set(c, a->option, text, QUERN_FROM_ALIAS, a->name, err);
}

static const struct alias *find_alias(const char *entry, size_t n)
{
    for (size_t i = 0; i < QUERN__COUNT(aliases); i++)
        if (strlen(aliases[i].name) == n && memcmp(aliases[i].name, entry, n) == 0)
            return &aliases[i];
    return NULL;
}

int quern_config_read_environment(quern_config *c, char *const *environment, quern_error *err)
{
    QUERN__REQUIRE(c && environment, err);
    for (; *environment; environment++) {
        const char *entry = *environment;
        size_t n = strcspn(entry, "=");
        if (!entry[n] || !entry[n + 1])
            continue; /* NAME= is as if it were not there */
        const quern_option *o = NULL;
        for (size_t i = 0; i < c->count && !o; i++) {
            const char *known = quern_option_at(i)->environment;
            if (strlen(known) == n && memcmp(known, entry, n) == 0)
                o = quern_option_at(i);
        }
        const struct alias *a = o ? NULL : find_alias(entry, n);
        int rc = a   ? set_alias(c, a, entry + n + 1, err)
                 : o ? quern_config_set(c, o->name, entry + n + 1, QUERN_FROM_ENVIRONMENT,
                                        o->environment, err)
                     : foreign_name(entry, n, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return QUERN_OK;
}

/* ---- options that exclude each other ---- */

static const value *given(const quern_config *c, const char *name)
{
    const value *v = &c->values[index_of(name)];
    if (!v->text)
        return NULL;
    int type = quern_option_find(name)->type;
    return (type == QUERN_OPTION_FLAG || type == QUERN_OPTION_YESNO) && !v->whole ? NULL : v;
}

/* A stronger origin may silence a weaker one: --offline on the command line over auto-pull in a file. */
static const struct {
    const char *a, *b;
    bool only_if_equally_strong;
} exclusive[] = {
    {"table", "query", false},      {"wal", "store", false},
    {"all", "sample", true},        {"save-baseline", "baseline", false},
    {"offline", "auto-pull", true},
};

int quern_config_check(const quern_config *c, const char *command, quern_error *err)
{
    QUERN__REQUIRE(c && command, err);
    for (size_t i = 0; i < QUERN__COUNT(exclusive); i++) {
        const value *a = given(c, exclusive[i].a), *b = given(c, exclusive[i].b);
        if (!a || !b || !quern_option_applies(quern_option_find(exclusive[i].a), command) ||
            !quern_option_applies(quern_option_find(exclusive[i].b), command))
            continue;
        if (exclusive[i].only_if_equally_strong && a->strength != b->strength)
            continue;
        return quern__fail(err, QUERN_EINVAL, 0,
                           "%s (%s) and %s (%s) exclude each other: give one of them",
                           exclusive[i].a, a->origin, exclusive[i].b, b->origin);
    }
    for (size_t i = 0; i < c->count; i++) {
        const quern_option *o = quern_option_at(i);
        const char *choices = quern_option_choices(o, command);
        const value *v = &c->values[i];
        if (v->text && choices && quern_option_applies(o, command) && !is_choice(choices, v->text))
            return bad_value(o, choices, v->text, v->origin, err);
    }
    const value *json = given(c, "json"), *format = given(c, "format");
    if (json && format && strcmp(command, "embed") == 0 && strcmp(format->text, "json") != 0 &&
        json->strength == format->strength)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "json (%s) and format %s (%s) exclude each other: give one of them",
                           json->origin, format->text, format->origin);
    return QUERN_OK;
}

/* ---- values ---- */

static const value *seen(const quern_config *c, const char *name)
{
    size_t i = index_of(name);
    c->seen[i] = 1;
    return &c->values[i];
}

int quern_config_flag(const quern_config *c, const char *name)
{
    return (int)seen(c, name)->whole;
}

uint64_t quern_config_count(const quern_config *c, const char *name)
{
    return seen(c, name)->whole;
}

double quern_config_real(const quern_config *c, const char *name)
{
    return seen(c, name)->real;
}

const char *quern_config_text(const quern_config *c, const char *name)
{
    const value *v = seen(c, name);
    return v->text ? v->text : quern_option_find(name)->fallback;
}

int quern_config_is_set(const quern_config *c, const char *name)
{
    return c->values[index_of(name)].text != NULL;
}

const char *quern_config_origin(const quern_config *c, const char *name)
{
    const value *v = &c->values[index_of(name)];
    return v->origin ? v->origin : "default";
}

const char *quern_config_unread(const quern_config *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (!c->seen[i] && c->values[i].text && c->values[i].strength == QUERN_FROM_FLAG)
            return quern_option_at(i)->name;
    return NULL;
}
