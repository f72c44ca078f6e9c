/*
 * int8_scalar.c — the int8 class in plain C: the specification that the other tables are compared with.
 */
#include <math.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/int8.h"
#include "kernels/int8_vec_scalar.inc"

#define TILE_ROWS  4
#define TILE_VECS  1
#define K_GROUP    1
#define TABLE      quern__int8_scalar
#define TABLE_NAME "scalar"
#define TABLE_NEED QUERN__CPU_SCALAR

/* Sums over k of rows x 16 columns. */
static const char *tile_sums(uint32_t rows, const code *x, const int8_t *w, uint32_t k,
                             int32_t *sums, const char *next, uint32_t tiles)
{
    (void)tiles;
    for (uint32_t r = 0; r < rows; r++) {
        int32_t acc[16] = {0};
        for (uint32_t i = 0; i < k; i++) {
            const int16_t a = x[(size_t)r * QUERN__PIECE + i];
            for (uint32_t j = 0; j < 16; j++)
                acc[j] += a * (int16_t)w[(size_t)i * 16 + j];
        }
        memcpy(sums + (size_t)r * 16, acc, sizeof acc);
    }
    return next;
}

#include "kernels/int8_body.inc"
