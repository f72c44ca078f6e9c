/*
 * onnx_file.c — protobuf, as far as an ONNX model needs it, read strictly: known field, known wire type,
 * lengths inside their parent. Fields that say nothing about weights are skipped by their length.
 *
 * Bounds: a record for each node, stored tensor and name of the file, none of which takes fewer than two
 * bytes there, and at most MAX_RECORDS of each.
 */
#include "format/onnx_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/compiler.h"
#include "base/json.h"

enum { MAX_RECORDS = 1 << 18 };

enum {
    VARINT = QUERN__VARINT,
    FIXED64 = QUERN__FIXED64,
    BYTES = QUERN__BYTES,
    FIXED32 = QUERN__FIXED32
};
typedef quern__message message;
typedef quern__field field;

static int fail(const message *m, size_t at, const char *what)
{
    return quern__fail(m->err, QUERN_EFORMAT, (int64_t)at, "%s: %s, at byte %zu", m->f->name, what,
                       at);
}

static int varint(message *m, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (m->at == m->end)
            return fail(m, m->at, "a number that does not end: torn, or no ONNX model");
        const uint8_t b = m->f->data[m->at++];
        if (shift == 63 && b > 1)
            break;
        *out |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return QUERN_OK;
    }
    return fail(m, m->at, "a number of more than 64 bits");
}

int quern__next_field(message *m, field *out)
{
    uint64_t tag = 0;
    *out = (field){0};
    if (m->at == m->end)
        return 0;
    const size_t at = m->at;
    int rc = varint(m, &tag);
    if (rc)
        return rc;
    *out = (field){.number = (uint32_t)(tag >> 3), .wire = (int)(tag & 7)};
    if (!out->number || tag >> 3 > 1 << 29)
        return fail(m, at, "no field of a protobuf: torn, or no ONNX model");
    if (out->wire == VARINT) {
        rc = varint(m, &out->value);
        return rc ? rc : 1;
    }
    if (out->wire == BYTES) {
        rc = varint(m, &out->value);
        if (rc)
            return rc;
    } else if (out->wire == FIXED32 || out->wire == FIXED64) {
        out->value = out->wire == FIXED32 ? 4 : 8;
    } else {
        return fail(m, at, "no field of a protobuf: torn, or no ONNX model");
    }
    if (out->value > m->end - m->at)
        return fail(m, at, "a field that is longer than what holds it: torn, or no ONNX model");
    out->begin = m->at;
    out->size = (size_t)out->value;
    m->at += out->size;
    if (out->wire != BYTES) {
        out->value = 0;
        memcpy(&out->value, m->f->data + out->begin, out->size);
    }
    return 1;
}

static message inside(const message *m, const field *f)
{
    return (message){m->f, f->begin, f->begin + f->size, m->err};
}

static int want(const message *m, const field *f, int wire)
{
    return f->wire == wire ? QUERN_OK
                           : fail(m, m->at, "a field of another type than ONNX gives it");
}

static int text(const message *m, const field *f, quern_str *out)
{
    *out = (quern_str){(const char *)m->f->data + f->begin, f->size};
    return want(m, f, BYTES);
}

static int grow(const message *m, void **table, size_t n, size_t *cap, size_t size)
{
    if (n == MAX_RECORDS)
        return fail(m, m->at, "a graph that is larger than any encoder's");
    if (n < *cap)
        return QUERN_OK;
    const size_t wanted = *cap ? *cap * 2 : 64;
    void *bigger = quern__resize_array(*table, wanted, size);
    if (!bigger)
        return quern__fail_memory(m->err, wanted * size);
    *table = bigger;
    *cap = wanted;
    return QUERN_OK;
}

#define GROW(m, f, field, count, cap)                                                              \
    grow(m, (void **)&(f)->field, (f)->count, &(f)->cap, sizeof *(f)->field)

