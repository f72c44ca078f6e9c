/*
 * bincode.c — see bincode.h. The file is read front to back through one buffer per field; a length is believed only when as many
 * bytes are left in the file, so memory is bounded by the file, and by the limits for a text and a vector.
 *
 * An import reads all of the file twice: once to find it good, once to take it in. Taking entries in as they come would leave half of a
 * damaged file in the cache.
 */
#include "cache/bincode.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/os.h"
#include "quern/cache.h"
#include "text/utf8.h"

enum { LEAST_ENTRY = 16 /* two counts */, MOST_DIM = UINT16_MAX };

struct quern__bincode {
    const char *name;
    quern__bincode_read read;
    void *ud;
    uint64_t size, at, count, next; /* next: number of the entry, from 0 on */
    char *text;
    size_t room;
    unsigned char *raw;
    float *vector;
    uint32_t dim; /* 0: of the first one, which is to come */
};

static int bad(const quern__bincode *b, uint64_t at, const char *what, quern_error *err)
{
    return quern__fail(err, QUERN_EFORMAT, (int64_t)at, "%s: entry %llu of %llu, byte %llu: %s",
                       b->name, (unsigned long long)QUERN__MIN(b->next + 1, b->count),
                       (unsigned long long)b->count, (unsigned long long)at, what);
}

static int read_all(quern__bincode *b, void *to, size_t n, quern_error *err)
{
    for (size_t have = 0, got; have < n; have += got) {
        int rc = b->read(b->ud, (char *)to + have, n - have, &got, err);
        if (rc)
            return rc;
        if (!got)
            return bad(b, b->at + have, "the file ends here", err);
    }
    b->at += n;
    return QUERN_OK;
}

static int read_count(quern__bincode *b, uint64_t *v, quern_error *err)
{
    unsigned char raw[8];
    if (b->size - b->at < sizeof raw)
        return bad(b, b->at, "the file ends here", err);
    int rc = read_all(b, raw, sizeof raw, err);
    *v = 0;
    for (size_t i = sizeof raw; i-- > 0 && !rc;)
        *v = *v << 8 | raw[i];
    return rc;
}

int quern__bincode_open(quern__bincode **out, const char *name, quern__bincode_read read, void *ud,
                        uint64_t size, quern_error *err)
{
    quern__bincode *b = quern__calloc(1, sizeof *b);
    *out = NULL;
    if (!b)
        return quern__fail_memory(err, sizeof *b);
    *b = (quern__bincode){.name = name, .read = read, .ud = ud, .size = size};
    int rc = read_count(b, &b->count, err);
    if (!rc && b->count > (size - b->at) / LEAST_ENTRY)
        rc = quern__fail(err, QUERN_EFORMAT, 0, "%s: %llu entries cannot be in %llu bytes", name,
                         (unsigned long long)b->count, (unsigned long long)size);
    if (rc)
        quern__bincode_free(b);
    else
        *out = b;
    return rc;
}

void quern__bincode_free(quern__bincode *b)
{
    if (!b)
        return;
    quern__free(b->text);
    quern__free(b->raw);
    quern__free(b->vector);
    quern__free(b);
}

static int read_text(quern__bincode *b, quern_str *text, quern_error *err)
{
    uint64_t n, at = b->at;
    int rc = read_count(b, &n, err);
    if (rc)
        return rc;
    if (n > b->size - b->at || n > QUERN__BINCODE_TEXT)
        return bad(b, at, "a text of more bytes than are left, or than 16 MiB", err);
    if (b->room < n || !b->text) {
        char *grown = quern__resize(b->text, (size_t)n + 1);
        if (!grown)
            return quern__fail_memory(err, (size_t)n + 1);
        b->text = grown;
        b->room = (size_t)n;
    }
    at = b->at;
    rc = read_all(b, b->text, (size_t)n, err);
    *text = (quern_str){b->text, (size_t)n};
    size_t good = rc ? 0 : quern__utf8_check(b->text, (size_t)n);
    return rc || good == n ? rc : bad(b, at + good, "a text that is not UTF-8", err);
}

static int make_room(quern__bincode *b, uint32_t dim, quern_error *err)
{
    b->raw = quern__alloc_array(dim, 4);
    b->vector = quern__alloc_array(dim, sizeof *b->vector);
    if (!b->raw || !b->vector)
        return quern__fail_memory(err, (size_t)dim * 4);
    b->dim = dim;
    return QUERN_OK;
}

