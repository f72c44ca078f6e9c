/*
 * onnx.c — the weights of an exported BERT, found by what the graph does with them. Exporters rename, fold
 * and transpose (a matrix becomes "onnx::MatMul_123", stored input by output), so names say nothing: the
 * walk goes through the nodes in their order and gives every value a tag — the sum of three embedding
 * tables, hidden state k, a product of it with a matrix, scores of two such products … A tensor is then
 * what its place makes it: the matrix whose product is the left side of the scores is a query's.
 *
 * What the encoder computes is not taken on trust: the graph is followed with a text of so many tokens, none of them padding, as
 * quern encodes one. Shapes, masks and factors are then numbers (onnx_numbers.h), and every one that meets a value must be the
 * encoder's own; heads and epsilon are handed up and compared with config.json. It is followed twice, with a short text and one of
 * all positions (to LONG), so that what depends on the length is seen. An operation that is none of an encoder's, or has another
 * number, makes its value "lost", and a graph whose result is lost is refused by that node's name and the number.
 *
 * Rejected: matching names (above), and matching the graph against patterns of known exporters (there are
 * six ways already to write a LayerNorm and an attention down, and a new one each year); believing config.json alone (a graph with
 * another scale gave another vector than its own, in silence).
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/json.h"
#include "format/onnx_walk.h"

typedef quern__walk walk;
typedef quern__tag tag;

enum {
    SHORT = 3,
    LONG = 512,
    WORK =
        1
        << 23, /* numbers that are looked at in one walk: tens of those for a mask of LONG x LONG */
    FEW = 1 << 16, /* a stored tensor of that many elements may be numbers */
    TEXTS = 1 << 14
};

static bool is(const quern__onnx_node *node, const char *op)
{
    return quern__str_is(node->op, op);
}

tag quern__lost(const walk *k)
{
    return (tag){.kind = QUERN__LOST, .a = k->now, .tensor = -1};
}

tag quern__lost_because(walk *k, const char *format, ...)
{
    char text[160];
    va_list more;
    tag t = quern__lost(k);
    va_start(more, format);
    vsnprintf(text, sizeof text, format, more);
    va_end(more);
    t.why = quern__arena_copy(&k->texts, text, strlen(text)); /* NULL: said often enough */
    return t;
}

tag quern__computed(const walk *k)
{
    return (tag){.kind = QUERN__CONST, .a = k->now, .tensor = -1};
}

const quern__onnx_tensor *quern__tensor_of(const walk *k, tag t)
{
    return t.kind == QUERN__CONST && t.tensor >= 0 ? &k->f.tensors[t.tensor] : NULL;
}

bool quern__has_rank(const walk *k, tag t, uint32_t rank)
{
    const quern__onnx_tensor *x = quern__tensor_of(k, t);
    return x && x->rank == rank && x->dtype != QUERN__OTHER_DTYPE;
}

bool quern__factor(const quern__view *v, tag t, double *out)
{
    const quern__numbers *n = t.numbers;
    if (quern__is_value(t) || !quern__numbers_are_one(n, out) || n->rank > v->rank)
        return false;
    for (uint32_t i = 0; i < n->rank; i++)
        if (n->shape[i] != 1 && n->shape[i] != v->axis[v->rank - n->rank + i].size)
            return false;
    return true;
}

int quern__node_fail(const walk *k, uint32_t index, const char *what)
{
    const quern__onnx_node *node = &k->f.nodes[index];
    return quern__fail(k->err, QUERN_EUNSUPPORTED, (int64_t)node->at,
                       "%s: node %.*s: op %.*s %s, at byte %zu", k->p->name,
                       (int)QUERN__MIN(node->name.len, 100), node->name.ptr,
                       (int)QUERN__MIN(node->op.len, 40), node->op.ptr,
                       what ? what : "is none of an encoder that is read here", node->at);
}

/* ---- what is none of the encoder's values ---- */

