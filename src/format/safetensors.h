/*
 * safetensors.h — the published weights, memory-mapped and fully checked once at open; afterwards
 * every tensor may be trusted. Layout: u64 little-endian header length N, N bytes of JSON
 * {"name":{"dtype":"F32","shape":[…],"data_offsets":[begin,end]},…,"__metadata__":{…}}, then data.
 * Checked: N inside the file and <= 100 MB, strict JSON, known dtype, shape product x size = end - begin
 * (overflow-checked), inside the data, aligned to the type, no overlap, no hole, no duplicate name, no
 * trailing bytes. EFORMAT names tensor and byte offset.
 */
#ifndef QUERN_FORMAT_SAFETENSORS_H
#define QUERN_FORMAT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum quern__dtype {
    QUERN__F32 = 1,
    QUERN__F16,
    QUERN__BF16,
    QUERN__OTHER_DTYPE /* int tensors such as position_ids */
};
enum { QUERN__MAX_RANK = 8 };

typedef struct quern__tensor {
    const char *name; /* NUL-terminated, owned by the file */
    int dtype;
    uint32_t rank;
    uint64_t shape[QUERN__MAX_RANK];
    const void *data; /* into the mapping, little-endian, aligned to the element */
    size_t offset;    /* of data in the file, for messages and quern__safetensors_forget */
    size_t bytes, count;
} quern__tensor;

typedef struct quern__safetensors quern__safetensors;

int quern__safetensors_open(quern__safetensors **out, const char *path, quern_error *err);
/* The same over bytes that the caller keeps alive; `name` is what errors call it. For tests and fuzzing. */
int quern__safetensors_parse(quern__safetensors **out, const void *data, size_t size,
                             const char *name, quern_error *err);
void quern__safetensors_free(quern__safetensors *f);
size_t quern__safetensors_count(const quern__safetensors *f);
const quern__tensor *quern__safetensors_at(const quern__safetensors *f, size_t i);
const quern__tensor *quern__safetensors_find(const quern__safetensors *f,
                                             const char *name); /* NULL: absent */
size_t quern__safetensors_size(const quern__safetensors *f);    /* bytes of the file */
/* Pages of this tensor were copied (packed) and need not stay resident. */
void quern__safetensors_forget(const quern__safetensors *f, const quern__tensor *t);
/* Elements first..first+n of a float tensor as f32. Exact for all three dtypes. */
void quern__tensor_read_f32(const quern__tensor *t, size_t first, size_t n, float *out);

#endif
