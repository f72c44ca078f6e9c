/*
 * session.c — opens what the flags name: model, embedder, store. All flags of a kind are read here, in
 * one place, whether this run needs them or not (a model that is on the shelf needs no --timeout).
 */
#include "cli.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quern/provider.h"
#include "quern/sys/store.h"

int option_as(const cli *c, int fallback)
{
    const char *as = quern_config_text(c->config, "as");
    if (!as)
        return fallback;
    return strcmp(as, "query") == 0 ? QUERN_AS_QUERY : QUERN_AS_DOCUMENT;
}

int documents_only(const cli *c, quern_error *err)
{
    if (option_as(c, QUERN_AS_DOCUMENT) == QUERN_AS_DOCUMENT)
        return QUERN_OK;
    return fail(err, QUERN_EINVAL, "--as query: %s works on stored vectors, which are documents'",
                c->command->name);
}

static progress pull_bar;

static int on_pull(const char *what, uint64_t done, uint64_t total, void *ud)
{
    const cli *c = ud;
    char have[16], all[16], detail[64];
    human_bytes(done, have);
    human_bytes(total, all);
    snprintf(detail, sizeof detail, total ? "%s of %s" : "%s", have, all);
    progress_draw(&pull_bar, what, total ? (double)done / (double)total : -1, detail);
    return quern_cancel_raised(c->cancel);
}

void shelf_options(const cli *c, quern_shelf_options *opt)
{
    QUERN_INIT(opt);
    opt->base_url = quern_config_text(c->config, "model-url");
    opt->token = quern_config_text(c->config, "hf-token");
    opt->folder = quern_config_text(c->config, "models");
    opt->timeout_ms = (uint32_t)quern_config_count(c->config, "timeout");
    opt->offline = quern_config_flag(c->config, "offline");
    opt->cancel = c->cancel;
    opt->progress = on_pull;
    opt->progress_ud = (void *)c;
    progress_begin(&pull_bar, c);
}

void shelf_done(void)
{
    progress_end(&pull_bar);
}

/* The folder of --model, downloaded first when it is missing and that is wanted. */
static int find_model(const cli *c, char **path, quern_error *err)
{
    quern_shelf_options opt;
    shelf_options(c, &opt);
    const char *name = quern_config_text(c->config, "model");
    int may_pull = quern_config_flag(c->config, "auto-pull") && !opt.offline;
    int rc = quern_shelf_find(name, &opt, path, err);
    if (rc == QUERN_ENOTFOUND && may_pull) {
        rc = quern_shelf_pull(name, &opt, err);
        shelf_done();
        if (rc == QUERN_OK)
            rc = quern_shelf_find(name, &opt, path, err);
    }
    return rc;
}

static int precision(const cli *c, int *out, quern_error *err)
{
    const char *p = quern_config_text(c->config, "precision");
    *out = quern_precision_named(p);
    if (*out >= 0)
        return QUERN_OK;
    return fail(err, QUERN_EUNSUPPORTED, "--precision %s is no class of this version", p);
}

/* --dimensions is of FILLS, but a model may be opened by commands that make no vectors. */
static void take_dimensions(const cli *c, quern_model_options *opt)
{
    if (!quern_option_applies(quern_option_find("dimensions"), c->command->name))
        return;
    opt->dimensions = (uint32_t)quern_config_count(c->config, "dimensions");
    opt->force_dimensions = quern_config_flag(c->config, "force-dimensions");
}

static int place_of(const char *word, const char *const *words)
{
    int i = 0;
    while (words[i] && strcmp(word, words[i]) != 0)
        i++;
    return i;
}

