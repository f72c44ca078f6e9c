/*
 * amx_plain.h — the tile instructions of AMX in plain C, under the names of their intrinsics, so that the kernels
 * written with them are compiled a second time and tested on every machine. Rules of the real unit are
 * kept: a tile must be configured, shapes of a product must agree, rows and bytes past a tile's shape are
 * cleared; where the real unit would stop the process, the operation is left out and counted, and the tests hold the
 * count to zero.
 *
 * The state lives in a variable `tiles` of the function that uses it (QUERN__TILES declares it), as the real one
 * lives in the processor. Invariant: nothing here reads MXCSR: the bf16 product rounds to nearest even and
 * takes denormals for zeros, whatever the caller's environment.
 */
#ifndef QUERN_KERNELS_AMX_PLAIN_H
#define QUERN_KERNELS_AMX_PLAIN_H

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { PLAIN_TILES = 8, PLAIN_ROWS = 16, PLAIN_BYTES = 64 };

typedef struct plain_tiles {
    bool configured;
    uint8_t rows[PLAIN_TILES];
    uint16_t bytes[PLAIN_TILES]; /* of a row */
    uint8_t data[PLAIN_TILES][PLAIN_ROWS][PLAIN_BYTES];
} plain_tiles;

/* Operations that the real unit would have refused, in the whole process. */
extern _Atomic uint32_t quern__amx_plain_faults;

#define QUERN__TILES         plain_tiles *tiles /* a parameter that hands the state on */
#define QUERN__TILES_DECLARE plain_tiles own_tiles = {0}, *tiles = &own_tiles
#define QUERN__TILES_ARG     tiles
#define QUERN__TILES_READ(p) ((void)(p))

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbusd
#undef _tile_dpbuud
#undef _tile_dpbssd
#undef _tile_dpbf16ps
#define _tile_loadconfig(memory)        plain_loadconfig(tiles, memory)
#define _tile_release()                 plain_release(tiles)
#define _tile_zero(to)                  plain_zero(tiles, to)
#define _tile_loadd(to, base, stride)   plain_load(tiles, to, base, stride)
#define _tile_stored(of, base, stride)  plain_store(tiles, of, base, stride)
#define _tile_dpbusd(to, left, right)   plain_dot_bytes(tiles, to, left, right, false, true)
#define _tile_dpbuud(to, left, right)   plain_dot_bytes(tiles, to, left, right, false, false)
#define _tile_dpbssd(to, left, right)   plain_dot_bytes(tiles, to, left, right, true, true)
#define _tile_dpbf16ps(to, left, right) plain_dot_bf16(tiles, to, left, right)

static inline bool plain_check(bool holds)
{
    if (!holds)
        atomic_fetch_add_explicit(&quern__amx_plain_faults, 1, memory_order_relaxed);
    return holds;
}

static inline void plain_release(plain_tiles *t)
{
    memset(t, 0, sizeof *t);
}

/* 64 bytes: palette, first row, 14 of zero, bytes a row of 16 tiles, rows of 16 tiles. */
static inline void plain_loadconfig(plain_tiles *t, const void *memory)
{
    const uint8_t *m = memory;
    uint32_t beyond = 0;
    bool good = m[0] == 1;
    plain_release(t);
    if (!m[0]) /* the same as a release */
        return;
    for (uint32_t i = 2; i < 16; i++)
        beyond |= m[i];
    for (uint32_t i = 0; i < PLAIN_TILES; i++) {
        memcpy(t->bytes + i, m + 16 + 2 * i, 2);
        t->rows[i] = m[48 + i];
        beyond |= m[32 + 2 * i] | m[33 + 2 * i] | m[56 + i];
        good = good && t->rows[i] <= PLAIN_ROWS && t->bytes[i] <= PLAIN_BYTES &&
               !t->rows[i] == !t->bytes[i];
    }
    if (plain_check(good && !beyond))
        t->configured = true;
    else
        plain_release(t);
}

static inline bool plain_usable(const plain_tiles *t, uint32_t i)
{
    return plain_check(t->configured && i < PLAIN_TILES && t->rows[i]);
}

static inline void plain_zero(plain_tiles *t, uint32_t to)
{
    if (plain_usable(t, to))
        memset(t->data[to], 0, sizeof t->data[to]);
}

