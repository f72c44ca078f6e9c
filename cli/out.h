/*
 * out.h — results on standard output, everything else on standard error. A failed write is kept and
 * reported once, at the end; after it nothing more is written.
 */
#ifndef QUERN_CLI_OUT_H
#define QUERN_CLI_OUT_H

#include <stddef.h>
#include <stdint.h>

#include "quern/status.h"

void out_bytes(const void *data, size_t n);
void out_text(const char *text);
void out_printf(const char *fmt, ...) QUERN_PRINTF(1, 2);
void out_base64(const unsigned char *p, size_t n);
/* Of numpy's format 1.0; element: "<f2" or "<f4". */
void out_npy_header(const char *element, uint64_t rows, uint32_t dim);
void out_flush(void);
int out_broken(void); /* 1: nothing that is written arrives any more */
/* Flushes. QUERN_OK, or EIO; a reader that has gone away is no error, it had what it wanted. */
int out_finish(quern_error *err);

/* ---- JSON, commas by the writer; one value is being written at a time ---- */
void put_object(void);
void put_end_object(void);
void put_array(void);
void put_end_array(void);
void put_key(const char *key);
void put_string(quern_str s); /* bytes that are not UTF-8 become U+FFFD */
void put_text(const char *s); /* NULL: null */
void put_whole(uint64_t v);
void put_signed(int64_t v);
void put_real(double v); /* a NaN or infinity: null */
void put_float(float v); /* shortest text that reads back as the same float */
void put_bool(int v);
void put_raw(const char *json, size_t n); /* one value */
/* Members of an object that is open, as text without its braces. */
void put_members(const char *json, size_t n);
void put_line(void); /* ends a document with a line break */

/* ---- standard error ---- */
enum { OUT_LOG_TEXT, OUT_LOG_JSON };
void out_log_format(int format);
/* "quern: MESSAGE", or one JSON object, on one line; any thread. */
void out_log(int level, const char *component, const char *message);
/* {"error":{"code":…,"message":…}}: how a command under --json says why it failed. */
void out_error(const char *code, const char *message);
void out_log_line(const quern_log_line *line, void *ud); /* for quern_set_log */

#endif
