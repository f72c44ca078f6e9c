/*
 * ort.h — the second way from token ids to vectors: an exported encoder (ONNX) run by ONNX Runtime, a library that the user has
 * and names. It reads graphs that encoder.h does not know, and promises less: vectors near those of the native engine (cosine),
 * not the same bits on every machine. Each text is run alone, so that its vector does not depend on what is beside it.
 */
#ifndef QUERN_ENCODER_ORT_H
#define QUERN_ENCODER_ORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cancel.h"
#include "base/error.h"
#include "base/pool.h"
#include "encoder/head.h"

enum quern__ort_device { QUERN__ORT_CPU, QUERN__ORT_CUDA, QUERN__ORT_ANY_DEVICE };

typedef struct quern__ort_options {
    const char *library;                   /* a path; NULL: the usual names */
    int device;                            /* enum quern__ort_device */
    bool strict;                           /* CUDA that is not to be had is an error */
    int optimization;                      /* ONNX Runtime's own number: 0, 1, 2 or 99 */
    uint32_t intra_threads, inter_threads; /* of one text's run; 0: 1 */
    const int32_t *probe;                  /* the tokens of some text, tried at open */
    uint32_t probe_tokens;
} quern__ort_options;

typedef struct quern__ort quern__ort;

/* EUNSUPPORTED: no library, an input or output that this does not know (by name and shape); EFORMAT: what
 * ONNX Runtime says of the file. */
int quern__ort_open(quern__ort **out, const char *path, const quern__ort_options *opt,
                    quern_error *err);
void quern__ort_free(quern__ort *o); /* NULL is fine */

uint32_t quern__ort_dimensions(const quern__ort *o);
const char *quern__ort_version(const quern__ort *o);     /* "1.31.1" */
const char *quern__ort_output(const quern__ort *o);      /* the graph's result that is used */
bool quern__ort_pools(const quern__ort *o);              /* it has a vector for each token */
const char *quern__ort_device_name(const quern__ort *o); /* "cpu", "cuda" */
const char *quern__ort_device_note(const quern__ort *o); /* why not the one asked for; "" */

/* As quern__encode, through the head to out [n, its width]. Any number of threads may call it. */
int quern__ort_encode(const quern__ort *o, const quern__head *head, quern__pool *pool,
                      const int32_t *ids, const uint32_t *lengths, uint32_t n, bool normalize,
                      float *out, const quern_cancel *cancel, quern_error *err);

#endif
