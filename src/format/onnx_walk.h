/*
 * onnx_walk.h — what the walk through an exported graph knows, shared by its parts: onnx.c (order), onnx_encoder.c (operations on an
 * encoder's values), onnx_fused.c (operations that stand for several), onnx_pooling.c (what stands behind the last of them), onnx_codes.c (quantised weights), onnx_emit.c (tensors).
 */
#ifndef QUERN_FORMAT_ONNX_WALK_H
#define QUERN_FORMAT_ONNX_WALK_H

#include "base/arena.h"
#include "format/onnx_file.h"
#include "format/onnx_numbers.h"
#include "format/onnx_view.h"
#include "format/weights_build.h"

enum {
    QUERN__WALK_LAYERS = 256,
    QUERN__WALK_HIDDEN = 2 * QUERN__WALK_LAYERS + 1,
    QUERN__WALK_PRODUCTS = 6 * QUERN__WALK_LAYERS,
    QUERN__WALK_INPUTS = 9
};

enum quern__tag_kind {
    QUERN__LOST,   /* a: the node that was not understood; why, or NULL */
    QUERN__META,   /* of masks and shapes only; numbers, or NULL: not known */
    QUERN__CONST,  /* tensor; -1: computed by node a. numbers where they are few */
    QUERN__IDS,    /* token ids */
    QUERN__ROWS,   /* of the coded table `tensor`, still codes; a: of the mask below */
    QUERN__TABLES, /* sum of rows of the tables in the mask a */
    /* Inside a LayerNorm of `a` (quern__norm_of): */
    QUERN__MEAN,
    QUERN__CENTRED, /* less the mean */
    QUERN__SQUARED,
    QUERN__VARIANCE,
    QUERN__SHIFTED, /* and epsilon, which is `by` from here on */
    QUERN__SPREAD,  /* its root */
    QUERN__INVERSE, /* 1 / that */
    QUERN__NORMAL,
    QUERN__STRETCHED, /* times gamma, `tensor` */
    QUERN__HIDDEN,    /* hidden state a: 0 behind the embeddings, then two a layer */
    QUERN__PRODUCT,   /* products[a], without bias still */
    QUERN__LINEAR,    /* with it; times `by` */
    QUERN__SCORES,    /* of queries a and keys b, of `depth` c; times `by` */
    QUERN__PROBS,     /* their softmax */
    QUERN__CONTEXT,   /* times values c */
    QUERN__SUM,       /* sums[a]: product and the hidden state beside it */
    QUERN__GATE,      /* (erf of product a, and b) times `by` */
    QUERN__ACTIVE,    /* product a times that gate: GELU where `by` is 1/2 */
    /* Behind hidden state c: */
    QUERN__VECTOR, /* pooled as a (quern__pooled) says, times `by`; b: of unit length */
    QUERN__LENGTH, /* of that vector */
    /* Activations that are quantised as they come: quants[a] is what they were. */
    QUERN__QUANT,
    QUERN__QUANT_SCALE, /* times `tensor`, -1: nothing yet */
    QUERN__QUANT_ZERO,
    QUERN__QUANT_PRODUCT /* with the codes `tensor`; b: as FLOAT */
};

/* A sum is `by` = 1, a mean 1 / tokens, and what stands between is told by it. */
enum quern__pooled {
    QUERN__POOLED_SUM = 1,
    QUERN__POOLED_FIRST,
    QUERN__POOLED_LAST,
    QUERN__POOLED_MOST
};

typedef struct quern__tag {
    int kind;
    bool turned; /* a matrix that was transposed */
    bool behind; /* LOST: among what follows hidden state c */
    uint32_t a, b, c;
    int64_t tensor;
    double by;
    quern__view view; /* of values and ids */
    const quern__numbers *numbers;
    const char *why;
} quern__tag;

typedef struct quern__onnx_product {
    quern__tag from;
    int64_t weight, bias;
    bool turned;
} quern__onnx_product;

typedef struct quern__onnx_hidden {
    uint32_t norm_of; /* 0: the tables; else 1 + number of a sum */
    int64_t gamma, beta;
} quern__onnx_hidden;

enum quern__table_mask { QUERN__WORDS = 1, QUERN__TYPES = 2, QUERN__PLACES = 4 };

