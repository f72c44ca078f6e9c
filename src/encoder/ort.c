/*
 * ort.c — see ort.h. A session is opened once and shared; ONNX Runtime may be called from any number of threads at once, so a
 * batch is spread over the pool, one text a call, and each call runs on its own thread unless more are asked for.
 *
 * Why one text a call: with several, texts would have to be padded to a common length, and a quantised graph scales its
 * activations by the largest of the whole call, so that a vector would depend on its neighbours. Rejected: groups of equal
 * length (1.6 times as fast for texts of 15 tokens, but slower for 170; and the products' order of sums, in quantised graphs
 * the scales too, depend on the group).
 *
 * A graph is a program written by a stranger, run by a library that is not ours: shapes of what comes back are looked at every
 * time, values for being finite; what the library itself does with a hostile file is out of our hands.
 */
#include "encoder/ort.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "encoder/ort_api.h"
#include "kernels/kernels_table.h"

#define NEVER SIZE_MAX

enum { INPUTS = 3, NAME_SIZE = 64, MAX_DIMENSIONS = 65536, MAX_RANK = 8 };

static const char *const known_inputs[INPUTS] = {"input_ids", "attention_mask", "token_type_ids"};

struct quern__ort {
    /* immutable after open */
    quern__ort_api api;
    void *env, *session, *memory;
    char path[256]; /* for messages, cut */
    struct {
        int kind; /* in known_inputs */
        int type; /* QUERN__ORT_INT64 or INT32 */
    } inputs[INPUTS];
    size_t input_n;
    char output[NAME_SIZE];
    bool pools, cuda;
    uint32_t dimensions;
    char note[300];
};

static int check(const quern__ort *o, void *status, const char *what, quern_error *err)
{
    return quern__ort_check(&o->api, status, QUERN_EFORMAT, what, err);
}

/* ---- one run ---- */

typedef struct shape {
    int type;
    size_t rank;
    int64_t at[MAX_RANK];
} shape;

static void shape_text(const shape *s, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < QUERN__MIN(s->rank, (size_t)MAX_RANK) && used + 24 < size; i++)
        used +=
            (size_t)snprintf(out + used, size - used, i ? " x %lld" : "%lld", (long long)s->at[i]);
}

static int read_shape(const quern__ort *o, void *value, shape *s, quern_error *err)
{
    void *info = NULL;
    memset(s, 0, sizeof *s);
    int rc = check(o, o->api.tensor_info(value, &info), o->output, err);
    if (rc)
        return rc;
    rc = check(o, o->api.element_type(info, &s->type), o->output, err);
    if (!rc)
        rc = check(o, o->api.dimension_count(info, &s->rank), o->output, err);
    if (!rc && s->rank <= MAX_RANK)
        rc = check(o, o->api.dimensions(info, s->at, s->rank), o->output, err);
    o->api.release_info(info);
    return rc;
}

/* What a run over n tokens may give: [1, n, dimensions] or [1, dimensions]. */
static int check_shape(const quern__ort *o, const shape *s, uint32_t n, quern_error *err)
{
    char text[200];
    const bool pools = s->rank == 3;
    const bool known = (s->rank == 2 || (pools && s->at[1] == n)) && s->at[0] == 1 &&
                       s->at[s->rank - 1] >= 1 && s->at[s->rank - 1] <= MAX_DIMENSIONS;
    if (s->type != QUERN__ORT_FLOAT && s->type != QUERN__ORT_FLOAT16)
        return quern__fail(err, QUERN_EUNSUPPORTED, s->type,
                           "%s: result %s has elements of type %d; FLOAT (1) or FLOAT16 (10) is "
                           "wanted",
                           o->path, o->output, s->type);
    if (known &&
        (!o->dimensions || (pools == o->pools && (uint32_t)s->at[s->rank - 1] == o->dimensions)))
        return QUERN_OK;
    shape_text(s, text, sizeof text);
    return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)s->rank,
                       "%s: result %s is %s for one text of %u tokens; 1 x %u x dimensions or 1 x "
                       "dimensions is wanted",
                       o->path, o->output, text, n, n);
}

