/*
 * quantise.c — calibration, smoothing and GPTQ rounding.
 *
 * Per layer one pass of the fp32 encoder over the probe texts gives, for what each product reads, the
 * greatest value a channel takes, and per piece of 384 channels H = sum of x xᵀ. Smoothing follows from the
 * first (it scales H by its two channels); rounding from the second: the weights of a column are rounded k
 * after k, and what each rounding misses is put on those behind it by U, the upper factor of
 * H⁻¹ = Uᵀ U, which changes what the product gives on the probe texts least.
 *
 * Pieces are rounded each on its own, as their scales are: the full H of a wide row would be 16 times the
 * memory and 4 times the work for what few percent of the error couples over pieces.
 */
#include "encoder/quantise.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/compiler.h"
#include "base/fpenv.h"
#include "encoder/encoder_impl.h"
#include "format/family.h"

enum { SIDE = QUERN__PIECE, NAME_SIZE = 128 };

/* Sums of one layer. Readings in the order of their enum; a reading has so many pieces. */
typedef struct sums {
    const quern__encoder *e;
    uint32_t layer, pieces[4], first[4]; /* first: number of a reading's first piece */
    double *gram;                        /* [pieces of all][SIDE][SIDE], lower triangle */
    float *peak[4];                      /* [channels] */
} sums;

typedef struct maker {
    quern__quantised *q;
    const quern__encoder *e;
    const quern__weights *weights;
    sums s;
    double *factor, *column, *mean; /* [SIDE][SIDE]; [SIDE]; [SIDE] */
    double *cost;                   /* int4: [SIDE], of an input's miss */
    float *weight;                  /* [widest outputs][inputs] of one matrix, smoothed */
    double *stretch;                /* [hidden]: what smoothing multiplies weights by */
    quern_error *err;
} maker;

static uint32_t pieces_of(uint32_t n)
{
    return (n + SIDE - 1) / SIDE;
}

static uint32_t width_of(uint32_t n, uint32_t piece)
{
    return QUERN__MIN(n - piece * SIDE, (uint32_t)SIDE);
}

/* ---- calibration ---- */

static void add_rows(double *gram, float *peak, const float *x, uint32_t rows, uint32_t n)
{
    for (uint32_t r = 0; r < rows; r++, x += QUERN__STRIDE)
        for (uint32_t i = 0; i < n; i++) {
            const double v = (double)x[i];
            double *to = gram + (size_t)i * SIDE;
            peak[i] = fabsf(x[i]) > peak[i] ? fabsf(x[i]) : peak[i];
            for (uint32_t j = 0; j <= i; j++)
                to[j] += v * (double)x[j];
        }
}

static void on_rows(void *ud, uint32_t layer, int reading, uint32_t chunk, quern__rows x,
                    uint32_t rows)
{
    sums *s = ud;
    if (layer != s->layer)
        return;
    const uint32_t n = reading == QUERN__READS_DOWN  ? s->e->intermediate
                       : reading == QUERN__READS_OUT ? s->e->heads * s->e->depth
                                                     : s->e->hidden;
    const uint32_t first = reading == QUERN__READS_DOWN ? chunk : 0,
                   end = reading == QUERN__READS_DOWN ? chunk + 1 : s->pieces[reading];
    for (uint32_t p = first; p < end; p++)
        add_rows(s->gram + (size_t)(s->first[reading] + p) * SIDE * SIDE,
                 s->peak[reading] + (size_t)p * SIDE, x.at + (p - first) * x.piece, rows,
                 width_of(n, p));
}

static int calibrate(maker *m, quern__encoder_scratch *scratch, uint32_t layer, const int32_t *ids,
                     const uint32_t *lengths, uint32_t n, const quern_cancel *cancel)
{
    const quern__encoder *e = m->e;
    sums *s = &m->s;
    const quern__observer observer = {on_rows, s};
    float *out = quern__alloc_array(n, (size_t)e->width * sizeof *out);
    if (!out)
        return quern__fail_memory(m->err, (size_t)n * e->width * sizeof *out);
    s->layer = layer;
    memset(s->gram, 0, (size_t)(s->first[3] + s->pieces[3]) * SIDE * SIDE * sizeof *s->gram);
    for (int i = 0; i < 4; i++)
        memset(s->peak[i], 0, (size_t)s->pieces[i] * SIDE * sizeof(float));
    scratch->observer = &observer;
    const int rc = quern__encode(e, scratch, NULL, ids, lengths, n, true, out, cancel, m->err);
    scratch->observer = NULL;
    quern__free(out);
    return rc;
}