/* Of two dimensions, exchanged. */
static int turn(walk *k, const quern__onnx_node *node, tag x, bool *took, tag *out)
{
    quern__onnx_attribute a;
    bool has;
    int rc = quern__onnx_attribute_of(&k->f, node, "perm", &has, &a, k->err);
    *took = quern__has_rank(k, x, 2);
    if (rc || !*took)
        return rc;
    *out = x;
    if (!has || (a.n == 2 && a.ints[0] == 1 && a.ints[1] == 0))
        out->turned = !x.turned;
    else if (a.n != 2 || a.ints[0] != 0 || a.ints[1] != 1)
        *out = quern__computed(k);
    out->numbers = NULL;
    return QUERN_OK;
}

/* A stored tensor of floats in another type: the same one where that holds each of its values. */
static int widen(walk *k, const quern__onnx_node *node, tag x, bool *took, tag *out)
{
    const quern__onnx_tensor *t = quern__tensor_of(k, x);
    quern__onnx_attribute a;
    bool has;
    if (!t || t->dtype == QUERN__OTHER_DTYPE)
        return QUERN_OK;
    int rc = quern__onnx_attribute_of(&k->f, node, "to", &has, &a, k->err);
    const bool exact = a.i == QUERN__ONNX_FLOAT || a.i == QUERN__ONNX_DOUBLE ||
                       (a.i == t->type && t->dtype != QUERN__CODES);
    *took = exact || t->rank == 2; /* of others the numbers are known */
    *out = x;
    if (rc == QUERN_OK && *took && !exact) {
        const tag why = quern__lost_because(
            k, "rounds weights to type %lld, which are read as they are stored", (long long)a.i);
        *out = quern__computed(k);
        out->why = why.why;
    }
    return rc;
}

/* Rows of a table, or the first ones of it. *took: it was one. */
static tag rows(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, bool *took)
{
    const quern__onnx_tensor *t = quern__tensor_of(k, in[0]);
    const bool gathers = is(node, "Gather") && n == 2,
               codes = t && t->rank == 2 && !t->derived &&
                       (t->type == QUERN__ONNX_INT8 || t->type == QUERN__ONNX_UINT8) && !t->varints;
    quern__onnx_attribute a;
    bool has = false;
    *took = (gathers && (in[1].kind == QUERN__IDS || quern__has_rank(k, in[0], 2) || codes)) ||
            (is(node, "Slice") && n >= 3 && quern__has_rank(k, in[0], 2));
    if (!*took)
        return quern__meta;
    if (gathers && in[0].kind == QUERN__CONST && in[0].tensor < 0) {
        tag t_lost = quern__lost(k);
        t_lost.a = in[0].a;
        t_lost.why = in[0].why;
        return t_lost;
    }
    if ((!quern__has_rank(k, in[0], 2) && !codes) || in[0].turned ||
        quern__onnx_attribute_of(&k->f, node, "axis", &has, &a, k->err) || (has && a.i))
        return quern__lost(k);
    if (gathers)
        return quern__gather_rows(k, in[0], in[1]);
    double start, end, axis = 0, stride = 1;
    if (!quern__numbers_are_one(in[1].numbers, &start) ||
        !quern__numbers_are_one(in[2].numbers, &end) ||
        (n > 3 && (!quern__numbers_are_one(in[3].numbers, &axis) || in[3].numbers->count != 1)) ||
        (n > 4 && !quern__numbers_are_one(in[4].numbers, &stride)) || start != 0 || axis != 0 ||
        stride != 1 || end != k->tokens || in[1].numbers->count != 1 || in[2].numbers->count != 1)
        return quern__lost_because(k, "takes rows of a table that are not those from 0 on");
    tag index = quern__meta;
    index.numbers = quern__numbers_count(&k->room, k->tokens);
    return quern__gather_rows(k, in[0], index);
}