void runtime_options(const cli *c, quern_runtime_options *out)
{
    static const char *const backends[] = {[QUERN_BACKEND_NATIVE] = "native",
                                           [QUERN_BACKEND_ORT] = "ort",
                                           [QUERN_BACKEND_AUTO] = "auto",
                                           NULL};
    static const char *const devices[] = {[QUERN_DEVICE_CPU] = "cpu",
                                          [QUERN_DEVICE_CUDA] = "cuda",
                                          [QUERN_DEVICE_AUTO] = "auto",
                                          NULL};
    static const char *const levels[] = {[QUERN_ORT_ALL] = "all",
                                         [QUERN_ORT_DISABLED] = "disabled",
                                         [QUERN_ORT_BASIC] = "basic",
                                         [QUERN_ORT_EXTENDED] = "extended",
                                         NULL};
    QUERN_INIT(out);
    out->backend = place_of(quern_config_text(c->config, "backend"), backends);
    out->device = place_of(quern_config_text(c->config, "device"), devices);
    out->strict_device = quern_config_flag(c->config, "strict-device");
    out->ort_library = quern_config_text(c->config, "ort-library");
    out->ort_optimization = place_of(quern_config_text(c->config, "ort-optimization"), levels);
    out->intra_threads = (uint32_t)quern_config_count(c->config, "intra-threads");
    out->inter_threads = (uint32_t)quern_config_count(c->config, "inter-threads");
}

static char device[80];

const char *device_in_use(void)
{
    return device;
}

void tell_device(const quern_model *m)
{
    quern_model_info info;
    char line[400];
    QUERN_INIT(&info);
    if (quern_model_describe(m, &info, NULL) != QUERN_OK)
        return;
    if (*info.device_note && !*device) { /* once: a run may open a model twice */
        snprintf(line, sizeof line, "--device cuda: %s; the processor computes", info.device_note);
        out_log(QUERN_LOG_WARN, "model", line);
    }
    snprintf(device, sizeof device, "%s, %s", info.device, info.backend);
}

int have_model(const cli *c, quern_error *err)
{
    char *path = NULL;
    quern_runtime_options runtime;
    runtime_options(c, &runtime);
    int how, rc = precision(c, &how, err);
    (void)quern_config_count(c->config, "max-length"); /* whoever opens it reads these */
    (void)quern_config_count(c->config, "packed-limit");
    (void)quern_config_flag(c->config, "mmap");
    if (rc == QUERN_OK)
        rc = find_model(c, &path, err);
    quern_free(path);
    return rc;
}

/* What --precision auto is here: for quern_model_options.choose. */
typedef struct asking {
    cli *c;
    quern_store *store;
} asking;

static int choose_by_store(const char *weights, int anew, void *ud, int *chosen,
                           char calibration[65], quern_error *err)
{
    const asking *a = ud;
    const cli *c = a->c;
    quern_precision_answer is;
    char **sources = NULL;
    size_t n = 0;
    int rc = QUERN_OK;
    QUERN_INIT(&is);
    if (quern_option_applies(quern_option_find("source"), c->command->name))
        rc = list_sources(c, &sources, &n, err);
    if (rc == QUERN_OK) /* a build is what takes a store to another class */
        rc = quern_store_precision(a->store, (const char *const *)sources, n, weights,
                                   strcmp(c->command->name, "generation build") == 0, &is, err);
    free(sources);
    if (rc != QUERN_OK)
        return rc;
    *chosen = is.precision;
    memcpy(calibration, is.calibration, sizeof is.calibration);
    a->c->int8_waits = anew == QUERN_PRECISION_INT8 && is.precision == QUERN_PRECISION_FP32;
    return QUERN_OK;
}

static int open_model_for(const cli *c, asking *a, quern_model **out, quern_error *err)
{
    *out = NULL;
    quern_model_options opt;
    quern_runtime_options runtime;
    QUERN_INIT(&opt);
    opt.packed = quern_config_count(c->config, "packed-limit") ? "" : NULL;
    opt.packed_limit = quern_config_count(c->config, "packed-limit");
    opt.no_mmap = !quern_config_flag(c->config, "mmap");
    opt.choose = a && a->store ? choose_by_store : NULL;
    opt.choose_ud = a;
    runtime_options(c, &runtime);
    opt.runtime = &runtime;
    opt.max_length = (uint32_t)quern_config_count(c->config, "max-length");
    opt.name = quern_config_text(c->config, "model");
    take_dimensions(c, &opt);
    int rc = precision(c, &opt.precision, err);
    if (rc != QUERN_OK)
        return rc;
    if (strchr(opt.name, '/'))
        opt.name = NULL; /* a path: the folder's own name says more */
    char *path = NULL;
    rc = find_model(c, &path, err);
    if (rc == QUERN_OK)
        rc = quern_model_open(out, path, &opt, err);
    if (rc == QUERN_OK)
        tell_device(*out);
    quern_free(path);
    return rc;
}