static int add_value(const message *m, quern__onnx_file *f, quern_str name, int maker,
                     uint32_t index)
{
    int rc = GROW(m, f, values, value_n, value_cap);
    if (rc == QUERN_OK)
        f->values[f->value_n++] = (quern__onnx_value){name, maker, index};
    return rc;
}

/* ---- tensors ---- */

enum { FLOAT = QUERN__ONNX_FLOAT, FLOAT16 = QUERN__ONNX_FLOAT16, BFLOAT16 = QUERN__ONNX_BFLOAT16 };

size_t quern__onnx_width(int type)
{
    switch (type) {
    case QUERN__ONNX_UINT8:
    case QUERN__ONNX_INT8:
    case QUERN__ONNX_BOOL:
        return 1;
    case QUERN__ONNX_FLOAT16:
    case QUERN__ONNX_BFLOAT16:
        return 2;
    case QUERN__ONNX_FLOAT:
    case QUERN__ONNX_INT32:
        return 4;
    case QUERN__ONNX_INT64:
    case QUERN__ONNX_DOUBLE:
        return 8;
    default:
        return 0;
    }
}

bool quern__onnx_is_inside(const quern__onnx_file *f, const quern__onnx_tensor *t)
{
    const size_t width = quern__onnx_width(t->type);
    return width && !t->derived && !t->location.ptr && t->offset <= f->size &&
           t->bytes <= f->size - t->offset && (t->varints || t->bytes / width == t->count);
}

static int add_dimension(const message *m, quern__onnx_tensor *t, uint64_t d)
{
    if (t->rank == QUERN__MAX_RANK)
        return fail(m, m->at, "a tensor of too many dimensions");
    t->shape[t->rank++] = d;
    return QUERN_OK;
}

static int read_dimensions(const message *m, const field *f, quern__onnx_tensor *t)
{
    message packed = inside(m, f);
    uint64_t d;
    int rc = QUERN_OK;
    if (f->wire == VARINT)
        return add_dimension(m, t, f->value);
    rc = want(m, f, BYTES);
    while (rc == QUERN_OK && packed.at < packed.end) {
        rc = varint(&packed, &d);
        if (rc == QUERN_OK)
            rc = add_dimension(m, t, d);
    }
    return rc;
}

static bool read_number(quern_str s, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < s.len; i++) {
        const unsigned digit = (unsigned)(unsigned char)s.ptr[i] - '0';
        if (digit > 9 || *out > (UINT64_MAX - digit) / 10)
            return false;
        *out = *out * 10 + digit;
    }
    return s.len > 0;
}

int quern__read_external(const message *parent, const field *from, quern__external *out)
{
    message m = inside(parent, from);
    field x;
    quern_str key = {"", 0}, value = {"", 0};
    int more = 0, rc = want(parent, from, BYTES);
    while (rc == QUERN_OK && (more = quern__next_field(&m, &x)) == 1)
        if (x.number == 1 || x.number == 2)
            rc = text(&m, &x, x.number == 1 ? &key : &value);
    if (rc || more)
        return rc ? rc : more;
    const bool offset = quern__str_is(key, "offset"), length = quern__str_is(key, "length");
    if (quern__str_is(key, "location"))
        out->location = value;
    if ((offset || length) && !read_number(value, offset ? &out->offset : &out->length))
        return fail(parent, from->begin, "a place in another file that is no number");
    out->has_length |= length;
    return QUERN_OK;
}

/* Whether the place is in the file is seen when there is that file. */
static int settle_external(const message *m, quern__onnx_tensor *t, const quern__external *e,
                           uint64_t bytes)
{
    if (!e->location.len)
        return fail(m, t->at, "a tensor in another file that is not named");
    t->location = e->location;
    if (e->offset > SIZE_MAX || bytes > SIZE_MAX)
        return fail(m, t->at, "a tensor whose sizes overflow");
    t->offset = (size_t)e->offset;
    t->bytes = (size_t)bytes;
    if (e->has_length && e->length != bytes) {
        t->trouble = "has more or fewer bytes than its sizes need";
        t->type = 0;
    }
    return QUERN_OK;
}

