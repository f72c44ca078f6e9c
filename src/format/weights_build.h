/*
 * weights_build.h — for the readers behind weights.h: each looks at one file of the set and adds a view
 * for every tensor in it. What holds for every format is checked here: names, counts, bounds.
 */
#ifndef QUERN_FORMAT_WEIGHTS_BUILD_H
#define QUERN_FORMAT_WEIGHTS_BUILD_H

#include "base/arena.h"
#include "base/os.h"
#include "format/weights.h"

enum { QUERN__SHOWN = 120 /* characters of a tensor's name in a message */ };

typedef struct quern__weights_part {
    quern__map map; /* zeroed when parsed from memory */
    const uint8_t *data;
    size_t size;
    const char *name; /* what messages call it */
} quern__weights_part;

struct quern__weights {
    quern__arena names;
    quern__weights_files files;
    quern__weights_part *parts;
    uint32_t part_count;
    quern__tensor *tensors; /* [count] sorted by name once all is read */
    size_t count, cap;
    quern__weights_graph graph;
};

/* A zeroed tensor of the last part; its name is copied. EFORMAT with `at`, a byte of the file, when the
 * name is empty, too long or holds a NUL, or there are too many tensors. *out is valid until the next. */
int quern__weights_add(quern__weights *w, quern_str name, size_t at, quern__tensor **out,
                       quern_error *err);

/* The name that a tensor goes by: LayerNorm.gamma and .beta, as the first checkpoints call them, are
 * weight and bias. *out: name, or `room` filled. */
enum { QUERN__TENSOR_NAME = 512 };
quern_str quern__tensor_name(quern_str name, char room[QUERN__TENSOR_NAME + 8]);

/* weights_index.c: the file that says which tensor is in which shard. Names of shards into `files`. */
int quern__weights_index_files(quern__weights_files *files, const char *text, size_t len,
                               const char *name, quern_error *err);
/* Each tensor is in the shard that the index names, and the index names each. */
int quern__weights_index_check(const quern__weights *w, const char *text, size_t len,
                               const char *name, quern_error *err);

/* safetensors.c */
int quern__safetensors_read(quern__weights *w, const quern__weights_part *p, quern_error *err);
/* torch.c */
int quern__torch_read(quern__weights *w, const quern__weights_part *p, quern_error *err);
/* gguf.c */
int quern__gguf_read(quern__weights *w, const quern__weights_part *p, quern_error *err);
/* onnx_files.c: files->name[0] is a graph, whose bytes these are; adds the files beside it that its tensors' data lies in
 * and sorts. EUNSUPPORTED: one that is not beside it. */
int quern__onnx_files(quern__weights_files *files, const uint8_t *data, size_t size,
                      const char *name, quern_error *err);
/* weights_index.c: a name that leads nowhere else */
bool quern__weights_is_leaf(quern_str s);
/* onnx.c */
int quern__onnx_read(quern__weights *w, const quern__weights_part *p, quern_error *err);

#endif