int open_model(const cli *c, quern_model **out, quern_error *err)
{
    return open_model_for(c, NULL, out, err);
}

/* ---- hosted models ---- */

/* The profile of "openai:text-embedding-3-small", *model behind the colon; NULL: it is on the shelf, or a path. */
static const quern_provider_profile *provider_of(const char *name, const char **model)
{
    char provider[32];
    size_t n = strcspn(name, ":");
    if (!name[n] || n >= sizeof provider)
        return NULL;
    memcpy(provider, name, n);
    provider[n] = '\0';
    *model = name + n + 1;
    return quern_provider_find(provider);
}

int model_is_hosted(const char *model)
{
    const char *name;
    return provider_of(model, &name) != NULL;
}

/* One line of the table: "MODEL=DOLLARS" of 1,000,000 tokens. */
static int read_price(const char *line, size_t n, const char *model, double *price,
                      quern_error *err)
{
    char number[32] = "", *end = number;
    size_t name = n;
    while (name && line[name - 1] != '=')
        name--;
    if (name > 1 && n - name < sizeof number)
        memcpy(number, line + name, n - name);
    double dollars = strtod(number, &end);
    size_t shown = n < 80 ? n : 80;
    if (!*number || strspn(number, " 0123456789.") != strlen(number) || *end || !(dollars >= 0) ||
        dollars > 1e6)
        return fail(err, QUERN_EINVAL,
                    "model-price %.*s: not MODEL=DOLLARS, the price of 1,000,000 tokens",
                    (int)shown, line);
    name--;
    while (name && line[name - 1] == ' ')
        name--;
    if (strlen(model) == name && memcmp(line, model, name) == 0)
        *price = dollars / 1000;
    return QUERN_OK;
}

const quern_provider_profile *hosted_profile(const cli *c)
{
    const char *name;
    return provider_of(quern_config_text(c->config, "model"), &name);
}

int find_price(const cli *c, double *price, quern_error *err)
{
    const char *model = quern_config_text(c->config, "model");
    const char *line = quern_config_text(c->config, "model-price");
    int rc = QUERN_OK;
    *price = 0;
    while (rc == QUERN_OK && line && *line) {
        size_t n = strcspn(line, "\n");
        rc = read_price(line, n, model, price, err);
        line += n + (line[n] == '\n');
    }
    if (quern_config_is_set(c->config, "price"))
        *price = quern_config_real(c->config, "price");
    return rc;
}

typedef struct hosted {
    quern_provider_options provider;
    quern_limit_options limit;
    int may_pause;
    quern_pause_options pause;
    const char *fallback_url;
    quern_cap_options cap;
    quern_retry_options retry;
    quern_batching_options batching;
} hosted;

/* Read whether the model is hosted or not, as all flags of a kind are. */
static int hosted_options(const cli *c, hosted *h, quern_error *err)
{
    const quern_config *f = c->config;
    int rc = QUERN_OK;
    QUERN_INIT(&h->provider);
    QUERN_INIT(&h->limit);
    QUERN_INIT(&h->pause);
    QUERN_INIT(&h->cap);
    QUERN_INIT(&h->retry);
    QUERN_INIT(&h->batching);
    h->provider.base_url = quern_config_text(f, "base-url");
    h->provider.api_key = quern_config_text(f, "api-key");
    h->provider.use_environment = 1;
    h->provider.dimensions = (uint32_t)quern_config_count(f, "dimensions");
    h->provider.max_inputs = (uint32_t)quern_config_count(f, "max-inputs");
    h->provider.proxy = quern_config_text(f, "proxy");
    h->provider.ca_file = quern_config_text(f, "ca-file");
    uint64_t timeout = quern_config_count(f, "timeout"); /* its default is a download's */
    h->provider.timeout_ms = quern_config_is_set(f, "timeout") ? (uint32_t)timeout : 0;
    h->limit.concurrency = (uint32_t)quern_config_count(f, "concurrency");
    h->provider.connections = h->limit.concurrency;
    h->batching.concurrency =
        2 * h->limit.concurrency + 8; /* some will be pausing before another try */
    uint32_t requests = (uint32_t)quern_config_count(f, "requests-per-minute");
    h->limit.requests_per_minute = requests ? requests : UINT32_MAX;
    h->limit.tokens_per_minute = (uint32_t)quern_config_count(f, "tokens-per-minute");
    h->limit.shared = quern_config_text(f, "limit-shared");
    h->limit.shared_name = quern_config_text(f, "limit-name");
    h->pause.failures = (uint32_t)quern_config_count(f, "pause-after");
    h->may_pause = h->pause.failures != 0;
    h->fallback_url = quern_config_text(f, "fallback-url");
    if (quern_option_applies(quern_option_find("max-tokens"), c->command->name)) {
        h->cap.max_tokens = quern_config_count(f, "max-tokens");
        h->cap.max_price = quern_config_real(f, "max-price");
        rc = find_price(c, &h->cap.price, err);
    }
    h->retry.attempts = h->provider.attempts = (uint32_t)quern_config_count(f, "attempts");
    return rc;
}

