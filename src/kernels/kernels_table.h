/*
 * kernels_table.h — the inside of a kernel table, for the encoder and for tests of kernels; upper
 * floors use kernels.h only.
 *
 * Activations. A matrix of tokens x n is stored in pieces of 384 columns (rule 2 of docs/bits.md cuts
 * every product there), each piece row-major with the constant row stride of 400 floats. So a product
 * of any model reads rows of one shape, and every row address in the inner loop is a displacement the
 * compiler knows. 400 and not 384: rows 1536 bytes apart fall into few sets of the L1 cache.
 * Columns from n to the end of a piece may hold anything; nothing reads them.
 *
 * Weights. A product's right side is packed once, at open, in panels of `panel` columns (a property of
 * the table): [panel][piece][k][column], columns past the end zero. One layout a kind; the kind says what
 * the elements are, so that narrower weights can come in beside fp32.
 *
 * Rejected: a row stride by model (spills the row addresses, 14 % slower), padding every text to a common
 * length, and one kernel for attention's whole softmax (no faster, and three times the code).
 */
#ifndef QUERN_KERNELS_KERNELS_TABLE_H
#define QUERN_KERNELS_KERNELS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum {
    QUERN__STRIDE = QUERN__PIECE + 16, /* floats between rows of one piece */
    QUERN__LANES = 16,
    QUERN__STRIP = 32, /* queries that attention takes at a time */
    QUERN__PANEL_MAX = 32,
};

enum quern__matrix_kind {
    QUERN__MATRIX_F32,
    QUERN__MATRIX_BF16, /* [panel][piece][pair of k][column][2] of bf16 */
    QUERN__MATRIX_F16,  /* as F32, of IEEE halves */
};

/* A packed right side: k inputs, n outputs. `data` and `bias` belong to whoever packed them. */
typedef struct quern__matrix {
    int kind;
    uint32_t k, n, panels;
    const void *data;
    const float *bias; /* [panels * panel], zeros past n; NULL: this matrix only adds */
} quern__matrix;

/* A view of activations: row r, column c is at[(c / 384) * piece + r * 400 + c % 384]. */
typedef struct quern__rows {
    float *at;
    size_t piece; /* floats from one piece to the next */
} quern__rows;

enum quern__epilogue {
    QUERN__EP_BIAS,     /* y = x W + bias */
    QUERN__EP_GELU,     /* y = GELU(x W + bias) */
    QUERN__EP_RESIDUAL, /* y = (x W + bias) + residual */
    QUERN__EP_ADD,      /* y = y + x W */
};

/* What activates the one half of a gated block (rules 14 and 34). */
enum quern__gate { QUERN__GATE_GELU, QUERN__GATE_SILU, QUERN__GATE_GELU_TANH };

/* Which keys a query sees: so many tokens before its own, and behind it. */
typedef struct quern__outlook {
    uint32_t before, after;
} quern__outlook;

/* One text and a range of its heads. Rows of qkv are the text's tokens; head h's queries are the
 * `slot` columns from h * slot, behind those of all heads come the keys, then the values. slot divides
 * 384 and is a multiple of 16; columns of a slot past `depth` are zero. */
typedef struct quern__attention {
    quern__rows qkv, context; /* context: depth columns a head, head after head */
    uint32_t length, first_head, end_head, heads, depth, slot;
    uint32_t
        key_heads; /* divides heads: neighbouring heads share keys and values; 0: each has its own */
    const quern__outlook *outlook; /* NULL: every query sees every key */
    uint32_t column;               /* of the context, where head 0 begins */
    float scale;                   /* fp32(log2(e) / sqrt(depth)) */
    /* NULL, or of head 0 the bias at distance 0: query i at key j adds bias[i - j], log2(e) in it; each head's `bias_stride`
     * floats further. What lies between -(length - 1) and length + QUERN__STRIP - 2 is read. */
    const float *bias;
    uint32_t bias_stride;
    float *
        scratch; /* quern__attention_scratch floats, or attention_room bytes of int8's; 64-byte aligned */
} quern__attention;