/* Room for what one text's run takes. */
typedef struct feed {
    int64_t *wide;  /* [3][n]: ids, ones, zeros */
    int32_t *small; /* the same for graphs that want INT32 */
    void *values[INPUTS];
    const char *names[INPUTS];
} feed;

static int fill_feed(const quern__ort *o, feed *f, const int32_t *ids, uint32_t n, quern_error *err)
{
    const int64_t dims[2] = {1, n};
    int rc = QUERN_OK;
    f->wide = quern__alloc_array((size_t)n * INPUTS, sizeof *f->wide);
    f->small = quern__alloc_array((size_t)n * INPUTS, sizeof *f->small);
    if (!f->wide || !f->small)
        return quern__fail_memory(err, (size_t)n * INPUTS * sizeof *f->wide);
    for (uint32_t i = 0; i < n; i++) {
        f->small[i] = ids[i];
        f->small[n + i] = 1;
        f->small[2 * (size_t)n + i] = 0;
    }
    for (size_t i = 0; i < (size_t)n * INPUTS; i++)
        f->wide[i] = f->small[i];
    for (size_t i = 0; !rc && i < o->input_n; i++) {
        const size_t from = (size_t)o->inputs[i].kind * n;
        const bool wide = o->inputs[i].type == QUERN__ORT_INT64;
        f->names[i] = known_inputs[o->inputs[i].kind];
        rc = check(o,
                   o->api.create_tensor(o->memory,
                                        wide ? (void *)(f->wide + from) : (void *)(f->small + from),
                                        n * (wide ? sizeof *f->wide : sizeof *f->small), dims, 2,
                                        o->inputs[i].type, &f->values[i]),
                   f->names[i], err);
    }
    return rc;
}

static void empty_feed(const quern__ort *o, feed *f)
{
    for (size_t i = 0; i < o->input_n; i++)
        if (f->values[i])
            o->api.release_value(f->values[i]);
    quern__free(f->wide);
    quern__free(f->small);
}

/* The graph's result for one text; *value is the caller's to release. */
static int run_graph(const quern__ort *o, const int32_t *ids, uint32_t n, void **value, shape *s,
                     quern_error *err)
{
    feed f = {0};
    const char *output = o->output;
    *value = NULL;
    int rc = fill_feed(o, &f, ids, n, err);
    if (!rc)
        rc = check(o,
                   o->api.run(o->session, NULL, f.names, (const void *const *)f.values, o->input_n,
                              &output, 1, value),
                   o->path, err);
    if (!rc)
        rc = read_shape(o, *value, s, err);
    if (!rc)
        rc = check_shape(o, s, n, err);
    empty_feed(o, &f);
    return rc;
}

/* ---- from a result to a vector ---- */

/* Row-major [rows][n] in the pieces that kernels read. */
static void lay_out(const float *from, uint32_t rows, uint32_t n, quern__rows to)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < n; c += QUERN__PIECE)
            memcpy(to.at + (size_t)(c / QUERN__PIECE) * to.piece + (size_t)r * QUERN__STRIDE,
                   from + (size_t)r * n + c,
                   QUERN__MIN(n - c, (uint32_t)QUERN__PIECE) * sizeof *from);
}

/* Never a vector that is not one. */
static int check_vector(const quern__ort *o, const float *v, uint32_t n, bool normalize,
                        quern_error *err)
{
    bool finite = true, zero = true;
    for (uint32_t i = 0; i < n; i++) {
        finite &= (bool)isfinite(v[i]);
        zero &= v[i] == 0.0f;
    }
    if (finite && !(zero && normalize))
        return QUERN_OK;
    return quern__fail(err, QUERN_EFORMAT, 0, "%s: result %s is a vector that is %s", o->path,
                       o->output, finite ? "all zeros" : "not finite");
}

