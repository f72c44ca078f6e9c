/*
 * bench_encoder.c — texts per second of the forward pass alone, from files of token ids (one text a
 * line, decimal, spaces between). The statistic of docs/design.md §6: the batches are timed in n
 * interleaved rounds, the figure is the sum over batches of each one's best time; the sum of medians
 * stands beside it. Threads and instruction set can be chosen; --stages shows where one thread's time goes.
 *
 *   bench_encoder [--model DIR] [--precision fp32|int8|int4|bf16|fp16] [--threads N] [--cpu LEVELS] [--rounds N]
 *                 [--batch N] [--stages] FILE…
 *   bench_encoder --dump FILE   prints nothing but each vector as hex words: for comparing bits by hand
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/cpu.h"
#include "base/os.h"
#include "encoder/encoder_impl.h"
#include "encoder/quantised_file.h"
#include "kernels/classes.h"

typedef struct texts {
    int32_t *ids;
    uint32_t *lengths, n;
    size_t total;
} texts;

typedef struct setup {
    quern__model_config config;
    quern__weights *weights;
    const quern__kernels *kernels;
    quern__kernels room;
    int precision; /* of classes.h */
    quern__encoder *encoder;
    quern__encoder_scratch *scratch;
    quern__pool *pool;
    uint32_t threads, rounds, batch, cpu;
    bool stages, dump, int8, four;
    double open_ms;
} setup;

static void die(const quern_error *err)
{
    fprintf(stderr, "bench_encoder: %s\n", err->msg);
    exit(1);
}

static void read_texts(texts *t, const char *path)
{
    quern_error err;
    char *data;
    size_t size;
    if (quern__read_file(path, (size_t)1 << 28, &data, &size, &err))
        die(&err);
    t->ids = quern__alloc_array(size / 2 + 1, sizeof *t->ids);
    t->lengths = quern__calloc(size / 2 + 1, sizeof *t->lengths);
    t->n = 0;
    t->total = 0;
    if (!t->ids || !t->lengths)
        exit(1);
    for (char *p = data; *p;) {
        if (*p == '\n') {
            t->n += t->lengths[t->n] != 0;
            p++;
        } else {
            t->ids[t->total++] = (int32_t)strtol(p, &p, 10);
            t->lengths[t->n]++;
            while (*p == ' ')
                p++;
        }
    }
    t->n += t->lengths[t->n] != 0;
    quern__free(data);
}

