/*
 * onnx_codes.c — quantised weights: what a graph makes of stored codes is a tensor of its own, (code - zero) * scale. Three ways to
 * write it: DequantizeLinear; Cast, Sub and Mul; and MatMulInteger, where activations are quantised as they come and the scales of
 * both meet behind the product. Of the last one the weights are taken; activations stay those of the class that is asked for.
 */
#include <string.h>

#include "base/json.h"
#include "format/onnx_walk.h"

typedef quern__walk walk;
typedef quern__tag tag;

static bool is_codes(const quern__onnx_tensor *t)
{
    return t && (t->type == QUERN__ONNX_INT8 || t->type == QUERN__ONNX_UINT8) && !t->varints;
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
    *out = quern__computed(k);
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
    const quern__onnx_tensor *x = quern__tensor_of(k, in[0]), *y = quern__tensor_of(k, in[1]);
    bool by_row;
    *made = false;
    if (quern__str_is(node->op, "Mul") && is_scale(x) && is_bare(y)) {
        const quern__onnx_tensor *swap = x;
        x = y;
        y = swap;
    }
    if (!is_bare(x) || !y || in[0].turned || in[1].turned || !spreads(x, y, &by_row))
        return QUERN_OK;
    quern__onnx_tensor next = *x;
    if (quern__str_is(node->op, "Sub") && is_bare(y) && y->zero < 0 && x->zero < 0 &&
        y->type == x->type)
        next.zero = y - k->f.tensors;
    else if (quern__str_is(node->op, "Mul") && is_scale(y) &&
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
    const quern__onnx_tensor *x = quern__tensor_of(k, in[0]), *scale = quern__tensor_of(k, in[1]),
                             *zero = n == 3 ? quern__tensor_of(k, in[2]) : NULL;
    quern__onnx_attribute a, block;
    bool has;
    int rc = quern__onnx_attribute_of(&k->f, node, "block_size", &has, &block, k->err);
    if (rc == QUERN_OK)
        rc = quern__onnx_attribute_of(&k->f, node, "axis", &has, &a, k->err);
    if (rc)
        return rc;
    *out = quern__computed(k);
    const int64_t axis = !has ? 1 : a.i < 0 ? a.i + (x ? (int64_t)x->rank : 0) : a.i;
    if (block.i || !is_codes(x) || x->derived || in[0].turned || !is_scale(scale) || !x->rank ||
        x->rank > 2 || (in[2].kind == QUERN__CONST && n == 3 && !zero) ||
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
    const quern__onnx_tensor *x = quern__tensor_of(k, in[0]);
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

int quern__step_codes(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, bool *took,
                      tag *out)
{
    bool constant = n > 0;
    for (uint32_t i = 0; i < n; i++)
        constant = constant && in[i].kind == QUERN__CONST;
    *took = constant && quern__str_is(node->op, "DequantizeLinear") && (n == 2 || n == 3);
    if (*took)
        return unquantise(k, node, in, n, out);
    if (quern__str_is(node->op, "Cast") && n == 1)
        return cast_codes(k, node, in, took, out);
    if ((quern__str_is(node->op, "Mul") || quern__str_is(node->op, "Sub")) && n == 2)
        return unquantise_spelt(k, node, in, took, out);
    return QUERN_OK;
}

/* ---- activations that are quantised as they come ---- */

/* The rows of a coded table, of which all have one scale. */
static int unquantise_rows(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n,
                           tag *out)
{
    const quern__onnx_tensor *x = &k->f.tensors[in[0].tensor], *scale = quern__tensor_of(k, in[1]),
                             *zero = n == 3 ? quern__tensor_of(k, in[2]) : NULL;
    if (!is_scale(scale) || scale->count != 1 ||
        (n == 3 && (!zero || zero->type != x->type || zero->derived || zero->count != 1)))
        return QUERN_OK;
    quern__onnx_tensor next = *x;
    tag made;
    next.by_row = false;
    next.scale = scale - k->f.tensors;
    next.zero = zero ? zero - k->f.tensors : -1;
    /* one tensor, however often its rows are picked */
    const int64_t known = in[0].a == QUERN__WORDS   ? k->words
                          : in[0].a == QUERN__TYPES ? k->types
                                                    : k->places;
    if (known >= 0 && k->f.tensors[known].at == x->at && k->f.tensors[known].scale == next.scale &&
        k->f.tensors[known].zero == next.zero) {
        *out = quern__table_rows(k, known, in[0].a, in[0].view);
        return QUERN_OK;
    }
    int rc = derive(k, node, &next, &made);
    if (rc == QUERN_OK) {
        k->f.tensors[made.tensor].name = next.name; /* the table's own */
        *out = quern__table_rows(k, made.tensor, in[0].a, in[0].view);
    }
    return rc;
}

/* The product of codes that stands for the activations: its codes, less their zeros, and no scale yet. */
static int integer_product(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n,
                           tag *out)
{
    const quern__onnx_tensor *y = quern__tensor_of(k, in[1]),
                             *zero = n == 4 ? quern__tensor_of(k, in[3]) : NULL;
    bool by_row;
    if (n < 3 || in[0].kind != QUERN__QUANT || in[2].kind != QUERN__QUANT_ZERO ||
        in[2].a != in[0].a || !is_codes(y) || y->derived || y->rank != 2 || in[1].turned ||
        (n == 4 && (!zero || zero->type != y->type || zero->derived || !spreads(y, zero, &by_row) ||
                    (zero->count != 1 && by_row))))
        return QUERN_OK;
    quern__onnx_tensor next = *y;
    next.by_row = false;
    next.zero = zero ? zero - k->f.tensors : -1;
    tag made;
    int rc = derive(k, node, &next, &made);
    *out = (tag){.kind = QUERN__QUANT_PRODUCT, .a = in[0].a, .tensor = made.tensor};
    return rc;
}

/* Both scales, times the product of codes: the product of the activations with the matrix that the codes stand for. */
static int scale_product(walk *k, const quern__onnx_node *node, tag product, tag scales, tag *out)
{
    const quern__onnx_tensor *y = &k->f.tensors[product.tensor],
                             *scale = &k->f.tensors[scales.tensor];
    bool by_row;
    if (!product.b || product.a != scales.a || !spreads(y, scale, &by_row) ||
        (scale->count != 1 && by_row) ||
        (y->zero >= 0 && k->f.tensors[y->zero].count != scale->count))
        return QUERN_OK;
    quern__onnx_tensor next = *y;
    tag made;
    next.scale = scales.tensor;
    int rc = derive(k, node, &next, &made);
    if (rc == QUERN_OK) {
        k->f.tensors[made.tensor].name = next.name; /* the matrix's own */
        *out = quern__product_of(k, k->quants[product.a], made, false);
    }
    return rc;
}

static int cast_product(walk *k, const quern__onnx_node *node, tag product, tag *out)
{
    quern__onnx_attribute a;
    bool has;
    int rc = quern__onnx_attribute_of(&k->f, node, "to", &has, &a, k->err);
    if (rc || !has || a.i != QUERN__ONNX_FLOAT)
        return rc;
    *out = product;
    out->b = 1;
    return QUERN_OK;
}

int quern__step_quants(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, bool *took,
                       tag *out)
{
    const bool one = n && in[0].kind >= QUERN__QUANT, other = n > 1 && in[1].kind >= QUERN__QUANT;
    *took = one || other || (n && in[0].kind == QUERN__ROWS);
    if (*took)
        *out = quern__lost(k);
    if (n && in[0].kind == QUERN__ROWS)
        return quern__str_is(node->op, "DequantizeLinear") && (n == 2 || n == 3)
                   ? unquantise_rows(k, node, in, n, out)
                   : QUERN_OK;
    if (quern__str_is(node->op, "DynamicQuantizeLinear") && n == 1 &&
        k->quant_n < QUERN__WALK_PRODUCTS &&
        (in[0].kind == QUERN__HIDDEN || in[0].kind == QUERN__CONTEXT ||
         in[0].kind == QUERN__ACTIVE)) {
        *took = true;
        k->quants[k->quant_n] = in[0];
        *out = (tag){.kind = QUERN__QUANT, .a = k->quant_n++, .tensor = -1};
        return QUERN_OK;
    }
    if (quern__str_is(node->op, "MatMulInteger"))
        return *took ? integer_product(k, node, in, n, out) : QUERN_OK;
    if (quern__str_is(node->op, "Cast") && n == 1 && in[0].kind == QUERN__QUANT_PRODUCT)
        return cast_product(k, node, in[0], out);
    if (!*took || !quern__str_is(node->op, "Mul") || n != 2)
        return QUERN_OK;
    const tag x = one ? in[0] : in[1], y = one ? in[1] : in[0];
    const quern__onnx_tensor *scale = quern__tensor_of(k, y);
    if (x.kind == QUERN__QUANT_SCALE && x.tensor < 0 && is_scale(scale)) {
        *out = x;
        out->tensor = scale - k->f.tensors;
    } else if (x.kind == QUERN__QUANT_PRODUCT && y.kind == QUERN__QUANT_SCALE && y.tensor >= 0) {
        return scale_product(k, node, x, y, out);
    } else if (y.kind == QUERN__QUANT_PRODUCT && x.kind == QUERN__QUANT_SCALE && x.tensor >= 0) {
        return scale_product(k, node, y, x, out);
    }
    return QUERN_OK;
}
