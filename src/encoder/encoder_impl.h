/*
 * encoder_impl.h — the encoder's structures, shared by its three files (and its bench): encoder.c checks
 * shapes and packs, plan.c cuts a call into blocks, forward.c computes.
 */
#ifndef QUERN_ENCODER_ENCODER_IMPL_H
#define QUERN_ENCODER_ENCODER_IMPL_H

#include "encoder/encoder.h"
#include "encoder/head.h"
#include "kernels/int8.h"
#include "kernels/kernels_table.h"

/* A product's right side in the encoder's class: one of the two is filled. */
typedef struct quern__linear {
    uint32_t panels;
    quern__matrix f32;
    quern__matrix8 int8;
} quern__linear;

/* A feed-forward block is run in chunks of 384 of its inner columns: chunk c is a product to those columns
 * (`up`, with GELU) and a product from them (`down`, one piece of rule 2), so the inner matrix need not
 * exist as a whole. */
typedef struct quern__ffn_chunk {
    quern__linear gate, up, down; /* gate: where the family has one */
} quern__ffn_chunk;

/* One place where rows are normalised. gamma NULL: they pass as they are; beta NULL: RMSNorm. */
typedef struct quern__norm {
    const float *gamma, *beta;
} quern__norm;

/* Queries, keys and values of a group of heads are one product, as wide as one piece where heads allow:
 * a group's attention follows its product, while what it reads is still in the cache. */
typedef struct quern__layer {
    quern__linear *qkv; /* [group_count] */
    quern__linear out;
    quern__ffn_chunk *chunks;
    quern__norm middle, end;            /* behind attention; behind the feed-forward part */
    const float *query_norm, *key_norm; /* of each head, before it is turned; NULL: none */
    const float *turns;                 /* [max_tokens][depth]; NULL: nothing is turned */
    const quern__outlook *outlook;      /* NULL: queries see the whole text */
    const float *smooth[2];             /* int8: of what qkv and `up` read (rule 24) */
} quern__layer;

/* Where norms come last (BERT), x is what products read and y holds their sums; where they come first, the other
 * way round. Either way x is what is added to. */
enum quern__stage {
    QUERN__STAGE_EMBED,
    QUERN__STAGE_QKV,
    QUERN__STAGE_TURN, /* queries and keys normalised and turned by their positions */
    QUERN__STAGE_ATTENTION,
    QUERN__STAGE_CONTEXT, /* int8: attention's context quantised */
    QUERN__STAGE_OUT,
    QUERN__STAGE_NORM,
    QUERN__STAGE_UP,
    QUERN__STAGE_INNER, /* int8: inner columns quantised */
    QUERN__STAGE_DOWN,
    QUERN__STAGE_POOL,
    QUERN__STAGES
};

struct quern__encoder {
    /* immutable after open */
    const struct quern__family *family;
    const char *prefix; /* of tensors: "" or the family's */
    const quern__kernels *kernels;
    const quern__int8_kernels *int8; /* NULL: the class is fp32 */
    uint32_t hidden, heads, key_heads, depth, slot, intermediate, vocab, max_tokens;
    uint32_t layer_count, chunk_count;
    uint32_t hidden_pieces, group_pieces; /* pieces of a row; of a group's queries, keys, values */
    uint32_t context_pieces;              /* of a row of all heads' context */
    uint32_t sharing;                     /* heads that read the same keys and values */
    uint32_t group_heads, group_count;    /* of keys; the last group may have fewer heads */
    float eps, scale;
    struct quern__lookup *lookup; /* a static table: it has no layers, and nothing below is of it */
    quern__head *head;            /* NULL: its Dense modules are still to come */
    uint32_t width;               /* of a vector */
    int32_t padding; /* the token that has a position of its own, row max_tokens; -1: none has */
    uint32_t bias_stride; /* floats of a head's row of biases */
    const float *bias;    /* [heads][bias_stride], by query - key + max_tokens - 1; NULL: none */
    const float *words;   /* [vocab][hidden]: the mapping, or `widened` */
    const float *
        positions; /* [positions][hidden], token type 0 added (rule 3); of a rotary family one row */
    quern__norm words_norm; /* of words, where others follow; and what the first layer reads */
    quern__norm first;
    quern__outlook outlook; /* of layers that have one */
    quern__layer *layers;
    quern__linear *groups;    /* [layers][group_count] */
    quern__ffn_chunk *chunks; /* [layers][chunk_count] */
    const void *packed;       /* matrices in use order; int8: their scales and sums behind them */
    void *packed_own;         /* memory of ours, where it is no image's */
    quern__image image;
    float *small, *widened; /* everything one-dimensional; words not fp32 */
    float *turns;           /* rule 13: [1 or 2][max_tokens][depth] */
    size_t packed_size, small_size, widened_size, turns_size;
};

/* Activations of one block of texts. */
typedef struct quern__workspace {
    quern__rows x, y, h,
        qkv; /* h: attention's context, then the inner columns of a chunk; qkv: then the gate's */
    quern__codes x8, h8; /* int8: of x, then of the context; of a chunk's inner columns */
    float *attention, *head;
} quern__workspace; /* qkv holds one group of heads */

/* What products of a layer read, as fp32 before any smoothing: told block by block on one thread, for calibration. */
enum quern__reading { QUERN__READS_QKV, QUERN__READS_OUT, QUERN__READS_UP, QUERN__READS_DOWN };
typedef struct quern__observer {
    void (*fn)(void *ud, uint32_t layer, int reading, uint32_t chunk, quern__rows x, uint32_t rows);
    void *ud;
} quern__observer;

struct quern__encoder_scratch {
    const quern__encoder *encoder;
    uint32_t threads;
    uint32_t rows;          /* of one workspace */
    quern__workspace *each; /* [threads] */
    quern__rows shared;   /* when threads share a block: all groups' qkv, then all inner columns */
    quern__codes shared8; /* int8: of all inner columns */
    float *memory;
    size_t memory_size;
    const quern__observer *observer; /* set by the quantiser: one thread, class fp32 */
    bool timed;                      /* set by the bench: fill stage_ns (one thread only) */
    uint64_t stage_ns[QUERN__STAGES];
};

/* The sizes that quantised weights of it have. */
void quern__encoder_sizes(const quern__encoder *e, quern__quantised *q);

/* Heads of keys. */
static inline uint32_t quern__keys_of_group(const quern__encoder *e, uint32_t group)
{
    const uint32_t left = e->key_heads - group * e->group_heads;
    return left < e->group_heads ? left : e->group_heads;
}

/* Columns of the product of a group with so many heads of keys. */
static inline uint32_t quern__group_columns(const quern__encoder *e, uint32_t keys)
{
    return (e->sharing + 2) * keys * e->slot;
}

/* A block of whole texts. */
typedef struct quern__block {
    const int32_t *ids;
    const uint32_t *lengths;
    uint32_t texts, tokens;
    float *out;
} quern__block;

/* Tokens of a block when there is enough work: small enough for the caches, large enough that the
 * weights' passage costs nothing. */
enum { QUERN__BLOCK_TOKENS = 168 };

/* One block on the calling thread. */
void quern__forward_block(const quern__encoder *e, quern__encoder_scratch *s, quern__workspace *w,
                          const quern__block *b, bool normalize, const quern_cancel *cancel);
/* One block, every stage shared out over the pool. */
void quern__forward_shared(const quern__encoder *e, quern__encoder_scratch *s, quern__pool *pool,
                           const quern__block *b, bool normalize, const quern_cancel *cancel);

#endif
