/*
 * vector_math.c — quern/vector.h: arithmetic on single vectors for callers. All sums go through the
 * kernels' dot product, whose order is fixed (docs/bits.md), so a cosine printed here is the cosine that
 * a search computes.
 */
#include "quern/vector.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/fpenv.h"
#include "kernels/kernels.h"

static float dot(const float *a, const float *b, size_t dim)
{
    float x;
    quern__dot_rows_f32(quern__kernels_pick(quern__cpu_allowed()), a, b, 1, dim, &x);
    return x;
}

static int check(const void *a, const void *b, size_t dim, const void *out, quern_error *err)
{
    if (!a || !b || !out)
        return quern__fail(err, QUERN_EINVAL, 0, "a vector is NULL");
    if (!dim)
        return quern__fail(err, QUERN_EINVAL, 0, "a vector has no dimension");
    return QUERN_OK;
}

/* The length of a vector that must have a direction. */
static int norm_of(const float *a, size_t dim, float *norm, quern_error *err)
{
    *norm = sqrtf(dot(a, a, dim));
    if (isfinite(*norm) && *norm > 0)
        return QUERN_OK;
    return quern__fail(err, QUERN_EINVAL, 0, "a vector of %s length has no direction",
                       *norm == 0 ? "zero" : "non-finite");
}

int quern_dot(const float *a, const float *b, size_t dim, float *out, quern_error *err)
{
    int rc = check(a, b, dim, out, err);
    if (rc != QUERN_OK)
        return rc;
    quern__fpenv env = quern__fpenv_enter();
    *out = dot(a, b, dim);
    quern__fpenv_leave(env);
    return QUERN_OK;
}

static int cosine(const float *a, const float *b, size_t dim, float *out, quern_error *err)
{
    float na, nb;
    int rc = norm_of(a, dim, &na, err);
    if (rc == QUERN_OK)
        rc = norm_of(b, dim, &nb, err);
    if (rc == QUERN_OK) {
        float c = dot(a, b, dim) / (na * nb);
        *out = c > 1 ? 1 : c < -1 ? -1 : c; /* rounding may step over */
    }
    return rc;
}

int quern_cosine(const float *a, const float *b, size_t dim, float *out, quern_error *err)
{
    int rc = check(a, b, dim, out, err);
    if (rc != QUERN_OK)
        return rc;
    quern__fpenv env = quern__fpenv_enter();
    rc = cosine(a, b, dim, out, err);
    quern__fpenv_leave(env);
    return rc;
}

int quern_l2_distance(const float *a, const float *b, size_t dim, float *out, quern_error *err)
{
    int rc = check(a, b, dim, out, err);
    if (rc != QUERN_OK)
        return rc;
    float *d = quern__alloc_array(dim, sizeof *d);
    if (!d)
        return quern__fail_memory(err, dim * sizeof *d);
    quern__fpenv env = quern__fpenv_enter();
    for (size_t i = 0; i < dim; i++)
        d[i] = a[i] - b[i];
    *out = sqrtf(dot(d, d, dim));
    quern__fpenv_leave(env);
    quern__free(d);
    return QUERN_OK;
}

int quern_l2_norm(const float *a, size_t dim, float *out, quern_error *err)
{
    int rc = check(a, a, dim, out, err);
    if (rc != QUERN_OK)
        return rc;
    quern__fpenv env = quern__fpenv_enter();
    rc = norm_of(a, dim, out, err);
    quern__fpenv_leave(env);
    return rc;
}

int quern_normalize(float *a, size_t dim, quern_error *err)
{
    float norm;
    int rc = check(a, a, dim, a, err);
    if (rc != QUERN_OK)
        return rc;
    quern__fpenv env = quern__fpenv_enter();
    rc = norm_of(a, dim, &norm, err);
    if (rc == QUERN_OK) {
        float r = 1 / norm;
        for (size_t i = 0; i < dim; i++)
            a[i] *= r;
    }
    quern__fpenv_leave(env);
    return rc;
}

