/*
 * cmd_model.c — the shelf: pull, import, list, info, verify, quantize, remove.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 128 }; /* of a model on the shelf: at most 100, and a NUL */

/* What the shelf asks of a command that never touches the network. */
static void local_options(const cli *c, quern_shelf_options *opt)
{
    QUERN_INIT(opt);
    opt->folder = quern_config_text(c->config, "models");
    opt->offline = 1;
    opt->cancel = c->cancel;
}

/* The outcome of pull, import, verify or remove: one line. */
static void tell(const cli *c, const char *done, const char *name, const char *path)
{
    if (c->json) {
        put_object();
        put_key("name");
        put_text(name);
        put_key(done);
        put_bool(1);
        if (path) {
            put_key("path");
            put_text(path);
        }
        put_end_object();
        put_line();
    } else if (!c->quiet) {
        out_printf("%s %s%s%s\n", done, name, path ? " in " : "", path ? path : "");
    }
}

static int tell_path(const cli *c, const char *done, const char *name,
                     const quern_shelf_options *opt, quern_error *err)
{
    char *path = NULL;
    int rc = quern_shelf_find(name, opt, &path, err);
    if (rc == QUERN_OK)
        tell(c, done, name, path);
    quern_free(path);
    return rc;
}

/* The classes that a model has weights of its own for. */
enum { QUANTISED = 2 };
static const char *const quantised_names[QUANTISED] = {"int8", "int4"};

/* Quantised weights that are there are whole, and of these weights. out (may be NULL): bytes 0, there are none. */
static int sound_quantised(quern_model *m, quern_int8_info out[QUANTISED], quern_error *err)
{
    static int (*const look[QUANTISED])(quern_model *, quern_int8_info *,
                                        quern_error *) = {quern_model_int8, quern_model_int4};
    for (int i = 0; i < QUANTISED; i++) {
        quern_int8_info info;
        quern_error why;
        QUERN_INIT(&info);
        const int rc = look[i](m, &info, &why);
        if (out)
            out[i] = info; /* zeroed where there are none */
        if (rc != QUERN_OK && rc != QUERN_ENOTFOUND) {
            *err = why;
            return rc;
        }
    }
    return QUERN_OK;
}

typedef struct newcomer {
    char name[NAME_BYTES]; /* that it will have on the shelf */
    quern_runtime_options runtime;
} newcomer;

/* A model that cannot be opened is not put on the shelf. */
static int open_once(const char *name, const char *folder, void *ud, quern_error *err)
{
    newcomer *n = ud;
    quern_model *m = NULL;
    quern_model_options how;
    QUERN_INIT(&how);
    how.name = name;
    how.runtime = &n->runtime;
    snprintf(n->name, sizeof n->name, "%s", name);
    how.precision =
        n->runtime.backend == QUERN_BACKEND_NATIVE ? QUERN_PRECISION_FP32 : QUERN_PRECISION_AUTO;
    int rc = quern_model_open(&m, folder, &how, err);
    if (rc == QUERN_OK)
        rc = sound_quantised(m, NULL, err);
    quern_model_free(m);
    return rc;
}

int cmd_model_pull(cli *c, quern_error *err)
{
    quern_shelf_options opt;
    newcomer n = {.name = ""};
    int rc = args_need(c, 1, 1, err);
    if (rc != QUERN_OK)
        return rc;
    shelf_options(c, &opt);
    QUERN_INIT(&n.runtime); /* what is published is read natively */
    opt.check = open_once;
    opt.check_ud = &n;
    rc = quern_shelf_pull(c->args[0], &opt, err);
    shelf_done();
    return rc == QUERN_OK ? tell_path(c, "pulled", c->args[0], &opt, err) : rc;
}

int cmd_model_import(cli *c, quern_error *err)
{
    quern_shelf_options opt;
    newcomer n = {.name = ""};
    int rc = args_need(c, 1, 1, err);
    if (rc != QUERN_OK)
        return rc;
    local_options(c, &opt);
    runtime_options(c, &n.runtime);
    opt.graph = n.runtime.backend != QUERN_BACKEND_NATIVE;
    opt.check = open_once;
    opt.check_ud = &n;
    opt.dimension = (uint32_t)quern_config_count(c->config, "dimension");
    opt.pooling = quern_config_text(c->config, "pooling");
    rc = quern_shelf_import(c->args[0], quern_config_text(c->config, "name"), &opt, err);
    return rc == QUERN_OK ? tell_path(c, "imported", n.name, &opt, err) : rc;
}

