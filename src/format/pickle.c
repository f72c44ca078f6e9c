/*
 * pickle.c — a stack machine for the opcodes of saved tensors. The danger of pickles is that they name
 * functions and call them; here a call is a comparison with four known names, each of which only makes a
 * record.
 *
 * Rejected: skipping what is not understood (a pickle has no lengths to skip by, and what is skipped may be
 * the weights), and newer protocols (torch.save writes 2 unless told otherwise).
 *
 * Bounds: at most MAX_BYTES are read, each byte makes at most one value, and no table has more than

 * a real one.
 */
#include "format/pickle.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/compiler.h"
#include "format/weights_build.h"

enum { MAX_BYTES = 64 << 20, MAX_RECORDS = 1 << 20, MAX_TENSORS = 65536, MAX_LINE = 256 };

enum known_global { ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, STORAGE };

static const struct global {
    const char *module, *name;
    int what, dtype;
    uint32_t width;
} globals[] = {
    {"collections", "OrderedDict", ORDERED_DICT, 0, 0},
    {"torch._utils", "_rebuild_tensor_v2", REBUILD_TENSOR, 0, 0},
    {"torch._utils", "_rebuild_parameter", REBUILD_PARAMETER, 0, 0},
    {"torch", "FloatStorage", STORAGE, QUERN__F32, 4},
    {"torch", "HalfStorage", STORAGE, QUERN__F16, 2},
    {"torch", "BFloat16Storage", STORAGE, QUERN__BF16, 2},
    {"torch", "DoubleStorage", STORAGE, QUERN__OTHER_DTYPE, 8},
    {"torch", "LongStorage", STORAGE, QUERN__OTHER_DTYPE, 8},
    {"torch", "IntStorage", STORAGE, QUERN__OTHER_DTYPE, 4},
    {"torch", "ShortStorage", STORAGE, QUERN__OTHER_DTYPE, 2},
    {"torch", "CharStorage", STORAGE, QUERN__OTHER_DTYPE, 1},
    {"torch", "ByteStorage", STORAGE, QUERN__OTHER_DTYPE, 1},
    {"torch", "BoolStorage", STORAGE, QUERN__OTHER_DTYPE, 1},
};

/* Names for messages: what a stranger is likeliest to meet. */
static const struct opcode {
    uint8_t byte;
    const char *name;
} opcodes[] = {
    {'i', "INST"},        {'o', "OBJ"},
    {0x81, "NEWOBJ"},     {0x92, "NEWOBJ_EX"},
    {0x82, "EXT1"},       {0x83, "EXT2"},
    {0x84, "EXT4"},       {0x93, "STACK_GLOBAL"},
    {0x95, "FRAME"},      {0x8c, "SHORT_UNICODE"},
    {0x94, "MEMOIZE"},    {'P', "PERSID"},
    {'I', "INT"},         {'L', "LONG"},
    {'S', "STRING"},      {'V', "UNICODE"},
    {'F', "FLOAT"},       {'p', "PUT"},
    {'g', "GET"},         {'0', "POP"},
    {'1', "POP_MARK"},    {'2', "DUP"},
    {'B', "BINBYTES"},    {'C', "SHORT_BINBYTES"},
    {0x8b, "LONG4"},      {0x8d, "BINUNICODE8"},
    {0x8e, "BINBYTES8"},  {0x8f, "EMPTY_SET"},
    {0x96, "BYTEARRAY8"}, {0x97, "NEXT_BUFFER"},
};

/* ---- reading bytes ---- */

static int fail(const quern__pickle *p, size_t at, const char *what, quern_error *err)
{
    return quern__fail(err, QUERN_EFORMAT, (int64_t)at, "%s: %s, at byte %zu of the pickle's file",
                       p->name, what, at);
}

static int take(quern__pickle *p, size_t n, const uint8_t **out, quern_error *err)
{
    *out = p->data + p->at;
    if (n > p->end - p->at)
        return fail(p, p->at, "the pickle is torn", err);
    p->at += n;
    return QUERN_OK;
}