/* [rows][dimensions] through the head: a text's tokens, or its vector as the only one. */
static int run_head(const quern__ort *o, const quern__head *head, const float *from, uint32_t rows,
                    bool normalize, float *out, quern_error *err)
{
    const size_t pieces = (o->dimensions + QUERN__PIECE - 1) / QUERN__PIECE,
                 piece = (size_t)rows * QUERN__STRIDE, scratch = quern__head_scratch(head),
                 aligned = (scratch + 15) / 16 * 16,
                 bytes = (aligned + pieces * piece) * sizeof(float);
    float *memory = quern__alloc_pages(bytes);
    if (!memory)
        return quern__fail_memory(err, bytes);
    const quern__rows x = {memory + aligned, piece};
    lay_out(from, rows, o->dimensions, x);
    quern__head_run(head, memory, x, &rows, 1, normalize, out);
    quern__free_pages(memory, bytes);
    return check_vector(o, out, quern__head_width(head), normalize, err);
}

static int read_vector(const quern__ort *o, const quern__head *head, void *value, const shape *s,
                       uint32_t n, bool normalize, float *out, quern_error *err)
{
    const uint32_t rows = o->pools ? n : 1;
    const size_t count = (size_t)rows * o->dimensions;
    void *data = NULL;
    float *widened = NULL;
    int rc = check(o, o->api.tensor_data(value, &data), o->output, err);
    if (rc)
        return rc;
    if (s->type == QUERN__ORT_FLOAT16) {
        widened = quern__alloc_array(count, sizeof *widened);
        if (!widened)
            return quern__fail_memory(err, count * sizeof *widened);
        quern__f16_to_f32(data, widened, count);
    }
    rc = run_head(o, head, widened ? widened : data, rows, normalize, out, err);
    quern__free(widened);
    return rc;
}

static int encode_text(const quern__ort *o, const quern__head *head, const int32_t *ids, uint32_t n,
                       bool normalize, float *out, quern_error *err)
{
    void *value = NULL;
    shape s;
    int rc = run_graph(o, ids, n, &value, &s, err);
    if (!rc)
        rc = read_vector(o, head, value, &s, n, normalize, out, err);
    if (value)
        o->api.release_value(value);
    return rc;
}

/* ---- many texts ---- */

typedef struct job {
    const quern__ort *o;
    const quern__head *head;
    const int32_t *ids;
    const uint32_t *lengths;
    size_t *first; /* [n] */
    int *rc;       /* [n] */
    bool normalize;
    float *out;
    const quern_cancel *cancel;
} job;

static int encode_one(const job *j, uint32_t i, quern_error *err)
{
    return encode_text(j->o, j->head, j->ids + j->first[i], j->lengths[i], j->normalize,
                       j->out + (size_t)i * quern__head_width(j->head), err);
}

static void encode_part(void *ud, uint32_t part, uint32_t worker)
{
    job *j = ud;
    (void)worker;
    j->rc[part] = quern_cancel_raised(j->cancel) ? QUERN_ECANCELLED : encode_one(j, part, NULL);
}

int quern__ort_encode(const quern__ort *o, const quern__head *head, quern__pool *pool,
                      const int32_t *ids, const uint32_t *lengths, uint32_t n, bool normalize,
                      float *out, const quern_cancel *cancel, quern_error *err)
{
    QUERN__REQUIRE(o && head && (!n || (ids && lengths && out)), err);
    if (!n)
        return QUERN_OK;
    job j = {o, head, ids, lengths, NULL, NULL, normalize, out, cancel};
    j.first = quern__alloc_array(n, sizeof *j.first);
    j.rc = quern__calloc(n, sizeof *j.rc);
    int rc = j.first && j.rc ? QUERN_OK : quern__fail_memory(err, n * sizeof *j.first);
    size_t at = 0;
    for (uint32_t i = 0; !rc && i < n; at += lengths[i++])
        j.first[i] = at;
    if (!rc && pool)
        quern__pool_run(pool, n, encode_part, &j);
    for (uint32_t i = 0; !rc && !pool && i < n; i++)
        encode_part(&j, i, 0);
    if (!rc)
        rc = quern__check_cancel(cancel, err);
    /* The text at fault is run once more, alone, for its message. */
    for (uint32_t i = 0; !rc && i < n; i++)
        if (j.rc[i] != QUERN_OK && (rc = encode_one(&j, i, err)) != QUERN_OK)
            rc = quern__blame(err, rc, i);
    quern__free(j.first);
    quern__free(j.rc);
    return rc;
}