static void list_json(const quern_shelf_list *l)
{
    put_object();
    put_key("models");
    put_array();
    for (size_t i = 0; i < quern_shelf_count(l); i++) {
        const quern_shelf_entry *e = quern_shelf_at(l, i);
        put_object();
        put_key("name");
        put_text(e->name);
        put_key("bytes");
        put_whole(e->bytes);
        put_key("int8_bytes");
        put_whole(e->int8_bytes);
        put_key("int4_bytes");
        put_whole(e->int4_bytes);
        put_key("origin");
        put_text(e->origin);
        put_key("imported_at");
        put_text(e->imported_at);
        put_key("weights_sha256");
        put_text(e->weights_sha256);
        put_key("path");
        put_text(e->path);
        put_end_object();
    }
    put_end_array();
    put_end_object();
    put_line();
}

int cmd_model_list(cli *c, quern_error *err)
{
    quern_shelf_options opt;
    quern_shelf_list *l = NULL;
    int rc = args_need(c, 0, 0, err);
    if (rc != QUERN_OK)
        return rc;
    local_options(c, &opt);
    rc = quern_shelf_open(&l, &opt, err);
    if (rc != QUERN_OK)
        return rc;
    if (c->json)
        list_json(l);
    for (size_t i = 0; !c->json && i < quern_shelf_count(l); i++) {
        const quern_shelf_entry *e = quern_shelf_at(l, i);
        char size[16];
        human_bytes(e->bytes, size);
        out_printf("%-28s %9s  %s%s%s\n", e->name, size, e->origin, e->int8_bytes ? ", int8" : "",
                   e->int4_bytes ? ", int4" : "");
    }
    if (!c->json && !c->quiet && !quern_shelf_count(l))
        fprintf(stderr, "the shelf is empty; quern model pull %s\n", quern_shelf_known(0));
    quern_shelf_free(l);
    return QUERN_OK;
}

/* ---- info ---- */

/* What so many texts will take. */
typedef struct estimate {
    uint64_t texts, cache, vectors; /* texts 0: nobody asks */
    double seconds;
} estimate;

static int embed_for_a_while(const cli *c, quern_embedder *e, quern_error *err)
{
    enum { TEXTS = 32, TEXT = 256 };
    static char memory[TEXTS][TEXT];
    quern_str texts[TEXTS];
    quern_embed_options opt;
    uint32_t state = 1, dim = quern_embedder_dimensions(e);
    float *v = calloc((size_t)TEXTS * dim, sizeof *v);
    int rc = v ? QUERN_OK : no_memory(err);
    QUERN_INIT(&opt);
    opt.truncation = QUERN_TRUNCATION_CUT;
    opt.cancel = c->cancel;
    for (size_t i = 0; i < TEXTS; i++) {
        sample_text(memory[i], TEXT, 6 + i % 15, &state);
        texts[i] = quern_str_of(memory[i]);
    }
    for (uint64_t until = term_now_ns() + 500000000u; rc == QUERN_OK && term_now_ns() < until;)
        rc = quern_embed(e, texts, TEXTS, &opt, v, (size_t)TEXTS * dim, NULL, err);
    free(v);
    return rc;
}

static int make_estimate(const cli *c, quern_model *m, estimate *out, quern_error *err)
{
    quern_embedder *e = NULL;
    uint64_t entries = quern_config_count(c->config, "cache-entries");
    uint64_t most = quern_config_count(c->config, "cache-bytes");
    uint64_t each = (uint64_t)quern_model_dimensions(m) * sizeof(float);
    out->vectors = out->texts * each;
    out->cache = (out->texts < entries ? out->texts : entries) * (each + 80);
    out->cache = out->cache < most ? out->cache : most;
    int rc = quern_embedder_from_model(&e, m, NULL, err);
    if (rc == QUERN_OK)
        rc = embed_for_a_while(c, e, err);
    out->seconds = quern_embedder_estimate(e, out->texts);
    quern_embedder_free(e);
    return rc;
}

static void estimate_json(const estimate *n, uint64_t weights)
{
    put_key("estimate");
    put_object();
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {{"texts", n->texts},
                   {"weights_bytes", weights},
                   {"cache_bytes", n->cache},
                   {"vector_bytes", n->vectors},
                   {"indexed_bytes", 2 * n->vectors}};
    for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
        put_key(numbers[k].key);
        put_whole(numbers[k].value);
    }
    put_key("seconds");
    put_real(n->seconds);
    put_end_object();
}

