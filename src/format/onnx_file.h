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
    const char *trouble; /* why it cannot be used as a weight; NULL: it can */
    size_t at;           /* byte where it is described */
    size_t offset, bytes;
} quern__onnx_tensor;

typedef struct quern__onnx_node {
    quern_str op, name, domain;
    uint32_t inputs, input_n, outputs, output_n; /* ranges of `names` */
    size_t at, end;
    int64_t tensor; /* of a Constant, in `tensors`; -1: none */
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

#endif
