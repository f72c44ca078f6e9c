/*
 * gguf_reader.c — the primitives of a GGUF file: little-endian numbers, texts with their length in front, arrays.
 */
#include "format/gguf_reader.h"

#include <string.h>

/* Bytes of a value, by its type; 0: has a length of its own. */
static const uint8_t widths[QUERN__GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

int quern__gguf_fail(const quern__gguf_reader *r, size_t at, const char *what)
{
    return quern__fail(r->err, QUERN_EFORMAT, (int64_t)at, "%s: %s, at byte %zu", r->p->name, what,
                       at);
}

static size_t left(const quern__gguf_reader *r)
{
    return r->p->size - r->at;
}

int quern__gguf_number(quern__gguf_reader *r, size_t width, uint64_t *out)
{
    *out = 0;
    if (left(r) < width)
        return quern__gguf_fail(r, r->at, "the file is torn");
    memcpy(out, r->p->data + r->at, width);
    r->at += width;
    return QUERN_OK;
}

int quern__gguf_text(quern__gguf_reader *r, quern_str *out)
{
    uint64_t n;
    int rc = quern__gguf_number(r, 8, &n);
    if (rc == QUERN_OK && n > left(r))
        rc = quern__gguf_fail(r, r->at - 8, "a text that is longer than the file");
    if (rc)
        return rc;
    *out = (quern_str){(const char *)r->p->data + r->at, (size_t)n};
    r->at += (size_t)n;
    return QUERN_OK;
}

int quern__gguf_array(quern__gguf_reader *r, uint64_t *type, uint64_t *n)
{
    *n = 0;
    int rc = quern__gguf_number(r, 4, type);
    if (rc == QUERN_OK)
        rc = quern__gguf_number(r, 8, n);
    if (rc == QUERN_OK && (*type >= QUERN__GGUF_TYPES || *type == QUERN__GGUF_ARRAY))
        rc = quern__gguf_fail(r, r->at - 12, "an array of an unknown type");
    if (rc == QUERN_OK && *n > left(r) / (*type == QUERN__GGUF_STRING ? 8 : widths[*type]))
        rc = quern__gguf_fail(r, r->at - 8, "an array that is longer than the file");
    return rc;
}

int quern__gguf_skip(quern__gguf_reader *r, uint64_t type)
{
    quern_str text;
    uint64_t n = 0;
    if (type >= QUERN__GGUF_TYPES)
        return quern__gguf_fail(r, r->at, "a value of an unknown type");
    if (type == QUERN__GGUF_STRING)
        return quern__gguf_text(r, &text);
    if (type != QUERN__GGUF_ARRAY)
        return quern__gguf_number(r, widths[type], &n);
    int rc = quern__gguf_array(r, &type, &n);
    if (rc == QUERN_OK && type != QUERN__GGUF_STRING)
        r->at += (size_t)n * widths[type];
    for (uint64_t i = 0; rc == QUERN_OK && type == QUERN__GGUF_STRING && i < n; i++)
        rc = quern__gguf_text(r, &text);
    return rc;
}

int quern__gguf_begin(quern__gguf_reader *r, uint64_t *tensors, uint64_t *pairs)
{
    uint64_t magic, version;
    int rc = quern__gguf_number(r, 4, &magic);
    if (rc == QUERN_OK && magic != 0x46554747)
        return quern__gguf_fail(r, 0, "no GGUF file");
    if (rc == QUERN_OK)
        rc = quern__gguf_number(r, 4, &version);
    if (rc == QUERN_OK && (version < 2 || version > 3))
        return quern__fail(r->err, QUERN_EUNSUPPORTED, 4,
                           "%s: GGUF version %llu at byte 4; 2 and 3 are read", r->p->name,
                           (unsigned long long)version);
    if (rc == QUERN_OK)
        rc = quern__gguf_number(r, 8, tensors);
    return rc ? rc : quern__gguf_number(r, 8, pairs);
}
