/*
 * quantised_file.h — the stored numbers of int8 or int4 in a file beside the weights that they were made from:
 * docs/formats.md, "Quantised weights". A safetensors file, so that other tools can read it, with a checksum
 * over everything in it: it is as much the model as the weights are.
 */
#ifndef QUERN_ENCODER_QUANTISED_FILE_H
#define QUERN_ENCODER_QUANTISED_FILE_H

#include <stdbool.h>

#include "base/error.h"
#include "encoder/quantised.h"
#include "format/model_config.h"
#include "format/weights.h"

/* What was measured when it was made, against fp32 on texts that were not calibrated on. */
typedef struct quern__fidelity {
    float mean, worst, ranking; /* cosines; the part of nearest neighbours that stay */
} quern__fidelity;

/* docs/design.md §6: what --precision auto and model quantize ask of it. */
#define QUERN__GATE_MEAN   0.999f
#define QUERN__GATE_WORST  0.995f
#define QUERN__GATE4_WORST 0.98f /* int4 */
bool quern__fidelity_passes(const quern__fidelity *f, bool four);

/* The numbers and the file that they are views of. */
typedef struct quern__quantised_file {
    quern__weights *file;
    quern__quantised *numbers;
    quern__fidelity fidelity;
    char source[65]; /* SHA-256 of the weights that it was made from (quern__weights_hash) */
    char architecture
        [65];          /* and of what config.json said of them (quern__model_config_architecture) */
    bool four;         /* of the class int4, by its version */
    char checksum[65]; /* of everything else in it; stands in fingerprints */
} quern__quantised_file;

/* Opens `path`, for a model of this shape. ENOTFOUND: no such file; EFORMAT: the tensor and what is wrong with
 * it; EMISMATCH: the checksum. Every number in it is checked: bytes within -127..127, steps within 15, scales and smoothing
 * finite and above 0. Whether `source` and `architecture` are the model's is the caller's to compare. EMISMATCH also:
 * of another version of this format. */
int quern__quantised_open(quern__quantised_file *out, const char *path,
                          const quern__model_config *config, quern_error *err);
/* The same where the file is known to be as it was made: nothing but its header is read, no number is looked at. */
int quern__quantised_open_known(quern__quantised_file *out, const char *path,
                                const quern__model_config *config, quern_error *err);
/* What the file says of itself, without `numbers` and with nothing but its header read: `file` is NULL. A yes that is
 * acted upon is followed by open, which checks it all. */
int quern__quantised_peek(quern__quantised_file *out, const char *path, quern_error *err);
/* By its checksum it is whole, of whatever model and version. */
int quern__quantised_verify(const char *path, quern_error *err);
/* open, over bytes that the caller keeps; `name` is what errors call it. For tests and fuzzing. */
int quern__quantised_parse(quern__quantised_file *out, const void *data, size_t size,
                           const char *name, const quern__model_config *config, quern_error *err);
void quern__quantised_close(quern__quantised_file *f); /* a zeroed one is fine */

/* Writes it, all or nothing, and gives its checksum and size. The same numbers give the same bytes. */
int quern__quantised_write(const quern__quantised *q, const char source[65],
                           const char architecture[65], const quern__fidelity *fidelity,
                           const char *path, char checksum[65], uint64_t *bytes, quern_error *err);

#endif
