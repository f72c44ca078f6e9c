/*
 * quantize.c — quern_model_quantize: calibrates on the probe texts, rounds, opens the result as any user of it
 * would, holds it to fp32 on texts that it was not calibrated on, and writes it beside the weights. Nothing
 * is written below the gate (docs/design.md §6), unless it is forced; and nothing is left half written.
 *
 * int4 that misses its gate keeps matrices in bytes, one more at a time, until it passes. Which come first is found on
 * the texts of the calibration, so that those that judge it have no say in it but when it is enough: each matrix is alone of 4
 * bits, and what that costs in mean cosine is divided by the bytes that keeping it costs. At half of those bytes it ends: that would
 * be int8 with a worse gate. Rejected: the last layers or the first ones before the others (of all-MiniLM-L6-v2's
 * six it is the fifth), and the worst cosine instead of the mean (one text decides, and another in every model).
 */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/cpu.h"
#include "base/fpenv.h"
#include "base/os.h"
#include "base/sha256.h"
#include "embedder/embedder.h"
#include "embedder/model_impl.h"
#include "encoder/quantise.h"
#include "encoder/quantised_file.h"
#include "format/manifest.h"
#include "shelf/shelf_stage.h"
#include "embedder/probe_texts.inc"

enum { NEIGHBOURS = 5 };

/* Texts as the encoder takes them. */
typedef struct probes {
    int32_t *ids;
    uint32_t *lengths, n;
} probes;

static void probes_free(probes *p)
{
    quern__free(p->ids);
    quern__free(p->lengths);
}

static int probes_of(probes *p, const quern_model *m, const quern_str *texts, uint32_t n,
                     quern_error *err)
{
    const uint32_t most = quern_model_max_length(m);
    size_t room = 0, at = 0;
    for (uint32_t i = 0; i < n; i++)
        room += texts[i].len + 16; /* a token is a byte at least, but for the special ones */
    *p = (probes){quern__alloc_array(room, sizeof *p->ids),
                  quern__alloc_array(n, sizeof *p->lengths), n};
    if (!p->ids || !p->lengths)
        return quern__fail_memory(err, room * sizeof *p->ids);
    quern__tokens t;
    quern__tokens_init(&t);
    int rc = QUERN_OK;
    for (uint32_t i = 0; !rc && i < n; i++) {
        rc = quern__tokenize(quern__model_tokenizer(m), texts[i], most, &t, err);
        if (rc)
            break;
        p->lengths[i] = QUERN__MIN(t.n, most);
        if (!t.n || at + p->lengths[i] > room)
            rc = quern__fail(err, QUERN_EFORMAT, i,
                             "%s: its tokenizer makes %u tokens of probe text %u",
                             quern__model_name(m), t.n, i);
        else
            memcpy(p->ids + at, t.ids, p->lengths[i] * sizeof *p->ids);
        at += p->lengths[i];
    }
    quern__tokens_dispose(&t);
    return rc;
}

enum {
    CUTS = 4,
    MOST_PROBES = CUTS * QUERN__MAX(QUERN__COUNT(calibration), QUERN__COUNT(held_out))
};

static int probes_make(probes *p, const quern_model *m, const char *const *texts, uint32_t n,
                       quern_error *err)
{
    quern_str list[MOST_PROBES];
    for (uint32_t i = 0; i < n; i++)
        list[i] = quern_str_of(texts[i]);
    return probes_of(p, m, list, n, err);
}

/* `many` words of a text from word `first` on; length 0: it has no so many. */
static quern_str words_of(const char *text, uint32_t first, uint32_t many)
{
    for (; first; first--) {
        text += strcspn(text, " ");
        text += strspn(text, " ");
    }
    const char *end = text;
    for (uint32_t i = 0; i < many; i++) {
        end += strspn(end, " ");
        end += strcspn(end, " ");
    }
    return (quern_str){text, (size_t)(end - text)};
}