static int read_vector(quern__bincode *b, quern_error *err)
{
    uint64_t n, at = b->at;
    double sum = 0;
    int rc = read_count(b, &n, err);
    if (rc)
        return rc;
    if (!n || n > MOST_DIM || n > (b->size - b->at) / 4)
        return bad(b, at, "a vector without numbers, or of more than are left", err);
    if (b->dim && n != b->dim)
        return bad(b, at, "a vector of another length than the first one's", err);
    if (!b->dim && (rc = make_room(b, (uint32_t)n, err)) != QUERN_OK)
        return rc;
    at = b->at;
    if ((rc = read_all(b, b->raw, (size_t)n * 4, err)) != QUERN_OK)
        return rc;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *p = b->raw + 4 * i;
        uint32_t word =
            (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        memcpy(&b->vector[i], &word, sizeof word);
        sum += (double)b->vector[i] * (double)b->vector[i];
    }
    return fabs(sqrt(sum) - 1) <= 1e-3 ? QUERN_OK
                                       : bad(b, at, "a vector that is not of unit length", err);
}

int quern__bincode_next(quern__bincode *b, quern_str *text, const float **vector, uint32_t *dim,
                        quern_error *err)
{
    if (b->next == b->count)
        return b->at == b->size ? 0 : bad(b, b->at, "more bytes behind the last entry", err);
    int rc = read_text(b, text, err);
    if (!rc)
        rc = read_vector(b, err);
    if (rc)
        return rc;
    b->next++;
    *vector = b->vector;
    *dim = b->dim;
    return 1;
}

/* ---- an import ---- */

static int from_file(void *ud, void *buf, size_t n, size_t *got, quern_error *err)
{
    return quern__file_read(ud, buf, n, got, err);
}

typedef struct import {
    quern_cache *cache; /* NULL: it is only looked at */
    const char *path, *fingerprint;
    const quern_cancel *cancel;
    uint64_t size, kept;
    int64_t made_ms;
} import;

static int take(import *m, quern_str text, const float *vector, uint32_t dim, quern_error *err)
{
    quern_cache_entry e = {
        .struct_size = sizeof e, .dimensions = dim, .created_ms = m->made_ms, .vector = vector};
    int rc = quern_cache_key_of(m->fingerprint, 0, 0, text, &e.key, err);
    if (!rc)
        rc = quern_cache_keep(m->cache, &e, err);
    m->kept += rc == 1;
    return rc < 0 ? rc : QUERN_OK;
}

static int go_through(import *m, quern_error *err)
{
    quern__file *f = NULL;
    quern__bincode *b = NULL;
    quern_str text = {NULL, 0};
    const float *vector = NULL;
    uint32_t dim = 0;
    int more = 0, rc = quern__file_open(&f, m->path, QUERN__FILE_READ, err);
    if (!rc)
        rc = quern__bincode_open(&b, m->path, from_file, f, m->size, err);
    while (!rc && (more = quern__bincode_next(b, &text, &vector, &dim, err)) == 1) {
        rc = quern__check_cancel(m->cancel, err);
        if (!rc && m->cache)
            rc = take(m, text, vector, dim, err);
    }
    quern__bincode_free(b);
    quern__file_close(f, NULL);
    return rc ? rc : more;
}

static bool is_hash(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

int quern_cache_import_bincode(quern_cache *c, const char *path, const char *fingerprint,
                               const quern_cancel *cancel, uint64_t *kept, quern_error *err)
{
    quern__stat st;
    QUERN__REQUIRE(c && path && fingerprint, err);
    if (!is_hash(fingerprint))
        return quern__fail(err, QUERN_EINVAL, 0,
                           "'%.70s' is no fingerprint: 64 digits of 0-9 and a-f", fingerprint);
    int rc = quern__stat_path(path, &st, err);
    if (!rc && !st.exists)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "%s: there is no such file", path);
    else if (!rc && !st.is_file)
        rc = quern__fail(err, QUERN_EINVAL, 0, "%s: not a regular file", path);
    if (rc)
        return rc;
    int64_t now = quern__wall_ms();
import m = {.path = path, .fingerprint = fingerprint, .cancel = cancel, .size = st.size, .made_ms = st.mtime_ns / 1000000 };
    if (m.made_ms <= 0 || m.made_ms > now)
        m.made_ms = now;
    rc = go_through(&m, err);
    m.cache = c;
    if (!rc)
        rc = go_through(&m, err);
    if (!rc)
        rc = quern_cache_flush(c, err);
    if (kept)
        *kept = m.kept;
    return rc;
}
