/*
 * npy.h — the header of numpy's file of one array, format 1.0: two dimensions, rows of f16 or f32, little-endian. Written
 * with room for any number of rows, so that it can be written before they are counted; read from strangers.
 */
#ifndef QUERN_FORMAT_NPY_H
#define QUERN_FORMAT_NPY_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
    QUERN__NPY_HEADER = 128, /* bytes of ours: a multiple of 64, as the format asks */
    QUERN__NPY_PREFIX = 10,  /* bytes that say how long a header is */
    QUERN__NPY_LONGEST = QUERN__NPY_PREFIX + 65535
};

typedef struct quern__npy {
    uint64_t rows;
    uint32_t dimensions;
    uint32_t width; /* bytes of an element: 2 or 4 */
} quern__npy;

void quern__npy_write(const quern__npy *a, unsigned char header[QUERN__NPY_HEADER]);
/* Bytes of the whole header by its prefix. EFORMAT: not numpy's, or not version 1.0. */
int quern__npy_length(const unsigned char prefix[QUERN__NPY_PREFIX], size_t *length,
                      quern_error *err);
/* EFORMAT: anything but the one dictionary with descr, fortran_order and shape that says such an array. */
int quern__npy_read(const unsigned char *header, size_t length, quern__npy *out, quern_error *err);

#endif