static int take_number(quern__pickle *p, size_t width, uint64_t *out, quern_error *err)
{
    const uint8_t *b;
    int rc = take(p, width, &b, err);
    *out = 0;
    for (size_t i = 0; rc == QUERN_OK && i < width; i++)
        *out |= (uint64_t)b[i] << 8 * i;
    return rc;
}

static int take_line(quern__pickle *p, quern_str *out, quern_error *err)
{
    const uint8_t *from = p->data + p->at;
    const size_t most = QUERN__MIN(p->end - p->at, (size_t)MAX_LINE);
    const uint8_t *newline = most ? memchr(from, '\n', most) : NULL;
    if (!newline)
        return fail(p, p->at, "a global's name does not end", err);
    *out = (quern_str){(const char *)from, (size_t)(newline - from)};
    p->at += out->len + 1;
    return QUERN_OK;
}

/* ---- tables ---- */

/* Room for one more of `size` bytes. */
static int grow(const quern__pickle *p, void **table, size_t n, size_t *cap, size_t size,
                size_t most, quern_error *err)
{
    if (n == most)
        return fail(p, p->at, "more values than saved tensors have", err);
    if (n < *cap)
        return QUERN_OK;
    const size_t wanted = *cap ? *cap * 2 : 64;
    void *bigger = quern__resize_array(*table, wanted, size);
    if (!bigger)
        return quern__fail_memory(err, wanted * size);
    *table = bigger;
    *cap = wanted;
    return QUERN_OK;
}

#define GROW(p, field, count, cap, most, err)                                                      \
    grow(p, (void **)&(p)->field, (p)->count, &(p)->cap, sizeof *(p)->field, most, err)

static int push(quern__pickle *p, quern__pickle_value v, quern_error *err)
{
    int rc = GROW(p, stack, depth, stack_cap, MAX_RECORDS, err);
    if (rc == QUERN_OK)
        p->stack[p->depth++] = v;
    return rc;
}

static int push_int(quern__pickle *p, int kind, int64_t i, quern_error *err)
{
    return push(p, (quern__pickle_value){.kind = (uint8_t)kind, .u.i = i}, err);
}

/* The topmost value, which must not be a mark. */
static int pop(quern__pickle *p, quern__pickle_value *out, quern_error *err)
{
    if (!p->depth || p->stack[p->depth - 1].kind == QUERN__PICKLE_MARK)
        return fail(p, p->at, "the pickle's stack is empty", err);
    *out = p->stack[--p->depth];
    return QUERN_OK;
}

/* Values above the last mark: *first is their place on the stack; the mark is below it. */
static int find_mark(quern__pickle *p, size_t *first, quern_error *err)
{
    for (size_t i = p->depth; i > 0; i--)
        if (p->stack[i - 1].kind == QUERN__PICKLE_MARK) {
            *first = i;
            return QUERN_OK;
        }
    return fail(p, p->at, "no mark on the pickle's stack", err);
}

/* The n topmost values become a tuple, and `extra` below them (a mark) goes. */
static int make_tuple(quern__pickle *p, size_t n, size_t extra, quern_error *err)
{
    quern__pickle_value t = {
        .kind = QUERN__PICKLE_TUPLE, .n = (uint32_t)n, .u.i = (int64_t)p->items_n};
    if (n + extra > p->depth)
        return fail(p, p->at, "the pickle's stack is empty", err);
    const size_t first = p->depth - n;
    for (size_t i = 0; i < n; i++) {
        int rc = p->stack[first + i].kind == QUERN__PICKLE_MARK
                     ? fail(p, p->at, "a mark inside a tuple", err)
                     : GROW(p, items, items_n, items_cap, MAX_RECORDS, err);
        if (rc)
            return rc;
        p->items[p->items_n++] = p->stack[first + i];
    }
    p->depth = first - extra;
    return push(p, t, err);
}