typedef struct quern__walk {
    quern__weights *w;
    const quern__weights_part *p;
    quern__onnx_file f;
    quern__number_room room;
    quern__arena texts;
    quern__tag *tags; /* [f.value_n] */
    quern__onnx_product products[QUERN__WALK_PRODUCTS];
    quern__onnx_hidden hiddens[QUERN__WALK_HIDDEN];
    struct {
        uint32_t product, beside;
    } sums[QUERN__WALK_HIDDEN];
    quern__tag quants[QUERN__WALK_PRODUCTS];
    uint32_t product_n, hidden_n, sum_n, quant_n, tables;
    int64_t words, types, places;
    uint32_t tokens;     /* of the text that the graph is followed with */
    uint32_t heads;      /* 0: not seen yet */
    double epsilon;      /* < 0: not seen yet */
    bool weights_behind; /* a product of something lost, or pooled, with a matrix */
    uint32_t now;        /* the node */
    quern__tag beside;   /* its second result */
    quern_error *err;
} quern__walk;

static const quern__tag quern__meta = {.kind = QUERN__META, .tensor = -1};

static inline bool quern__is_value(quern__tag t)
{
    return t.kind != QUERN__META && t.kind != QUERN__CONST && t.kind != QUERN__IDS;
}

/* onnx.c */
quern__tag quern__lost(const quern__walk *k);
/* With what is wrong about it, which stands behind the operation's name. */
quern__tag quern__lost_because(quern__walk *k, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
quern__tag quern__computed(const quern__walk *k); /* a constant, by this node */
const quern__onnx_tensor *quern__tensor_of(const quern__walk *k, quern__tag t);
/* A stored tensor of that many dimensions and of a type that weights have. */
bool quern__has_rank(const quern__walk *k, quern__tag t, uint32_t rank);
/* A number that `t` is all over, without making a value of that view larger. */
bool quern__factor(const quern__view *v, quern__tag t, double *out);

/* onnx_encoder.c: what a node makes of its inputs, one of which is a value. */
int quern__step_value(quern__walk *k, const quern__onnx_node *node, const quern__tag *in,
                      uint32_t n, quern__tag *out);
/* Rows of a table: which ones says the index. */
quern__tag quern__gather_rows(quern__walk *k, quern__tag table, quern__tag index);
quern__tag quern__table_rows(quern__walk *k, int64_t tensor, uint32_t which, quern__view view);
quern__tag quern__product_of(quern__walk *k, quern__tag x, quern__tag matrix, bool turned);
quern__tag quern__matmul(quern__walk *k, quern__tag x, quern__tag y);
quern__tag quern__add(quern__walk *k, quern__tag x, quern__tag y);
/* The LayerNorm of a sum. */
quern__tag quern__norm(quern__walk *k, quern__tag x, quern__tag gamma, quern__tag beta,
                       double epsilon);

/* onnx_fused.c: an operation of com.microsoft, whether or not one of its inputs is a value; *took: it is one. */
int quern__step_fused(quern__walk *k, const quern__onnx_node *node, const quern__tag *in,
                      bool values, bool *took, quern__tag *out);
/* ONNX's own Attention. */
int quern__step_attention(quern__walk *k, const quern__onnx_node *node, const quern__tag *in,
                          quern__tag *out);

/* Which axis is gone from an input's shape; the same for ids as for values. */
int quern__step_shape(quern__walk *k, const quern__onnx_node *node, const quern__tag *in,
                      uint32_t n, quern__tag *out);

/* onnx_pooling.c: the same for the last hidden state, and what is made of it. *took: it was. */
int quern__step_pooling(quern__walk *k, const quern__onnx_node *node, const quern__tag *in,
                        uint32_t n, quern__tag *out, bool *took);
/* The graph's results: its last hidden state or what is pooled of it, which k->w->said tells. */
int quern__check_end(quern__walk *k);

/* onnx_codes.c */
int quern__step_codes(quern__walk *k, const quern__onnx_node *node, const quern__tag *in,
                      uint32_t n, bool *took, quern__tag *out);
int quern__step_quants(quern__walk *k, const quern__onnx_node *node, const quern__tag *in,
                       uint32_t n, bool *took, quern__tag *out);

/* onnx_emit.c */
int quern__emit_all(quern__walk *k);
/* Where a stored tensor's bytes are: in this file, or in one beside it. Trouble, or NULL. */
const char *quern__place_of(const quern__walk *k, const quern__onnx_tensor *from, size_t width,
                            const void **data, uint32_t *part);

int quern__tensor_fail(const quern__walk *k, const quern__onnx_tensor *t, const char *name,
                       const char *trouble);
int quern__node_fail(const quern__walk *k, uint32_t index, const char *what);

#endif