/* ---- opening ---- */

/* Element type and rank that the graph declares of what is read into `info`; 0: no tensor. */
static int declared(const quern__ort *o, void *info, const char *name, int *type, size_t *rank,
                    quern_error *err)
{
    const void *tensor = NULL;
    *type = 0;
    *rank = 0;
    int rc = check(o, o->api.cast_tensor_info(info, &tensor), name, err);
    if (!rc && tensor)
        rc = check(o, o->api.element_type(tensor, type), name, err);
    if (!rc && tensor)
        rc = check(o, o->api.dimension_count(tensor, rank), name, err);
    o->api.release_type(info);
    return rc;
}

static int input_type(const quern__ort *o, size_t i, const char *name, int *type, quern_error *err)
{
    void *info = NULL;
    size_t rank;
    int rc = check(o, o->api.input_type(o->session, i, &info), name, err);
    if (!rc)
        rc = declared(o, info, name, type, &rank, err);
    if (rc || *type == QUERN__ORT_INT64 || *type == QUERN__ORT_INT32)
        return rc;
    return quern__fail(err, QUERN_EUNSUPPORTED, *type,
                       "%s: input %s has elements of type %d; INT64 (7) or INT32 (6) is wanted",
                       o->path, name, *type);
}

static int copy_name(const quern__ort *o, void *allocator, char *theirs, char out[NAME_SIZE],
                     quern_error *err)
{
    const size_t n = strlen(theirs);
    snprintf(out, NAME_SIZE, "%s", theirs);
    o->api.allocator_free(allocator, theirs);
    return n < NAME_SIZE
               ? QUERN_OK
               : quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)n,
                             "%s: the name %s… is longer than any that is known", o->path, out);
}

static int read_inputs(quern__ort *o, void *allocator, quern_error *err)
{
    size_t n = 0;
    int rc = check(o, o->api.input_count(o->session, &n), o->path, err);
    for (size_t i = 0; !rc && i < n; i++) {
        char *theirs = NULL, name[NAME_SIZE] = "";
        int kind = 0, type = 0;
        rc = check(o, o->api.input_name(o->session, i, allocator, &theirs), o->path, err);
        if (!rc)
            rc = copy_name(o, allocator, theirs, name, err);
        while (!rc && kind < INPUTS && strcmp(name, known_inputs[kind]) != 0)
            kind++;
        if (!rc && (kind == INPUTS || o->input_n == INPUTS))
            return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)i,
                               "%s: the graph asks for input %s; known: input_ids, "
                               "attention_mask, token_type_ids",
                               o->path, name);
        if (!rc)
            rc = input_type(o, i, name, &type, err);
        o->inputs[o->input_n].kind = kind;
        o->inputs[o->input_n].type = type;
        o->input_n += !rc;
    }
    bool ids = false;
    for (size_t i = 0; i < o->input_n; i++)
        ids = ids || o->inputs[i].kind == 0;
    if (!rc && !ids)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0, "%s: the graph has no input input_ids",
                         o->path);
    return rc;
}

/* How well a result would do, 0 best: by name; else floats, tokens' before a whole text's. A pooler_output is
 * what BERT's training for another task left, and no sentence's vector. Scores of a classifier (logits) are none at all: NEVER. */
static size_t rank_output(const char *name, int type, size_t rank)
{
    static const char *const wanted[] = {"last_hidden_state", "token_embeddings",
                                         "sentence_embedding"};
    const bool floats = type == QUERN__ORT_FLOAT || type == QUERN__ORT_FLOAT16;
    size_t k = 0;
    if (strstr(name, "logits"))
        return NEVER;
    while (k < QUERN__COUNT(wanted) && strcmp(name, wanted[k]) != 0)
        k++;
    if (k == QUERN__COUNT(wanted))
        k += !floats ? 3 : strcmp(name, "pooler_output") == 0 ? 2 : rank == 3 ? 0 : 1;
    return k;
}