/* A Constant that is an attribute and no tensor. */
static int attribute_constant(walk *k, const quern__onnx_node *node, tag *out)
{
    static const char *const names[] = {"value_int", "value_float", "value_ints"};
    quern__onnx_attribute a;
    bool has;
    for (uint32_t i = 0; i < QUERN__COUNT(names); i++) {
        uint32_t list[QUERN__MAX_RANK];
        int rc = quern__onnx_attribute_of(&k->f, node, names[i], &has, &a, k->err);
        if (rc)
            return rc;
        if (!has)
            continue;
        bool whole = i == 2 && a.n <= QUERN__MAX_RANK;
        for (uint32_t j = 0; whole && j < a.n; j++) {
            whole = a.ints[j] >= 0 && a.ints[j] <= INT32_MAX;
            list[j] = (uint32_t)a.ints[j];
        }
        if (i < 2)
            out->numbers = quern__numbers_fill(&k->room, i ? QUERN__REAL : QUERN__WHOLE, 0, NULL,
                                               i ? (double)a.f : (double)a.i);
        else if (whole && a.n)
            out->numbers = quern__numbers_list(&k->room, list, a.n);
    }
    return QUERN_OK;
}

/* Numbers from numbers. A stored tensor that is asked for its shape only is as good as one. */
static int compute(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out)
{
    const quern__numbers *list[QUERN__WALK_INPUTS];
    const quern__onnx_tensor *t = n == 1 ? quern__tensor_of(k, in[0]) : NULL;
    bool constant = true;
    int rc = QUERN_OK;
    for (uint32_t i = 0; i < n; i++) {
        list[i] = in[i].numbers;
        constant = constant && in[i].kind == QUERN__CONST;
    }
    *out = constant && n ? quern__computed(k) : quern__meta;
    if (is(node, "Shape") && n == 1 && (list[0] || (t && t->rank <= QUERN__VIEW_RANK))) {
        tag x = {.view.rank = list[0] ? list[0]->rank : t->rank};
        for (uint32_t i = 0; i < x.view.rank && i < QUERN__VIEW_RANK; i++)
            x.view.axis[i].size = list[0]        ? list[0]->shape[i]
                                  : in[0].turned ? (uint32_t)t->shape[1 - i]
                                                 : (uint32_t)QUERN__MIN(t->shape[i], UINT32_MAX);
        return x.view.rank <= QUERN__VIEW_RANK ? quern__step_shape(k, node, &x, n, out) : QUERN_OK;
    }
    rc = quern__numbers_of_node(&k->room, &k->f, node, list, n, &out->numbers, k->err);
    if (out->numbers)
        out->kind = QUERN__META;
    return rc;
}

/* From the node's inputs, none of which is a value of the encoder. */
static int step_around(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out)
{
    bool took = false;
    int rc = quern__step_codes(k, node, in, n, &took, out);
    if (rc || took)
        return rc;
    if (is(node, "Constant")) {
        *out = (tag){.kind = QUERN__CONST, .a = k->now, .tensor = node->tensor};
        return node->tensor < 0 ? attribute_constant(k, node, out) : QUERN_OK;
    }
    const tag picked = rows(k, node, in, n, &took);
    if (took) {
        *out = picked;
        return QUERN_OK;
    }
    if (n && in[0].kind == QUERN__IDS) {
        rc = quern__step_shape(k, node, in, n, out);
        if (out->kind == QUERN__LOST) /* perhaps a mask of padding, which is not known here */
            *out = quern__meta;
        return rc;
    }
    if (is(node, "Transpose") && n == 1)
        rc = turn(k, node, in[0], &took, out);
    else if (is(node, "Cast") && n == 1)
        rc = widen(k, node, in[0], &took, out);
    if (rc || took)
        return rc;
    if (is(node, "Identity") && n == 1) {
        *out = in[0];
        return QUERN_OK;
    }
    return compute(k, node, in, n, out);
}

/* ---- the walk ---- */

/* A stored tensor's numbers, where it may be such. */
static int load(walk *k, tag *t)
{
    const quern__onnx_tensor *x = quern__tensor_of(k, *t);
    const void *data = NULL;
    uint32_t part;
    if (!x || t->numbers || t->turned || x->derived || x->count > FEW || !x->count ||
        !quern__onnx_width(x->type) || (x->varints && !quern__onnx_is_inside(&k->f, x)))
        return QUERN_OK;
    const char *trouble =
        x->varints ? NULL : quern__place_of(k, x, quern__onnx_width(x->type), &data, &part);
    if (trouble)
        return quern__tensor_fail(k, x, "numbers of the graph", trouble);
    t->numbers = quern__numbers_load(&k->room, x, x->varints ? k->f.data + x->offset : data);
    return QUERN_OK;
}