/* ---- GPTQ ---- */

/* factor = U, upper, with H⁻¹ = Uᵀ U: H = R Rᵀ with R upper (Cholesky from the last row up), U = R⁻¹. H is the
 * piece's sums, smoothed, and a tenth of their mean diagonal: few texts say
 * little about how channels go together. */
static void make_factor(maker *m, const double *gram, const double *inverse, uint32_t n)
{
    double trace = 0, *r = m->factor;
    for (uint32_t i = 0; i < n; i++)
        trace += gram[(size_t)i * SIDE + i] * inverse[i] * inverse[i];
    const double damp = trace > 0 ? 0.1 * trace / n : 1.0;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j <= i; j++) /* into the upper triangle */
            r[(size_t)j * SIDE + i] =
                gram[(size_t)i * SIDE + j] * inverse[i] * inverse[j] + (i == j ? damp : 0);
    for (uint32_t c = n; c-- > 0;) {
        const double root = sqrt(r[(size_t)c * SIDE + c]);
        for (uint32_t i = 0; i <= c; i++)
            m->column[i] = r[(size_t)i * SIDE + c] /= root;
        for (uint32_t i = 0; i < c; i++)
            for (uint32_t j = i; j < c; j++)
                r[(size_t)i * SIDE + j] -= m->column[i] * m->column[j];
    }
    /* U in place, row after row from the last: row i of R U = identity. */
    for (uint32_t i = n; i-- > 0;) {
        const double one = 1.0 / r[(size_t)i * SIDE + i];
        for (uint32_t j = i + 1; j < n; j++)
            m->column[j] = 0;
        for (uint32_t k = i + 1; k < n; k++) {
            const double by = r[(size_t)i * SIDE + k];
            for (uint32_t j = k; j < n; j++)
                m->column[j] += by * r[(size_t)k * SIDE + j];
        }
        r[(size_t)i * SIDE + i] = one;
        for (uint32_t j = i + 1; j < n; j++)
            r[(size_t)i * SIDE + j] = -one * m->column[j];
    }
}

static int8_t nearest(double x)
{
    const double r = rint(x);
    return (int8_t)(r > 127 ? 127 : (r >= -127 ? r : -127)); /* NaN too is a number then */
}

static int8_t nearest_four(double x)
{
    const double r = rint(x);
    return (int8_t)(r > 7 ? 7 : (r >= -8 ? r : -8));
}

/* One output's weights of one piece. */
static void round_row(maker *m, const float *w, uint32_t n, float scale, int8_t *to)
{
    double *left = m->column;
    for (uint32_t k = 0; k < n; k++)
        left[k] = (double)w[k];
    for (uint32_t k = 0; k < n; k++) {
        const double *u = m->factor + (size_t)k * SIDE;
        to[k] = nearest(left[k] / (double)scale);
        const double miss = (left[k] - to[k] * (double)scale) / u[k];
        for (uint32_t j = k + 1; j < n; j++)
            left[j] -= miss * u[j];
    }
}

/* int4: of a group of 32, the step with which rounding misses least, weighted by how much each miss costs: its greatest weight
 * is to be about 8 steps of either sign. `left` as it stands when the group's turn comes, in units of the piece's scale. */
static int8_t step_of(const double *left, const double *cost)
{
    double most = 0, least = -1;
    int8_t best = 1;
    for (uint32_t k = 0; k < QUERN__STEP_INPUTS; k++)
        most = fabs(left[k]) > most ? fabs(left[k]) : most;
    const double about = most / 8;
    for (int step = 1; step <= QUERN__STEP_MAX; step++) {
        if (step < 0.6 * about - 1 || step > 1.3 * about + 1)
            continue;
        for (int sign = -1; sign <= 1; sign += 2) {
            double sum = 0;
            for (uint32_t k = 0; k < QUERN__STEP_INPUTS; k++) {
                const double miss = left[k] - sign * step * nearest_four(left[k] / (sign * step));
                sum += miss * miss * cost[k];
            }
            if (least < 0 || sum < least) {
                least = sum;
                best = (int8_t)(sign * step);
            }
        }
    }
    return least < 0 ? QUERN__STEP_MAX : best; /* what GPTQ moved here is more than steps reach */
}

