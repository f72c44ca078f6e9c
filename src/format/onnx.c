/*
 * onnx.c — the weights of an exported BERT, found by what the graph does with them. Exporters rename, fold
 * and transpose (a matrix becomes "onnx::MatMul_123", stored input by output), so names say nothing: the
 * walk goes through the nodes in their order and gives every value a tag — the sum of three embedding
 * tables, hidden state k, a product of it with a matrix, scores of two such products … A tensor is then
 * what its place makes it: the matrix whose product is the left side of the scores is a query's.
 *
 * An operation that is none of an encoder's makes its value "lost", and a graph whose result is lost is
 * refused by that node's name. Operations on masks and shapes are followed no further than that they are
 * such. Where a tensor still has the published name, it must be the one that the walk found.
 *
 * Rejected: matching names (above), and matching the graph against patterns of known exporters (there are
 * six ways already to write a LayerNorm and an attention down, and a new one each year). How the numbers
 * are computed — epsilon, heads, activation — is what config.json says, as for every format.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "format/onnx_file.h"
#include "format/weights_build.h"

enum {
    MAX_LAYERS = 256,
    MAX_HIDDEN = 2 * MAX_LAYERS + 1,
    MAX_PRODUCTS = 6 * MAX_LAYERS,
    INPUTS = 5
};

enum tag_kind {
    LOST,    /* a: the node that was not understood */
    META,    /* of masks and shapes only */
    CONST,   /* tensor; -1: computed by node a */
    IDS,     /* token ids */
    TYPES,   /* token types */
    TABLES,  /* sum of rows of the tables in the mask a */
    NORMING, /* inside a LayerNorm of `a` (below); tensor: its gamma, -1 not yet */
    HIDDEN,  /* hidden state a: 0 behind the embeddings, then two a layer */
    PRODUCT, /* products[a], without bias still */
    LINEAR,  /* with it */
    SCALED,  /* times a constant */
    SCORES,  /* of queries a and keys b */
    PROBS,   /* their softmax */
    CONTEXT, /* times values c */
    SUM,     /* sums[a]: product and the hidden state beside it */
    GATE,    /* 1 + erf of product a */
    ACTIVE   /* GELU of product a */
};

typedef struct tag {
    int kind;
    bool turned; /* a matrix that was transposed */
    uint32_t a, b, c;
    int64_t tensor;
} tag;

typedef struct product {
    tag from;
    int64_t weight, bias;
    bool turned;
} product;

typedef struct hidden {
    uint32_t norm_of; /* 0: the tables; else 1 + number of a sum */
    int64_t gamma, beta;
} hidden;

enum table_mask { WORDS = 1, BY_TYPES = 2, FIRST = 4, SECOND = 8 }; /* indexed by constants */

typedef struct walk {
    quern__weights *w;
    const quern__weights_part *p;
    quern__onnx_file f;
    tag *tags; /* [f.value_n] */
    product products[MAX_PRODUCTS];
    hidden hiddens[MAX_HIDDEN];
    struct {
        uint32_t product, beside;
    } sums[MAX_HIDDEN];
    uint32_t product_n, hidden_n, sum_n, tables;
    int64_t words, by_types, fixed[2];
    bool weights_behind; /* a product of something lost with a matrix */
    uint32_t now;        /* the node */
    quern_error *err;
} walk;

static const tag meta = {.kind = META, .tensor = -1};

static bool is(quern_str s, const char *what)
{
    return s.len == strlen(what) && memcmp(s.ptr, what, s.len) == 0;
}

static bool is_one_of(quern_str s, const char *const *what)
{
    for (; *what; what++)
        if (is(s, *what))
            return true;
    return false;
}

static tag lost(const walk *k)
{
    return (tag){.kind = LOST, .a = k->now, .tensor = -1};
}

static bool is_value(tag t)
{
    return t.kind != META && t.kind != CONST && t.kind != IDS && t.kind != TYPES;
}

static const quern__onnx_tensor *tensor_of(const walk *k, tag t)
{
    return t.kind == CONST && t.tensor >= 0 ? &k->f.tensors[t.tensor] : NULL;
}

/* A stored tensor of that many dimensions and of a type that weights have. */
static bool has_rank(const walk *k, tag t, uint32_t rank)
{
    const quern__onnx_tensor *x = tensor_of(k, t);
    return x && x->rank == rank && x->dtype != QUERN__OTHER_DTYPE;
}

/* ---- quantised weights: what is made of stored codes is a tensor of its own ---- */

static bool is_codes(const quern__onnx_tensor *t)
{
    return t && (t->type == QUERN__ONNX_INT8 || t->type == QUERN__ONNX_UINT8);
}

/* Codes that were only cast. */
static bool is_bare(const quern__onnx_tensor *t)
{
    return is_codes(t) && t->derived && t->scale < 0;
}