/* The result that holds what is wanted; of equal ones the first. */
static int pick_output(quern__ort *o, void *allocator, quern_error *err)
{
    size_t n = 0, best = NEVER, rank = 0;
    int type = 0, rc = check(o, o->api.output_count(o->session, &n), o->path, err);
    for (size_t i = 0; !rc && i < n; i++) {
        char *theirs = NULL, name[NAME_SIZE] = "";
        void *info = NULL;
        rc = check(o, o->api.output_name(o->session, i, allocator, &theirs), o->path, err);
        if (!rc)
            rc = copy_name(o, allocator, theirs, name, err);
        if (!rc)
            rc = check(o, o->api.output_type(o->session, i, &info), o->path, err);
        if (!rc)
            rc = declared(o, info, name, &type, &rank, err);
        if (!rc && rank_output(name, type, rank) < best) {
            best = rank_output(name, type, rank);
            memcpy(o->output, name, sizeof o->output);
        }
    }
    if (!rc && best == NEVER)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)n,
                         "%s: the graph has no result that is a vector: %s", o->path,
                         n ? "logits are the scores of a classifier" : "none at all");
    return rc;
}

static int probe(quern__ort *o, const quern__ort_options *opt, quern_error *err)
{
    void *value = NULL;
    shape s;
    int rc = run_graph(o, opt->probe, opt->probe_tokens, &value, &s, err);
    if (value)
        o->api.release_value(value);
    if (rc)
        return rc;
    o->pools = s.rank == 3;
    o->dimensions = (uint32_t)s.at[s.rank - 1];
    return QUERN_OK;
}

/* Is CUDA compiled into this library? `all`: what is. */
static bool has_cuda(const quern__ort *o, char *all, size_t size)
{
    char **names = NULL;
    int n = 0;
    size_t used = 0;
    bool has = false;
    all[0] = '\0';
    if (quern__ort_check(&o->api, o->api.available_providers(&names, &n), QUERN_EFORMAT, "", NULL))
        return false;
    for (int i = 0; i < n; i++) {
        has = has || strcmp(names[i], "CUDAExecutionProvider") == 0;
        if (used + strlen(names[i]) + 3 < size)
            used += (size_t)snprintf(all + used, size - used, used ? ", %s" : "%s", names[i]);
    }
    quern__ort_check(&o->api, o->api.release_providers(names, n), QUERN_EFORMAT, "", NULL);
    return has;
}

/* TF32 would keep 10 bits of each factor: vectors too far from those of a processor. */
static int add_cuda(const quern__ort *o, void *options, quern_error *err)
{
    static const char *const keys[] = {"use_tf32"}, *const values[] = {"0"};
    char all[200];
    void *cuda = NULL;
    if (!has_cuda(o, all, sizeof all))
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "this ONNX Runtime (%s) has no CUDA provider; it has %s", o->api.version,
                           all);
    int rc = quern__ort_check(&o->api, o->api.create_cuda(&cuda), QUERN_EUNSUPPORTED, "CUDA", err);
    if (rc)
        return rc;
    quern__ort_check(&o->api, o->api.update_cuda(cuda, keys, values, 1), QUERN_EUNSUPPORTED, "CUDA",
                     NULL); /* a library older than the setting has no TF32 on by default either */
    rc = quern__ort_check(&o->api, o->api.append_cuda(options, cuda), QUERN_EUNSUPPORTED, "CUDA",
                          err);
    o->api.release_cuda(cuda);
    return rc;
}

static int set_options(const quern__ort *o, const quern__ort_options *opt, void *options,
                       quern_error *err)
{
    const quern__ort_api *a = &o->api;
    const int intra = opt->intra_threads ? (int)opt->intra_threads : 1;
    const int inter = opt->inter_threads ? (int)opt->inter_threads : 1;
    int rc = check(o, a->set_log_level(options, QUERN__ORT_FATAL), o->path, err);
    if (!rc)
        rc = check(o, a->set_intra_threads(options, intra), o->path, err);
    if (!rc)
        rc = check(o, a->set_inter_threads(options, inter), o->path, err);
    if (!rc && inter > 1)
        rc = check(o, a->set_execution_mode(options, QUERN__ORT_PARALLEL), o->path, err);
    if (!rc)
        rc = check(o, a->set_optimization(options, opt->optimization), o->path, err);
    if (!rc) /* a plan for each length that was ever seen */
        rc = check(o, a->disable_memory_pattern(options), o->path, err);
    return rc;
}