/* One address, its limits and its pauses. */
static int open_way(const hosted *h, const quern_provider_options *provider,
                    const quern_pause_options *pause, quern_embedder **out, quern_error *err)
{
    quern_embedder *e = NULL, *outer = NULL;
    int rc = quern_embedder_from_provider(&e, provider, err);
    if (rc == QUERN_OK && (rc = quern_embedder_limited(&outer, e, &h->limit, err)) == QUERN_OK)
        e = outer;
    if (rc == QUERN_OK && h->may_pause &&
        (rc = quern_embedder_pausing(&outer, e, pause, err)) == QUERN_OK)
        e = outer;
    if (rc != QUERN_OK) {
        quern_embedder_free(e);
        e = NULL;
    }
    *out = e;
    return rc;
}

/* The address, and the one to fall back to if there is one: then nobody waits for the first to be back. */
static int open_ways(const hosted *h, const quern_provider_options *provider, quern_embedder **out,
                     quern_error *err)
{
    quern_embedder *ways[2] = {NULL, NULL};
    quern_provider_options other = *provider;
    quern_pause_options at_once = h->pause;
    if (!h->fallback_url)
        return open_way(h, provider, &h->pause, out, err);
    *out = NULL;
    at_once.wait_ms = 1;
    other.base_url = h->fallback_url;
    int rc = open_way(h, provider, &at_once, &ways[0], err);
    if (rc == QUERN_OK)
        rc = open_way(h, &other, &h->pause, &ways[1], err);
    if (rc == QUERN_OK)
        rc = quern_embedder_fallback(out, ways, 2, err);
    for (int i = 0; rc != QUERN_OK && i < 2; i++)
        quern_embedder_free(ways[i]);
    return rc;
}

/* "store" is the PostgreSQL that vectors are kept in. */
static int find_shared(const cli *c, quern_limit_options *limit, quern_error *err)
{
    if (!limit->shared || strcmp(limit->shared, "store") != 0)
        return QUERN_OK;
    const char *store = quern_config_text(c->config, "store");
    limit->shared = store ? store : quern_config_text(c->config, "db");
    if (strncmp(limit->shared, "postgres://", 11) == 0 ||
        strncmp(limit->shared, "postgresql://", 13) == 0)
        return QUERN_OK;
    return fail(err, QUERN_EINVAL,
                "limit-shared store: vectors are not kept in a PostgreSQL; give a URL");
}

static int open_hosted(const cli *c, hosted *h, const quern_provider_profile *profile,
                       const char *model, quern_embedder **out, quern_error *err)
{
    quern_provider_options provider = h->provider;
    quern_batching_options batching = h->batching;
    quern_embedder *e = NULL, *outer = NULL;
    /* what only asks whether vectors are this model's needs neither a key nor the network */
    const quern_option *dry = quern_option_find("dry-run");
    provider.describe_only =
        strcmp(c->command->name, "status") == 0 || strcmp(c->command->name, "similar") == 0 ||
        strcmp(c->command->name, "cache contains") == 0 ||
        strcmp(c->command->name, "cache remove") == 0 ||
        (quern_option_applies(dry, c->command->name) && quern_config_flag(c->config, "dry-run"));
    provider.provider = profile->name;
    provider.model = model;
    provider.cancel = c->cancel;
    if (quern_config_flag(c->config, "offline"))
        return fail(err, QUERN_EUNSUPPORTED, "%s:%s is hosted elsewhere, and --offline is set",
                    profile->name, model);
    batching.max_inputs = provider.max_inputs ? provider.max_inputs : profile->max_inputs;
    batching.max_request_tokens = profile->max_request_tokens;
    int rc = find_shared(c, &h->limit, err);
    if (provider.describe_only)
        h->limit.shared = NULL; /* no call leaves */
    if (rc == QUERN_OK)
        rc = open_ways(h, &provider, &e, err);
    int has_cap = h->cap.max_tokens || h->cap.max_price > 0;
    if (rc == QUERN_OK && has_cap &&
        (rc = quern_embedder_capped(&outer, e, &h->cap, err)) == QUERN_OK)
        e = outer;
    if (rc == QUERN_OK && (rc = quern_embedder_retrying(&outer, e, &h->retry, err)) == QUERN_OK)
        e = outer;
    if (rc == QUERN_OK && (rc = quern_embedder_batching(&outer, e, &batching, err)) == QUERN_OK)
        e = outer;
    if (rc != QUERN_OK) {
        quern_embedder_free(e);
        e = NULL;
    }
    *out = e;
    return rc;
}