static int set(quern__pickle *p, uint32_t owner, quern__pickle_value key, quern__pickle_value value,
               quern_error *err)
{
    int rc = GROW(p, pairs, pairs_n, pairs_cap, MAX_RECORDS, err);
    if (rc == QUERN_OK)
        p->pairs[p->pairs_n++] = (quern__pickle_pair){owner, p->at, key, value};
    return rc;
}

/* Sets (dict) or appends (list) the values from `first` on to the object below `below` more. */
static int set_all(quern__pickle *p, size_t first, size_t below, int kind, quern_error *err)
{
    const size_t wide = kind == QUERN__PICKLE_DICT ? 2 : 1, n = p->depth - first;
    if (first < below + 1 || p->stack[first - below - 1].kind != kind || n % wide)
        return fail(p, p->at, "items set in what is no dictionary or list", err);
    const uint32_t owner = (uint32_t)p->stack[first - below - 1].u.i;
    static const quern__pickle_value none = {.kind = QUERN__PICKLE_NONE};
    int rc = QUERN_OK;
    for (size_t i = first; rc == QUERN_OK && i < first + n; i += wide) {
        if (p->stack[i].kind == QUERN__PICKLE_MARK ||
            p->stack[i + wide - 1].kind == QUERN__PICKLE_MARK)
            rc = fail(p, p->at, "a mark among items", err);
        else
            rc = set(p, owner, wide == 2 ? p->stack[i] : none, p->stack[i + wide - 1], err);
    }
    p->depth = first - below;
    return rc;
}

/* ---- globals ---- */

static int push_global(quern__pickle *p, size_t at, quern_error *err)
{
    quern_str module, name;
    int rc = take_line(p, &module, err);
    if (rc == QUERN_OK)
        rc = take_line(p, &name, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < QUERN__COUNT(globals); i++)
        if (module.len == strlen(globals[i].module) && name.len == strlen(globals[i].name) &&
            memcmp(module.ptr, globals[i].module, module.len) == 0 &&
            memcmp(name.ptr, globals[i].name, name.len) == 0)
            return push_int(p, QUERN__PICKLE_GLOBAL, (int64_t)i, err);
    return quern__fail(err, QUERN_EFORMAT, (int64_t)at,
                       "%s: global %.*s.%.*s at byte %zu is not one that saved tensors need; a "
                       "pickle's code is never run",
                       p->name, (int)QUERN__MIN(module.len, 100), module.ptr,
                       (int)QUERN__MIN(name.len, 100), name.ptr, at);
}

static const quern__pickle_value *arguments(const quern__pickle *p, const quern__pickle_value *t)
{
    return t->n ? p->items + t->u.i : p->items; /* of none there may be no table */
}

static int push_owner(quern__pickle *p, int kind, quern_error *err)
{
    return push_int(p, kind, p->owners++, err);
}

/* Sizes or strides: a tuple of integers from 0 up. */
static bool read_sizes(const quern__pickle *p, const quern__pickle_value *t, uint64_t *out,
                       uint32_t *n)
{
    if (t->kind != QUERN__PICKLE_TUPLE || t->n > QUERN__MAX_RANK)
        return false;
    *n = t->n;
    for (uint32_t i = 0; i < t->n; i++) {
        const quern__pickle_value *v = arguments(p, t) + i;
        if (v->kind != QUERN__PICKLE_INT || v->u.i < 0)
            return false;
        out[i] = (uint64_t)v->u.i;
    }
    return true;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks) */