/* Does `part` hold one number for each row or column of `t`, or one for all? */
static bool spreads(const quern__onnx_tensor *t, const quern__onnx_tensor *part, bool *by_row)
{
    *by_row = t->rank == 1;
    if (part->count == 1)
        return true;
    if (t->rank == 1)
        return part->rank == 1 && part->count == t->count;
    *by_row = part->rank == 2 && part->shape[1] == 1;
    const uint64_t wanted = t->shape[*by_row ? 0 : 1];
    return t->rank == 2 && part->count == wanted &&
           (*by_row || part->rank == 1 || (part->rank == 2 && part->shape[0] == 1));
}

/* The node's result as a derived tensor; its name is the result's. */
static int derive(walk *k, const quern__onnx_node *node, const quern__onnx_tensor *from, tag *out)
{
    quern__onnx_tensor made = *from;
    made.derived = true;
    made.name = node->output_n ? k->f.names[node->outputs] : made.name;
    if (made.scale >= 0) {
        made.dtype = QUERN__CODES;
        made.trouble = NULL;
    }
    *out = (tag){.kind = CONST, .a = k->now, .tensor = -1};
    return quern__onnx_derive(&k->f, &made, &out->tensor, k->err);
}

static bool is_scale(const quern__onnx_tensor *t)
{
    return t && t->dtype == QUERN__F32 && !t->derived && !t->trouble;
}

/* codes - codes, and (codes) * scale: how exporters that know no better write it. *made: it was one of these. */
static int unquantise_spelt(walk *k, const quern__onnx_node *node, const tag *in, bool *made,
                            tag *out)
{
    const quern__onnx_tensor *x = tensor_of(k, in[0]), *y = tensor_of(k, in[1]);
    bool by_row;
    *made = false;
    if (is(node->op, "Mul") && is_scale(x) && is_bare(y)) {
        const quern__onnx_tensor *swap = x;
        x = y;
        y = swap;
    }
    if (!is_bare(x) || !y || in[0].turned || in[1].turned || !spreads(x, y, &by_row))
        return QUERN_OK;
    quern__onnx_tensor next = *x;
    if (is(node->op, "Sub") && is_bare(y) && y->zero < 0 && x->zero < 0 && y->type == x->type)
        next.zero = y - k->f.tensors;
    else if (is(node->op, "Mul") && is_scale(y) &&
             (x->zero < 0 ||
              (k->f.tensors[x->zero].count == y->count && (y->count == 1 || x->by_row == by_row))))
        next.scale = y - k->f.tensors;
    else
        return QUERN_OK;
    next.by_row = by_row;
    *made = true;
    return derive(k, node, &next, out);
}

/* DequantizeLinear of stored codes: scales for all of it or along the axis, and codes that are zero as many. */
static int unquantise(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out)
{
    const quern__onnx_tensor *x = tensor_of(k, in[0]), *scale = tensor_of(k, in[1]),
                             *zero = n == 3 ? tensor_of(k, in[2]) : NULL;
    quern__onnx_attribute a;
    bool has, blocks;
    int rc = quern__onnx_attribute_of(&k->f, node, "block_size", &blocks, &a, k->err);
    if (rc == QUERN_OK)
        rc = quern__onnx_attribute_of(&k->f, node, "axis", &has, &a, k->err);
    if (rc)
        return rc;
    *out = (tag){.kind = CONST, .a = k->now, .tensor = -1};
    const int64_t axis = !has ? 1 : a.i < 0 ? a.i + (x ? (int64_t)x->rank : 0) : a.i;
    if ((blocks && a.i) || !is_codes(x) || x->derived || in[0].turned || !is_scale(scale) ||
        !x->rank || x->rank > 2 || (in[2].kind == CONST && n == 3 && !zero) ||
        (zero && (zero->type != x->type || zero->derived || zero->count != scale->count)) ||
        (scale->count != 1 && (scale->rank != 1 || axis < 0 || axis >= (int64_t)x->rank ||
                               scale->count != x->shape[axis])))
        return QUERN_OK;
    quern__onnx_tensor next = *x;
    next.by_row = axis == 0;
    next.scale = scale - k->f.tensors;
    next.zero = zero ? zero - k->f.tensors : -1;
    return derive(k, node, &next, out);
}

static int cast_codes(walk *k, const quern__onnx_node *node, const tag *in, bool *made, tag *out)
{
    const quern__onnx_tensor *x = tensor_of(k, in[0]);
    quern__onnx_attribute a;
    bool has;
    *made = false;
    if (!is_codes(x) || x->derived || in[0].turned)
        return QUERN_OK;
    int rc = quern__onnx_attribute_of(&k->f, node, "to", &has, &a, k->err);
    if (rc || !has || a.i != QUERN__ONNX_FLOAT)
        return rc;
    *made = true;
    return derive(k, node, x, out);
}

/* ---- what an operation makes of its inputs ---- */

