/* sha256.c — SHA-256 by libcrypto's EVP interface, which picks the machine's instructions. */
#include "base/sha256.h"

#include <openssl/evp.h>

static int crypto_failed(quern_error *err)
{
    return quern__fail(err, QUERN_ENOMEM, 0, "SHA-256: libcrypto failed, most likely for memory");
}

int quern__sha256_begin(quern__sha256 *h, quern_error *err)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    h->ctx = NULL;
    if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return crypto_failed(err);
    }
    h->ctx = ctx;
    return QUERN_OK;
}

int quern__sha256_add(quern__sha256 *h, const void *data, size_t n, quern_error *err)
{
    if (n && EVP_DigestUpdate(h->ctx, data, n) != 1)
        return crypto_failed(err);
    return QUERN_OK;
}

int quern__sha256_end(quern__sha256 *h, uint8_t out[32], quern_error *err)
{
    unsigned int n = 0;
    int ok = EVP_DigestFinal_ex(h->ctx, out, &n) == 1 && n == 32;
    quern__sha256_dispose(h);
    return ok ? QUERN_OK : crypto_failed(err);
}

void quern__sha256_dispose(quern__sha256 *h)
{
    EVP_MD_CTX_free(h->ctx);
    h->ctx = NULL;
}

int quern__sha256_of(const void *data, size_t n, uint8_t out[32], quern_error *err)
{
    quern__sha256 h;
    int rc = quern__sha256_begin(&h, err);
    if (rc == QUERN_OK)
        rc = quern__sha256_add(&h, data, n, err);
    if (rc == QUERN_OK)
        rc = quern__sha256_end(&h, out, err);
    quern__sha256_dispose(&h);
    return rc;
}

int quern__sha256_of_map(const quern__map *m, uint8_t out[32], quern_error *err)
{
    enum { STEP = 1 << 22 };
    quern__sha256 h;
    int rc = quern__sha256_begin(&h, err);
    for (size_t at = 0; rc == QUERN_OK && at < m->size; at += STEP) {
        const size_t n = m->size - at < STEP ? m->size - at : STEP;
        rc = quern__sha256_add(&h, (const char *)m->data + at, n, err);
        quern__map_forget(m, at, n);
    }
    if (rc == QUERN_OK)
        rc = quern__sha256_end(&h, out, err);
    quern__sha256_dispose(&h);
    return rc;
}

void quern__hex32(const uint8_t digest[32], char out[65])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 32; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[64] = '\0';
}