static int push_tensor(quern__pickle *p, const quern__pickle_value *args, size_t at,
                       quern_error *err)
{
    uint32_t strides = 0;
    int rc = GROW(p, tensors, tensors_n, tensors_cap, MAX_TENSORS, err);
    if (rc)
        return rc;
    quern__pickle_tensor *t = &p->tensors[p->tensors_n];
    memset(t, 0, sizeof *t);
    const quern__pickle_value *a = arguments(p, args);
    if (args->n != 6 || a[0].kind != QUERN__PICKLE_STORAGE || a[1].kind != QUERN__PICKLE_INT ||
        a[1].u.i < 0 || !read_sizes(p, &a[2], t->shape, &t->rank) ||
        !read_sizes(p, &a[3], t->stride, &strides) || strides != t->rank)
        return fail(p, at, "a tensor whose storage, offset, sizes or strides are none", err);
    t->storage = (uint32_t)a[0].u.i;
    t->offset = (uint64_t)a[1].u.i;
    t->at = at;
    return push_int(p, QUERN__PICKLE_TENSOR, (int64_t)p->tensors_n++, err);
}

/* The "call": a known name and its arguments, to a record. */
static int reduce(quern__pickle *p, size_t at, quern_error *err)
{
    quern__pickle_value args = {0}, f = {0};
    int rc = pop(p, &args, err);
    if (rc == QUERN_OK)
        rc = pop(p, &f, err);
    if (rc)
        return rc;
    if (f.kind != QUERN__PICKLE_GLOBAL || args.kind != QUERN__PICKLE_TUPLE)
        return fail(p, at, "a call of what is no global", err);
    const struct global *g = &globals[f.u.i];
    if (g->what == ORDERED_DICT && args.n == 0)
        return push_owner(p, QUERN__PICKLE_DICT, err);
    if (g->what == REBUILD_TENSOR)
        return push_tensor(p, &args, at, err);
    if (g->what == REBUILD_PARAMETER && args.n == 3 &&
        arguments(p, &args)->kind == QUERN__PICKLE_TENSOR)
        return push(p, *arguments(p, &args), err);
    return quern__fail(err, QUERN_EFORMAT, (int64_t)at,
                       "%s: a call of %s.%s at byte %zu that no saved tensor needs", p->name,
                       g->module, g->name, at);
}

static bool is_text(const quern__pickle_value *v, const char *text)
{
    return v->kind == QUERN__PICKLE_TEXT && v->n == strlen(text) &&
           memcmp(v->u.text, text, v->n) == 0;
}

/* ("storage", type, key, location, elements[, None]) */
static int push_storage(quern__pickle *p, size_t at, quern_error *err)
{
    quern__pickle_value id = {0};
    int rc = pop(p, &id, err);
    if (rc == QUERN_OK)
        rc = GROW(p, storages, storages_n, storages_cap, MAX_TENSORS, err);
    if (rc)
        return rc;
    const quern__pickle_value *a = id.kind == QUERN__PICKLE_TUPLE ? arguments(p, &id) : NULL;
    if (!a || id.n < 5 || id.n > 6 || !is_text(&a[0], "storage") ||
        a[1].kind != QUERN__PICKLE_GLOBAL || globals[a[1].u.i].what != STORAGE ||
        a[2].kind != QUERN__PICKLE_TEXT || a[2].n == 0 || a[4].kind != QUERN__PICKLE_INT ||
        a[4].u.i < 0)
        return fail(p, at, "a storage that is described otherwise than torch.save does", err);
    if (id.n == 6 && a[5].kind != QUERN__PICKLE_NONE)
        return fail(p, at, "a storage that is a view of another", err);
    const struct global *g = &globals[a[1].u.i];
    p->storages[p->storages_n] = (quern__pickle_storage){
        g->name, g->dtype, g->width, {a[2].u.text, a[2].n}, (uint64_t)a[4].u.i, at, 0};
    return push_int(p, QUERN__PICKLE_STORAGE, (int64_t)p->storages_n++, err);
}

/* ---- opcodes ---- */

static int push_text(quern__pickle *p, int kind, size_t width, quern_error *err)
{
    uint64_t n = 0;
    const uint8_t *text = NULL;
    int rc = take_number(p, width, &n, err);
    if (rc == QUERN_OK)
        rc = take(p, (size_t)n, &text, err);
    if (rc)
        return rc;
    return push(p,
                (quern__pickle_value){
                    .kind = (uint8_t)kind, .n = (uint32_t)n, .u.text = (const char *)text},
                err);
}