static tag add_product(walk *k, tag x, tag matrix, bool turned)
{
    if (!has_rank(k, matrix, 2) || (x.kind != HIDDEN && x.kind != CONTEXT && x.kind != ACTIVE) ||
        k->product_n == MAX_PRODUCTS) {
        if (matrix.kind == CONST && matrix.tensor < 0)
            return (tag){.kind = LOST, .a = matrix.a, .tensor = -1}; /* a matrix that is computed */
        return lost(k);
    }
    k->products[k->product_n] = (product){x, matrix.tensor, -1, turned != matrix.turned};
    return (tag){.kind = PRODUCT, .a = k->product_n++, .tensor = -1};
}

static tag matmul(walk *k, tag x, tag y)
{
    const bool x_linear = x.kind == LINEAR || x.kind == SCALED;
    if (y.kind == CONST) {
        k->weights_behind = k->weights_behind || x.kind == LOST;
        return add_product(k, x, y, false);
    }
    if (x_linear && (y.kind == LINEAR || y.kind == SCALED))
        return (tag){.kind = SCORES, .a = x.a, .b = y.a, .tensor = -1};
    if (x.kind == PROBS && y.kind == LINEAR)
        return (tag){.kind = CONTEXT, .a = x.a, .b = x.b, .c = y.a, .tensor = -1};
    return lost(k);
}

static tag add_bias(walk *k, tag x, tag bias)
{
    if (!has_rank(k, bias, 1) || k->products[x.a].bias >= 0)
        return lost(k);
    k->products[x.a].bias = bias.tensor;
    x.kind = LINEAR;
    return x;
}

/* Number of what is normalised; UINT32_MAX: not a sum that is. */
static uint32_t norm_of(walk *k, tag x)
{
    if (x.kind == SUM)
        return x.a + 1;
    if (x.kind != TABLES || (k->tables && k->tables != x.a))
        return UINT32_MAX;
    k->tables = x.a;
    return 0;
}

static tag add_hidden(walk *k, uint32_t of, int64_t gamma, tag beta)
{
    if (of == UINT32_MAX || k->hidden_n == MAX_HIDDEN || !has_rank(k, beta, 1))
        return lost(k);
    k->hiddens[k->hidden_n] = (hidden){of, gamma, beta.tensor};
    return (tag){.kind = HIDDEN, .a = k->hidden_n++, .tensor = -1};
}

static tag add_sum(walk *k, tag x, tag beside)
{
    const int from = k->products[x.a].from.kind;
    if ((from != CONTEXT && from != ACTIVE) || k->sum_n == MAX_HIDDEN)
        return lost(k);
    k->sums[k->sum_n].product = x.a;
    k->sums[k->sum_n].beside = beside.a;
    return (tag){.kind = SUM, .a = k->sum_n++, .tensor = -1};
}

static tag add(walk *k, tag x, tag y)
{
    if (!is_value(x) || (y.kind == PRODUCT) || (x.kind == HIDDEN && y.kind == LINEAR)) {
        const tag swap = x;
        x = y;
        y = swap;
    }
    if (x.kind == TABLES && y.kind == TABLES && !(x.a & y.a)) {
        x.a |= y.a;
        return x;
    }
    if (x.kind == PRODUCT && y.kind == CONST)
        return add_bias(k, x, y);
    if (x.kind == LINEAR && y.kind == HIDDEN)
        return add_sum(k, x, y);
    if (x.kind == NORMING && y.kind == CONST && x.tensor >= 0)
        return add_hidden(k, x.a, x.tensor, y);
    if ((x.kind == NORMING || x.kind == GATE) && y.kind == CONST)
        return x; /* epsilon; the one beside erf */
    if (x.kind == SCORES && !is_value(y))
        return x; /* the mask */
    return lost(k);
}

static tag mul(walk *k, tag x, tag y)
{
    if (!is_value(x) || (x.kind == GATE && y.kind != GATE && is_value(y))) {
        const tag swap = x;
        x = y;
        y = swap;
    }
    const bool linear = x.kind == LINEAR || x.kind == SCALED;
    if (x.kind == NORMING && x.tensor < 0 && y.kind == NORMING && y.tensor < 0 && x.a == y.a)
        return x;
    if (x.kind == NORMING && x.tensor < 0 && has_rank(k, y, 1)) {
        x.tensor = y.tensor;
        return x;
    }
    if (linear && y.kind == GATE && x.a == y.a)
        return (tag){.kind = ACTIVE, .a = x.a, .tensor = -1};
    if (linear && !is_value(y)) {
        x.kind = SCALED;
        return x;
    }
    if ((x.kind == SCORES && !is_value(y)) ||
        ((x.kind == GATE || x.kind == ACTIVE) && y.kind == CONST))
        return x;
    return lost(k);
}

static tag divide(walk *k, tag x, tag y)
{
    const bool inside = x.kind == NORMING && y.kind == NORMING && x.a == y.a && x.tensor < 0;
    if (inside || (is_value(x) && !is_value(y) && x.kind != NORMING))
        return inside ? x : mul(k, x, y);
    return lost(k);
}

