/*
 * weights.h — a set of named tensors, fully checked when it was opened; afterwards every tensor may be
 * trusted. Nothing is copied: a tensor is a view of its file's mapping, in the order and type in which
 * the file holds it, and is widened while it is read. So opening costs the pages of the headers, and memory
 * stays within what the file's own size bounds, whatever a hostile header claims.
 */
#ifndef QUERN_FORMAT_WEIGHTS_H
#define QUERN_FORMAT_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/os.h"

enum quern__dtype {
    QUERN__F32 = 1,
    QUERN__F16,
    QUERN__BF16,
    QUERN__Q8_0,       /* 32 int8 behind the fp16 that they are multiples of */
    QUERN__CODES,      /* (code - zero) * scale: below */
    QUERN__OTHER_DTYPE /* int tensors such as position_ids: no weights */
};
enum { QUERN__MAX_RANK = 8 };

typedef struct quern__tensor {
    const char *name; /* NUL-terminated, owned by the set */
    int dtype;
    uint32_t rank;
    uint64_t shape[QUERN__MAX_RANK];
    bool transposed; /* rank 2, and stored column by column */
    size_t
        pitch; /* of a transposed one that is a part of a wider matrix: elements from a column to the next; 0: side by side */
    uint32_t part;    /* which of the set's files */
    const void *data; /* into the mapping, little-endian; read it through the two calls below */
    size_t offset;    /* of data in its file, for messages */
    size_t bytes, count;
    /* CODES: int8 (or uint8), and for each row (by_row) or column of the file, or for all, an fp32 and perhaps a code that is zero */
    const void *scales, *zeros; /* zeros: NULL: 0 */
    uint32_t scale_count;
    bool by_row, is_unsigned;
} quern__tensor;

typedef struct quern__weights quern__weights;

enum quern__weights_format {
    QUERN__SAFETENSORS = 1,
    QUERN__TORCH,
    QUERN__ONNX,
    QUERN__GGUF,
    QUERN__WEIGHTS_FORMATS
};

/* The int8 class's numbers, made from a folder's weights (encoder/quantised_file.h), lie beside them. */
#define QUERN__QUANTISED_NAME "model.int8.safetensors"
#define QUERN__FOUR_NAME      "model.int4.safetensors"
/* The quantised weights of a model, class by class; NULL past the end. And whether a file is one of them. */
const char *quern__quantised_at(size_t i);
bool quern__is_quantised(const char *name);
bool quern__is_four_name(const char *path); /* a path that ends in int4's */
/* What the user runs to have them (again). */
const char *quern__quantise_command(bool four);

enum { QUERN__WEIGHTS_FILES = 40, QUERN__WEIGHTS_NAME = 128 };

/* The files that hold a folder's weights, relative to it, by name ascending. */
typedef struct quern__weights_files {
    int format;
    char index[QUERN__WEIGHTS_NAME]; /* the file that names them; "" where there is one only */
    uint32_t n;
    uint32_t graph; /* ONNX: which of them it is; the others hold data of its tensors */
    char name[QUERN__WEIGHTS_FILES][QUERN__WEIGHTS_NAME];
} quern__weights_files;

/* What an exported graph says besides its weights; of other formats nothing is known. */
typedef struct quern__weights_graph {
    bool known;
    uint32_t heads;
    double epsilon; /* of its LayerNorms */
    int pooling; /* of enum quern__pooling; 0: it gives hidden states only; -1: in a way that is not understood */
} quern__weights_graph;

/* Which of a folder's files holds the weights, where several could: each name is considered in turn. */
typedef struct quern__weights_choice {
    uint32_t rank;                                              /* 0: none yet */
    char name[QUERN__WEIGHTS_NAME], other[QUERN__WEIGHTS_NAME]; /* other: of the same rank */
} quern__weights_choice;

/* True where a file of this name, relative to a model's folder, could hold its weights. */
bool quern__weights_consider(quern__weights_choice *c, const char *name);
bool quern__weights_is_index(const char *name);
/* ENOTFOUND: no weights in `folder` (for the message); EINVAL: two files of one kind. */
int quern__weights_chosen(const quern__weights_choice *c, const char *folder, quern_error *err);
/* The files of a folder: chosen, and where an index was, those that it names (they need not be there). */
int quern__weights_list(quern__weights_files *out, const char *folder, quern_error *err);
/* The exported graph of a folder, whatever else is in it: model.onnx, else onnx/model.onnx. ENOTFOUND: neither. */
int quern__weights_list_graph(quern__weights_files *out, const char *folder, quern_error *err);
/* One hash for the weights: that of the file where there is one; else SHA-256 over a line
 * "HEX  NAME\n" for each, by name ascending. */
int quern__weights_hash(const quern__weights_files *files, const char (*hex)[65], char out[65],
                        quern_error *err);
const char *quern__weights_format_name(int format); /* "safetensors", "pytorch", "onnx", "gguf" */

/* All files of a folder that its weights are in, checked against each other. */
int quern__weights_open(quern__weights **out, const char *folder, quern_error *err);
/* One file of a folder, whatever else is in it. */
int quern__weights_open_leaf(quern__weights **out, int format, const char *folder, const char *leaf,
                             quern_error *err);
/* A file, by its path, that says of itself what it is: "*.gguf". */
bool quern__weights_alone(const char *name);
/* One file. */
int quern__weights_open_file(quern__weights **out, int format, const char *path, quern_error *err);
/* The same over bytes that the caller keeps alive; `name` is what errors call it. For tests and fuzzing. */
int quern__weights_parse(quern__weights **out, int format, const void *data, size_t size,
                         const char *name, quern_error *err);
void quern__weights_free(quern__weights *w); /* NULL is fine */

size_t quern__weights_count(const quern__weights *w);
/* By name, ascending. */
const quern__tensor *quern__weights_at(const quern__weights *w, size_t i);
const quern__tensor *quern__weights_find(const quern__weights *w,
                                         const char *name); /* NULL: none */
uint64_t quern__weights_bytes(const quern__weights *w);     /* of its files */
/* Of a set that was opened from a folder. */
const quern__weights_files *quern__weights_list_of(const quern__weights *w);
/* That list's file i as it was when it was mapped. */
const quern__stat *quern__weights_mapped(const quern__weights *w, uint32_t i);
const quern__weights_graph *quern__weights_graph_of(const quern__weights *w);
/* Pages of this tensor were copied (packed) and need not stay resident. */
void quern__weights_forget(const quern__weights *w, const quern__tensor *t);

/* The elements as they lie in the file: NULL unless they are fp32, row by row and aligned. */
const float *quern__tensor_floats(const quern__tensor *t);
/* Elements first..first+n, row by row, of a tensor of weights as f32. Exact for every type. */
void quern__tensor_read_f32(const quern__tensor *t, size_t first, size_t n, float *out);

#endif