static int read_inputs(walk *k, uint32_t index, tag *in, bool *values, const tag **first_lost)
{
    const quern__onnx_node *node = &k->f.nodes[index];
    *values = false;
    *first_lost = NULL;
    for (uint32_t i = 0; i < node->input_n; i++) {
        const quern_str name = k->f.names[node->inputs + i];
        const tag *t = &quern__meta;
        if (name.len) {
            const int64_t at = quern__onnx_find(&k->f, name);
            if (at < 0 ||
                (k->f.values[at].maker == QUERN__ONNX_NODE && k->f.values[at].index >= index))
                return quern__node_fail(k, index, "has an input that nothing before it makes");
            int rc = load(k, &k->tags[at]);
            if (rc)
                return rc;
            t = &k->tags[at];
        }
        *values = *values || quern__is_value(*t);
        if (t->kind == QUERN__LOST && !*first_lost)
            *first_lost = t;
        if (i < QUERN__WALK_INPUTS)
            in[i] = *t;
    }
    return QUERN_OK;
}

/* The tags of a node's results: the first is what it makes, others are statistics and masks, but for quantised activations. */
static void name_results(walk *k, const quern__onnx_node *node, const tag *out)
{
    static const int quant[] = {QUERN__QUANT, QUERN__QUANT_SCALE, QUERN__QUANT_ZERO};
    const bool quants = out->kind == QUERN__QUANT && is(node, "DynamicQuantizeLinear");
    for (uint32_t i = 0; i < node->output_n; i++) {
        const int64_t at = quern__onnx_find(&k->f, k->f.names[node->outputs + i]);
        if (at < 0)
            continue;
        k->tags[at] = !i || quants ? *out : i == 1 ? k->beside : quern__meta;
        if (quants && i < QUERN__COUNT(quant))
            k->tags[at].kind = quant[i];
    }
}

static int step(walk *k, uint32_t index)
{
    const quern__onnx_node *node = &k->f.nodes[index];
    const tag *first_lost;
    tag in[QUERN__WALK_INPUTS], out = quern__meta;
    bool values, took = false;
    k->now = index;
    for (int i = 0; i < QUERN__WALK_INPUTS; i++)
        in[i] = quern__meta;
    int rc = read_inputs(k, index, in, &values, &first_lost);
    if (rc)
        return rc;
    const bool known = !node->domain.len || quern__str_is(node->domain, "ai.onnx");
    const uint32_t n = QUERN__MIN(node->input_n, (uint32_t)QUERN__WALK_INPUTS + 1);
    k->beside = quern__meta;
    if (n <= QUERN__WALK_INPUTS && quern__str_is(node->domain, "com.microsoft"))
        rc = quern__step_fused(k, node, in, values, &took, &out);
    if (!rc && !took && !values)
        rc = n <= QUERN__WALK_INPUTS && known ? step_around(k, node, in, n, &out) : QUERN_OK;
    else if (!rc && !took && (!known || n > QUERN__WALK_INPUTS))
        out = quern__lost(k);
    else if (!rc && !took)
        rc = quern__step_quants(k, node, in, n, &took, &out);
    if (!rc && values && known && n <= QUERN__WALK_INPUTS && !took)
        rc = quern__step_pooling(k, node, in, n, &out, &took);
    if (!rc && values && known && n <= QUERN__WALK_INPUTS && !took)
        rc = quern__step_value(k, node, in, n, &out);
    if (out.kind == QUERN__LOST && first_lost)
        out = *first_lost; /* where it began */
    if (!rc && k->room.full)
        rc = quern__fail_memory(k->err, WORK);
    if (!rc)
        name_results(k, node, &out);
    return rc;
}

