/* sha256.h — SHA-256 through libcrypto. */
#ifndef QUERN_BASE_SHA256_H
#define QUERN_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/os.h"

typedef struct quern__sha256 {
    void *ctx;
} quern__sha256;

int quern__sha256_begin(quern__sha256 *h, quern_error *err);
int quern__sha256_add(quern__sha256 *h, const void *data, size_t n, quern_error *err);
int quern__sha256_end(quern__sha256 *h, uint8_t out[32], quern_error *err); /* disposes h */
void quern__sha256_dispose(quern__sha256 *h);                               /* also after end */
int quern__sha256_of(const void *data, size_t n, uint8_t out[32], quern_error *err);
/* Of a whole file, piece by piece, each let go once it is counted: it never lies in memory as a whole. */
int quern__sha256_of_map(const quern__map *m, uint8_t out[32], quern_error *err);
/* 64 lower-case hex digits and a NUL. */
void quern__hex32(const uint8_t digest[32], char out[65]);

#endif