static int open_bare(cli *c, quern_store *store, int *is_hosted, quern_embedder **out,
                     quern_error *err)
{
    *out = NULL;
    hosted h;
    const char *name = NULL;
    quern_runtime_options runtime;
    runtime_options(c, &runtime);
    int rc = hosted_options(c, &h, err);
    if (rc != QUERN_OK)
        return rc;
    const quern_provider_profile *profile =
        provider_of(quern_config_text(c->config, "model"), &name);
    *is_hosted = profile != NULL;
    if (profile)
        return open_hosted(c, &h, profile, name, out, err);
    quern_embedder_options opt;
    QUERN_INIT(&opt);
    opt.threads = (uint32_t)quern_config_count(c->config, "threads");
    opt.batch = (uint32_t)quern_config_count(c->config, "batch");
    quern_model *model = NULL;
    asking a = {c, store};
    rc = open_model_for(c, &a, &model, err);
    if (rc == QUERN_OK)
        rc = quern_embedder_from_model(out, model, &opt, err);
    quern_model_free(model); /* the embedder has its own hold */
    return rc;
}

void precision_of(const char *fingerprint, char out[16])
{
    json_t *root = json_loads(fingerprint, 0, NULL);
    const char *name = json_string_value(json_object_get(root, "precision"));
    snprintf(out, 16, "%s", name ? name : "");
    json_decref(root);
}

static uint32_t setting(const json_t *root, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(root, key));
    return n > 0 && n <= 1048576 ? (uint32_t)n : 0;
}

/* The longest text that a generation's model read (0: not said), how many of its dimensions, and its class. */
static void model_of(const char *settings, quern_model_options *opt, quern_runtime_options *runtime)
{
    json_t *root = json_loads(settings, 0, NULL);
    const char *name = json_string_value(json_object_get(root, "precision"));
    opt->max_length = setting(root, "max_length");
    opt->dimensions = setting(root, "dimension");
    opt->force_dimensions = 1; /* whoever made it had a reason */
    opt->precision = quern_precision_named(name);
    if (opt->precision <= QUERN_PRECISION_AUTO)
        opt->precision = QUERN_PRECISION_FP32;
    runtime->backend = QUERN_BACKEND_NATIVE;
    if (json_object_get(root, "backend")) {
        runtime->backend = QUERN_BACKEND_ORT;
        opt->precision = QUERN_PRECISION_AUTO;
    }
    json_decref(root);
}