/* int4 is rougher, and most so on the shortest texts, where little is averaged: the calibration has words of its texts, too. */
static int probes_with_words(probes *p, const quern_model *m, quern_error *err)
{
    static const uint8_t cuts[CUTS - 1][2] = {{0, 1}, {1, 3}, {3, 1}};
    quern_str list[MOST_PROBES];
    uint32_t n = 0;
    for (uint32_t i = 0; i < QUERN__COUNT(calibration); i++)
        list[n++] = quern_str_of(calibration[i]);
    for (uint32_t c = 0; c < QUERN__COUNT(cuts); c++)
        for (uint32_t i = 0; i < QUERN__COUNT(calibration); i++) {
            list[n] = words_of(calibration[i], cuts[c][0], cuts[c][1]);
            n += list[n].len > 0;
        }
    return probes_of(p, m, list, n, err);
}

static int vectors_of(const quern__encoder *e, const probes *p, const quern_cancel *cancel,
                      uint32_t dim, float **out, quern_error *err)
{
    quern__encoder_scratch *s = NULL;
    *out = quern__alloc_array(p->n, (size_t)dim * sizeof **out);
    int rc = *out ? quern__encoder_scratch_new(&s, e, 1, err)
                  : quern__fail_memory(err, (size_t)p->n * dim * sizeof **out);
    if (!rc)
        rc = quern__encode(e, s, NULL, p->ids, p->lengths, p->n, true, *out, cancel, err);
    quern__encoder_scratch_free(s);
    return rc;
}

