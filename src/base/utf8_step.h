/*
 * utf8_step.h — one step of strict UTF-8 decoding (Unicode 15, table 3-7) and of encoding, here and not in text/
 * because error messages and JSON, which lie below text/, must judge bytes by the same rule.
 */
#ifndef QUERN_BASE_UTF8_STEP_H
#define QUERN_BASE_UTF8_STEP_H

#include <stddef.h>
#include <stdint.h>

/* What *cp becomes for an ill-formed sequence. */
#define QUERN__UTF8_BAD UINT32_MAX

/*
 * Decodes at s (len > 0) and returns the bytes consumed. An ill-formed sequence consumes its maximal
 * subpart: the bytes that could have begun a well-formed one, at least one.
 */
static inline uint32_t quern__utf8_step(const unsigned char *s, size_t len, uint32_t *cp)
{
    unsigned char lead = s[0], low = 0x80, high = 0xBF;
    uint32_t need, value;
    if (lead < 0x80) {
        *cp = lead;
        return 1;
    }
    *cp = QUERN__UTF8_BAD;
    if (lead < 0xC2 || lead > 0xF4)
        return 1;
    if (lead < 0xE0) {
        need = 1;
        value = lead & 0x1Fu;
    } else if (lead < 0xF0) {
        need = 2;
        value = lead & 0x0Fu;
        low = lead == 0xE0 ? 0xA0 : 0x80;  /* no overlong form */
        high = lead == 0xED ? 0x9F : 0xBF; /* no surrogate */
    } else {
        need = 3;
        value = lead & 0x07u;
        low = lead == 0xF0 ? 0x90 : 0x80;
        high = lead == 0xF4 ? 0x8F : 0xBF; /* not past 10FFFF */
    }
    for (uint32_t i = 1; i <= need; i++) {
        if (i == len || s[i] < low || s[i] > high)
            return i;
        value = value << 6 | (s[i] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    *cp = value;
    return need + 1;
}

/* The other way: 1..4 bytes written. Surrogates and values past 10FFFF must not be passed. */
static inline uint32_t quern__utf8_encode(char out[4], uint32_t cp)
{
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    uint32_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (uint32_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (cp & 0x3F));
        cp >>= 6;
    }
    out[0] = (char)(lead[n] | cp);
    return n;
}

#endif
