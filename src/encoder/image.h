/*
 * image.h — packed matrices kept in a file, so that the next process maps them instead of checking, hashing and packing the
 * weights again: docs/formats.md, "Packed images". A cache: whatever is wrong with one, it is made anew; nothing that is in
 * it was not made here, by this version, from these weights, for these kernels.
 */
#ifndef QUERN_ENCODER_IMAGE_H
#define QUERN_ENCODER_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/os.h"
#include "encoder/quantised_file.h"
#include "kernels/int8.h"
#include "kernels/kernels.h"

/* Raised when the bytes of packed matrices change for the same kernels' names: their packing, their order, the numbers
 * beside them. (A change of a packing or of the order is seen without it: `probe` and `trace`.) */
enum { QUERN__IMAGE_VERSION = 2 };

/* Where one is looked for and put. */
typedef struct quern__image_place {
    const char *folder; /* made when one is written */
    char key[65];       /* SHA-256 of all that decides what is in it, in hex */
    uint64_t limit;     /* bytes of all images in the folder; those used longest ago go */
    bool map;           /* else it is read into memory of its own, in huge pages */
    bool only;          /* the numbers are not verified: an image, or ENOTFOUND; none is made */
} quern__image_place;

typedef struct quern__image {
    const uint8_t *data; /* aligned to 64 */
    size_t size;
    uint64_t trace;
    quern__map map;
    void *memory;
} quern__image;

/* An image of this key and size, whole: ENOTFOUND for any reason that it is not. */
int quern__image_open(quern__image *out, const quern__image_place *place, size_t size,
                      quern_error *err);
void quern__image_close(quern__image *i); /* a zeroed one is fine */
/* A file of this key is there, whatever is in it. */
bool quern__image_is_there(const quern__image_place *place);
/* The key: what the numbers are of (hashes, in hex; calibration "" in fp32) and what is said of them, this version of quern,
 * the kernels by name and by how they pack. */
int quern__image_key(quern__image_place *place, const char *weights_sha256, const char *calibration,
                     const quern__fidelity *fidelity, const quern__kernels *kernels,
                     const quern__int8_kernels *int8, quern_error *err);
/* Puts one there, all or nothing, and lets others go where that makes too many bytes. What cannot be written is logged
 * once in a process (warn), and is no fault. */
void quern__image_keep(const quern__image_place *place, const void *data, size_t size,
                       uint64_t trace);
/* $XDG_CACHE_HOME/quern/packed, or ~/.cache/quern/packed; quern__free it. EINVAL: neither is set. */
int quern__image_default_folder(char **out, quern_error *err);
/* A running hash, fast and not secret: of an image's bytes, and of the order in which matrices lie in it. */
uint64_t quern__image_hash(uint64_t seed, const void *data, size_t size);

#endif