static tag subtract(walk *k, tag x, tag y)
{
    const uint32_t of = norm_of(k, x);
    return of != UINT32_MAX && y.kind == NORMING && y.a == of ? y : lost(k);
}

/* What only a LayerNorm has here: means, squares and roots of a sum. */
static tag norming(walk *k, tag x)
{
    if (x.kind == NORMING && x.tensor < 0)
        return x;
    const uint32_t of = norm_of(k, x);
    return of == UINT32_MAX ? lost(k) : (tag){.kind = NORMING, .a = of, .tensor = -1};
}

static tag gather(walk *k, tag table, tag index)
{
    if (is_value(table) || is_value(index))
        return lost(k);
    if (!has_rank(k, table, 2) || table.turned) {
        if (index.kind == IDS)
            return table.kind == CONST && table.tensor < 0
                       ? (tag){.kind = LOST, .a = table.a, .tensor = -1}
                       : lost(k);
        return meta;
    }
    tag t = {.kind = TABLES, .tensor = -1};
    if (index.kind == IDS) {
        if (k->words >= 0 && k->words != table.tensor)
            return lost(k); /* two tables of words: which one is the encoder's? */
        k->words = table.tensor;
        t.a = WORDS;
    } else if (index.kind == TYPES) {
        if (k->by_types >= 0 && k->by_types != table.tensor)
            return lost(k);
        k->by_types = table.tensor;
        t.a = BY_TYPES;
    } else {
        t.a = k->fixed[0] < 0 ? FIRST : SECOND;
        if (k->fixed[1] >= 0)
            return lost(k);
        k->fixed[t.a == SECOND] = table.tensor;
    }
    return t;
}

static int gemm(walk *k, const quern__onnx_node *node, const tag in[INPUTS], tag *out)
{
    static const char *const ones[] = {"alpha", "beta"};
    quern__onnx_attribute a;
    bool has, turned = false, plain = true;
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < QUERN__COUNT(ones); i++) {
        rc = quern__onnx_attribute_of(&k->f, node, ones[i], &has, &a, k->err);
        plain = plain && (!has || a.f == 1.0f);
    }
    if (rc == QUERN_OK)
        rc = quern__onnx_attribute_of(&k->f, node, "transA", &has, &a, k->err);
    plain = plain && !(has && a.i);
    if (rc == QUERN_OK)
        rc = quern__onnx_attribute_of(&k->f, node, "transB", &has, &a, k->err);
    turned = has && a.i;
    if (rc)
        return rc;
    k->weights_behind = k->weights_behind || in[0].kind == LOST;
    *out = plain ? add_product(k, in[0], in[1], turned) : lost(k);
    if (out->kind == PRODUCT && in[2].kind == CONST)
        *out = add_bias(k, *out, in[2]);
    return QUERN_OK;
}

/* Of two dimensions, exchanged; anything else of a constant is another constant. */
static int transpose(walk *k, const quern__onnx_node *node, tag x, tag *out)
{
    quern__onnx_attribute a;
    bool has;
    int rc = quern__onnx_attribute_of(&k->f, node, "perm", &has, &a, k->err);
    if (rc)
        return rc;
    *out = x;
    if (has_rank(k, x, 2) && (!has || (a.n == 2 && a.ints[0] == 1 && a.ints[1] == 0)))
        out->turned = !x.turned;
    else
        *out = (tag){.kind = CONST, .a = k->now, .tensor = -1};
    return QUERN_OK;
}

/* From the node's inputs, none of which is a value of the encoder. */
static int step_around(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out)
{
    static const char *const same[] = {"Cast",     "Reshape", "Unsqueeze", "Squeeze",
                                       "Identity", "Flatten", NULL};
    bool constant = true, made = false;
    int rc = QUERN_OK;
    for (uint32_t i = 0; i < n; i++)
        constant = constant && in[i].kind == CONST;
    if (is(node->op, "DequantizeLinear") && constant && (n == 2 || n == 3))
        return unquantise(k, node, in, n, out);
    if (is(node->op, "Cast") && n == 1)
        rc = cast_codes(k, node, in, &made, out);
    else if ((is(node->op, "Mul") || is(node->op, "Sub")) && n == 2)
        rc = unquantise_spelt(k, node, in, &made, out);
    if (rc || made)
        return rc;
    *out = meta;
    if (is(node->op, "Constant"))
        *out = (tag){.kind = CONST, .a = k->now, .tensor = node->tensor};
    else if (is(node->op, "Gather") && n == 2)
        *out = gather(k, in[0], in[1]);
    else if (is(node->op, "Slice") && n >= 3 && has_rank(k, in[0], 2))
        *out = gather(k, in[0], meta); /* its first rows: positions */
    else if (is(node->op, "Transpose") && n == 1 && in[0].kind == CONST)
        return transpose(k, node, in[0], out);
    else if ((is(node->op, "Identity") || is(node->op, "Cast")) && n == 1 &&
             has_rank(k, in[0], tensor_of(k, in[0]) ? tensor_of(k, in[0])->rank : 0))
        *out = in[0]; /* a narrow type that is widened: exact */
    else if (n && (in[0].kind == IDS || in[0].kind == TYPES) && is_one_of(node->op, same))
        *out = in[0];
    else if (constant)
        *out = (tag){.kind = CONST, .a = k->now, .tensor = -1};
    return QUERN_OK;
}