static int by_time(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t encode(setup *s, const int32_t *ids, const uint32_t *lengths, uint32_t n,
                       float *out)
{
    quern_error err;
    const uint64_t start = quern__now_ns();
    if (quern__encode(s->encoder, s->scratch, s->threads > 1 ? s->pool : NULL, ids, lengths, n,
                      true, out, NULL, &err))
        die(&err);
    return quern__now_ns() - start;
}

static void print_stages(const setup *s, uint64_t tokens)
{
    static const char *const names[QUERN__STAGES] = {
        [QUERN__STAGE_EMBED] = "embed",     [QUERN__STAGE_QKV] = "qkv",
        [QUERN__STAGE_TURN] = "turn",       [QUERN__STAGE_ATTENTION] = "attention",
        [QUERN__STAGE_CONTEXT] = "context", [QUERN__STAGE_OUT] = "out",
        [QUERN__STAGE_NORM] = "norm",       [QUERN__STAGE_UP] = "up+gelu",
        [QUERN__STAGE_INNER] = "inner",     [QUERN__STAGE_DOWN] = "down",
        [QUERN__STAGE_POOL] = "pool"};
    const quern__encoder *e = s->encoder;
    const double h = e->hidden, inner = e->intermediate;
    const double flops[QUERN__STAGES] = {[QUERN__STAGE_QKV] = 6 * h * h,
                                         [QUERN__STAGE_OUT] = 2 * h * h,
                                         [QUERN__STAGE_UP] = 2 * h * inner,
                                         [QUERN__STAGE_DOWN] = 2 * h * inner};
    uint64_t sum = 0;
    for (int i = 0; i < QUERN__STAGES; i++)
        sum += s->scratch->stage_ns[i];
    for (int i = 0; i < QUERN__STAGES; i++) {
        const double ns = (double)s->scratch->stage_ns[i];
        printf("  %-10s %5.1f %%", names[i], 100 * ns / (double)sum);
        if (flops[i] > 0)
            printf("  %6.1f GF/s", flops[i] * (double)tokens * e->layer_count / ns);
        printf("\n");
    }
}

static void measure(setup *s, const char *path)
{
    texts t;
    read_texts(&t, path);
    const uint32_t batches = (t.n + s->batch - 1) / s->batch;
    float *out = quern__alloc_array((size_t)t.n * s->encoder->width, sizeof *out);
    uint64_t *times = quern__alloc_array((size_t)batches * s->rounds, sizeof *times);
    if (!out || !times)
        exit(1);
    for (int i = 0; i < QUERN__STAGES; i++)
        s->scratch->stage_ns[i] = 0;
    for (uint32_t r = 0; r < s->rounds; r++) {
        const int32_t *ids = t.ids;
        for (uint32_t b = 0; b < batches; b++) {
            const uint32_t first = b * s->batch,
                           n = t.n - first < s->batch ? t.n - first : s->batch;
            times[(size_t)b * s->rounds + r] =
                encode(s, ids, t.lengths + first, n, out + (size_t)first * s->encoder->width);
            for (uint32_t i = 0; i < n; i++)
                ids += t.lengths[first + i];
        }
    }
    double best = 0, median = 0;
    for (uint32_t b = 0; b < batches; b++) {
        uint64_t *of = times + (size_t)b * s->rounds;
        qsort(of, s->rounds, sizeof *of, by_time);
        best += (double)of[0];
        median += (double)of[s->rounds / 2];
    }
    if (s->dump)
        for (size_t i = 0; i < (size_t)t.n * s->encoder->width; i++) {
            uint32_t bits;
            memcpy(&bits, out + i, sizeof bits);
            printf("%08x%c", bits, (i + 1) % s->encoder->width ? ' ' : '\n');
        }
    else
        printf("%s: %u texts, %.1f tokens each, batches of %u: best %.1f texts/s (%.3f ms a "
               "batch), median %.1f\n",
               path, t.n, (double)t.total / t.n, s->batch, t.n * 1e9 / best, best / batches / 1e6,
               t.n * 1e9 / median);
    if (s->stages)
        print_stages(s, (uint64_t)t.total * s->rounds);
    quern__free(out);
    quern__free(times);
    quern__free(t.ids);
    quern__free(t.lengths);
}

static bool take_class(setup *s, const char *name)
{
    static const char *const names[] = {
        [QUERN__CLASS_FP32] = "fp32", [QUERN__CLASS_BF16] = "bf16", [QUERN__CLASS_FP16] = "fp16"};
    s->four = !strcmp(name, "int4");
    s->int8 = s->four || !strcmp(name, "int8");
    s->precision = QUERN__CLASS_FP32;
    for (size_t c = 0; c < QUERN__COUNT(names); c++)
        if (!strcmp(name, names[c])) {
            s->precision = (int)c;
            return true;
        }
    return s->int8;
}

static void open_int8(setup *s, const char *folder, uint32_t longest)
{
    char path[4096];
    quern_error err;
    quern__quantised_file file;
    const quern__int8_kernels *int8 = quern__int8_pick(s->cpu);
    snprintf(path, sizeof path, "%s/%s", folder,
             s->four ? QUERN__FOUR_NAME : QUERN__QUANTISED_NAME);
    if (quern__quantised_open(&file, path, &s->config, &err) ||
        quern__encoder_open_int8(&s->encoder, &s->config, s->weights, file.numbers, s->kernels,
                                 int8, longest, &err))
        die(&err);
    quern__quantised_close(&file);
    if (!s->dump)
        printf("%s by %s, the rest by ", s->four ? "int4" : "int8", int8->name);
}

static void open_model(setup *s, const char *folder)
{
    char path[4096];
    quern_error err;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    const uint64_t start = quern__now_ns();
    s->kernels = quern__kernels_of(s->precision, s->cpu, &s->room);
    if (quern__model_config_read(&s->config, folder, &err) ||
        quern__weights_open_file(&s->weights, QUERN__SAFETENSORS, path, &err))
        die(&err);
    const uint32_t longest = QUERN__MIN(s->config.positions, 512u);
    if (s->int8)
        open_int8(s, folder, longest);
    else if (quern__encoder_open(&s->encoder, &s->config, s->weights, s->kernels, longest, &err))
        die(&err);
    s->open_ms = (double)(quern__now_ns() - start) / 1e6;
    if (quern__pool_new(&s->pool, s->threads, &err) ||
        quern__encoder_scratch_new(&s->scratch, s->encoder, s->threads, &err))
        die(&err);
    s->scratch->timed = s->stages && s->threads == 1;
}

int main(int argc, char **argv)
{
    setup s = {.threads = 1, .rounds = 10, .batch = 32, .cpu = quern__cpu_detected()};
    const char *folder = getenv("QUERN_TEST_MODEL");
    int i = 1;
    quern_error err;
    for (; i < argc && argv[i][0] == '-'; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--stages")) {
            s.stages = true;
            continue;
        }
        if (!strcmp(argv[i], "--dump")) {
            s.dump = true;
            continue;
        }
        if (!strcmp(argv[i], "--model"))
            folder = value;
        else if (!strcmp(argv[i], "--precision")) {
            if (!take_class(&s, value))
                break;
        } else if (!strcmp(argv[i], "--threads"))
            s.threads = (uint32_t)strtoul(value, NULL, 10);
        else if (!strcmp(argv[i], "--rounds"))
            s.rounds = (uint32_t)strtoul(value, NULL, 10);
        else if (!strcmp(argv[i], "--batch"))
            s.batch = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--cpu") != 0 || quern__cpu_parse(value, &s.cpu, &err))
            break;
        i++;
    }
    if (i >= argc || argv[i][0] == '-' || !folder || !s.threads || !s.rounds || !s.batch) {
        fprintf(
            stderr,
            "usage: bench_encoder --model DIR [--precision fp32|int8|int4|bf16|fp16] [--threads N] "
            "[--cpu LEVELS] [--rounds "
            "N] [--batch N] "
            "[--stages] [--dump] FILE…\n");
        return 2;
    }
    open_model(&s, folder);
    if (!s.dump)
        printf("%s, %u threads, %u rounds, open %.1f ms, %.1f MiB packed\n",
               quern__kernels_name(s.kernels), s.threads, s.rounds, s.open_ms,
               (double)quern__encoder_bytes(s.encoder) / 1048576);
    for (; i < argc; i++)
        measure(&s, argv[i]);
    quern__encoder_scratch_free(s.scratch);
    quern__pool_free(s.pool);
    quern__encoder_free(s.encoder);
    quern__weights_free(s.weights);
    return 0;
}