static void estimate_text(const estimate *n, uint64_t weights)
{
    char bytes[4][16], time[16];
    human_bytes(weights, bytes[0]);
    human_bytes(n->cache, bytes[1]);
    human_bytes(n->vectors, bytes[2]);
    human_bytes(2 * n->vectors, bytes[3]);
    human_time(n->seconds, time);
    out_printf("for %llu texts: weights %s, cache %s where there is one, vectors %s, with an index "
               "%s; %s at %.0f short texts a second\n",
               (unsigned long long)n->texts, bytes[0], bytes[1], bytes[2], bytes[3], time,
               n->seconds > 0 ? (double)n->texts / n->seconds : 0.0);
}

/* How near to fp32 quantised weights are, and their calibration. */
static void quantised_json(const char *name, const quern_int8_info *q)
{
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"cosine_mean", q->cosine_mean},
                   {"cosine_worst", q->cosine_worst},
                   {"ranking", q->ranking}};
    put_key(name);
    if (!q->bytes) {
        put_text(NULL);
        return;
    }
    put_object();
    put_key("passed");
    put_bool(q->passed);
    for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
        put_key(numbers[k].key);
        put_real(numbers[k].value);
    }
    put_key("bytes");
    put_whole(q->bytes);
    put_key("calibration");
    put_text(q->checksum);
    put_end_object();
}

static void quantised_text(const char *name, const quern_int8_info *q, int quantizable)
{
    char size[16];
    human_bytes(q->bytes, size);
    if (!q->bytes)
        out_printf("%-20s none%s\n", name, quantizable ? " (quern model quantize makes it)" : "");
    else
        out_printf("%-20s %s, %s: cosine to fp32 %.5f on average, %.5f at worst; "
                   "%.1f %% of neighbours stay\ncalibration          %s\n",
                   name, q->passed ? "passed its gate" : "below its gate, forced", size,
                   q->cosine_mean, q->cosine_worst, 100 * q->ranking, q->checksum);
}

static void info_json(const quern_model_info *i, const quern_int8_info *q, const char *weights,
                      const char *tokenizer, const char *fingerprint, const estimate *n)
{
    const struct {
        const char *key, *text;
    } texts[] = {
        {"name", i->name},
        {"path", i->path},
        {"family", i->family},
        {"pooling", i->pooling},
        {"pooling_origin", i->pooling_origin},
        {"kernels", i->kernels},
        {"backend", i->backend},
        {"device", i->device},
        {"weights_format", i->weights_format},
        {"weights_file", i->weights_file},
        {"weights_sha256", weights},
        {"tokenizer_sha256", tokenizer},
        {"fingerprint", fingerprint},
    };
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"dimensions", i->dimensions}, {"max_sequence_length", i->max_sequence_length},
        {"layers", i->layers},         {"heads", i->heads},
        {"vocabulary", i->vocabulary}, {"parameters", i->parameters},
        {"bytes", i->bytes},           {"dense_modules", i->modules},
    };
    put_object();
    for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
        put_key(texts[k].key);
        put_text(texts[k].text);
    }
    for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
        put_key(numbers[k].key);
        put_whole(numbers[k].value);
    }
    put_key("normalize");
    put_bool(i->normalize);
    put_key("prompts");
    put_object();
    put_key("query");
    put_text(i->prompt_query);
    put_key("document");
    put_text(i->prompt_document);
    put_end_object();
    put_key("precision"); /* what auto is */
    put_text(i->precision);
    put_key("precisions");
    put_array();
    put_text(strcmp(i->precision, "graph") == 0 ? "graph" : "fp32");
    for (int k = 0; k < QUANTISED; k++)
        if (q[k].bytes)
            put_text(quantised_names[k]);
    put_end_array();
    for (int k = 0; k < QUANTISED; k++)
        quantised_json(quantised_names[k], q + k);
    if (n->texts)
        estimate_json(n, i->bytes);
    put_end_object();
    put_line();
}