/* Type, sizes and data against each other: what cannot be a weight is noted, not refused (a shape, a
 * constant, somebody's text). */
static int settle_tensor(const message *m, quern__onnx_tensor *t, uint64_t type,
                         const quern__external *external)
{
    uint64_t bytes;
    t->dtype = type == FLOAT      ? QUERN__F32
               : type == FLOAT16  ? QUERN__F16
               : type == BFLOAT16 ? QUERN__BF16
                                  : QUERN__OTHER_DTYPE;
    t->count = 1;
    for (uint32_t i = 0; i < t->rank; i++)
        if (!quern__mul_u64(t->count, t->shape[i], &t->count))
            return fail(m, t->at, "a tensor whose sizes overflow");
    t->type = (int)QUERN__MIN(type, (uint64_t)INT32_MAX);
    const size_t width = quern__onnx_width(t->type);
    t->scale = t->zero = -1;
    if (t->dtype == QUERN__OTHER_DTYPE)
        t->trouble = "is not of type FLOAT, FLOAT16 or BFLOAT16";
    if (!quern__mul_u64(t->count, width, &bytes))
        return fail(m, t->at, "a tensor whose sizes overflow");
    if (external)
        return settle_external(m, t, external, bytes);
    if (t->varints && t->type != QUERN__ONNX_INT32 && t->type != QUERN__ONNX_INT64 &&
        t->type != QUERN__ONNX_BOOL && t->type != QUERN__ONNX_INT8 &&
        t->type != QUERN__ONNX_UINT8) {
        t->trouble = "has its numbers in a form that is not read";
        t->type = 0;
    } else if (width && !t->varints && bytes != t->bytes) {
        t->trouble = "has more or fewer bytes than its sizes need";
        t->type = 0;
    }
    return QUERN_OK;
}

static int read_tensor(const message *parent, const field *from, quern__onnx_file *f)
{
    message m = inside(parent, from);
    field x;
    uint64_t type = 0;
    quern__external place = {.location = {"", 0}};
    bool external = false, data = false;
    int rc = GROW(&m, f, tensors, tensor_n, tensor_cap), more = 0;
    if (rc)
        return rc;
    quern__onnx_tensor *t = &f->tensors[f->tensor_n];
    *t = (quern__onnx_tensor){.at = m.at};
    while (rc == QUERN_OK && (more = quern__next_field(&m, &x)) == 1) {
        if (x.number == 1)
            rc = read_dimensions(&m, &x, t);
        else if ((x.number == 2 || x.number == 14) && x.wire != VARINT)
            rc = fail(&m, x.begin, "a number in another form than a number's");
        else if (x.number == 2)
            type = x.value;
        else if (x.number == 8)
            rc = text(&m, &x, &t->name);
        else if (x.number == 13)
            rc = quern__read_external(&m, &x, &place);
        else if (x.number == 14)
            external = x.value != 0;
        else if (x.number == 9 ||
                 ((x.number == 4 || x.number == 5 || x.number == 7) && x.wire == BYTES)) {
            if (data)
                rc = fail(&m, x.begin, "a tensor with data in two pieces");
            data = true;
            t->varints = x.number == 5 || x.number == 7;
            t->offset = x.begin;
            t->bytes = x.size;
        }
    }
    if (rc == QUERN_OK)
        rc = more ? more : settle_tensor(&m, t, type, external ? &place : NULL);
    if (rc == QUERN_OK && external && data)
        rc = fail(&m, t->at, "a tensor with data here and in another file");
    if (rc == QUERN_OK && !external && place.location.len) {
        t->trouble = "has its data here and names another file";
        t->type = 0;
    }
    if (rc == QUERN_OK)
        f->tensor_n++;
    return rc;
}