static inline void plain_load(plain_tiles *t, uint32_t to, const void *base, size_t stride)
{
    if (!plain_usable(t, to))
        return;
    memset(t->data[to], 0, sizeof t->data[to]);
    for (uint32_t r = 0; r < t->rows[to]; r++)
        memcpy(t->data[to][r], (const uint8_t *)base + r * stride, t->bytes[to]);
}

static inline void plain_store(const plain_tiles *t, uint32_t of, void *base, size_t stride)
{
    if (plain_usable(t, of))
        for (uint32_t r = 0; r < t->rows[of]; r++)
            memcpy((uint8_t *)base + r * stride, t->data[of][r], t->bytes[of]);
}

/* to[m][n] += left[m][k] right[k][n], an element being four bytes: three different tiles whose shapes agree. */
static inline bool plain_agree(const plain_tiles *t, uint32_t to, uint32_t left, uint32_t right)
{
    return plain_check(
        t->configured && to < PLAIN_TILES && left < PLAIN_TILES && right < PLAIN_TILES &&
        to != left && to != right && left != right && t->rows[to] && t->rows[left] &&
        t->rows[right] && t->rows[to] == t->rows[left] && t->bytes[to] == t->bytes[right] &&
        t->bytes[left] / 4 == t->rows[right] && t->bytes[to] % 4 == 0 && t->bytes[left] % 4 == 0);
}

static inline int32_t plain_byte(uint8_t byte, bool is_signed)
{
    return is_signed ? (int8_t)byte : byte;
}

/* One row of sums, a full tile's width whatever its shape: what is past it is zero, or not kept. */
static inline void plain_row_bytes(uint32_t *sums, const uint8_t *left,
                                   uint8_t right[][PLAIN_BYTES], uint32_t groups, bool left_signed,
                                   bool right_signed)
{
    for (uint32_t k = 0; k < groups; k++, left += 4)
        for (uint32_t n = 0; n < PLAIN_BYTES / 4; n++)
            for (uint32_t i = 0; i < 4; i++) /* modulo 2^32, as the unit does */
                sums[n] += (uint32_t)(plain_byte(left[i], left_signed) *
                                      plain_byte(right[k][4 * n + i], right_signed));
}

static inline void plain_dot_bytes(plain_tiles *t, uint32_t to, uint32_t left, uint32_t right,
                                   bool left_signed, bool right_signed)
{
    if (!plain_agree(t, to, left, right))
        return;
    for (uint32_t m = 0; m < t->rows[to]; m++) {
        uint32_t sums[PLAIN_BYTES / 4];
        memcpy(sums, t->data[to][m], sizeof sums);
        plain_row_bytes(sums, t->data[left][m], t->data[right], t->rows[right], left_signed,
                        right_signed);
        memcpy(t->data[to][m], sums, t->bytes[to]);
    }
}

/* Denormals count as zeros of their sign. */
static inline float plain_flushed(float x)
{
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}

/* Two chains, of the even and of the odd elements, from +0; then their sum; then that to what was there. */
static inline void plain_dot_bf16(plain_tiles *t, uint32_t to, uint32_t left, uint32_t right)
{
    if (!plain_agree(t, to, left, right))
        return;
    for (uint32_t m = 0; m < t->rows[to]; m++)
        for (uint32_t n = 0; n < t->bytes[to] / 4u; n++) {
            float chain[2] = {0, 0}, sum;
            for (uint32_t k = 0; k < t->rows[right]; k++)
                for (uint32_t i = 0; i < 2; i++) {
                    uint16_t halves[2];
                    uint32_t bits[2];
                    float x[2];
                    memcpy(halves, t->data[left][m] + 4 * k + 2 * i, 2);
                    memcpy(halves + 1, t->data[right][k] + 4 * n + 2 * i, 2);
                    bits[0] = (uint32_t)halves[0] << 16;
                    bits[1] = (uint32_t)halves[1] << 16;
                    memcpy(x, bits, sizeof x);
                    chain[i] =
                        plain_flushed(fmaf(plain_flushed(x[0]), plain_flushed(x[1]), chain[i]));
                }
            memcpy(&sum, t->data[to][m] + 4 * n, 4);
            sum = plain_flushed(plain_flushed(sum) + plain_flushed(chain[0] + chain[1]));
            memcpy(t->data[to][m] + 4 * n, &sum, 4);
        }
}

#endif