/* One output's weights of one piece, from its input `from` on of a row. */
static void round_row_four(maker *m, const float *w, uint32_t n, float scale, int8_t *to,
                           int8_t *steps)
{
    double *left = m->column;
    int8_t step = 1;
    for (uint32_t k = 0; k < n; k++)
        left[k] = (double)w[k] / (double)scale;
    for (uint32_t k = 0; k < n; k++) {
        const double *u = m->factor + (size_t)k * SIDE;
        if (k % QUERN__STEP_INPUTS == 0)
            steps[k / QUERN__STEP_INPUTS] = step = step_of(left + k, m->cost + k);
        const int8_t four = nearest_four(left[k] / step);
        quern__set_four(to, k, four);
        const double miss = (left[k] - four * step) / u[k];
        for (uint32_t j = k + 1; j < n; j++)
            left[j] -= miss * u[j];
    }
}

static float scale_of(const float *w, uint32_t n, bool four)
{
    float most = 1e-20f;
    for (uint32_t k = 0; k < n; k++)
        most = fabsf(w[k]) > most ? fabsf(w[k]) : most;
    return most / (four ? 8.0f * QUERN__STEP_MAX : 127.0f);
}

/* m->weight holds the matrix. */
static void round_matrix(maker *m, uint32_t layer, int matrix, int reading, const float *smooth)
{
    quern__quantised_layer *to = m->q->layer + layer;
    const uint32_t outputs = quern__quantised_outputs(m->q, matrix),
                   inputs = quern__quantised_inputs(m->q, matrix);
    int8_t *weight = (int8_t *)to->weight[matrix]; /* ours: being made */
    int8_t *step = (int8_t *)to->step[matrix];
    const bool four = quern__is_four(m->q, layer, matrix);
    float *scale = (float *)to->scale[matrix];
    for (uint32_t p = 0; p < pieces_of(inputs); p++) {
        const uint32_t n = width_of(inputs, p);
        for (uint32_t k = 0; k < n; k++)
            m->mean[k] = smooth ? (double)smooth[p * SIDE + k] : 1.0;
        make_factor(m, m->s.gram + (size_t)(m->s.first[reading] + p) * SIDE * SIDE, m->mean, n);
        for (uint32_t k = 0; k < n; k++)
            m->cost[k] = 1 / (m->factor[(size_t)k * SIDE + k] * m->factor[(size_t)k * SIDE + k]);
        for (uint32_t o = 0; o < outputs; o++) {
            const float *w = m->weight + (size_t)o * inputs + p * SIDE;
            const float s = scale_of(w, n, four);
            const size_t at = (size_t)o * inputs + p * SIDE;
            scale[(size_t)p * outputs + o] = s;
            if (four)
                round_row_four(m, w, n, s, weight + at / 2, step + at / QUERN__STEP_INPUTS);
            else
                round_row(m, w, n, s, weight + at);
        }
    }
}

/* ---- smoothing ---- */

/* A matrix's tensor, and its first row in that: some families have several in one. */
static const char *tensor_of(const maker *m, int matrix, uint32_t *row)
{
    const quern__family *f = m->e->family;
    const quern__quantised *q = m->q;
    *row = 0;
    if (f->fused && matrix <= QUERN__Q_VALUE) {
        *row = matrix == QUERN__Q_QUERY ? 0 : q->queries + (matrix == QUERN__Q_VALUE ? q->keys : 0);
        return "attention.self.qkv.weight";
    }
    if (f->fused_gate && (matrix == QUERN__Q_UP || matrix == QUERN__Q_GATE)) {
        *row = matrix == QUERN__Q_UP ? q->intermediate : 0;
        return "intermediate.both.weight";
    }
    return quern__quantised_tensor(matrix);
}

/* A matrix into m->weight. *count: its weights; 0: layers have none. */
static int read_matrix(maker *m, uint32_t layer, int matrix, size_t *count)
{
    char ours[NAME_SIZE], name[NAME_SIZE];
    uint32_t row;
    const size_t inputs = quern__quantised_inputs(m->q, matrix),
                 front = (size_t)snprintf(name, sizeof name, "%s", m->e->prefix);
    *count = 0;
    if (!quern__quantised_has(m->q, matrix))
        return QUERN_OK;
    snprintf(ours, sizeof ours, "encoder.layer.%u.%s", layer, tensor_of(m, matrix, &row));
    quern__family_tensor(m->e->family, ours, name + front, sizeof name - front);
    const quern__tensor *t = quern__weights_find(m->weights, name);
    if (!t)
        return quern__fail(m->err, QUERN_EFORMAT, 0, "tensor \"%s\" is missing from the weights",
                           name);
    *count = inputs * quern__quantised_outputs(m->q, matrix);
    quern__tensor_read_f32(t, row * inputs, *count, m->weight);
    return QUERN_OK;
}