int quern__onnx_derive(quern__onnx_file *f, const quern__onnx_tensor *t, int64_t *out,
                       quern_error *err)
{
    const message m = {f, t->at, t->at, err};
    const quern__onnx_tensor copy = *t; /* t may be in the table that grows */
    int rc = GROW(&m, f, tensors, tensor_n, tensor_cap);
    if (rc)
        return rc;
    *out = (int64_t)f->tensor_n;
    f->tensors[f->tensor_n++] = copy;
    return QUERN_OK;
}

/* ---- nodes ---- */

/* The next attribute of the node's message with its name; *from: its slice. */
static int next_attribute(message *m, quern_str *name, field *from)
{
    field x;
    int more;
    while ((more = quern__next_field(m, from)) == 1) {
        if (from->number != 5)
            continue;
        int rc = want(m, from, BYTES), inner = 0;
        message a = inside(m, from);
        *name = (quern_str){"", 0};
        while (rc == QUERN_OK && (inner = quern__next_field(&a, &x)) == 1)
            if (x.number == 1)
                rc = text(&a, &x, name);
        if (rc || inner < 0)
            return rc ? rc : inner;
        return 1;
    }
    return more;
}

static bool is(quern_str s, const char *what)
{
    return s.len == strlen(what) && memcmp(s.ptr, what, s.len) == 0;
}

/* The tensor of a Constant. */
static int read_constant(const message *parent, quern__onnx_file *f, quern__onnx_node *node)
{
    message m = {parent->f, node->at, node->end, parent->err};
    quern_str name;
    field from, x;
    int more, rc = QUERN_OK;
    while ((more = next_attribute(&m, &name, &from)) == 1 && rc == QUERN_OK) {
        message a = inside(&m, &from);
        if (!is(name, "value"))
            continue;
        int inner = 0;
        while (rc == QUERN_OK && (inner = quern__next_field(&a, &x)) == 1)
            if (x.number == 5 && (rc = want(&a, &x, BYTES)) == QUERN_OK) {
                rc = read_tensor(&a, &x, f);
                node->tensor = (int64_t)f->tensor_n - 1;
            }
        if (inner < 0)
            rc = inner;
    }
    return rc ? rc : (more < 0 ? more : QUERN_OK);
}

/* Inputs or outputs: the texts of field `number` of a node. */
static int read_names(const message *parent, const quern__onnx_node *node, uint32_t number,
                      quern__onnx_file *f, uint32_t *first, uint32_t *n)
{
    message m = {parent->f, node->at, node->end, parent->err};
    field x;
    int more;
    *first = (uint32_t)f->name_n;
    *n = 0;
    while ((more = quern__next_field(&m, &x)) == 1) {
        if (x.number != number)
            continue;
        int rc = GROW(&m, f, names, name_n, name_cap);
        if (rc == QUERN_OK)
            rc = text(&m, &x, &f->names[f->name_n]);
        if (rc)
            return rc;
        f->name_n++;
        ++*n;
    }
    return more;
}

static int read_node(const message *parent, const field *from, quern__onnx_file *f)
{
    message m = inside(parent, from);
    field x;
    int rc = GROW(&m, f, nodes, node_n, node_cap), more = 0;
    quern__onnx_node node = {
        .op = {"", 0}, .name = {"", 0}, .domain = {"", 0}, .at = m.at, .end = m.end, .tensor = -1};
    while (rc == QUERN_OK && (more = quern__next_field(&m, &x)) == 1) {
        if (x.number == 3)
            rc = text(&m, &x, &node.name);
        else if (x.number == 4)
            rc = text(&m, &x, &node.op);
        else if (x.number == 7)
            rc = text(&m, &x, &node.domain);
    }
    if (rc == QUERN_OK)
        rc = more;
    if (rc == QUERN_OK)
        rc = read_names(parent, &node, 1, f, &node.inputs, &node.input_n);
    if (rc == QUERN_OK)
        rc = read_names(parent, &node, 2, f, &node.outputs, &node.output_n);
    if (rc == QUERN_OK && (is(node.op, "Constant") || is(node.op, "ConstantOfShape")))
        rc = read_constant(parent, f, &node);
    for (uint32_t i = 0; rc == QUERN_OK && i < node.output_n; i++)
        if (f->names[node.outputs + i].len)
            rc = add_value(parent, f, f->names[node.outputs + i], QUERN__ONNX_NODE,
                           (uint32_t)f->node_n);
    if (rc == QUERN_OK)
        f->nodes[f->node_n++] = node;
    return rc;
}

