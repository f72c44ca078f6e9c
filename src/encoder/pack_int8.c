/*
 * pack_int8.c — packing of the int8 class. A column's sum of weights is a small integer, so the number made
 * of it is the same everywhere (rule 24).
 */
#include "encoder/pack_int8.h"

#include <math.h>

#include "base/compiler.h"

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

size_t quern__pack_int8_bytes(uint32_t columns, uint32_t k)
{
    return (size_t)padded(columns) * rounded(k); /* pieces but the last are whole groups */
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
    *out = (quern__matrix8){c->k, c->columns, panels, *data, scale, sum, bias};
    for (uint32_t start = 0; start < c->k; start += QUERN__PIECE)
        *data += (size_t)rounded(QUERN__MIN(c->k - start, (uint32_t)QUERN__PIECE)) * width;
    *numbers += quern__pack_int8_floats(c->columns, c->k);
}

void quern__pack_int8(const quern__int8_kernels *kernels, const quern__columns *c,
                      const float *bias, int8_t **data, float **numbers, quern__matrix8 *out)
{
    int8_t *at = *data;
    float *const scale = *numbers;
    quern__place_int8(kernels, c, bias, data, numbers, out);
    const uint32_t pieces = pieces_of(c->k), panels = out->panels;
    const size_t width = (size_t)panels * kernels->panel;
    float *const sum = scale + pieces * width;
    for (uint32_t p = 0; p < panels; p++)
        for (uint32_t piece = 0; piece < pieces; piece++) {
            const uint32_t start = piece * QUERN__PIECE,
                           k = QUERN__MIN(c->k - start, (uint32_t)QUERN__PIECE);
            const int8_t *rows[QUERN__PANEL_MAX] = {NULL};
            for (uint32_t j = 0; j < kernels->panel; j++) {
                const uint32_t column = p * kernels->panel + j;
                if (column >= c->columns || !c->row[column])
                    continue;
                const float s = c->scale[column][piece * c->stride];
                rows[j] = c->row[column] + start;
                scale[piece * width + column] = s;
                sum[piece * width + column] = s * (float)sum_of(rows[j], k);
            }
            kernels->pack(rows, k, at);
            at += (size_t)rounded(k) * kernels->panel;
        }
}

void quern__fold_offset(const quern__matrix8 *m, uint32_t n, float *bias)
{
    for (uint32_t i = 0; i < n; i++)
        bias[i] = fmaf(-QUERN__GELU_OFFSET, m->sum[i], bias[i]);
}
