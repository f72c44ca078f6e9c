/*
 * quern/options.h — the one table of options and commands. --help, quern.ini, the environment names,
 * docs/configuration.md, the man page and shell completion are all made from it; a test compares them.
 * Every option `--kebab-name` has the environment twin QUERN_KEBAB_NAME (log-level: QUERN_LOG, as an
 * exception stated in the table) and the line `kebab-name = …` in quern.ini. Flag beats environment
 * beats file beats default. Each value is checked where it is set, with the place it came from.
 *
 * quern.ini: UTF-8, at most 1 MiB, `name = value` lines of at most 198 bytes, no sections; # or ; begins a
 * comment, and so does a ; after a blank.
 */
#ifndef QUERN_OPTIONS_H
#define QUERN_OPTIONS_H

#include "quern/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum quern_option_type {
    QUERN_OPTION_FLAG,  /* --wal, --no-normalize: no value; in a file or the environment yes|no */
    QUERN_OPTION_YESNO, /* --auto-pull yes|no */
    QUERN_OPTION_COUNT, /* unsigned integer within min..max */
    QUERN_OPTION_REAL,  /* finite number within min..max */
    QUERN_OPTION_BYTES, /* 512M, 2G, 1048576 */
    /* 300s, 50ms, 6h; a bare number is seconds; kept in milliseconds; a negative one is 0 where min is negative */
    QUERN_OPTION_DURATION,
    QUERN_OPTION_TEXT,
    QUERN_OPTION_CHOICE, /* one of choices */
    QUERN_OPTION_SECRET  /* text from environment or file only, never a flag, never shown */
};

typedef struct quern_option {
    const char *name;        /* "vector-type" */
    const char *environment; /* "QUERN_VECTOR_TYPE" */
    int type;
    const char *placeholder; /* "N", "PATH"; NULL for flags */
    const char *fallback;    /* default as text; NULL: none */
    const char *choices;     /* "f16|f32"; NULL */
    double min, max;
    /* space-separated commands that take it, "model-pull" for a sub-command, "model" for all of
     * them; "*" every command */
    const char *commands;
    int repeated;     /* may be given several times; values joined by '\n' */
    const char *help; /* one sentence */
} quern_option;

typedef struct quern_command {
    const char *name;     /* "model pull" for a sub-command */
    const char *synopsis; /* "QUERY" */
    const char *help;     /* one sentence */
    const char *detail;   /* a paragraph or more; NULL */
    const char *example;  /* one real line */
} quern_command;

QUERN_API const quern_option *quern_option_at(size_t i);   /* NULL past the end */
QUERN_API const quern_command *quern_command_at(size_t i); /* NULL past the end */
QUERN_API const quern_option *quern_option_find(const char *name);
QUERN_API const quern_command *quern_command_find(const char *name);
QUERN_API int quern_option_applies(const quern_option *o, const char *command);
/* The choices that this command takes: --format means one thing to embed and another to add. */
QUERN_API const char *quern_option_choices(const quern_option *o, const char *command);

/* ---- values in force ---- */
typedef struct quern_config quern_config;
QUERN_API int quern_config_new(quern_config **out, quern_error *err);
QUERN_API void quern_config_free(quern_config *c);
/* All of these: EINVAL names the place (origin), the option, the value and what would do; an unknown name
 * comes with the nearest valid one. origin: "--batch", "QUERN_BATCH", "quern.ini:7". The stronger origin
 * wins, in whatever order: file < section < alias < environment < flag. Twice from one strength is EINVAL, unless the option
 * may be repeated. FLAG and YESNO take "yes" or "no". */
enum quern_config_strength {
    QUERN_FROM_DEFAULT,
    QUERN_FROM_FILE,
    QUERN_FROM_SECTION,
    QUERN_FROM_ALIAS, /* a name of the environment that other systems use */
    QUERN_FROM_ENVIRONMENT,
    QUERN_FROM_FLAG
};
QUERN_API int quern_config_set(quern_config *c, const char *name, const char *value, int strength,
                               const char *origin, quern_error *err);
/* A line of a section, [name] in quern.ini: checked now, in force when quern_config_choose has chosen it. */
QUERN_API int quern_config_add(quern_config *c, const char *section, const char *name,
                               const char *value, const char *origin, quern_error *err);
/* When everything has been read: does the model's name call a section, its lines hold, stronger than the rest of the file
 * and weaker than the environment; its own `model` takes the place of that name. EINVAL: it has none. */
QUERN_API int quern_config_choose(quern_config *c, quern_error *err);
QUERN_API int quern_config_read_file(quern_config *c, const char *path, quern_error *err);
/* Names that other embedding systems read, honoured for those who come from them: the i-th, and the option that it sets;
 * NULL past the end. */
QUERN_API const char *quern_alias_at(size_t i, const char **option);
/* environ-style array "NAME=value", NULL-terminated; an empty value counts as unset. A QUERN_* name that is
 * near to one of ours and none is EINVAL; one that resembles none is somebody else's and left alone. */
QUERN_API int quern_config_read_environment(quern_config *c, char *const *environment,
                                            quern_error *err);
/* Conflicting options (two that exclude each other) for a command: EINVAL with both names. */
QUERN_API int quern_config_check(const quern_config *c, const char *command, quern_error *err);

/* Values: the option's name must be in the table (assert). text: as given, of any type; NULL when neither
 * set nor defaulted. One thread at a time. */
QUERN_API int quern_config_flag(const quern_config *c, const char *name); /* FLAG and YESNO */
QUERN_API uint64_t quern_config_count(const quern_config *c,
                                      const char *name); /* COUNT, BYTES, DURATION (ms); 0 unset */
QUERN_API double quern_config_real(const quern_config *c, const char *name);
QUERN_API const char *quern_config_text(const quern_config *c, const char *name);
QUERN_API int quern_config_is_set(const quern_config *c,
                                  const char *name); /* by file, environment or flag */
QUERN_API const char *quern_config_origin(const quern_config *c,
                                          const char *name); /* "default", "quern.ini:7", … */
/* An option that came as a flag and whose value nobody has asked for, or NULL: a flag that is ignored is a bug. */
QUERN_API const char *quern_config_unread(const quern_config *c);

#ifdef __cplusplus
}
#endif
#endif