/* ---- graph and model ---- */

/* Which version of ONNX's own operations the model means. */
static int read_opset(const message *parent, const field *from, quern__onnx_file *f)
{
    message m = inside(parent, from);
    quern_str domain = {"", 0};
    field x;
    uint64_t version = 0;
    int more = 0, rc = want(parent, from, BYTES);
    while (rc == QUERN_OK && (more = quern__next_field(&m, &x)) == 1) {
        if (x.number == 1)
            rc = text(&m, &x, &domain);
        else if (x.number == 2 && x.wire == VARINT)
            version = x.value;
    }
    if (rc == QUERN_OK && more == 0 && (!domain.len || is(domain, "ai.onnx")))
        f->opset = (int64_t)QUERN__MIN(version, (uint64_t)INT32_MAX);
    return rc ? rc : more;
}

static int read_value_name(const message *parent, const field *from, quern_str *out)
{
    message m = inside(parent, from);
    field x;
    int more, rc = want(parent, from, BYTES);
    *out = (quern_str){"", 0};
    if (rc)
        return rc;
    while ((more = quern__next_field(&m, &x)) == 1)
        if (x.number == 1 && (rc = text(&m, &x, out)) != QUERN_OK)
            return rc;
    return more;
}

static int read_graph_field(const message *m, const field *x, quern__onnx_file *f)
{
    quern_str name;
    int rc = x->number == 1 || x->number == 5 || x->number == 11 || x->number == 12
                 ? want(m, x, BYTES)
                 : QUERN_OK;
    if (rc)
        return rc;
    switch (x->number) {
    case 1:
        return read_node(m, x, f);
    case 5:
        rc = read_tensor(m, x, f);
        return rc ? rc
                  : add_value(m, f, f->tensors[f->tensor_n - 1].name, QUERN__ONNX_TENSOR,
                              (uint32_t)f->tensor_n - 1);
    case 11:
        rc = read_value_name(m, x, &name);
        return rc ? rc : add_value(m, f, name, QUERN__ONNX_INPUT, 0);
    case 12:
        rc = GROW(m, f, outputs, output_n, output_cap);
        if (rc == QUERN_OK)
            rc = read_value_name(m, x, &f->outputs[f->output_n]);
        f->output_n += rc == QUERN_OK;
        return rc;
    case 15:
        return fail(m, x->begin, "a sparse tensor");
    default:
        return QUERN_OK;
    }
}

static int compare(quern_str a, quern_str b)
{
    const size_t n = QUERN__MIN(a.len, b.len);
    const int by_text = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return by_text ? by_text : (a.len > b.len) - (a.len < b.len);
}

static int by_name(const void *a, const void *b)
{
    const quern__onnx_value *x = a, *y = b;
    const int by_text = compare(x->name, y->name);
    return by_text ? by_text : (x->maker > y->maker) - (x->maker < y->maker);
}

/* Sorted, each name once: a stored tensor may be declared as an input too (its default). */
static int settle_values(const message *m, quern__onnx_file *f)
{
    size_t kept = 0;
    if (f->value_n)
        qsort(f->values, f->value_n, sizeof *f->values, by_name);
    for (size_t i = 0; i < f->value_n; i++) {
        const quern__onnx_value v = f->values[i];
        if (kept && compare(f->values[kept - 1].name, v.name) == 0) {
            if (f->values[kept - 1].maker == QUERN__ONNX_TENSOR && v.maker == QUERN__ONNX_INPUT)
                continue;
            return quern__fail(m->err, QUERN_EFORMAT, 0, "%s: value %.*s is made twice (byte 0)",
                               f->name, (int)QUERN__MIN(v.name.len, 100), v.name.ptr);
        }
        f->values[kept++] = v;
    }
    f->value_n = kept;
    return QUERN_OK;
}

