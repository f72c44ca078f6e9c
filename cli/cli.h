/*
 * cli.h — what the files of the command share. Each command is one function, cmd_*, that returns a
 * status of quern/status.h with err filled; main.c prints the error and turns the status into an exit
 * code (docs/errors.md). The command uses public headers, jansson and the C library only.
 */
#ifndef QUERN_CLI_H
#define QUERN_CLI_H

#include "quern/quern.h"

#include "os_term.h"
#include "out.h"

typedef struct cli {
    quern_config *config;
    const quern_command *command;
    const char *const *args; /* what is not a flag */
    size_t n_args;
    quern_cancel *cancel;
    int json, quiet;
    char model
        [512]; /* as --model or the like has it, where a section of quern.ini may have taken its place; "" without a file */
    int int8_waits; /* a store's vectors are fp32, and those of a new generation would be int8 */
    quern_cache *cache; /* open_cache's; freed behind the command, when no embedder is left */
} cli;

typedef int (*cli_command_fn)(cli *c, quern_error *err);
int cmd_embed(cli *c, quern_error *err);
int cmd_similarity(cli *c, quern_error *err);
int cmd_tokenize(cli *c, quern_error *err);
int cmd_chunk(cli *c, quern_error *err);
int cmd_model_pull(cli *c, quern_error *err);
int cmd_model_import(cli *c, quern_error *err);
int cmd_model_list(cli *c, quern_error *err);
int cmd_model_info(cli *c, quern_error *err);
int cmd_model_verify(cli *c, quern_error *err);
int cmd_model_quantize(cli *c, quern_error *err);
int cmd_model_remove(cli *c, quern_error *err);
int cmd_add(cli *c, quern_error *err);
int cmd_source_add(cli *c, quern_error *err);
int cmd_source_set(cli *c, quern_error *err);
int cmd_source_list(cli *c, quern_error *err);
int cmd_source_show(cli *c, quern_error *err);
int cmd_source_remove(cli *c, quern_error *err);
int cmd_fill(cli *c, quern_error *err);
int cmd_work(cli *c, quern_error *err);
int cmd_enqueue(cli *c, quern_error *err);
int cmd_generation_list(cli *c, quern_error *err);
int cmd_generation_build(cli *c, quern_error *err);
int cmd_generation_activate(cli *c, quern_error *err);
int cmd_generation_retire(cli *c, quern_error *err);
int cmd_generation_purge(cli *c, quern_error *err);
int cmd_generation_sql(cli *c, quern_error *err);
int cmd_requeue(cli *c, quern_error *err);
int cmd_migrate(cli *c, quern_error *err);
int cmd_search(cli *c, quern_error *err);
int cmd_similar(cli *c, quern_error *err);
int cmd_status(cli *c, quern_error *err);
int cmd_cache_stats(cli *c, quern_error *err);
int cmd_cache_keys(cli *c, quern_error *err);
int cmd_cache_contains(cli *c, quern_error *err);
int cmd_cache_remove(cli *c, quern_error *err);
int cmd_cache_warm(cli *c, quern_error *err); /* in cmd_embed.c */
int cmd_cache_export(cli *c, quern_error *err);
int cmd_cache_import(cli *c, quern_error *err);
int cmd_cache_expire(cli *c, quern_error *err);
int cmd_cache_resize(cli *c, quern_error *err);
int cmd_cache_clear(cli *c, quern_error *err);
int cmd_shard_plan(cli *c, quern_error *err);
int cmd_shard_apply(cli *c, quern_error *err);
int cmd_shard_status(cli *c, quern_error *err);
int cmd_forget(cli *c, quern_error *err);
int cmd_export(cli *c, quern_error *err);
int cmd_import(cli *c, quern_error *err);
int cmd_vector_get(cli *c, quern_error *err);
int cmd_vector_put(cli *c, quern_error *err);
int cmd_vector_delete(cli *c, quern_error *err);
int cmd_verify(cli *c, quern_error *err);
/* cmd_runs.c; source NULL: all; limit 0: 10; of days 0: 30 */
int show_runs(cli *c, quern_store *store, const char *source, size_t limit, quern_error *err);
int show_usage(cli *c, quern_store *store, const char *source, size_t days, quern_error *err);
int cmd_bench(cli *c, quern_error *err);
int cmd_tune(cli *c, quern_error *err);
int cmd_doctor(cli *c, quern_error *err);
int cmd_help(cli *c, quern_error *err);

/* Fills err (status, detail 0, no subject) and returns status. */
int fail(quern_error *err, int status, const char *fmt, ...) QUERN_PRINTF(3, 4);
int no_memory(quern_error *err);

/* ---- cmd_search.c: what searches share ---- */
/* *keys: free it behind the search. */
int search_options(const cli *c, quern_search_options *opt, quern_str **keys, quern_error *err);
void write_results_json(const cli *c, const quern_results *r); /* members of an open object */
void write_results_text(const cli *c, const quern_results *r);

/* ---- cmd_enqueue.c: tasks of a source, as status shows them ---- */
int write_tasks_json(quern_store *s, const char *source,
                     quern_error *err); /* an open object's member */
int write_tasks_text(quern_store *s, const char *source, quern_error *err);

/* ---- args.c ---- */
/* Splits argv after the command's words into flags (set in c->config) and c->args, which are put into
 * `args` (room for argc). *help: --help was among them. */
int args_parse(cli *c, int argc, char **argv, const char **args, int *help, quern_error *err);
/* Exactly / at least so many arguments; EINVAL shows the synopsis. */
int args_need(const cli *c, size_t least, size_t most, quern_error *err);