/* Through a copy, so that the parts stay whole when they have no direction together. */
int quern_fuse_average(const float *vectors, size_t n, size_t dim, float *out, quern_error *err)
{
    int rc = check(vectors, vectors, dim, out, err);
    if (rc == QUERN_OK && n == 0)
        return quern__fail(err, QUERN_EINVAL, 0, "no vectors to fuse");
    if (rc != QUERN_OK)
        return rc;
    float *mean = quern__alloc_array(dim, sizeof *mean);
    if (!mean)
        return quern__fail_memory(err, dim * sizeof *mean);
    quern__fpenv env = quern__fpenv_enter();
    for (size_t k = 0; k < dim; k++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += (double)vectors[i * dim + k];
        mean[k] = (float)(sum / (double)n);
    }
    quern__fpenv_leave(env);
    rc = quern_normalize(mean, dim, err);
    if (rc == QUERN_OK)
        memcpy(out, mean, dim * sizeof *out);
    quern__free(mean);
    return rc;
}

int quern_cosine_matrix(const float *a, size_t n, const float *b, size_t m, size_t dim, float *out,
                        quern_error *err)
{
    size_t cells;
    if (n == 0 || m == 0)
        return QUERN_OK;
    int rc = check(a, b, dim, out, err);
    if (rc == QUERN_OK && (!quern__mul_size(n, m, &cells)))
        rc = quern__fail(err, QUERN_EINVAL, 0, "%zu x %zu pairs are too many", n, m);
    quern__fpenv env = quern__fpenv_enter();
    for (size_t i = 0; i < n && rc == QUERN_OK; i++)
        for (size_t j = 0; j < m && rc == QUERN_OK; j++)
            rc = cosine(a + i * dim, b + j * dim, dim, &out[i * m + j], err);
    quern__fpenv_leave(env);
    return rc;
}

/* ---- stored forms ---- */

void quern_vector_to_blob(const float *v, size_t dim, void *blob)
{
    uint8_t *p = blob;
    for (size_t i = 0; i < dim; i++) {
        uint32_t u;
        memcpy(&u, &v[i], 4);
        p[4 * i] = (uint8_t)u;
        p[4 * i + 1] = (uint8_t)(u >> 8);
        p[4 * i + 2] = (uint8_t)(u >> 16);
        p[4 * i + 3] = (uint8_t)(u >> 24);
    }
}

int quern_vector_from_blob(const void *blob, size_t size, float *v, size_t dim, quern_error *err)
{
    const uint8_t *p = blob;
    size_t expected;
    if (!blob || !v || !quern__mul_size(dim, 4, &expected))
        return quern__fail(err, QUERN_EINVAL, 0, "a blob or vector is NULL");
    if (size != expected)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)size,
                           "blob of %zu bytes, a vector of %zu floats has %zu", size, dim,
                           expected);
    for (size_t i = 0; i < dim; i++) {
        uint32_t u = (uint32_t)p[4 * i] | (uint32_t)p[4 * i + 1] << 8 |
                     (uint32_t)p[4 * i + 2] << 16 | (uint32_t)p[4 * i + 3] << 24;
        memcpy(&v[i], &u, 4);
    }
    return QUERN_OK;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int quern_vector_from_base64(const char *text, size_t n, float *v, size_t room, size_t *dim,
                             quern_error *err)
{
    uint32_t bits = 0;
    size_t have = 0, pad = 0, bytes = 0;
    uint8_t word[4];
    if (!text || !dim || (room && !v))
        return quern__fail(err, QUERN_EINVAL, 0, "a text or vector is NULL");
    while (pad < 2 && pad < n && text[n - 1 - pad] == '=')
        pad++;
    if (n == 0 || n % 4 || (n / 4 * 3 - pad) % 4)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)n,
                           "%zu characters are not the base64 of a vector of f32", n);
    for (size_t i = 0; i < n - pad; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0)
            return quern__fail(err, QUERN_EFORMAT, (int64_t)i, "byte %zu is not base64", i);
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        word[bytes % 4] = (uint8_t)(bits >> have);
        if (++bytes % 4 == 0 && bytes / 4 <= room)
            quern_vector_from_blob(word, 4, v + bytes / 4 - 1, 1, NULL);
    }
    *dim = bytes / 4;
    return QUERN_OK;
}

void quern_f32_to_f16(const float *in, uint16_t *out, size_t n)
{
    quern__f32_to_f16(in, out, n);
}

void quern_f16_to_f32(const uint16_t *in, float *out, size_t n)
{
    quern__f16_to_f32(in, out, n);
}