static int gelu(walk *k, const quern__onnx_node *node, tag x, tag *out)
{
    quern__onnx_attribute a;
    bool has;
    int rc = quern__onnx_attribute_of(&k->f, node, "approximate", &has, &a, k->err);
    *out = x.kind == LINEAR && (!has || is(a.s, "none"))
               ? (tag){.kind = ACTIVE, .a = x.a, .tensor = -1}
               : lost(k);
    return rc;
}

/* One of the three is what the other two choose for: a mask's constants. */
static tag choose(walk *k, const tag in[INPUTS])
{
    const tag x = is_value(in[1]) ? in[1] : in[2], y = is_value(in[1]) ? in[2] : in[1];
    return !is_value(in[0]) && !is_value(y) && (x.kind == SCORES || x.kind == PROBS) ? x : lost(k);
}

static int step_value(walk *k, const quern__onnx_node *node, const tag in[INPUTS], uint32_t n,
                      tag *out)
{
    static const char *const same[] = {"Reshape",  "Transpose", "Unsqueeze", "Squeeze", "Flatten",
                                       "Identity", "Dropout",   "Cast",      NULL};
    static const char *const about[] = {"Shape", "Size", "IsNaN", NULL};
    const quern_str op = node->op;
    *out = lost(k);
    if (is_one_of(op, about))
        *out = meta;
    else if (is_one_of(op, same) && n)
        *out = in[0];
    else if (is(op, "MatMul") && n == 2)
        *out = matmul(k, in[0], in[1]);
    else if (is(op, "Gemm") && (n == 2 || n == 3))
        return gemm(k, node, in, out);
    else if (is(op, "Add") && n == 2)
        *out = add(k, in[0], in[1]);
    else if (is(op, "Mul") && n == 2)
        *out = mul(k, in[0], in[1]);
    else if (is(op, "Div") && n == 2)
        *out = divide(k, in[0], in[1]);
    else if (is(op, "Sub") && n == 2)
        *out = subtract(k, in[0], in[1]);
    else if (is(op, "ReduceMean") || is(op, "Pow") || is(op, "Sqrt"))
        *out = is_value(in[1]) ? lost(k) : norming(k, in[0]);
    else if (is(op, "LayerNormalization") && n == 3 && has_rank(k, in[1], 1))
        *out = add_hidden(k, norm_of(k, in[0]), in[1].tensor, in[2]);
    else if (is(op, "Erf") && in[0].kind == SCALED)
        *out = (tag){.kind = GATE, .a = in[0].a, .tensor = -1};
    else if (is(op, "Gelu") && n == 1)
        return gelu(k, node, in[0], out);
    else if (is(op, "Softmax") && in[0].kind == SCORES)
        *out = (tag){.kind = PROBS, .a = in[0].a, .b = in[0].b, .tensor = -1};
    else if (is(op, "Where") && n == 3)
        *out = choose(k, in);
    return QUERN_OK;
}

static int node_fail(const walk *k, uint32_t index, const char *what)
{
    const quern__onnx_node *node = &k->f.nodes[index];
    return quern__fail(k->err, QUERN_EUNSUPPORTED, (int64_t)node->at,
                       "%s: node %.*s: op %.*s %s, at byte %zu", k->p->name,
                       (int)QUERN__MIN(node->name.len, 100), node->name.ptr,
                       (int)QUERN__MIN(node->op.len, 40), node->op.ptr, what, node->at);
}

static int step(walk *k, uint32_t index)
{
    const quern__onnx_node *node = &k->f.nodes[index];
    tag in[INPUTS] = {meta, meta, meta, meta, meta}, out;
    bool values = false;
    int64_t lost_at = -1;
    k->now = index;
    for (uint32_t i = 0; i < node->input_n; i++) {
        const quern_str name = k->f.names[node->inputs + i];
        tag t = meta;
        if (name.len) {
            const int64_t at = quern__onnx_find(&k->f, name);
            if (at < 0 ||
                (k->f.values[at].maker == QUERN__ONNX_NODE && k->f.values[at].index >= index))
                return node_fail(k, index, "has an input that nothing before it makes");
            t = k->tags[at];
        }
        values = values || is_value(t);
        if (t.kind == LOST && lost_at < 0)
            lost_at = t.a;
        if (i < INPUTS)
            in[i] = t;
    }
    const bool known = node->domain.len == 0 || is(node->domain, "ai.onnx");
    const uint32_t n = QUERN__MIN(node->input_n, (uint32_t)INPUTS + 1);
    int rc = QUERN_OK;
    if (!values)
        rc = n <= INPUTS ? step_around(k, node, in, n, &out) : (out = meta, QUERN_OK);
    else if (known && n <= INPUTS)
        rc = step_value(k, node, in, n, &out);
    else
        out = lost(k);
    if (out.kind == LOST && lost_at >= 0)
        out.a = (uint32_t)lost_at;
    for (uint32_t i = 0; rc == QUERN_OK && i < node->output_n; i++) {
        const int64_t at = quern__onnx_find(&k->f, k->f.names[node->outputs + i]);
        if (at >= 0)
            k->tags[at] = i ? meta : out; /* a second output: statistics, masks */
    }
    return rc;
}