static int open_session(quern__ort *o, const char *path, const quern__ort_options *opt, bool cuda,
                        quern_error *err)
{
    void *options = NULL;
    int rc = check(o, o->api.create_options(&options), o->path, err);
    if (rc)
        return rc;
    rc = set_options(o, opt, options, err);
    if (!rc && cuda)
        rc = add_cuda(o, options, err);
    if (!rc)
        rc = check(o, o->api.create_session(o->env, path, options, &o->session), o->path, err);
    o->api.release_options(options);
    o->cuda = !rc && cuda;
    return rc;
}

static int open_device(quern__ort *o, const char *path, const quern__ort_options *opt,
                       quern_error *err)
{
    quern_error why;
    if (opt->device == QUERN__ORT_CPU)
        return open_session(o, path, opt, false, err);
    if (open_session(o, path, opt, true, &why) == QUERN_OK)
        return QUERN_OK;
    if (opt->device == QUERN__ORT_CUDA && opt->strict)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "device cuda: %s", why.msg);
    const int rc = open_session(o, path, opt, false, err);
    if (!rc && opt->device == QUERN__ORT_CUDA)
        snprintf(o->note, sizeof o->note, "%.290s", why.msg);
    return rc;
}

static int open_all(quern__ort *o, const char *path, const quern__ort_options *opt,
                    quern_error *err)
{
    void *allocator = NULL;
    int rc = quern__ort_api_open(&o->api, opt->library, err);
    if (rc)
        return rc;
    rc = check(o, o->api.create_env(QUERN__ORT_FATAL, "quern", &o->env), o->path, err);
    if (!rc) /* nothing leaves the machine */
        rc = check(o, o->api.disable_telemetry(o->env), o->path, err);
    if (!rc)
        rc = check(o, o->api.create_cpu_memory(1, 0, &o->memory), o->path, err);
    if (!rc)
        rc = check(o, o->api.default_allocator(&allocator), o->path, err);
    if (!rc)
        rc = open_device(o, path, opt, err);
    if (!rc)
        rc = read_inputs(o, allocator, err);
    if (!rc)
        rc = pick_output(o, allocator, err);
    return rc ? rc : probe(o, opt, err);
}

int quern__ort_open(quern__ort **out, const char *path, const quern__ort_options *opt,
                    quern_error *err)
{
    QUERN__REQUIRE(out && path && opt && opt->probe && opt->probe_tokens, err);
    *out = NULL;
    quern__ort *o = quern__calloc(1, sizeof *o);
    if (!o)
        return quern__fail_memory(err, sizeof *o);
    snprintf(o->path, sizeof o->path, "%s", path);
    const int rc = open_all(o, path, opt, err);
    if (rc)
        quern__ort_free(o);
    else
        *out = o;
    return rc;
}

void quern__ort_free(quern__ort *o)
{
    if (!o)
        return;
    if (o->session)
        o->api.release_session(o->session);
    if (o->memory)
        o->api.release_memory(o->memory);
    if (o->env)
        o->api.release_env(o->env);
    quern__ort_api_close(&o->api);
    quern__free(o);
}

uint32_t quern__ort_dimensions(const quern__ort *o)
{
    return o->dimensions;
}

const char *quern__ort_version(const quern__ort *o)
{
    return o->api.version;
}

const char *quern__ort_output(const quern__ort *o)
{
    return o->output;
}

bool quern__ort_pools(const quern__ort *o)
{
    return o->pools;
}

const char *quern__ort_device_name(const quern__ort *o)
{
    return o->cuda ? "cuda" : "cpu";
}

const char *quern__ort_device_note(const quern__ort *o)
{
    return o->note;
}
