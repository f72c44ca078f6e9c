/*
 * int8.h — tables of the int8 class (docs/bits.md, specification 8): quantised rows, and products of them
 * with quantised weights, and attention of long texts. Everything else of the class (embedding, LayerNorm, attention of
 * others, pooling) is done by the fp32 table, so an encoder of this class holds one of each, chosen once at open.
 *
 * Codes. A quantised matrix of tokens x n lies in pieces of 384 columns, as fp32 activations do, with a
 * constant row stride of 384 codes. A code is 0..255; a table says how wide it wants it (code_size):
 * a byte for dot products, two for vpmaddwd and smlal. Columns past the end of a piece may hold anything: weights are
 * zero there, and 0 times any code is 0.
 *
 * Weights. [panel][piece][k rounded up to 4][column], in groups of as many k as the instruction sums;
 * columns past the end zero. 12 KB a panel and piece of 32 columns.
 *
 * The class int4 (specification 9) has this arithmetic and these activations; of its weights, which are a small integer times
 * a step that 32 of them share, only the integers are kept, in 4 bits, and a panel's piece is widened to bytes beside the
 * processor while its rows pass: 6.5 KB in memory become 12 KB in the nearest caches.
 *
 * Rejected: one scale a row over all its pieces (a wide row's outliers then cost every piece, and the sums
 * would leave the range in which a float is exact), and unsigned weights with signed activations.
 */
#ifndef QUERN_KERNELS_INT8_H
#define QUERN_KERNELS_INT8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels_table.h"

/* -min(GELU) and a little: the inputs of a feed-forward block's second product are not below -it. */
#define QUERN__GELU_OFFSET 0.1705f

enum { QUERN__CODE_MAX_SIZE = 2, QUERN__K_GROUP = 4 };
/* int4: inputs that share a step, and the greatest step; weights are -8 .. 7 of them. */
enum { QUERN__STEP_INPUTS = 32, QUERN__STEP_MAX = 15 };

/* Attention of texts of so many tokens is in integers (rule 26): shorter ones gain nothing, and fidelity of much longer ones
 * than the 256 of those it was measured on is not known. Part of the specification. */
enum { QUERN__INTEGER_FROM = 64, QUERN__INTEGER_TO = 512 };

static inline bool quern__int8_attends(uint32_t length)
{
    return length >= QUERN__INTEGER_FROM && length <= QUERN__INTEGER_TO;
}

/* Rows of codes: row r, column c is code (c / 384) * piece + r * 384 + c % 384 of `at`. Each row has a
 * scale and a low end a piece: x = scale * code + low. low NULL: -QUERN__GELU_OFFSET for every row, and it
 * stands in the bias already (rule 22). */
typedef struct quern__codes {
    void *at;
    size_t piece; /* codes from one piece to the next */
    float *scale, *low;
    size_t ends; /* floats from one piece's scales (and lows) to the next */
} quern__codes;

/* A packed right side: k inputs, n outputs. All but k and n belong to whoever packed them. */
typedef struct quern__matrix8 {
    uint32_t k, n, panels;
    uint32_t fours;     /* int4: so many panels, the first ones, are packed by `pack4` */
    const int8_t *data; /* 64-byte aligned */
    const float *scale,
        *sum;          /* [pieces][panels * panel]: of a column; scale * its sum of weights */
    const float *bias; /* [panels * panel]; NULL: this matrix only adds */
} quern__matrix8;

typedef struct quern__int8_kernels {
    const char *name;
    uint32_t need; /* bits of cpu.h */
    uint32_t panel, tile_rows, code_size;

    /* `panel` rows of k weights (NULL: zeros) into dst[k rounded up to 4][panel]. */
    void (*pack)(const int8_t *const *rows, uint32_t k, int8_t *dst);
    /* int4: `panel` rows of k small integers (NULL: zeros), k / 32 steps each, into quern__packed4(k) * panel bytes; k is a
     * multiple of 32. */
    void (*pack4)(const int8_t *const *rows, const int8_t *const *steps, uint32_t k, int8_t *dst);
    /* Rule 20: rows of n columns, times smooth[n] where that is not NULL. */
    void (*quantize_rows)(quern__rows x, uint32_t rows, uint32_t n, const float *smooth,
                          quern__codes to);
    /* Rule 21: one piece of n <= 384 columns that GELU gave; sets no low. */
    void (*quantize_gelu)(quern__rows x, uint32_t rows, uint32_t n, quern__codes to);
    /* Rule 22: panels first..end of y = epilogue(x W), epilogues as in kernels_table.h. */
    void (*product)(const quern__matrix8 *w, uint32_t first, uint32_t end, int epilogue,
                    quern__codes x, quern__rows y, quern__rows residual, uint32_t rows);
    /* Rules 26 to 28, for texts that quern__int8_attends and layers without an outlook; scratch: attention_room
     * bytes. */
    void (*attention)(const quern__attention *a);
    size_t (*attention_room)(uint32_t longest, uint32_t slot);
    /* For tests: rule 23 on n values, n a multiple of 16. */
    void (*gelu)(const float *in, float *out, size_t n);
} quern__int8_kernels;

/* Bytes a column of k weights takes in the class int4: half a byte each, and a byte of step. */
static inline uint32_t quern__packed4(uint32_t k)
{
    return k / 2 + k / QUERN__STEP_INPUTS;
}

/* The best table among the levels `allowed` (bits of cpu.h). */
const quern__int8_kernels *quern__int8_pick(uint32_t allowed);
/* Every table built in, NULL past the end; run one only if (need & quern__cpu_runnable()) == need. */
const quern__int8_kernels *quern__int8_at(size_t i);

extern const quern__int8_kernels quern__int8_scalar, quern__int8_amx_plain;
#if defined(__x86_64__)
extern const quern__int8_kernels quern__int8_avx2, quern__int8_avx512vnni, quern__int8_amx;
#elif defined(__aarch64__)
extern const quern__int8_kernels quern__int8_neon, quern__int8_dotprod, quern__int8_i8mm;
#endif

/* Codes from row `row` on. */
static inline quern__codes quern__codes_at(const quern__int8_kernels *k, quern__codes c,
                                           uint32_t row)
{
    c.at = (char *)c.at + (size_t)row * QUERN__PIECE * k->code_size;
    c.scale += row;
    if (c.low)
        c.low += row;
    return c;
}

/* Codes from piece `piece` on. */
static inline quern__codes quern__codes_from(const quern__int8_kernels *k, quern__codes c,
                                             uint32_t piece)
{
    c.at = (char *)c.at + piece * c.piece * k->code_size;
    c.scale += piece * c.ends;
    if (c.low)
        c.low += piece * c.ends;
    return c;
}

#endif