/* ---- help.c ---- */
void help_overview(void);
void help_command(const quern_command *command);
/* Of "model" or "source": its sub-commands. Returns 0 when there are none. */
int help_family(const char *word);
void help_markdown(void);
void help_man(void);
void help_bash(void);

/* ---- session.c: what the flags say, opened ---- */
int option_as(const cli *c, int fallback); /* enum quern_as */
int documents_only(const cli *c,
                   quern_error *err); /* EINVAL for --as query where vectors are stored ones */
void shelf_options(const cli *c, quern_shelf_options *opt);
void shelf_done(void);                          /* takes the progress bar of a download away */
int model_is_hosted(const char *model);         /* PROVIDER:MODEL */
int have_model(const cli *c, quern_error *err); /* open_model will find it; it is not opened */
int open_model(const cli *c, quern_model **out, quern_error *err);
/* store: whose vectors --precision auto goes by; NULL: there are none that this is about. */
int open_embedder(cli *c, quern_store *store, quern_embedder **out, quern_error *err);
/* "int8", out of a fingerprint's JSON; "" where none is known. */
void precision_of(const char *fingerprint, char out[16]);
void runtime_options(const cli *c, quern_runtime_options *out);
void tell_device(const quern_model *m); /* a warning where it is not the one asked for */
const char *device_in_use(void);        /* "cpu, native", of the model that was opened; "" before */
/* What --cache-file and its kin say, into c->cache; does nothing when it is open. */
int open_cache(cli *c, quern_error *err);
/* A model of the shelf other than --model's, as a generation's settings have it; nothing is downloaded for it. */
int open_other_embedder(const cli *c, const char *name, const char *settings, quern_embedder **out,
                        quern_error *err);
/* What 1,000 tokens of --model cost, by --price or the table; 0: nobody has said. EINVAL: a line of the table is none. */
int find_price(const cli *c, double *price, quern_error *err);
/* Of a hosted model: the calls that so many texts and tokens take at least, and the seconds that its limits let them have. */
void limits_say(const cli *c, uint64_t texts, uint64_t tokens, uint64_t *calls, double *seconds);
/* Of --model; NULL: it is not hosted. */
const quern_provider_profile *hosted_profile(const cli *c);
void store_options(const cli *c, int read_only, quern_store_options *opt);
int open_store(const cli *c, int read_only, quern_store **out, quern_error *err);
int open_existing_store(const cli *c, quern_store **out, quern_error *err);
/* Each --source, NULL-terminated names into *list (free(*list) frees them all); a single NULL for none. */
int list_sources(const cli *c, char ***list, size_t *n, quern_error *err);
/* Asks on a terminal; EINVAL without one and without --yes, ECANCELLED on anything but y. */
int confirm(const cli *c, const char *question, quern_error *err);
/* The one --source that a command needs; EINVAL when there is none or several. */
int one_source_name(const cli *c, const char **out, quern_error *err);
/* A document's key as a person types it: JSON, an integer, or text; *json from quern_free. as_text: an integer is
 * text too. */
int key_from_word(const char *word, int as_text, char **json, quern_error *err);

/* ---- cmd_dead.c, cmd_documents.c: status --list ---- */
int show_dead(cli *c, quern_store *store, char *const *sources, size_t n, const char *after,
              size_t limit, quern_error *err);
int show_documents(cli *c, quern_store *store, const char *state, const char *after, uint32_t limit,
                   quern_error *err);

/* ---- cmd_fill.c: for all that fill ---- */
void fill_options(cli *c, quern_fill_options *opt);
void fill_bar_begin(const cli *c);
void fill_bar_end(void);

/* ---- progress.c: one line on standard error, only on a terminal ---- */
typedef struct progress {
    int on;
    uint64_t last_ns;
} progress;
void progress_begin(progress *p, const cli *c);
/* fraction < 0: unknown. Draws at most ten times a second. */
void progress_draw(progress *p, const char *what, double fraction, const char *detail);
void progress_end(progress *p);
void human_bytes(uint64_t bytes, char out[16]);
void human_time(double seconds, char out[16]);
void utc_time(int64_t unix_ms, char out[32]); /* 2026-11-21T10:20:30Z */

/* ---- sample_texts.c: n words into out, or as many as there is room for; state goes on from text to text ---- */
void sample_text(char *out, size_t size, size_t n, uint32_t *state);

/* ---- input.c: texts from arguments or standard input ---- */
typedef struct text_item {
    quern_str text;
    char *storage;            /* owns text and members */
    quern_str members;        /* --jsonl: what the object held, without its braces */
    uint64_t line;            /* 1, 2, … */
    quern_asset_list *assets; /* embed --jsonl: of "assets", NULL none */
} text_item;
typedef struct input input;
/* ours: names that results give fields of their own, NULL-terminated; an input's fields of those names
 * do not pass through. */
int input_open(input **out, const cli *c, const char *const *ours, quern_error *err);
int input_next(input *in, text_item *item, quern_error *err); /* 1, 0 at the end, negative */
int input_ready(input *in);                                   /* input_next would not wait */
void input_free(input *in);
/* "line 3" or "argument 3", for errors. */
void input_place(const input *in, uint64_t line, char out[48]);
void text_item_free(text_item *item);
/* Little-endian f32 as base64; *out is free'd by the caller. what: for messages. */
int floats_from_base64(const char *what, const char *text, size_t n, float **out, size_t *count,
                       quern_error *err);

#endif