/* Reads matrices first..end in turn and gives the greatest weight of each input channel. */
static int peaks_of_weights(maker *m, uint32_t layer, int first, int end, float *peak)
{
    const uint32_t inputs = quern__quantised_inputs(m->q, first);
    memset(peak, 0, inputs * sizeof *peak);
    for (int matrix = first; matrix < end; matrix++) {
        size_t count;
        const int rc = read_matrix(m, layer, matrix, &count);
        if (rc)
            return rc;
        for (size_t i = 0; i < count; i++) {
            float *p = peak + i % inputs;
            *p = fabsf(m->weight[i]) > *p ? fabsf(m->weight[i]) : *p;
        }
    }
    return QUERN_OK;
}

/* Smoothing of a reading of hidden channels, and what it multiplies weights by. */
static int make_smooth(maker *m, uint32_t layer, int reading, int first, int end, float *smooth)
{
    const int rc = peaks_of_weights(m, layer, first, end, smooth);
    for (uint32_t k = 0; !rc && k < m->e->hidden; k++) {
        const float a = QUERN__MAX(m->s.peak[reading][k], 1e-6f), w = QUERN__MAX(smooth[k], 1e-6f);
        smooth[k] = (float)(1.0 / sqrt((double)a / (double)w));
        m->stretch[k] = 1.0 / (double)smooth[k];
    }
    return rc;
}

/* ---- one layer, and all ---- */

static int round_reading(maker *m, uint32_t layer, int reading, int first, int end,
                         const float *smooth)
{
    const uint32_t inputs = quern__quantised_inputs(m->q, first);
    for (int matrix = first; matrix < end; matrix++) {
        size_t count;
        const int rc = read_matrix(m, layer, matrix, &count);
        if (rc)
            return rc;
        for (size_t i = 0; smooth && i < count; i++)
            m->weight[i] = (float)((double)m->weight[i] * m->stretch[i % inputs]);
        if (count)
            round_matrix(m, layer, matrix, reading, smooth);
    }
    return QUERN_OK;
}

static int make_layer(maker *m, uint32_t layer)
{
    quern__quantised_layer *to = m->q->layer + layer;
    int rc = make_smooth(m, layer, QUERN__READS_QKV, QUERN__Q_QUERY, QUERN__Q_OUT,
                         (float *)to->smooth[0]);
    if (!rc)
        rc = round_reading(m, layer, QUERN__READS_QKV, QUERN__Q_QUERY, QUERN__Q_OUT, to->smooth[0]);
    if (!rc)
        rc = round_reading(m, layer, QUERN__READS_OUT, QUERN__Q_OUT, QUERN__Q_UP, NULL);
    if (!rc)
        rc = make_smooth(m, layer, QUERN__READS_UP, QUERN__Q_UP, QUERN__Q_DOWN,
                         (float *)to->smooth[1]);
    if (!rc)
        rc = round_reading(m, layer, QUERN__READS_UP, QUERN__Q_UP, QUERN__Q_DOWN, to->smooth[1]);
    return rc ? rc
              : round_reading(m, layer, QUERN__READS_DOWN, QUERN__Q_DOWN, QUERN__Q_MATRICES, NULL);
}

/* Takes `size` bytes of q's memory; only counts while there is none. */
static void *take(quern__quantised *q, size_t size)
{
    char *p = q->memory ? (char *)q->memory + q->memory_size : NULL;
    q->memory_size += (size + 63) & ~(size_t)63;
    return p;
}

static void lay_out(quern__quantised *q)
{
    q->memory_size = 0;
    for (uint32_t l = 0; l < q->layers; l++) {
        for (int x = 0; x < QUERN__Q_MATRICES; x++) {
            if (!quern__quantised_has(q, x))
                continue;
            const size_t outputs = quern__quantised_outputs(q, x),
                         inputs = quern__quantised_inputs(q, x);
            const bool four = quern__is_four(q, l, x);
            q->layer[l].weight[x] = take(q, outputs * inputs / (four ? 2 : 1));
            q->layer[l].step[x] = four ? take(q, outputs * inputs / QUERN__STEP_INPUTS) : NULL;
            q->layer[l].scale[x] = take(q, pieces_of((uint32_t)inputs) * outputs * sizeof(float));
        }
        for (int i = 0; i < 2; i++)
            q->layer[l].smooth[i] = take(q, q->hidden * sizeof(float));
    }
}