/* LONG1: to 8 bytes an integer. */
static int push_long(quern__pickle *p, quern_error *err)
{
    int rc = push_text(p, QUERN__PICKLE_LONG, 1, err);
    quern__pickle_value *v = rc ? NULL : &p->stack[p->depth - 1];
    if (rc || v->n > 8)
        return rc;
    const uint8_t *b = (const uint8_t *)v->u.text;
    uint64_t bits = v->n && b[v->n - 1] & 0x80 ? UINT64_MAX : 0;
    for (uint32_t i = 0; i < v->n; i++)
        bits = (bits & ~((uint64_t)0xff << 8 * i)) | (uint64_t)b[i] << 8 * i;
    v->kind = QUERN__PICKLE_INT;
    memcpy(&v->u.i, &bits, sizeof bits);
    return QUERN_OK;
}

static int put(quern__pickle *p, size_t width, quern_error *err)
{
    uint64_t i = 0;
    int rc = take_number(p, width, &i, err);
    if (rc)
        return rc;
    if (!p->depth || p->stack[p->depth - 1].kind == QUERN__PICKLE_MARK || i > p->memo_n + 1)
        return fail(p, p->at, "a note of nothing, or out of order", err); /* Python 2 begins at 1 */
    while (p->memo_n <= i) {
        rc = GROW(p, memo, memo_n, memo_cap, MAX_RECORDS, err);
        if (rc)
            return rc;
        p->memo[p->memo_n++] = (quern__pickle_value){.kind = QUERN__PICKLE_MARK};
    }
    p->memo[i] = p->stack[p->depth - 1];
    return QUERN_OK;
}

static int get(quern__pickle *p, size_t width, quern_error *err)
{
    uint64_t i = 0;
    int rc = take_number(p, width, &i, err);
    if (rc)
        return rc;
    if (i >= p->memo_n || p->memo[i].kind == QUERN__PICKLE_MARK)
        return fail(p, p->at, "a note that was never made", err);
    return push(p, p->memo[i], err);
}

/* Attributes of a dictionary (the versions of modules) are of no interest. */
static int build(quern__pickle *p, quern_error *err)
{
    quern__pickle_value state = {0};
    int rc = pop(p, &state, err);
    if (rc == QUERN_OK && (!p->depth || p->stack[p->depth - 1].kind != QUERN__PICKLE_DICT ||
                           state.kind != QUERN__PICKLE_DICT))
        rc = fail(p, p->at, "attributes set on what is no dictionary", err);
    return rc;
}

static int unknown(const quern__pickle *p, uint8_t op, size_t at, quern_error *err)
{
    const char *name = "unknown";
    for (size_t i = 0; i < QUERN__COUNT(opcodes); i++)
        if (opcodes[i].byte == op)
            name = opcodes[i].name;
    return quern__fail(err, QUERN_EFORMAT, (int64_t)at,
                       "%s: opcode 0x%02x (%s) at byte %zu is not one that saved tensors need",
                       p->name, op, name, at);
}

static int check_protocol(quern__pickle *p, quern_error *err)
{
    uint64_t protocol = 0;
    int rc = take_number(p, 1, &protocol, err);
    if (rc == QUERN_OK && protocol != 2)
        rc = quern__fail(err, QUERN_EFORMAT, (int64_t)p->at - 1,
                         "%s: pickle protocol %u at byte %zu; torch.save writes 2", p->name,
                         (unsigned)protocol, p->at - 1);
    return rc;
}

static int step_number(quern__pickle *p, size_t width, bool sign, quern_error *err)
{
    uint64_t v = 0;
    int rc = take_number(p, width, &v, err);
    if (rc)
        return rc;
    return push_int(p, QUERN__PICKLE_INT,
                    sign && v & 0x80000000 ? (int64_t)v - ((int64_t)1 << 32) : (int64_t)v, err);
}