static void info_text(const quern_model_info *i, const quern_int8_info *q, const char *weights,
                      const char *tokenizer, const char *fingerprint, const estimate *n)
{
    char size[16];
    human_bytes(i->bytes, size);
    out_printf("name                 %s\npath                 %s\nfamily               %s\n",
               i->name, i->path, i->family);
    out_printf("dimensions           %u\nmax sequence length  %u tokens\n", i->dimensions,
               i->max_sequence_length);
    out_printf("layers, heads        %u, %u\nvocabulary           %u\n", i->layers, i->heads,
               i->vocabulary);
    out_printf("pooling              %s (%s)%s%s\n", i->pooling, i->pooling_origin,
               i->modules ? ", dense" : "", i->normalize ? ", normalised" : "");
    out_printf("parameters           %llu, %s\n", (unsigned long long)i->parameters, size);
    out_printf("prompts              query \"%s\", document \"%s\"\n", i->prompt_query,
               i->prompt_document);
    out_printf("precision, kernels   %s, %s\n", i->precision, i->kernels);
    quantised_text(quantised_names[0], q, i->quantizable);
    if (q[1].bytes)
        quantised_text(quantised_names[1], q + 1, i->quantizable);
    out_printf("backend, device      %s, %s\n", i->backend, i->device);
    out_printf("weights              %s (%s)\n", i->weights_file, i->weights_format);
    out_printf("weights sha256       %s\ntokenizer sha256     %s\nfingerprint          %s\n",
               weights, tokenizer, fingerprint);
    if (n->texts)
        estimate_text(n, i->bytes);
}

int cmd_model_info(cli *c, quern_error *err)
{
    quern_shelf_options opt;
    quern_model *m = NULL;
    quern_model_options how;
    quern_model_info info;
    quern_int8_info quantised[QUANTISED];
    quern_runtime_options runtime;
    estimate n = {.texts = quern_config_count(c->config, "estimate")};
    char *path = NULL, *json = NULL, weights[65], tokenizer[65], fingerprint[65];
    int rc = args_need(c, 1, 1, err);
    if (rc != QUERN_OK)
        return rc;
    local_options(c, &opt);
    QUERN_INIT(&how);
    QUERN_INIT(&info);
    runtime_options(c, &runtime);
    how.runtime = &runtime;
    how.name = strchr(c->args[0], '/') ? NULL : c->args[0];
    rc = quern_shelf_find(c->args[0], &opt, &path, err);
    if (rc == QUERN_OK)
        rc = quern_model_open(&m, path, &how, err);
    if (rc == QUERN_OK) {
        tell_device(m);
        rc = quern_model_describe(m, &info, err);
    }
    if (rc == QUERN_OK)
        rc = sound_quantised(m, quantised, err);
    if (rc == QUERN_OK)
        rc = quern_model_weights_sha256(m, weights, err);
    if (rc == QUERN_OK)
        rc = quern_model_fingerprint(m, &json, fingerprint, err);
    if (rc == QUERN_OK && n.texts)
        rc = make_estimate(c, m, &n, err);
    if (rc == QUERN_OK) {
        quern_model_tokenizer_sha256(m, tokenizer);
        (c->json ? info_json : info_text)(&info, quantised, weights, tokenizer, fingerprint, &n);
    }
    quern_free(json);
    quern_free(path);
    quern_model_free(m);
    return rc;
}

/* Of quantised weights their own checksum and what they were made from, too: a manifest from before they were made lists none. */
static int verify_quantised(const char *name, const quern_shelf_options *opt, quern_error *err)
{
    quern_model *m = NULL;
    quern_model_options how;
    char *path = NULL;
    QUERN_INIT(&how);
    how.name = strchr(name, '/') ? NULL : name;
    how.precision = QUERN_PRECISION_FP32;
    int rc = quern_shelf_find(name, opt, &path, err);
    if (rc == QUERN_OK)
        rc = quern_model_open(&m, path, &how, err);
    if (rc == QUERN_OK)
        rc = sound_quantised(m, NULL, err);
    quern_model_free(m);
    quern_free(path);
    return rc;
}

int cmd_model_verify(cli *c, quern_error *err)
{
    quern_shelf_options opt;
    int rc = args_need(c, 1, 1, err);
    if (rc != QUERN_OK)
        return rc;
    local_options(c, &opt);
    rc = quern_shelf_verify(c->args[0], &opt, err);
    if (rc == QUERN_OK)
        rc = verify_quantised(c->args[0], &opt, err);
    if (rc == QUERN_OK)
        tell(c, "verified", c->args[0], NULL);
    return rc;
}

/* A list of what stands between spaces. */
static void put_words(const char *words)
{
    put_array();
    while (*words) {
        char word[64];
        const size_t n = strcspn(words, " ");
        snprintf(word, sizeof word, "%.*s", (int)n, words);
        put_text(word);
        words += n + strspn(words + n, " ");
    }
    put_end_array();
}