/* ---- from tags to tensors ---- */

/* Where a published name begins in an exporter's; NULL: nowhere. */
static const char *published(quern_str name, size_t *n)
{
    static const char *const begins[] = {"embeddings.", "encoder.layer."};
    for (size_t at = 0; at < name.len; at++)
        for (size_t i = 0; i < QUERN__COUNT(begins); i++) {
            const size_t len = strlen(begins[i]);
            if (name.len - at > len && memcmp(name.ptr + at, begins[i], len) == 0) {
                *n = name.len - at;
                return name.ptr + at;
            }
        }
    return NULL;
}

/* Where a stored tensor's bytes are: in this file, or in one beside it. Trouble, or NULL. */
static const char *place_of(const walk *k, const quern__onnx_tensor *from, size_t width,
                            const void **data, uint32_t *part)
{
    const quern__weights_part *p = k->p;
    if (from->location.ptr) {
        const uint32_t last = k->w->part_count - 1;
        const char *leaf = NULL;
        uint32_t i = 0;
        for (; i < last; i++) {
            p = &k->w->parts[i];
            leaf = strrchr(p->name, '/');
            if (is(from->location, leaf ? leaf + 1 : p->name))
                break;
        }
        if (i == last)
            return "has its data in another file, which is not at hand";
    }
    if (from->offset > p->size || from->count > (p->size - from->offset) / width)
        return "lies behind the end of its file";
    *data = p->data + from->offset;
    *part = (uint32_t)(p - k->w->parts);
    return NULL;
}

/* What a tensor of codes is less and times. */
static const char *place_codes(const walk *k, const quern__onnx_tensor *from, quern__tensor *t)
{
    const quern__onnx_tensor *scale = &k->f.tensors[from->scale];
    uint32_t part;
    const char *trouble = place_of(k, scale, sizeof(float), &t->scales, &part);
    if (!trouble && from->zero >= 0)
        trouble = place_of(k, &k->f.tensors[from->zero], 1, &t->zeros, &part);
    t->scale_count = (uint32_t)scale->count;
    t->by_row = from->by_row;
    t->is_unsigned = from->type == QUERN__ONNX_UINT8;
    return trouble;
}

static int emit(walk *k, const char *name, int64_t index, bool transposed)
{
    const quern__onnx_tensor *from = &k->f.tensors[index];
    const size_t width = from->dtype == QUERN__F32 ? 4 : from->dtype == QUERN__CODES ? 1 : 2;
    const char *trouble = from->trouble;
    char room[QUERN__TENSOR_NAME + 8];
    quern__tensor *t, made = {0};
    size_t n = 0;
    const char *called = published(from->name, &n);
    if (called) {
        const quern_str now = quern__tensor_name((quern_str){called, n}, room);
        if (!is(now, name))
            trouble = "stands where the graph wants another";
    }
    if (!trouble)
        trouble = place_of(k, from, width, &made.data, &made.part);
    if (!trouble && from->dtype == QUERN__CODES)
        trouble = place_codes(k, from, &made);
    if (trouble)
        return quern__fail(k->err, QUERN_EUNSUPPORTED, (int64_t)from->at,
                           "%s: tensor %.*s (%s) %s, at byte %zu", k->p->name,
                           (int)QUERN__MIN(from->name.len, QUERN__SHOWN), from->name.ptr, name,
                           trouble, from->at);
    int rc = quern__weights_add(k->w, (quern_str){name, strlen(name)}, from->at, &t, k->err);
    if (rc)
        return rc;
    made.name = t->name;
    *t = made;
    t->dtype = from->dtype;
    t->rank = from->rank;
    memcpy(t->shape, from->shape, sizeof t->shape);
    t->transposed = transposed;
    if (transposed) {
        t->shape[0] = from->shape[1];
        t->shape[1] = from->shape[0];
    }
    t->offset = from->offset;
    t->bytes = from->bytes;
    t->count = (size_t)from->count;
    return QUERN_OK;
}

