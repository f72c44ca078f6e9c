/*
 * unicode_nfc.h — canonical decomposition and composition of single code points, as the reference's
 * normaliser has them (of an older Unicode version than its other tables).
 */
#ifndef QUERN_TEXT_UNICODE_NFC_H
#define QUERN_TEXT_UNICODE_NFC_H

#include <stdint.h>

enum { QUERN__NFC_PARTS = 4 };

/* The full decomposition; 1 and itself when there is none. */
uint32_t quern__nfc_parts(uint32_t cp, uint32_t out[QUERN__NFC_PARTS]);
/* What the two become together, or 0. */
uint32_t quern__nfc_compose(uint32_t first, uint32_t second);
/* Order of the combining class, 0 for a starter. */
uint32_t quern__nfc_rank(uint32_t cp);
const char *quern__nfc_tables_version(void);

#endif