static quern__quantised *quantised_new(const quern__encoder *e, bool four)
{
    quern__quantised *q = quern__calloc(1, sizeof *q);
    if (!q)
        return NULL;
    quern__encoder_sizes(e, q);
    q->four = four;
    q->layer = quern__calloc(q->layers, sizeof *q->layer);
    if (q->layer) {
        lay_out(q);
        q->memory = quern__alloc_pages(q->memory_size);
        lay_out(q);
    }
    if (q->layer && q->memory)
        return q;
    q->memory = NULL;
    quern__quantised_free(q);
    return NULL;
}

static int maker_begin(maker *m, bool four)
{
    const quern__encoder *e = m->e;
    sums *s = &m->s;
    uint32_t pieces = 0;
    bool whole = true;
    s->e = e;
    for (int i = 0; i < 4; i++) {
        s->pieces[i] = i == QUERN__READS_DOWN  ? e->chunk_count
                       : i == QUERN__READS_OUT ? e->context_pieces
                                               : e->hidden_pieces;
        s->first[i] = pieces;
        pieces += s->pieces[i];
        s->peak[i] = quern__alloc_array((size_t)s->pieces[i] * SIDE, sizeof(float));
        whole &= s->peak[i] != NULL;
    }
    const size_t most =
        (size_t)e->hidden * QUERN__MAX(QUERN__MAX(e->hidden, e->heads * e->depth), e->intermediate);
    s->gram = quern__alloc_array((size_t)pieces * SIDE * SIDE, sizeof(double));
    m->factor = quern__alloc_array((size_t)SIDE * SIDE, sizeof(double));
    m->column = quern__alloc_array(SIDE, sizeof(double));
    m->mean = quern__alloc_array(SIDE, sizeof(double));
    m->weight = quern__alloc_array(most, sizeof(float));
    m->stretch = quern__alloc_array(e->hidden, sizeof(double));
    m->cost = quern__alloc_array(SIDE, sizeof(double));
    m->q = quantised_new(e, four);
    whole &=
        s->gram && m->factor && m->column && m->mean && m->cost && m->weight && m->stretch && m->q;
    return whole ? QUERN_OK : quern__fail_memory(m->err, most * sizeof(float));
}

static void maker_end(maker *m)
{
    for (int i = 0; i < 4; i++)
        quern__free(m->s.peak[i]);
    quern__free(m->s.gram);
    quern__free(m->factor);
    quern__free(m->column);
    quern__free(m->mean);
    quern__free(m->cost);
    quern__free(m->weight);
    quern__free(m->stretch);
    quern__quantised_free(m->q);
}

int quern__quantise(quern__quantised **out, const quern__encoder *fp32,
                    const quern__weights *weights, bool four, const int32_t *ids,
                    const uint32_t *lengths, uint32_t n, quern__quantise_fn progress, void *ud,
                    const quern_cancel *cancel, quern_error *err)
{
    QUERN__REQUIRE(out && fp32 && !fp32->int8 && weights && ids && lengths && n, err);
    *out = NULL;
    if (fp32->lookup)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "a static table has no products: there is nothing to quantise");
    int rc = four ? quern__check_four(fp32->hidden, fp32->intermediate, err) : QUERN_OK;
    if (rc)
        return rc;
    maker m = {.e = fp32, .weights = weights, .err = err};
    quern__encoder_scratch *scratch = NULL;
    const quern__fpenv env = quern__fpenv_enter();
    rc = maker_begin(&m, four);
    if (!rc)
        rc = quern__encoder_scratch_new(&scratch, fp32, 1, err);
    for (uint32_t l = 0; !rc && l < fp32->layer_count; l++) {
        rc = progress ? progress(ud, l, fp32->layer_count, err) : QUERN_OK;
        if (!rc)
            rc = calibrate(&m, scratch, l, ids, lengths, n, cancel);
        if (!rc)
            rc = make_layer(&m, l);
    }
    quern__fpenv_leave(env);
    quern__encoder_scratch_free(scratch);
    if (!rc) {
        *out = m.q;
        m.q = NULL;
    }
    maker_end(&m);
    return rc;
}