static inline size_t quern__attention_scratch(uint32_t longest)
{
    return ((size_t)(longest > QUERN__PIECE ? longest : QUERN__PIECE) + QUERN__PIECE + 1) *
           QUERN__STRIP;
}

struct quern__kernels {
    const char *name;
    uint32_t need;              /* bits of cpu.h */
    uint32_t panel;             /* columns of a packed panel; divides 384 */
    uint32_t tile_rows;         /* rows one inner loop takes */
    int kind;                   /* of its packed matrices */
    const quern__kernels *base; /* NULL, or the fp32 table that it was made from (classes.h) */
    float most;                 /* the greatest weight that is taken; 0: any finite one */
    float least;                /* halves: a row all under it is taken only as it is; 0: any */
    const char *order; /* NULL, or what the bits of this class depend on beside its specification */

    /* Transposes `panel` rows of weights (NULL: zeros) of k elements into dst[k][panel]. */
    void (*pack)(const float *const *rows, uint32_t k, float *dst);
    /* Panels first..end of y = epilogue(x W); `rows` rows. */
    void (*product)(const quern__matrix *w, uint32_t first, uint32_t end, int epilogue,
                    quern__rows x, quern__rows y, quern__rows residual, uint32_t rows);
    /* The same with weights in halves (classes.h); of a table of fp32. */
    void (*pack_half)(const float *const *rows, uint32_t k, float *dst);
    void (*product_half)(const quern__matrix *w, uint32_t first, uint32_t end, int epilogue,
                         quern__rows x, quern__rows y, quern__rows residual, uint32_t rows);
    void (*attention)(const quern__attention *a);
    /* y = LayerNorm(x), n columns; y may be x. */
    void (*normalize_rows)(quern__rows x, quern__rows y, uint32_t rows, uint32_t n,
                           const float *gamma, const float *beta, float eps);
    /* y = RMSNorm(x), n columns of one piece or of several; y may be x. */
    void (*rms_norm)(quern__rows x, quern__rows y, uint32_t rows, uint32_t n, const float *gamma,
                     float eps);
    /* One head's columns, `depth` (even) from x on and within one piece, turned in place by their positions: row r by
     * turns[r * depth], depth / 2 cosines and as many sines. */
    void (*rotate)(quern__rows x, uint32_t rows, uint32_t depth, const float *turns);
    /* x = activation(gate) * x, n columns within one piece. */
    void (*apply_gate)(int gate_kind, quern__rows gate, quern__rows x, uint32_t rows, uint32_t n);
    /* y = word + position, both n dense floats of any alignment. */
    void (*embed_row)(const float *word, const float *position, uint32_t n, quern__rows y);
    /* out[n] = mean over rows; then out[n] scaled to unit length. */
    void (*mean_rows)(quern__rows x, uint32_t rows, uint32_t n, float *out);
    void (*unit_row)(float *x, uint32_t n);
    void (*dot_f16)(const float *q, const uint16_t *rows, size_t n, size_t dim, float *out);
    void (*dot_f32)(const float *q, const float *rows, size_t n, size_t dim, float *out);

    /* For tests: the elementwise functions of rules 6, 7, 14 and 34 on n values, n a multiple of 16. */
    void (*gelu)(const float *in, float *out, size_t n);
    void (*exp2)(const float *in, float *out, size_t n);
    void (*silu)(const float *in, float *out, size_t n);
    void (*gelu_tanh)(const float *in, float *out, size_t n);
    void (*fma)(const float *a, const float *b, const float *c, float *out, size_t n);
};

/* Floats that `pack` writes for k of a piece; a panel is an even number of columns. */
static inline size_t quern__packed_floats(const quern__kernels *t, uint32_t k)
{
    switch (t->kind) {
    case QUERN__MATRIX_BF16:
        return (size_t)((k + 1) / 2) * t->panel;
    case QUERN__MATRIX_F16:
        return (size_t)k * t->panel / 2;
    default:
        return (size_t)k * t->panel;
    }
}

extern const quern__kernels quern__kernels_scalar;
#if defined(__x86_64__)
extern const quern__kernels quern__kernels_avx2, quern__kernels_avx512;
#elif defined(__aarch64__)
extern const quern__kernels quern__kernels_neon;
#endif

#endif
