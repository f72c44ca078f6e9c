/*
 * quern/vector.h — arithmetic on single vectors, and their stored forms. Sums run in the fixed order
 * of docs/bits.md, so results are the same bits on every machine. Every call refuses (EINVAL) a
 * dimension of 0, a NULL, and — where a direction is needed — a vector of zero or non-finite norm.
 */
#ifndef QUERN_VECTOR_H
#define QUERN_VECTOR_H

#include "quern/status.h"

#ifdef __cplusplus
extern "C" {
#endif

QUERN_API int quern_dot(const float *a, const float *b, size_t dim, float *out, quern_error *err);
QUERN_API int quern_cosine(const float *a, const float *b, size_t dim, float *out,
                           quern_error *err);
QUERN_API int quern_l2_distance(const float *a, const float *b, size_t dim, float *out,
                                quern_error *err);
QUERN_API int quern_l2_norm(const float *a, size_t dim, float *out, quern_error *err);
/* In place, to unit length. */
QUERN_API int quern_normalize(float *a, size_t dim, quern_error *err);
/* One vector for the parts of a thing (chunks of a text, frames of a video): the mean of each element over vectors
 * [n, dim], then unit length. out [dim] may be one of them. EINVAL also when there are none, or when they cancel each
 * other out. */
QUERN_API int quern_fuse_average(const float *vectors, size_t n, size_t dim, float *out,
                                 quern_error *err);
/* Cosine of every pair: out [n, m] row-major, a [n, dim], b [m, dim]. */
QUERN_API int quern_cosine_matrix(const float *a, size_t n, const float *b, size_t m, size_t dim,
                                  float *out, quern_error *err);

/* Little-endian f32 bytes: blob has 4 x dim bytes. from_blob: EFORMAT names both lengths when `size`
 * is not 4 x dim. */
QUERN_API void quern_vector_to_blob(const float *v, size_t dim, void *blob);
QUERN_API int quern_vector_from_blob(const void *blob, size_t size, float *v, size_t dim,
                                     quern_error *err);
/* The base64 of such bytes, n characters, with its padding and without line ends: v gets the first `room` floats, *dim how
 * many there are; room 0 counts. EFORMAT: anything else, also no float at all. */
QUERN_API int quern_vector_from_base64(const char *text, size_t n, float *v, size_t room,
                                       size_t *dim, quern_error *err);
/* IEEE half, round to nearest even; the form in which vectors are stored. */
QUERN_API void quern_f32_to_f16(const float *in, uint16_t *out, size_t n);
QUERN_API void quern_f16_to_f32(const uint16_t *in, float *out, size_t n);

#ifdef __cplusplus
}
#endif
#endif