static uint64_t parts(uint64_t all, uint64_t each)
{
    return each ? (all + each - 1) / each : 0;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

void limits_say(const cli *c, uint64_t texts, uint64_t tokens, uint64_t *calls, double *seconds)
{
    const char *model = NULL;
    const quern_provider_profile *p = provider_of(quern_config_text(c->config, "model"), &model);
    uint64_t inputs = quern_config_count(c->config, "max-inputs");
    uint64_t requests = quern_config_count(c->config, "requests-per-minute");
    uint64_t tpm = quern_config_count(c->config, "tokens-per-minute");
    if (!p)
        return;
    uint64_t least = parts(texts, inputs ? inputs : p->max_inputs);
    uint64_t by_tokens = parts(tokens, p->max_request_tokens);
    least = by_tokens > least ? by_tokens : least;
    *calls = least > *calls ? least : *calls;
    *seconds = larger(requests ? 60.0 * (double)*calls / (double)requests : 0,
                      tpm ? 60.0 * (double)tokens / (double)tpm : 0);
}

/* Read whether there is to be a cache or not. */
static void cache_options(const cli *c, quern_cache_options *opt)
{
    QUERN_INIT(opt);
    opt->path = quern_config_text(c->config, "cache-file");
    opt->entries = quern_config_count(c->config, "cache-entries");
    opt->no_memory = opt->entries == 0;
    opt->bytes = quern_config_count(c->config, "cache-bytes");
    opt->disk_bytes = quern_config_count(c->config, "cache-file-bytes");
    opt->disk_entries = quern_config_count(c->config, "cache-file-entries");
    opt->redis_url = quern_config_text(c->config, "cache-redis");
    opt->redis_timeout_ms = (uint32_t)quern_config_count(c->config, "cache-redis-timeout");
    opt->ttl_s = opt->disk_ttl_s = opt->redis_ttl_s =
        (quern_config_count(c->config, "cache-ttl") + 999) /
        1000; /* none is for ever, half a second is not */
}

int open_cache(cli *c, quern_error *err)
{
    quern_cache_options opt;
    cache_options(c, &opt);
    return c->cache ? QUERN_OK : quern_cache_open(&c->cache, &opt, err);
}

/* --enabled no: for the commands that would embed. */
static int check_enabled(const cli *c, quern_error *err)
{
    if (quern_config_flag(c->config, "enabled") ||
        !quern_option_applies(quern_option_find("enabled"), c->command->name))
        return QUERN_OK;
    int rc = fail(err, QUERN_EUNSUPPORTED, "embedding is switched off (%s); nothing was embedded",
                  quern_config_origin(c->config, "enabled"));
    err->code = "embedding_disabled";
    return rc;
}

int open_embedder(cli *c, quern_store *store, quern_embedder **out, quern_error *err)
{
    int is_hosted = 0;
    quern_embedder *bare = NULL;
    quern_cache_options opt;
    cache_options(c, &opt);
    const char *cache = quern_config_text(c->config, "cache");
    int rc = check_enabled(c, err);
    if (rc == QUERN_OK)
        rc = open_bare(c, store, &is_hosted, &bare, err);
    /* A hosted model is paid for; a local one is faster than most files. Who embeds again to check what is stored wants
     * the model's word. */
    int checks = strcmp(c->command->name, "verify") == 0 || strcmp(c->command->name, "import") == 0;
    int wanted = strcmp(cache, "yes") == 0 || (strcmp(cache, "auto") == 0 && !checks &&
                                               (is_hosted || opt.path || opt.redis_url));
    *out = bare;
    if (rc == QUERN_OK && wanted) {
        rc = open_cache(c, err);
        if (rc == QUERN_OK)
            rc = quern_embedder_cached(out, bare, c->cache, err);
        if (rc != QUERN_OK) {
            quern_embedder_free(bare);
            *out = NULL;
        }
    }
    return rc;
}

int open_other_embedder(const cli *c, const char *name, const char *settings, quern_embedder **out,
                        quern_error *err)
{
    *out = NULL;
    quern_shelf_options shelf;
    quern_model_options opt;
    quern_embedder_options how;
    quern_runtime_options runtime;
    quern_model *model = NULL;
    char *path = NULL;
    shelf_options(c, &shelf);
    shelf.offline = 1;
    QUERN_INIT(&opt);
    QUERN_INIT(&how);
    runtime_options(c, &runtime);
    opt.runtime = &runtime;
    opt.name = name;
    model_of(settings, &opt, &runtime);
    how.threads = (uint32_t)quern_config_count(c->config, "threads");
    how.batch = (uint32_t)quern_config_count(c->config, "batch");
    int rc = quern_shelf_find(name, &shelf, &path, err);
    if (rc == QUERN_OK)
        rc = quern_model_open(&model, path, &opt, err);
    if (rc == QUERN_OK)
        rc = quern_embedder_from_model(out, model, &how, err);
    quern_model_free(model);
    quern_free(path);
    return rc;
}

void store_options(const cli *c, int read_only, quern_store_options *opt)
{
    QUERN_INIT(opt);
    opt->db = quern_config_text(c->config, "db");
    opt->store = quern_config_text(c->config, "store");
    opt->schema = quern_config_text(c->config, "schema");
    opt->direct_url = quern_config_text(c->config, "direct-url");
    if (quern_option_applies(quern_option_find("shard-timeout"), c->command->name))
        opt->shard_timeout_ms = (uint32_t)quern_config_count(c->config, "shard-timeout");
    opt->read_only = read_only;
    if (quern_option_applies(quern_option_find("wal"), c->command->name))
        opt->wal = quern_config_flag(c->config, "wal");
}

int open_store(const cli *c, int read_only, quern_store **out, quern_error *err)
{
    quern_store_options opt;
    store_options(c, read_only, &opt);
    return quern_store_open(out, &opt, err);
}

/* For commands that change what is there: they make no file, and no table in a file of somebody else. */
int open_existing_store(const cli *c, quern_store **out, quern_error *err)
{
    quern_store_options opt;
    quern_migration_list *l = NULL;
    *out = NULL;
    store_options(c, 0, &opt);
    int rc = quern_migration_list_open(&l, &opt, err);
    int there = rc == QUERN_OK && quern_migration_list_at(l, 0)->applied_ms != 0;
    quern_migration_list_free(l);
    if (rc == QUERN_OK) /* where there is nothing, looking says so in the store's words */
        rc = open_store(c, !there, out, err);
    return rc;
}

int list_sources(const cli *c, char ***list, size_t *n, quern_error *err)
{
    const char *joined = quern_config_text(c->config, "source");
    size_t count = joined != NULL;
    for (const char *s = joined; s && *s; s++)
        count += *s == '\n';
    size_t bytes = (count + 1) * sizeof **list, length = joined ? strlen(joined) + 1 : 0;
    char **names = calloc(1, bytes + length);
    if (!names)
        return no_memory(err);
    char *text = (char *)names + bytes;
    if (joined)
        memcpy(text, joined, length);
    for (size_t i = 0; i < count; i++) {
        size_t end = strcspn(text, "\n");
        text[end] = '\0';
        names[i] = text;
        text += end + 1;
    }
    *list = names;
    *n = count;
    return QUERN_OK;
}

int confirm(const cli *c, const char *question, quern_error *err)
{
    if (quern_config_flag(c->config, "yes"))
        return QUERN_OK;
    if (!term_is_terminal(TERM_IN) || !term_is_terminal(TERM_ERR))
        return fail(err, QUERN_EINVAL, "%s: nobody is there to ask; give --yes", c->command->name);
    fprintf(stderr, "%s [y/N] ", question);
    char answer[16] = "";
    long got = term_read(answer, sizeof answer - 1); /* Ctrl-C ends it: no answer is a no */
    if (got > 0 && (answer[0] == 'y' || answer[0] == 'Y'))
        return QUERN_OK;
    return fail(err, QUERN_ECANCELLED, "left as it is");
}

int one_source_name(const cli *c, const char **out, quern_error *err)
{
    const char *name = quern_config_text(c->config, "source");
    if (!name)
        return fail(err, QUERN_EINVAL, "%s: of which source? --source NAME", c->command->name);
    if (strchr(name, '\n'))
        return fail(err, QUERN_EINVAL, "%s: --source is given once here", c->command->name);
    *out = name;
    return QUERN_OK;
}

static int is_integer(const char *word)
{
    const char *digits = word + (*word == '-');
    size_t n = strspn(digits, "0123456789");
    return n > 0 && n < 20 && digits[n] == '\0' && (digits[0] != '0' || (n == 1 && *word != '-'));
}

int key_from_word(const char *word, int as_text, char **json, quern_error *err)
{
    quern_value values[16];
    char *storage = NULL;
    size_t n = 1;
    int rc = QUERN_OK;
    if ((is_integer(word) && !as_text) || strchr("\"[{", word[0])) {
        rc = quern_key_decode(quern_str_of(word), values, 16, &n, &storage, err);
    } else {
        memset(values, 0, sizeof values);
        values[0].type = QUERN_VALUE_TEXT;
        values[0].bytes = quern_str_of(word);
    }
    if (rc == QUERN_OK)
        rc = quern_key_encode(values, n, json, err);
    quern_free(storage);
    return rc == QUERN_EFORMAT
               ? fail(err, QUERN_EINVAL, "the key %.100s: not JSON, an integer or text", word)
               : rc;
}
