/*
 * pickle.h — the part of Python's pickle that saved tensors are made of, as data: nothing is ever called.
 * Known are the opcodes that torch.save writes (protocol 2) and the globals of the table in pickle.c; any
 * other opcode or global is EFORMAT with its name and byte. Results are values and tables of small records;
 * text points into the bytes read, which the caller keeps.
 */
#ifndef QUERN_FORMAT_PICKLE_H
#define QUERN_FORMAT_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/weights.h"

enum quern__pickle_kind {
    QUERN__PICKLE_NONE,
    QUERN__PICKLE_BOOL,   /* i */
    QUERN__PICKLE_INT,    /* i */
    QUERN__PICKLE_FLOAT,  /* its value is of no interest */
    QUERN__PICKLE_LONG,   /* an integer over 64 bits: text[n], little-endian */
    QUERN__PICKLE_TEXT,   /* text[n] */
    QUERN__PICKLE_TUPLE,  /* items[i .. i+n] */
    QUERN__PICKLE_DICT,   /* i: its number; its lines are in `pairs` */
    QUERN__PICKLE_LIST,   /* the same; keys are QUERN__PICKLE_NONE */
    QUERN__PICKLE_GLOBAL, /* globals[i] */
    QUERN__PICKLE_STORAGE,
    QUERN__PICKLE_TENSOR,
    QUERN__PICKLE_MARK /* on the stack only */
};

typedef struct quern__pickle_value {
    uint8_t kind;
    uint32_t n;
    union {
        int64_t i;
        const char *text;
    } u;
} quern__pickle_value;

typedef struct quern__pickle_pair {
    uint32_t owner; /* number of the dict or list */
    size_t at;      /* byte where it was set */
    quern__pickle_value key, value;
} quern__pickle_pair;

typedef struct quern__pickle_storage {
    const char *type; /* "FloatStorage" */
    int dtype;
    uint32_t width; /* bytes of an element */
    quern_str key;
    uint64_t numel;
    size_t at, offset; /* where it is described; where its data lies, for the caller to fill in */
} quern__pickle_storage;

typedef struct quern__pickle_tensor {
    uint32_t storage, rank;
    uint64_t offset; /* elements */
    uint64_t shape[QUERN__MAX_RANK], stride[QUERN__MAX_RANK];
    size_t at;
} quern__pickle_tensor;

typedef struct quern__pickle {
    const uint8_t *data;
    const char *name; /* what messages call the file */
    size_t at, end;
    quern__pickle_value result;
    quern__pickle_value *stack, *memo, *items;
    size_t depth, stack_cap, memo_n, memo_cap, items_n, items_cap;
    quern__pickle_pair *pairs;
    size_t pairs_n, pairs_cap;
    quern__pickle_storage *storages;
    size_t storages_n, storages_cap;
    quern__pickle_tensor *tensors;
    size_t tensors_n, tensors_cap;
    uint32_t owners; /* dicts and lists made */
} quern__pickle;

/* Reads one pickle from data[at] on, which ends before data[end]: p->result, and p->at behind it. Dispose of
 * p whatever the outcome. */
int quern__pickle_read(quern__pickle *p, const uint8_t *data, size_t at, size_t end,
                       const char *name, quern_error *err);
void quern__pickle_dispose(quern__pickle *p);

#endif
