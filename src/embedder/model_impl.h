/*
 * model_impl.h — what a quern_model is, for the files that make it (model.c) and that say what it is (fingerprint.c).
 */
#ifndef QUERN_EMBEDDER_MODEL_IMPL_H
#define QUERN_EMBEDDER_MODEL_IMPL_H

#include <stdatomic.h>

#include "base/os.h"
#include "embedder/embedder.h"
#include "encoder/head.h"
#include "encoder/ort.h"
#include "kernels/classes.h"

struct quern_model {
    /* immutable */
    char *name, *path;
    char *
        alone; /* in `path`: a file that says of itself what it is, so that no other is looked at; NULL: none */
    bool named; /* it was named, not found in the folder */
    quern__model_config config;
    quern__weights *weights;
    quern__tokenizer *tokenizer;
    const quern__kernels *kernels;
    quern__kernels room;             /* where `kernels` are made, for a class that has its own */
    const quern__int8_kernels *int8; /* NULL: the class is another */
    int precision;
    quern__encoder *encoder;
    quern__ort *ort; /* with head in place of weights and encoder */
    quern__head *head;
    quern__weights_files *graph; /* of ort */
    quern__stat *graph_opened;   /* each of its files, before it was */
    const char *device_note;
    char backend[48];
    const char *optimization; /* of ort */
    char calibration[65];     /* int8: checksum of the quantised weights */
    char pooling[40];
    bool pooling_of_graph; /* it says so, no modules.json does */
    quern__weights *dense[QUERN__DENSES];
    uint32_t max_length;
    uint64_t parameters, graph_bytes;
    const quern__bound *bound; /* while it is opened; NULL: none */
    /* under mutex */
    quern__mutex *mutex;
    char weights_sha256[65]; /* "" until known */
    /* any thread */
    atomic_uint holders;
};

/* model_alone.c: a file that was named in place of a folder: m->path, m->alone. */
int quern__model_split(quern_model *m, const char *path, quern_error *err);
/* Looks for one where the folder says nothing of its own. */
int quern__model_find_alone(quern_model *m, quern_error *err);
/* Settings, weights and tokenizer of it. */
int quern__model_open_alone(quern_model *m, quern_error *err);

/* A file of its folder; quern__free it. NULL: out of memory. */
char *quern__model_file(const quern_model *m, const char *file);

/* The kind of matrices that a class has in tables of fp32 (classes.h). */
static inline int quern__model_matrices(int precision)
{
    return precision == QUERN_PRECISION_BF16   ? QUERN__CLASS_BF16
           : precision == QUERN_PRECISION_FP16 ? QUERN__CLASS_FP16
                                               : QUERN__CLASS_FP32;
}

/* The numbers of a graph are its own. */
static inline const char *quern__model_precision(const quern_model *m)
{
    return m->ort ? "graph" : quern_precision_name(m->precision);
}

#endif