int quern__onnx_file_read(quern__onnx_file *f, const uint8_t *data, size_t size, const char *name,
                          quern_error *err)
{
    memset(f, 0, sizeof *f);
    f->data = data;
    f->size = size;
    f->name = name;
    message m = {f, 0, size, err};
    field x, graph = {0};
    int more;
    while ((more = quern__next_field(&m, &x)) == 1) {
        if (x.number == 25)
            return fail(&m, x.begin, "functions of the model's own, which are not read");
        int rc = x.number == 8 ? read_opset(&m, &x, f) : QUERN_OK;
        if (rc)
            return rc;
        if (x.number != 7)
            continue;
        if (x.wire != BYTES || graph.number)
            return fail(&m, m.at, "two graphs, or none: no ONNX model");
        graph = x;
    }
    if (more < 0)
        return more;
    if (!graph.number)
        return fail(&m, 0, "no graph: torn, or no ONNX model");
    message g = inside(&m, &graph);
    while ((more = quern__next_field(&g, &x)) == 1) {
        int rc = read_graph_field(&g, &x, f);
        if (rc)
            return rc;
    }
    return more < 0 ? more : settle_values(&m, f);
}

void quern__onnx_file_dispose(quern__onnx_file *f)
{
    quern__free(f->tensors);
    quern__free(f->nodes);
    quern__free(f->names);
    quern__free(f->values);
    quern__free(f->outputs);
    memset(f, 0, sizeof *f);
}

int64_t quern__onnx_find(const quern__onnx_file *f, quern_str name)
{
    size_t low = 0, high = f->value_n;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const int by_text = compare(f->values[middle].name, name);
        if (by_text == 0)
            return (int64_t)middle;
        if (by_text < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

static int read_integers(const message *m, const field *x, quern__onnx_attribute *out)
{
    message packed = inside(m, x);
    uint64_t v = x->value;
    int rc = QUERN_OK;
    if (x->wire != VARINT && (rc = want(m, x, BYTES)) != QUERN_OK)
        return rc;
    do {
        if (x->wire == BYTES && packed.at == packed.end)
            break;
        if (x->wire == BYTES)
            rc = varint(&packed, &v);
        if (rc == QUERN_OK && out->n < QUERN__MAX_RANK)
            out->ints[out->n] = (int64_t)v;
        out->n++;
    } while (rc == QUERN_OK && x->wire == BYTES);
    return rc;
}

int quern__onnx_attribute_of(const quern__onnx_file *f, const quern__onnx_node *node,
                             const char *name, bool *has, quern__onnx_attribute *out,
                             quern_error *err)
{
    message m = {f, node->at, node->end, err};
    quern_str called;
    field from, x;
    int more, rc = QUERN_OK;
    *has = false;
    memset(out, 0, sizeof *out);
    while (rc == QUERN_OK && (more = next_attribute(&m, &called, &from)) == 1) {
        if (!is(called, name))
            continue;
        message a = inside(&m, &from);
        int inner = 0;
        *has = true;
        while (rc == QUERN_OK && (inner = quern__next_field(&a, &x)) == 1) {
            const uint32_t bits = (uint32_t)x.value;
            if (x.number == 2)
                memcpy(&out->f, &bits, sizeof bits);
            else if (x.number == 3)
                out->i = (int64_t)x.value;
            else if (x.number == 4)
                rc = text(&a, &x, &out->s);
            else if (x.number == 8)
                rc = read_integers(&a, &x, out);
        }
        if (rc == QUERN_OK && inner < 0)
            rc = inner;
    }
    return rc ? rc : (more < 0 ? more : QUERN_OK);
}