/* What works on the values above the last mark. */
static int step_marked(quern__pickle *p, uint8_t op, quern_error *err)
{
    size_t first = 0;
    int rc = find_mark(p, &first, err);
    if (rc)
        return rc;
    if (op == 't')
        return make_tuple(p, p->depth - first, 1, err);
    return set_all(p, first, 1, op == 'u' ? QUERN__PICKLE_DICT : QUERN__PICKLE_LIST, err);
}

static int step(quern__pickle *p, uint8_t op, size_t at, quern_error *err)
{
    const uint8_t *ignored;
    int rc;
    switch (op) {
    case 0x80:
        return check_protocol(p, err);
    case '(':
        return push_int(p, QUERN__PICKLE_MARK, 0, err);
    case 'N':
        return push_int(p, QUERN__PICKLE_NONE, 0, err);
    case 0x88:
    case 0x89:
        return push_int(p, QUERN__PICKLE_BOOL, op == 0x88, err);
    case 'K':
        return step_number(p, 1, false, err);
    case 'M':
        return step_number(p, 2, false, err);
    case 'J':
        return step_number(p, 4, true, err);
    case 0x8a:
        return push_long(p, err);
    case 'G':
        rc = take(p, 8, &ignored, err);
        return rc ? rc : push_int(p, QUERN__PICKLE_FLOAT, 0, err);
    case 'U':
        return push_text(p, QUERN__PICKLE_TEXT, 1, err);
    case 'T':
    case 'X':
        return push_text(p, QUERN__PICKLE_TEXT, 4, err);
    case ')':
    case 0x85:
    case 0x86:
    case 0x87:
        return make_tuple(p, op == ')' ? 0 : op - 0x84u, 0, err);
    case ']':
        return push_owner(p, QUERN__PICKLE_LIST, err);
    case '}':
        return push_owner(p, QUERN__PICKLE_DICT, err);
    case 't':
    case 'u':
    case 'e':
        return step_marked(p, op, err);
    case 's':
        return p->depth < 2 ? fail(p, at, "the pickle's stack is empty", err)
                            : set_all(p, p->depth - 2, 0, QUERN__PICKLE_DICT, err);
    case 'a':
        return p->depth < 1 ? fail(p, at, "the pickle's stack is empty", err)
                            : set_all(p, p->depth - 1, 0, QUERN__PICKLE_LIST, err);
    case 'q':
    case 'r':
        return put(p, op == 'q' ? 1 : 4, err);
    case 'h':
    case 'j':
        return get(p, op == 'h' ? 1 : 4, err);
    case 'c':
        return push_global(p, at, err);
    case 'R':
        return reduce(p, at, err);
    case 'Q':
        return push_storage(p, at, err);
    case 'b':
        return build(p, err);
    default:
        return unknown(p, op, at, err);
    }
}

int quern__pickle_read(quern__pickle *p, const uint8_t *data, size_t at, size_t end,
                       const char *name, quern_error *err)
{
    memset(p, 0, sizeof *p);
    p->data = data;
    p->at = at;
    p->end = end - at > MAX_BYTES ? at + MAX_BYTES : end;
    p->name = name;
    for (;;) {
        const uint8_t *op;
        const size_t here = p->at;
        int rc = take(p, 1, &op, err);
        if (rc == QUERN_OK && *op == '.')
            break;
        if (rc == QUERN_OK)
            rc = step(p, *op, here, err);
        if (rc)
            return rc;
    }
    if (p->depth != 1 || p->stack[0].kind == QUERN__PICKLE_MARK)
        return fail(p, p->at, "the pickle ends with other than one value", err);
    p->result = p->stack[0];
    return QUERN_OK;
}

void quern__pickle_dispose(quern__pickle *p)
{
    quern__free(p->stack);
    quern__free(p->memo);
    quern__free(p->items);
    quern__free(p->pairs);
    quern__free(p->storages);
    quern__free(p->tensors);
    memset(p, 0, sizeof *p);
}