static void quantized(const cli *c, const char *name, int precision, const quern_quantize_report *r)
{
    char size[16];
    if (c->json) {
        put_object();
        put_key("name");
        put_text(name);
        put_key("precision");
        put_text(quern_precision_name(precision));
        put_key("cosine_mean");
        put_real(r->cosine_mean);
        put_key("cosine_worst");
        put_real(r->cosine_worst);
        put_key("ranking");
        put_real(r->ranking);
        put_key("probes");
        put_whole(r->probes);
        put_key("passed");
        put_bool(r->passed);
        put_key("bytes");
        put_whole(r->bytes);
        put_key("checksum");
        put_text(r->checksum);
        if (precision == QUERN_PRECISION_INT4) {
            put_key("kept");
            put_words(r->kept);
        }
        put_end_object();
        put_line();
        return;
    }
    human_bytes(r->bytes, size);
    out_printf(
        "quantized %s to %s, %s: cosine to fp32 %.5f on average, %.5f at worst; %.1f %% of the "
        "nearest neighbours stay (%u texts)%s%s%s\n",
        name, quern_precision_name(precision), size, r->cosine_mean, r->cosine_worst,
        100 * r->ranking, r->probes, r->passed ? "" : "; below the gate, forced",
        r->kept[0] ? "; kept in bytes: " : "", r->kept);
}

static progress quantize_bar;

static int on_layer(const char *what, uint64_t done, uint64_t total, void *ud)
{
    const cli *c = ud;
    char detail[48];
    snprintf(detail, sizeof detail, "%llu of %llu", (unsigned long long)done,
             (unsigned long long)total);
    progress_draw(&quantize_bar, what, (double)done / (double)total, detail);
    return quern_cancel_raised(c->cancel);
}

int cmd_model_quantize(cli *c, quern_error *err)
{
    quern_shelf_options shelf;
    quern_quantize_options opt;
    quern_quantize_report report;
    const char *precision = quern_config_text(c->config, "precision");
    char *path = NULL;
    int rc = args_need(c, 1, 1, err);
    if (rc != QUERN_OK)
        return rc;
    local_options(c, &shelf);
    QUERN_INIT(&opt);
    QUERN_INIT(&report);
    opt.name = strchr(c->args[0], '/') ? NULL : c->args[0];
    opt.force = quern_config_flag(c->config, "force");
    /* Elsewhere --precision is what to compute with; only on this command line, what to make. */
    const int here = strncmp(quern_config_origin(c->config, "precision"), "--", 2) == 0;
    opt.precision = here ? quern_precision_named(precision) : QUERN_PRECISION_INT8;
    if (opt.precision == QUERN_PRECISION_AUTO)
        opt.precision = QUERN_PRECISION_INT8;
    if (opt.precision != QUERN_PRECISION_INT8 && opt.precision != QUERN_PRECISION_INT4)
        return fail(err, QUERN_EUNSUPPORTED,
                    "--precision %s: weights are quantised to int8 or int4; the others need none",
                    precision);
    opt.progress = on_layer;
    opt.progress_ud = c;
    opt.cancel = c->cancel;
    rc = quern_shelf_find(c->args[0], &shelf, &path, err);
    progress_begin(&quantize_bar, c);
    if (rc == QUERN_OK)
        rc = quern_model_quantize(path, &opt, &report, err);
    progress_end(&quantize_bar);
    if (rc == QUERN_OK && !c->quiet)
        quantized(c, c->args[0], opt.precision, &report);
    quern_free(path);
    return rc;
}

int cmd_model_remove(cli *c, quern_error *err)
{
    quern_shelf_options opt;
    char question[160], *path = NULL;
    int rc = args_need(c, 1, 1, err);
    if (rc != QUERN_OK)
        return rc;
    local_options(c, &opt);
    rc = quern_shelf_find(c->args[0], &opt, &path, err);
    quern_free(path);
    snprintf(question, sizeof question, "Remove %.100s from the shelf?", c->args[0]);
    if (rc == QUERN_OK)
        rc = confirm(c, question, err);
    if (rc == QUERN_OK)
        rc = quern_shelf_remove(c->args[0], &opt, err);
    if (rc == QUERN_OK)
        tell(c, "removed", c->args[0], NULL);
    return rc;
}