/* What a text of k->tokens tokens, none of them padding, gives a graph. */
static void begin_input(walk *k, const quern__onnx_value *v, tag *t)
{
    const uint32_t shape[2] = {1, k->tokens};
    if (quern__str_is(v->name, "input_ids")) {
        t->kind = QUERN__IDS;
        t->view = quern__view_rows(k->tokens, 1);
        t->view.rank = 2;
    } else if (quern__str_is(v->name, "attention_mask")) {
        t->numbers = quern__numbers_fill(&k->room, QUERN__WHOLE, 2, shape, 1);
    } else if (quern__str_is(v->name, "token_type_ids")) {
        t->numbers = quern__numbers_fill(&k->room, QUERN__WHOLE, 2, shape, 0);
    } else if (quern__str_is(v->name, "position_ids")) {
        t->numbers = quern__numbers_count(&k->room, k->tokens);
    }
}

static int walk_once(walk *k, uint32_t tokens)
{
    int rc = QUERN_OK;
    quern__arena_dispose(&k->room.arena);
    k->room.left = WORK;
    k->tokens = tokens;
    k->product_n = k->hidden_n = k->sum_n = k->quant_n = k->tables = k->heads = 0;
    k->words = k->types = k->places = -1;
    k->epsilon = -1;
    k->weights_behind = false;
    for (size_t i = 0; i < k->f.value_n; i++) {
        const quern__onnx_value *v = &k->f.values[i];
        k->tags[i] = quern__meta;
        if (v->maker == QUERN__ONNX_TENSOR)
            k->tags[i] = (tag){.kind = QUERN__CONST, .tensor = v->index};
        else if (v->maker == QUERN__ONNX_INPUT)
            begin_input(k, v, &k->tags[i]);
    }
    if (k->room.full)
        rc = quern__fail_memory(k->err, WORK);
    for (uint32_t i = 0; rc == QUERN_OK && i < k->f.node_n; i++)
        rc = step(k, i);
    if (rc == QUERN_OK)
        rc = quern__check_end(k);
    if (rc == QUERN_OK && k->hidden_n % 2 == 0)
        rc = quern__fail(k->err, QUERN_EUNSUPPORTED, 0,
                         "%s: the graph ends inside a layer (byte 0)", k->p->name);
    return rc;
}

/* Short, then as long as it may be. */
static int walk_all(walk *k)
{
    const size_t stored = k->f.tensor_n;
    int rc = walk_once(k, SHORT);
    if (rc || k->places < 0)
        return rc;
    const uint64_t positions = k->f.tensors[k->places].shape[0];
    const uint32_t most = (uint32_t)QUERN__MIN(positions, (uint64_t)LONG);
    const int pooling = k->w->graph.pooling;
    if (most <= SHORT)
        return QUERN_OK;
    k->f.tensor_n = stored; /* those that the first walk derived */
    rc = walk_once(k, most);
    if (rc == QUERN_OK && k->w->graph.pooling != pooling)
        k->w->graph.pooling = -1;
    return rc;
}

int quern__onnx_read(quern__weights *w, const quern__weights_part *p, quern_error *err)
{
    walk *k = quern__calloc(1, sizeof *k);
    if (!k)
        return quern__fail_memory(err, sizeof *k);
    k->w = w;
    k->p = p;
    k->err = err;
    quern__arena_init(&k->room.arena, 0); /* bounded by WORK */
    quern__arena_init(&k->texts, TEXTS);
    int rc = quern__onnx_file_read(&k->f, p->data, p->size, p->name, err);
    if (rc == QUERN_OK) {
        k->tags = quern__calloc(k->f.value_n + 1, sizeof *k->tags);
        rc = k->tags ? walk_all(k) : quern__fail_memory(err, k->f.value_n * sizeof *k->tags);
    }
    if (rc == QUERN_OK)
        rc = quern__emit_all(k);
    if (rc == QUERN_OK) {
        w->graph.known = true;
        w->graph.heads = k->heads;
        w->graph.epsilon = k->epsilon;
    }
    quern__arena_dispose(&k->room.arena);
    quern__arena_dispose(&k->texts);
    quern__onnx_file_dispose(&k->f);
    quern__free(k->tags);
    quern__free(k);
    return rc;
}