static int emit_norm(walk *k, const char *where, uint32_t index)
{
    char name[96];
    snprintf(name, sizeof name, "%sLayerNorm.weight", where);
    int rc = emit(k, name, k->hiddens[index].gamma, false);
    snprintf(name, sizeof name, "%sLayerNorm.bias", where);
    return rc ? rc : emit(k, name, k->hiddens[index].beta, false);
}

/* A product with its bias, as layer's `what`. MatMul has its matrix input by output. */
static int emit_product(walk *k, uint32_t layer, const char *what, uint32_t index)
{
    char name[96];
    const product *p = &k->products[index];
    snprintf(name, sizeof name, "encoder.layer.%u.%s.weight", layer, what);
    int rc = emit(k, name, p->weight, !p->turned);
    snprintf(name, sizeof name, "encoder.layer.%u.%s.bias", layer, what);
    return rc ? rc : emit(k, name, p->bias, false);
}

static bool is_hidden(const walk *k, uint32_t product_index, uint32_t hidden_index)
{
    const tag from = k->products[product_index].from;
    return from.kind == HIDDEN && from.a == hidden_index;
}

/* Hidden states 2 layer, + 1, + 2 and the six products between; false: they are no layer. */
static bool is_layer(const walk *k, uint32_t layer, const product **out, const product **down)
{
    const uint32_t first = 2 * layer, one = k->hiddens[first + 1].norm_of,
                   two = k->hiddens[first + 2].norm_of;
    if (!one || !two || k->sums[one - 1].beside != first || k->sums[two - 1].beside != first + 1)
        return false;
    *out = &k->products[k->sums[one - 1].product];
    *down = &k->products[k->sums[two - 1].product];
    const tag from = (*out)->from;
    return from.kind == CONTEXT && is_hidden(k, from.a, first) && is_hidden(k, from.b, first) &&
           is_hidden(k, from.c, first) && (*down)->from.kind == ACTIVE &&
           is_hidden(k, (*down)->from.a, first + 1);
}

static int emit_layer(walk *k, uint32_t layer)
{
    static const char *const parts[3] = {"attention.self.query", "attention.self.key",
                                         "attention.self.value"};
    const product *out, *down;
    char where[64];
    if (!is_layer(k, layer, &out, &down))
        return quern__fail(k->err, QUERN_EUNSUPPORTED, layer,
                           "%s: hidden states %u to %u are no encoder's layer (byte 0)", k->p->name,
                           2 * layer, 2 * layer + 2);
    const uint32_t qkv[3] = {out->from.a, out->from.b, out->from.c};
    int rc = QUERN_OK;
    for (uint32_t i = 0; rc == QUERN_OK && i < 3; i++)
        rc = emit_product(k, layer, parts[i], qkv[i]);
    if (rc == QUERN_OK)
        rc = emit_product(k, layer, "attention.output.dense", (uint32_t)(out - k->products));
    if (rc == QUERN_OK)
        rc = emit_product(k, layer, "intermediate.dense", down->from.a);
    if (rc == QUERN_OK)
        rc = emit_product(k, layer, "output.dense", (uint32_t)(down - k->products));
    snprintf(where, sizeof where, "encoder.layer.%u.attention.output.", layer);
    if (rc == QUERN_OK)
        rc = emit_norm(k, where, 2 * layer + 1);
    snprintf(where, sizeof where, "encoder.layer.%u.output.", layer);
    return rc ? rc : emit_norm(k, where, 2 * layer + 2);
}

/* An exporter has added the one token type to the positions: its table is zeros. */
static int emit_no_types(walk *k)
{
    const quern__onnx_tensor *words = &k->f.tensors[k->words];
    quern__tensor *t;
    static const char name[] = "embeddings.token_type_embeddings.weight";
    const size_t columns = (size_t)words->shape[1]; /* of a row that is in the file */
    if (words->trouble || columns > k->p->size)
        return emit(k, name, k->words, false);
    float *zeros = quern__arena_alloc(&k->w->names, 2 * columns * sizeof *zeros);
    if (!zeros)
        return quern__fail_memory(k->err, 2 * columns * sizeof *zeros);
    memset(zeros, 0, 2 * columns * sizeof *zeros);
    int rc = quern__weights_add(k->w, (quern_str){name, sizeof name - 1}, words->at, &t, k->err);
    if (rc)
        return rc;
    t->dtype = QUERN__F32;
    t->rank = 2;
    t->shape[0] = 2;
    t->shape[1] = columns;
    t->count = 2 * columns;
    t->data = zeros; /* no bytes of the file: offset and bytes stay 0 */
    return QUERN_OK;
}

/* Which of the tables indexed by constants holds positions: the longer one, where token types are
 * constant too. */
