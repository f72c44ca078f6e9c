/*
 * pack_int8.c — packing of the int8 class. A column's sum of weights is a small integer, so the number made
 * of it is the same everywhere (rule 24).
 */
#include "encoder/pack_int8.h"

#include <math.h>
#include <stdbool.h>

#include "base/compiler.h"
#include "encoder/quantised.h"

static uint32_t pieces_of(uint32_t k)
{
    return (k + QUERN__PIECE - 1) / QUERN__PIECE;
}

static uint32_t padded(uint32_t columns)
{
    return (columns + QUERN__PANEL_MAX - 1) / QUERN__PANEL_MAX * QUERN__PANEL_MAX;
}

static uint32_t rounded(uint32_t k)
{
    return (k + QUERN__K_GROUP - 1) / QUERN__K_GROUP * QUERN__K_GROUP;
}

/* Panels packed in 4 bits: those with no other column in them. */
static uint32_t four_panels(const quern__int8_kernels *kernels, uint32_t columns, uint32_t fours)
{
    return (fours < columns ? fours : columns + kernels->panel - 1) / kernels->panel;
}

size_t quern__pack_int8_bytes(const quern__int8_kernels *kernels, uint32_t columns, uint32_t k,
                              uint32_t fours)
{
    const size_t narrow = (size_t)four_panels(kernels, columns, fours) * kernels->panel;
    /* pieces but the last are whole groups */
    return narrow * quern__packed4(k) + (padded(columns) - narrow) * rounded(k);
}

size_t quern__pack_int8_floats(uint32_t columns, uint32_t k)
{
    return 2 * (size_t)pieces_of(k) * padded(columns);
}

static int32_t sum_of(const int8_t *row, uint32_t k)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < k; i++)
        sum += row[i];
    return sum;
}

void quern__place_int8(const quern__int8_kernels *kernels, const quern__columns *c,
                       const float *bias, int8_t **data, float **numbers, quern__matrix8 *out)
{
    const uint32_t panels = (c->columns + kernels->panel - 1) / kernels->panel;
    const size_t width = (size_t)panels * kernels->panel;
    float *scale = *numbers, *sum = scale + pieces_of(c->k) * width;
    const uint32_t fours = four_panels(kernels, c->columns, c->fours);
    *out = (quern__matrix8){c->k, c->columns, panels, fours, *data, scale, sum, bias};
    *data += ((size_t)fours * quern__packed4(c->k) + (size_t)(panels - fours) * rounded(c->k)) *
             kernels->panel;
    *numbers += quern__pack_int8_floats(c->columns, c->k);
}

/* k weights of a column of 4 bits from `start` on, as small integers or (wide) times their steps; their sum, times the steps. */
static int32_t unpack_column(const int8_t *row, const int8_t *steps, uint32_t start, uint32_t k,
                             bool wide, int8_t *to)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < k; i++) {
        const int8_t four = quern__four(row, start + i),
                     weight = (int8_t)(four * steps[i / QUERN__STEP_INPUTS]);
        to[i] = wide ? weight : four;
        sum += weight;
    }
    return sum;
}

void quern__pack_int8(const quern__int8_kernels *kernels, const quern__columns *c,
                      const float *bias, int8_t **data, float **numbers, quern__matrix8 *out)
{
    int8_t *at = *data, unpacked[QUERN__PANEL_MAX][QUERN__PIECE];
    float *const scale = *numbers;
    quern__place_int8(kernels, c, bias, data, numbers, out);
    const uint32_t pieces = pieces_of(c->k), panels = out->panels;
    const size_t width = (size_t)panels * kernels->panel;
    float *const sum = scale + pieces * width;
    for (uint32_t p = 0; p < panels; p++)
        for (uint32_t piece = 0; piece < pieces; piece++) {
            const uint32_t start = piece * QUERN__PIECE,
                           k = QUERN__MIN(c->k - start, (uint32_t)QUERN__PIECE);
            const int8_t *rows[QUERN__PANEL_MAX] = {NULL}, *steps[QUERN__PANEL_MAX] = {NULL};
            for (uint32_t j = 0; j < kernels->panel; j++) {
                const uint32_t column = p * kernels->panel + j;
                if (column >= c->columns || !c->row[column])
                    continue;
                const float s = c->scale[column][piece * c->stride[column]];
                int32_t weights;
                if (column < c->fours) {
                    rows[j] = unpacked[j];
                    steps[j] = c->step[column] + start / QUERN__STEP_INPUTS;
                    weights = unpack_column(c->row[column], steps[j], start, k, p >= out->fours,
                                            unpacked[j]);
                } else {
                    rows[j] = c->row[column] + start;
                    weights = sum_of(rows[j], k);
                }
                scale[piece * width + column] = s;
                sum[piece * width + column] = s * (float)weights;
            }
            if (p < out->fours)
                kernels->pack4(rows, steps, k, at);
            else
                kernels->pack(rows, k, at);
            at += (size_t)(p < out->fours ? quern__packed4(k) : rounded(k)) * kernels->panel;
        }
}

void quern__fold_offset(const quern__matrix8 *m, uint32_t n, float *bias)
{
    for (uint32_t i = 0; i < n; i++)
        bias[i] = fmaf(-QUERN__GELU_OFFSET, m->sum[i], bias[i]);
}
