/*
 * onnx_file.h — an ONNX model as tables: its nodes in order, the tensors stored in it, and who makes which
 * value. Everything points into the file's bytes. onnx.c walks it.
 */
#ifndef QUERN_FORMAT_ONNX_FILE_H
#define QUERN_FORMAT_ONNX_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/weights.h"

typedef struct quern__onnx_tensor {
    quern_str name;
    uint32_t rank;
    uint64_t shape[QUERN__MAX_RANK], count;
    int dtype;           /* enum quern__dtype */
    int type;            /* ONNX's own number of it */
    const char *trouble; /* why it cannot be used as a weight; NULL: it can */
    size_t at;           /* byte where it is described */
    size_t offset, bytes;
    quern_str location; /* the file that offset is in; NULL: this one */
    bool varints;       /* whole numbers, packed one after another */
    /* Not stored but made of stored ones (quern__onnx_derive): codes[i] of `type`, less zero, times scale. */
    bool derived;
    int64_t scale, zero; /* in `tensors`; -1: none */
    bool by_row;
    bool sliced;    /* derived, of the same type: a part of a stored one */
    uint64_t pitch; /* of a matrix that is: elements from one row of the file to the next */
} quern__onnx_tensor;
enum {
    QUERN__ONNX_FLOAT = 1,
    QUERN__ONNX_UINT8 = 2,
    QUERN__ONNX_INT8 = 3,
    QUERN__ONNX_INT32 = 6,
    QUERN__ONNX_INT64 = 7,
    QUERN__ONNX_BOOL = 9,
    QUERN__ONNX_FLOAT16 = 10,
    QUERN__ONNX_DOUBLE = 11,
    QUERN__ONNX_BFLOAT16 = 16
};
size_t quern__onnx_width(int type); /* bytes of an element; 0: of a type that nothing here reads */

typedef struct quern__onnx_node {
    quern_str op, name, domain;
    uint32_t inputs, input_n, outputs, output_n; /* ranges of `names` */
    size_t at, end;
    int64_t tensor; /* of a Constant or ConstantOfShape, in `tensors`; -1: none */
} quern__onnx_node;

enum quern__onnx_maker { QUERN__ONNX_TENSOR, QUERN__ONNX_INPUT, QUERN__ONNX_NODE };

/* Who makes a value. */
typedef struct quern__onnx_value {
    quern_str name;
    int maker;
    uint32_t index; /* of the tensor or node */
} quern__onnx_value;

typedef struct quern__onnx_file {
    const uint8_t *data;
    size_t size;
    const char *name; /* what messages call it */
    int64_t opset;    /* of ONNX's own operations; 0: not said */
    quern__onnx_tensor *tensors;
    size_t tensor_n, tensor_cap;
    quern__onnx_node *nodes;
    size_t node_n, node_cap;
    quern_str *names;
    size_t name_n, name_cap;
    quern__onnx_value *values; /* by name */
    size_t value_n, value_cap;
    quern_str *outputs; /* of the graph */
    size_t output_n, output_cap;
} quern__onnx_file;

/* EFORMAT with a byte: torn, no protobuf, no ONNX model, or two values of one name. */
int quern__onnx_file_read(quern__onnx_file *f, const uint8_t *data, size_t size, const char *name,
                          quern_error *err);
void quern__onnx_file_dispose(quern__onnx_file *f);
/* Are all its elements in this file? */
bool quern__onnx_is_inside(const quern__onnx_file *f, const quern__onnx_tensor *t);
/* One more, that is not stored; *out: its place. */
int quern__onnx_derive(quern__onnx_file *f, const quern__onnx_tensor *t, int64_t *out,
                       quern_error *err);
/* The value's place in `values`, -1: nobody makes it. */
int64_t quern__onnx_find(const quern__onnx_file *f, quern_str name);

/* An attribute of a node: its integer, float or text; false: it has none of that name. */
typedef struct quern__onnx_attribute {
    int64_t i;
    float f;
    quern_str s;
    int64_t ints[QUERN__MAX_RANK];
    uint32_t n;
} quern__onnx_attribute;
int quern__onnx_attribute_of(const quern__onnx_file *f, const quern__onnx_node *node,
                             const char *name, bool *has, quern__onnx_attribute *out,
                             quern_error *err);

/* ---- protobuf, for onnx_file.c and onnx_files.c ---- */

enum quern__wire { QUERN__VARINT = 0, QUERN__FIXED64 = 1, QUERN__BYTES = 2, QUERN__FIXED32 = 5 };

/* One message: the rest of it. */
typedef struct quern__message {
    const quern__onnx_file *f;
    size_t at, end;
    quern_error *err;
} quern__message;

typedef struct quern__field {
    uint32_t number;
    int wire;
    uint64_t value;     /* of a number; bits of a float */
    size_t begin, size; /* of bytes */
} quern__field;

/* 1: *out is the next field; 0: the message's end. */
int quern__next_field(quern__message *m, quern__field *out);

/* What an entry of a tensor's external_data says: "location", "offset", "length"; other keys are passed over. */
typedef struct quern__external {
    quern_str location;
    uint64_t offset, length;
    bool has_length;
} quern__external;
int quern__read_external(const quern__message *m, const quern__field *from, quern__external *out);

#endif