static int emit_tables(walk *k)
{
    int64_t positions = k->fixed[0], types = k->by_types;
    const bool folded = k->by_types < 0 && k->fixed[1] < 0;
    const uint32_t all = k->by_types >= 0 ? WORDS | BY_TYPES | FIRST
                         : folded         ? WORDS | FIRST
                                          : WORDS | FIRST | SECOND;
    if (k->tables != all)
        return quern__fail(k->err, QUERN_EUNSUPPORTED, k->tables,
                           "%s: the embeddings are no sum of words, positions and token types "
                           "(byte 0)",
                           k->p->name);
    if (types < 0 && !folded) {
        const bool longer = k->f.tensors[k->fixed[1]].shape[0] > k->f.tensors[k->fixed[0]].shape[0];
        positions = k->fixed[longer];
        types = k->fixed[!longer];
    }
    int rc = emit(k, "embeddings.word_embeddings.weight", k->words, false);
    if (rc == QUERN_OK)
        rc = emit(k, "embeddings.position_embeddings.weight", positions, false);
    if (rc == QUERN_OK)
        rc = folded ? emit_no_types(k)
                    : emit(k, "embeddings.token_type_embeddings.weight", types, false);
    return rc ? rc : emit_norm(k, "embeddings.", 0);
}

/* The node that took the last hidden state away, where it is one that begins a pooling: picks, sums, or a
 * product with the mask. */
static bool is_pooling(const walk *k, uint32_t index)
{
    static const char *const ops[] = {"Mul",       "Gather", "ReduceMean", "ReduceMax",
                                      "ReduceSum", "Slice",  "MatMul",     NULL};
    const quern__onnx_node *node = &k->f.nodes[index];
    bool last = false;
    if (!is_one_of(node->op, ops))
        return false;
    for (uint32_t i = 0; i < node->input_n; i++) {
        const int64_t at = quern__onnx_find(&k->f, k->f.names[node->inputs + i]);
        const tag t = at < 0 ? meta : k->tags[at];
        if (t.kind == CONST && is(node->op, "MatMul"))
            return false;
        last = last || (t.kind == HIDDEN && t.a == k->hidden_n - 1);
    }
    return last;
}

/* The graph ends with the last hidden state, or pools it: nothing was left out. */
static int check_end(const walk *k)
{
    bool pooled = false;
    for (size_t i = 0; i < k->f.output_n; i++) {
        const int64_t at = quern__onnx_find(&k->f, k->f.outputs[i]);
        const tag t = at < 0 ? meta : k->tags[at];
        if (t.kind == HIDDEN && t.a == k->hidden_n - 1 && k->hidden_n >= 3)
            return QUERN_OK;
        pooled = pooled || (t.kind == LOST && k->hidden_n >= 3 && is_pooling(k, t.a));
        if (t.kind == LOST && !is_pooling(k, t.a))
            return node_fail(k, t.a, "is none of an encoder that is read here");
    }
    if (pooled && !k->weights_behind)
        return QUERN_OK;
    return quern__fail(k->err, QUERN_EUNSUPPORTED, 0, "%s: %s (byte 0)", k->p->name,
                       pooled ? "there are weights behind the encoder, which are not read"
                              : "no result of the graph is an encoder's last hidden state");
}

static int begin(walk *k)
{
    k->tags = quern__calloc(k->f.value_n + 1, sizeof *k->tags);
    if (!k->tags)
        return quern__fail_memory(k->err, k->f.value_n * sizeof *k->tags);
    for (size_t i = 0; i < k->f.value_n; i++) {
        const quern__onnx_value *v = &k->f.values[i];
        k->tags[i] = meta;
        if (v->maker == QUERN__ONNX_TENSOR)
            k->tags[i] = (tag){.kind = CONST, .tensor = v->index};
        else if (v->maker == QUERN__ONNX_INPUT && is(v->name, "input_ids"))
            k->tags[i].kind = IDS;
        else if (v->maker == QUERN__ONNX_INPUT && is(v->name, "token_type_ids"))
            k->tags[i].kind = TYPES;
    }
    k->words = k->by_types = k->fixed[0] = k->fixed[1] = -1;
    return QUERN_OK;
}

int quern__onnx_read(quern__weights *w, const quern__weights_part *p, quern_error *err)
{
    walk *k = quern__calloc(1, sizeof *k);
    if (!k)
        return quern__fail_memory(err, sizeof *k);
    k->w = w;
    k->p = p;
    k->err = err;
    int rc = quern__onnx_file_read(&k->f, p->data, p->size, p->name, err);
    if (rc == QUERN_OK)
        rc = begin(k);
    for (uint32_t i = 0; rc == QUERN_OK && i < k->f.node_n; i++)
        rc = step(k, i);
    if (rc == QUERN_OK)
        rc = check_end(k);
    if (rc == QUERN_OK && k->hidden_n % 2 == 0)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0, "%s: the graph ends inside a layer (byte 0)",
                         p->name);
    if (rc == QUERN_OK)
        rc = emit_tables(k);
    for (uint32_t i = 0; rc == QUERN_OK && i < k->hidden_n / 2; i++)
        rc = emit_layer(k, i);
    quern__onnx_file_dispose(&k->f);
    quern__free(k->tags);
    quern__free(k);
    return rc;
}