static double dot(const float *a, const float *b, uint32_t dim)
{
    double sum = 0;
    for (uint32_t i = 0; i < dim; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* The texts most like text i, best first. */
static void neighbours(const float *v, uint32_t n, uint32_t dim, uint32_t i,
                       uint32_t out[NEIGHBOURS])
{
    double score[NEIGHBOURS] = {0};
    uint32_t have = 0;
    for (uint32_t j = 0; j < n; j++) {
        if (j == i)
            continue;
        const double s = dot(v + (size_t)i * dim, v + (size_t)j * dim, dim);
        uint32_t at = have < NEIGHBOURS ? have++ : NEIGHBOURS;
        for (; at > 0 && score[at - 1] < s; at--)
            if (at < NEIGHBOURS) {
                score[at] = score[at - 1];
                out[at] = out[at - 1];
            }
        if (at < NEIGHBOURS) {
            score[at] = s;
            out[at] = j;
        }
    }
}

/* As the file will hold it, so that whoever reads it there comes to the same judgement. */
static quern__fidelity fidelity_of(const quern_quantize_report *r)
{
    return (quern__fidelity){(float)r->cosine_mean, (float)r->cosine_worst, (float)r->ranking};
}

static void compare(const float *fp32, const float *int8, uint32_t n, uint32_t dim, bool four,
                    quern_quantize_report *r)
{
    uint32_t kept = 0;
    r->cosine_mean = 0;
    r->cosine_worst = 1;
    for (uint32_t i = 0; i < n; i++) {
        const double near = dot(fp32 + (size_t)i * dim, int8 + (size_t)i * dim, dim);
        uint32_t a[NEIGHBOURS] = {0}, b[NEIGHBOURS] = {0};
        r->cosine_mean += near / n;
        r->cosine_worst = near < r->cosine_worst ? near : r->cosine_worst;
        neighbours(fp32, n, dim, i, a);
        neighbours(int8, n, dim, i, b);
        for (uint32_t x = 0; x < NEIGHBOURS; x++)
            for (uint32_t y = 0; y < NEIGHBOURS; y++)
                kept += a[x] == b[y];
    }
    r->ranking = (double)kept / ((double)n * NEIGHBOURS);
    r->probes = n;
    const quern__fidelity f = fidelity_of(r);
    r->passed = quern__fidelity_passes(&f, four);
}

/* What the caller asked for, with the caller's numbers in. */
typedef struct work {
    quern_model *model;
    const quern_quantize_options *opt;
    quern_quantize_report report;
    quern_error *err;
} work;

static int told_of(const work *w, const char *what, uint32_t done, uint32_t total, quern_error *err)
{
    if (w->opt->progress && w->opt->progress(what, done, total, w->opt->progress_ud) != 0)
        return quern__fail(err, QUERN_ECANCELLED, 0, "cancelled at %s", what);
    return QUERN_OK;
}

static int told(void *ud, uint32_t done, uint32_t total, quern_error *err)
{
    return told_of(ud, "quantising layers", done, total, err);
}

/* Vectors by these numbers, as whoever opens the file will have them. */
static int vectors_by(const work *w, const quern__quantised *q, const probes *p, float **out)
{
    const quern_model *m = w->model;
    const uint32_t allowed = quern__cpu_allowed();
    quern__encoder *e = NULL;
    *out = NULL;
    int rc = quern__encoder_open_int8(&e, quern__model_settings(m), quern__model_weights(m), q,
                                      quern__kernels_pick(allowed), quern__int8_pick(allowed),
                                      quern_model_max_length(m), w->err);
    if (!rc)
        rc = quern__model_add_dense(m, e, w->err);
    if (!rc)
        rc = vectors_of(e, p, w->opt->cancel, quern_model_dimensions(m), out, w->err);
    quern__encoder_free(e);
    return rc;
}

/* Fidelity on the texts that were held out. */
static int measure(work *w, const quern__quantised *q)
{
    const quern_model *m = w->model;
    const uint32_t dim = quern_model_dimensions(m);
    float *fp32 = NULL, *int8 = NULL;
    probes p = {NULL, NULL, 0};
    int rc = probes_make(&p, m, held_out, QUERN__COUNT(held_out), w->err);
    if (!rc)
        rc = vectors_of(quern__model_encoder(m), &p, w->opt->cancel, dim, &fp32, w->err);
    if (!rc)
        rc = vectors_by(w, q, &p, &int8);
    if (!rc)
        compare(fp32, int8, p.n, dim, q->four, &w->report);
    quern__free(fp32);
    quern__free(int8);
    probes_free(&p);
    return rc;
}

/* ---- int4: what it keeps in bytes ---- */

/* Matrices of one layer that are kept together, in all numbers of both classes. */
typedef struct candidate {
    uint32_t layer, bytes; /* that keeping them costs */
    uint8_t bits;
    double gain; /* in mean cosine, for each of these bytes */
} candidate;

typedef struct keeping {
    work *w;
    const quern__quantised *four;
    quern__quantised *eight;
    candidate *list; /* best first, once they are weighed */
    uint32_t n;
    uint8_t *kept; /* [layers] */
    float *fp32;   /* of the calibration's texts */
    const probes *texts;
} keeping;

static uint32_t cost_of(const quern__quantised *q, uint8_t bits)
{
    uint64_t weights = 0;
    for (int m = 0; m < QUERN__Q_MATRICES; m++)
        if (bits >> m & 1 && quern__quantised_has(q, m))
            weights += (uint64_t)quern__quantised_outputs(q, m) * quern__quantised_inputs(q, m);
    return (uint32_t)(weights / 32 *
                      15); /* a byte each, in place of half of one and a step for 32 */
}

/* Mean of 1 - cosine over the calibration's texts, with what is kept now. */
static int loss_of(keeping *k, double *loss)
{
    const uint32_t dim = quern_model_dimensions(k->w->model), n = k->texts->n;
    quern__quantised *q = NULL;
    float *v = NULL;
    int rc = quern__quantised_mix(&q, k->four, k->eight, k->kept, k->w->err);
    if (!rc)
        rc = vectors_by(k->w, q, k->texts, &v);
    *loss = 0;
    for (uint32_t i = 0; !rc && i < n; i++)
        *loss += (1 - dot(k->fp32 + (size_t)i * dim, v + (size_t)i * dim, dim)) / n;
    quern__free(v);
    quern__quantised_free(q);
    return rc;
}

static int by_gain(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->gain != y->gain)
        return x->gain > y->gain ? -1 : 1;
    return x->layer != y->layer ? (x->layer < y->layer ? -1 : 1) : x->bits - y->bits;
}

/* What each candidate costs when it alone is of 4 bits. */
static int weigh(keeping *k)
{
    double all_kept = 0, loss;
    int rc = QUERN_OK;
    for (uint32_t l = 0; l < k->four->layers; l++)
        for (int i = 0; i < QUERN__KEEPABLE; i++)
            k->kept[l] |= quern__keepable[i];
    rc = loss_of(k, &all_kept);
    for (uint32_t i = 0; !rc && i < k->n; i++) {
        candidate *c = k->list + i;
        c->layer = i / QUERN__KEEPABLE;
        c->bits = quern__keepable[i % QUERN__KEEPABLE];
        c->bytes = cost_of(k->four, c->bits);
        k->kept[c->layer] ^= c->bits;
        rc = told_of(k->w, "weighing matrices", i, k->n, k->w->err);
        if (!rc)
            rc = loss_of(k, &loss);
        if (!rc)
            c->gain = (loss - all_kept) / c->bytes;
        k->kept[c->layer] ^= c->bits;
    }
    if (!rc)
        qsort(k->list, k->n, sizeof *k->list, by_gain);
    memset(k->kept, 0, k->four->layers);
    return rc;
}

/* Their names behind those that are there; where there is no room for all, an ellipsis in place of the last. */
static void note_kept(char *kept, size_t room, const quern__quantised *q, const candidate *c)
{
    for (int m = 0; m < QUERN__Q_MATRICES; m++) {
        static const char more[] = " …";
        char name[64];
        const size_t have = strlen(kept);
        if (!(c->bits >> m & 1) || !quern__quantised_has(q, m))
            continue;
        const int n = snprintf(name, sizeof name, "%slayer.%u.%s", have ? " " : "", c->layer,
                               quern__quantised_name(m));
        if (have + (size_t)n + sizeof more <= room)
            memcpy(kept + have, name, (size_t)n + 1);
        else if (strcmp(kept + have - strlen(more), more) != 0)
            memcpy(kept + have, more, sizeof more);
    }
}

/* The first of the list in bytes, until that passes: *out, NULL where half of all bytes is not enough; the report is then as it was. */
static int keep_until_passed(keeping *k, quern__quantised **out)
{
    quern_quantize_report was = k->w->report;
    uint64_t bytes = 0, all = 0;
    int rc = QUERN_OK;
    for (uint32_t i = 0; i < k->n; i++)
        all += k->list[i].bytes;
    for (uint32_t i = 0; !rc && i < k->n && (bytes += k->list[i].bytes) <= all / 2; i++) {
        k->kept[k->list[i].layer] |= k->list[i].bits;
        note_kept(k->w->report.kept, sizeof k->w->report.kept, k->four, k->list + i);
        rc = quern__quantised_mix(out, k->four, k->eight, k->kept, k->w->err);
        if (!rc)
            rc = measure(k->w, *out);
        if (!rc && k->w->report.passed)
            return QUERN_OK;
        quern__quantised_free(*out);
        *out = NULL;
    }
    k->w->report = was;
    return rc;
}

/* *q, all of 4 bits, misses the gate: *mixed keeps what it takes to pass, and reads *eight; NULL where it does not pass. */
static int keep_more(work *w, const quern__quantised *q, const probes *p, quern__quantised **eight,
                     quern__quantised **mixed)
{
    keeping k = {.w = w, .four = q, .texts = p, .n = q->layers * QUERN__KEEPABLE};
    k.list = quern__alloc_array(k.n, sizeof *k.list);
    k.kept = quern__calloc(q->layers, 1);
    int rc = k.list && k.kept ? QUERN_OK : quern__fail_memory(w->err, k.n * sizeof *k.list);
    if (!rc)
        rc = quern__quantise(eight, quern__model_encoder(w->model), quern__model_weights(w->model),
                             false, p->ids, p->lengths, p->n, told, w, w->opt->cancel, w->err);
    k.eight = *eight;
    if (!rc)
        rc = vectors_of(quern__model_encoder(w->model), p, w->opt->cancel,
                        quern_model_dimensions(w->model), &k.fp32, w->err);
    if (!rc)
        rc = weigh(&k);
    if (!rc)
        rc = keep_until_passed(&k, mixed);
    quern__free(k.fp32);
    quern__free(k.kept);
    quern__free(k.list);
    return rc;
}

/* ---- writing it down ---- */

static const char *file_of(bool four)
{
    return four ? QUERN__FOUR_NAME : QUERN__QUANTISED_NAME;
}

/* The shelf's manifest without the file, or (recorded) with it as it is now; a folder that has no manifest gets none. */
static int note_in_manifest(const char *folder, const char *name, const char *path, bool recorded,
                            quern_error *err)
{
    quern__map map = {0};
    quern__stat st;
    uint8_t digest[32];
    char hex[65];
    quern__manifest *m = quern__calloc(1, sizeof *m);
    int rc = m ? quern__manifest_read(m, folder, err) : quern__fail_memory(err, sizeof *m);
    const bool none = rc == QUERN_ENOTFOUND;
    if (rc == QUERN_OK && recorded)
        rc = quern__stat_path(path, &st, err);
    if (rc == QUERN_OK && recorded)
        rc = quern__map_open(&map, path, err);
    if (rc == QUERN_OK && recorded)
        rc = quern__sha256_of(map.data, map.size, digest, err);
    quern__map_close(&map);
    const bool was = rc == QUERN_OK && quern__manifest_find(m, name);
    if (was)
        quern__manifest_drop(m, name);
    if (rc == QUERN_OK && recorded) {
        quern__hex32(digest, hex);
        rc = quern__manifest_add(m, name, hex, st.size, st.mtime_ns, err);
    }
    if (rc == QUERN_OK && (was || recorded))
        rc = quern__manifest_write(m, folder, err);
    quern__free(m);
    return none ? QUERN_OK : rc;
}

/* The manifest knows nothing of the file while it changes: whoever dies in between leaves one that is not listed, which is
 * as good, and never one that looks damaged. */
static int put_beside(const quern__quantised *q, const char *source, const char *architecture,
                      const quern__fidelity *f, const char *folder, const char *path,
                      quern_quantize_report *r, quern_error *err)
{
    int rc = note_in_manifest(folder, file_of(q->four), path, false, err);
    if (!rc)
        rc = quern__quantised_write(q, source, architecture, f, path, r->checksum, &r->bytes, err);
    return rc ? rc : note_in_manifest(folder, file_of(q->four), path, true, err);
}

static int write_down(work *w, const quern__quantised *q, const char *folder)
{
    quern_quantize_report *r = &w->report;
    const quern__fidelity f = fidelity_of(r);
    char source[65], architecture[65];
    quern__lock *lock = NULL;
    if (!r->passed && !w->opt->force && q->four)
        return quern__fail(
            w->err, QUERN_EMISMATCH, 0,
            "%s: int4 is too far from fp32, with half of its matrices in bytes, too: "
            "cosine %.5f at worst over %u texts without, the gate is %g; nothing was "
            "written (--force)",
            quern__model_name(w->model), r->cosine_worst, r->probes, (double)QUERN__GATE4_WORST);
    if (!r->passed && !w->opt->force)
        return quern__fail(
            w->err, QUERN_EMISMATCH, 0,
            "%s: int8 is too far from fp32: cosine %.5f on average and %.5f at worst "
            "over %u texts, the gate is %g and %g; nothing was written (--force)",
            quern__model_name(w->model), r->cosine_mean, r->cosine_worst, r->probes,
            (double)QUERN__GATE_MEAN, (double)QUERN__GATE_WORST);
    const size_t n = strlen(folder) + strlen(file_of(q->four)) + 2;
    char *path = quern__alloc(n);
    if (!path)
        return quern__fail_memory(w->err, n);
    snprintf(path, n, "%s/%s", folder, file_of(q->four));
    int rc = quern_model_weights_sha256(w->model, source, w->err);
    if (!rc)
        rc = quern__model_config_architecture_sha256(quern__model_settings(w->model), architecture,
                                                     w->err);
    if (!rc) /* minutes have gone: what stands there now, and stays while the lock is held, is still this model */
        rc = quern__shelf_lock_of(&lock, folder, w->opt->cancel, w->err);
    if (!rc)
        rc = quern__model_in_place(w->model, w->err);
    if (!rc)
        rc = put_beside(q, source, architecture, &f, folder, path, r, w->err);
    quern__unlock_file(lock);
    quern__free(path);
    return rc;
}

int quern_model_quantize(const char *folder, const quern_quantize_options *opt,
                         quern_quantize_report *report, quern_error *err)
{
    QUERN__REQUIRE(folder && *folder, err);
    QUERN__REQUIRE(!opt || opt->struct_size >= offsetof(quern_quantize_options, precision), err);
    QUERN__REQUIRE(!report || report->struct_size >= sizeof(size_t), err);
    quern_model_options how;
    quern__quantised *q = NULL, *eight = NULL, *mixed = NULL;
    probes p = {NULL, NULL, 0};
    quern_quantize_options asked;
    work w = {.opt = &asked, .err = err};
    QUERN_INIT(&asked);
    if (opt) /* an older caller's is shorter */
        memcpy(&asked, opt, QUERN__MIN(opt->struct_size, sizeof asked));
    asked.precision = asked.precision ? asked.precision : QUERN_PRECISION_INT8;
    const bool four = asked.precision == QUERN_PRECISION_INT4;
    QUERN__REQUIRE(four || asked.precision == QUERN_PRECISION_INT8, err);
    const quern_cancel *cancel = asked.cancel;
    char source[65];
    QUERN_INIT(&how);
    QUERN_INIT(&w.report);
    how.precision = QUERN_PRECISION_FP32;
    const quern__fpenv env = quern__fpenv_enter(); /* what is measured is part of the file */
    how.name = asked.name;
    int rc = quern_model_open(&w.model, folder, &how, err);
    if (!rc && w.model->alone)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0,
                         "%s: a GGUF file that stands alone has no place for quantised weights; "
                         "put the model's JSON files beside it",
                         folder);
    if (!rc) /* now, for minutes later it may be another file */
        rc = quern_model_weights_sha256(w.model, source, err);
    if (!rc)
        rc = four ? probes_with_words(&p, w.model, err)
                  : probes_make(&p, w.model, calibration, QUERN__COUNT(calibration), err);
    if (!rc)
        rc = quern__quantise(&q, quern__model_encoder(w.model), quern__model_weights(w.model), four,
                             p.ids, p.lengths, p.n, told, &w, cancel, err);
    if (!rc)
        rc = measure(&w, q);
    if (!rc && four && !w.report.passed)
        rc = keep_more(&w, q, &p, &eight, &mixed);
    if (!rc)
        rc = write_down(&w, mixed ? mixed : q, folder);
    quern__fpenv_leave(env);
    if (report) {
        const size_t room = report->struct_size, n = QUERN__MIN(room, sizeof w.report);
        memcpy(report, &w.report, n);
        report->struct_size = room;
    }
    quern__quantised_free(mixed);
    quern__quantised_free(eight);
    quern__quantised_free(q);
    probes_free(&p);
    quern_model_free(w.model);
    return rc;
}
