/*
 * quern/model.h — a model: weights, tokenizer and pooling settings of a sentence-transformers folder,
 * memory-mapped, checked whole at open, immutable afterwards. Any number of threads and embedders may
 * share one; it lives until its last holder frees it.
 */
#ifndef QUERN_MODEL_H
#define QUERN_MODEL_H

#include "quern/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quern_model quern_model;

/* INT8 needs a model that has been quantised (quern_model_quantize). AUTO is INT8 where that passed the gate with
 * these very weights, else FP32, whatever the machine; for vectors that are to stand beside others the class is
 * theirs: see `choose`. */
enum quern_precision {
    QUERN_PRECISION_AUTO,
    QUERN_PRECISION_FP32,
    QUERN_PRECISION_INT8,
    QUERN_PRECISION_BF16, /* matrices in bf16: the same bits on one kind of machine only, never what AUTO is of itself */
    QUERN_PRECISION_FP16, /* matrices in IEEE halves, products as in FP32: the same bits everywhere, half the memory */
    QUERN_PRECISION_INT4, /* as INT8, of weights that were quantised to 4 bits; never what AUTO is of itself */
};
/* "fp32" and so on; NULL: no such class. And back, -1: a name of none. */
QUERN_API const char *quern_precision_name(int precision);
QUERN_API int quern_precision_named(const char *name);

/* What computes. NATIVE: quern itself, on the processor. ORT: ONNX Runtime, a library that the user has, runs the folder's
 * model.onnx (or onnx/model.onnx): any exported encoder with an input input_ids. It promises vectors near the native ones
 * (cosine), not their bits, and the fingerprint names it with its version. AUTO: NATIVE where that reads the folder, else ORT. */
enum quern_backend { QUERN_BACKEND_NATIVE, QUERN_BACKEND_ORT, QUERN_BACKEND_AUTO };
/* CUDA is ORT's alone. AUTO takes it where it is to be had. */
enum quern_device { QUERN_DEVICE_CPU, QUERN_DEVICE_CUDA, QUERN_DEVICE_AUTO };
/* What ORT may make of the graph before it runs it. */
enum quern_ort_optimization {
    QUERN_ORT_ALL,
    QUERN_ORT_DISABLED,
    QUERN_ORT_BASIC,
    QUERN_ORT_EXTENDED
};

typedef struct quern_runtime_options {
    size_t struct_size;
    int backend; /* enum quern_backend */
    int device; /* enum quern_device; CUDA that is not to be had: the CPU, with a note in quern_model_info */
    int strict_device; /* 1: … is EUNSUPPORTED */
    const char *
        ort_library; /* the path of ONNX Runtime; NULL: libonnxruntime.so.1 as the system finds it */
    int ort_optimization;   /* enum quern_ort_optimization */
    uint32_t intra_threads; /* ORT: threads within one operation of one text; 0: 1 */
    uint32_t inter_threads; /* ORT: operations of one text at once; 0: 1 */
} quern_runtime_options;

typedef struct quern_model_options {
    size_t struct_size;
    uint32_t max_length; /* tokens per text, special ones included; 0 = what the model says */
    int precision;       /* enum quern_precision */
    const char *name;    /* what to call it in errors and results; NULL: the folder's name */
    /* AUTO only, NULL: no store is concerned. Says the class: *precision one of them, or AUTO for `anew`, which is what AUTO
     * is for this model where nothing has been embedded yet. calibration: "" or what must hold (EMISMATCH): in
     * INT8 and INT4 the quantised weights' checksum, in BF16 the order of summation. A negative return (and err) ends the open. quern_store_precision knows the answer. */
    int (*choose)(const char *weights_sha256, int anew, void *ud, int *precision,
                  char calibration[65], quern_error *err);
    void *choose_ud;
    uint32_t
        dimensions; /* only the first so many (Matryoshka), scaled to unit length again; 0: all */
    int force_dimensions; /* 1: though the model does not declare that they are a vector of their own */
    const quern_runtime_options *runtime; /* NULL: native */
    /* A folder where packed int8 weights are kept between processes (docs/formats.md, "Packed images"), and taken from; "":
     * $XDG_CACHE_HOME/quern/packed; NULL: nothing is kept. Safe to delete at any time. */
    const char *packed;
    uint64_t
        packed_limit; /* bytes of all that is kept there, 0: 2 GiB; those used longest ago go */
    int no_mmap;      /* 1: what was kept is read into memory instead of mapped */
} quern_model_options;

typedef struct quern_model_info {
    size_t struct_size;
    const char *name, *path, *family,
        *pooling; /* borrowed from the model; pooling "mean", "cls", …, several as "cls+mean" */
    const char *pooling_origin;      /* "modules.json", "onnx": what the graph does, or "assumed" */
    const char *precision, *kernels; /* "fp32", "int8"…; "avx512", or the class's own */
    const char *prompt_query, *prompt_document; /* "" when the model has none */
    uint32_t dimensions, max_sequence_length, layers, heads, vocabulary;
    uint64_t parameters, bytes; /* bytes: size of the weights' files */
    int normalize;
    const char *weights_format, *weights_file; /* "safetensors"; the file chosen, or its index */
    const char *calibration;  /* int8: checksum of the quantised weights; else "" */
    uint32_t modules;         /* Dense modules behind the pooling */
    uint32_t full_dimensions; /* of what the last module gives; dimensions is what is left of it */
    const char *backend, *device; /* "native", or "onnxruntime 1.31.1"; "cpu", "cuda" */
    const char *device_note;      /* why it is not the device that was asked for; "" */
    uint64_t held;                /* bytes of packed weights, in memory or mapped */
    int kept;                     /* 1: they came from where packed weights are kept */
    int quantizable; /* 1: quern_model_quantize can make weights of it: no table, exported graph or GGUF file alone */
} quern_model_info;

/* Opens a folder of published files: config.json, weights, tokenizer.json (or vocab.txt and
 * tokenizer_config.json), modules.json, 1_Pooling/config.json, 2_Dense, sentence_bert_config.json. Of several files
 * of weights the first of docs/formats.md's table is read. Maximum length: options > sentence_bert_config > tokenizer_config > position table, never over the last.
 * ENOTFOUND: no such folder or file; EFORMAT: file, tensor and byte offset; EUNSUPPORTED: a family,
 * module, pooling or activation that is named, or dimensions that the model does not declare. */
QUERN_API int quern_model_open(quern_model **out, const char *folder,
                               const quern_model_options *opt, quern_error *err);
QUERN_API void quern_model_free(quern_model *m);

/* info->struct_size must be set (QUERN_INIT). Cannot fail otherwise. */
QUERN_API int quern_model_describe(const quern_model *m, quern_model_info *info, quern_error *err);
QUERN_API uint32_t quern_model_dimensions(const quern_model *m);
QUERN_API uint32_t quern_model_max_length(const quern_model *m);

/* SHA-256 (64 hex digits) of the weights: of their file, or of several as docs/formats.md has it. Taken from the shelf's manifest beside it when size and
 * modification time still agree, else computed once, here (0.05–0.3 s). EMISMATCH: the manifest knows
 * another hash. Thread-safe. */
QUERN_API int quern_model_weights_sha256(quern_model *m, char out[65], quern_error *err);
/* SHA-256 over everything in the tokenizer that decides ids. */
QUERN_API void quern_model_tokenizer_sha256(const quern_model *m, char out[65]);
/* The model's part of a fingerprint: canonical JSON (keys sorted, no spaces) of weights hash, tokenizer
 * hash, pooling, prompts, maximum length, dimension, normalisation, precision class and specification
 * number; "modules" where there are Dense modules; in int8 and int4 also "calibration", the checksum of the quantised weights, in bf16 "order", that of its sums. *json is the caller's (quern_free); hash may be NULL, else its SHA-256. */
QUERN_API int quern_model_fingerprint(quern_model *m, char **json, char hash[65], quern_error *err);

/* ---- quantising ---- */
typedef struct quern_quantize_options {
    size_t struct_size;
    const char *name; /* as in quern_model_options */
    int force;        /* 1: below the gate, too */
    int (*progress)(const char *what, uint64_t done, uint64_t total,
                    void *ud); /* non-zero cancels */
    void *progress_ud;
    const quern_cancel *cancel;
    int precision; /* QUERN_PRECISION_INT4, or INT8, which AUTO is here */
} quern_quantize_options;

typedef struct quern_quantize_report {
    size_t struct_size;
    double cosine_mean,
        cosine_worst; /* of the class to fp32, on texts that were not calibrated on */
    double ranking;   /* the part of their five nearest neighbours that stay */
    uint32_t probes;
    int passed;        /* the gate: mean >= 0.999, worst >= 0.995; int4: worst >= 0.98 */
    uint64_t bytes;    /* of the file; 0: none was written */
    char checksum[65]; /* of what is in it; the fingerprint's "calibration" */
    /* int4: the matrices that stayed in bytes because it passes the gate with them and not without, "layer.5.up layer.5.down",
     * those first that gain most; "" where it needs none, or passes with no half of them. */
    char kept[1024];
} quern_quantize_report;

/* Makes the int8 or int4 weights of a model, folder/model.int8.safetensors or model.int4.safetensors (docs/formats.md): the same file on every
 * machine. An earlier one is replaced at the end, in one step. report may be NULL; it is filled as far as
 * the work came. EMISMATCH: below the gate, and nothing was written. Seconds to minutes. */
QUERN_API int quern_model_quantize(const char *folder, const quern_quantize_options *opt,
                                   quern_quantize_report *report, quern_error *err);

typedef struct quern_int8_info {
    size_t struct_size;
    double cosine_mean, cosine_worst, ranking; /* as measured when it was made */
    int passed;                                /* the gate */
    uint64_t bytes;
    char checksum[65];
} quern_int8_info;

/* The int8 weights beside a model's, checked whole, whatever class it was opened in. ENOTFOUND: there are none;
 * EFORMAT, EMISMATCH: damaged, or made from other weights. */
QUERN_API int quern_model_int8(quern_model *m, quern_int8_info *info, quern_error *err);
/* The same of int4. */
QUERN_API int quern_model_int4(quern_model *m, quern_int8_info *info, quern_error *err);

/* ---- tokens ---- */
typedef struct quern_tokens {
    size_t n;
    const int32_t *ids;          /* [n] */
    const uint32_t *start, *end; /* [n] bytes in the text, half open; 0,0 for special tokens */
    const uint8_t *special;      /* [n] 1: added by the model's template */
} quern_tokens;
/* All tokens of a text, special ones included, never cut. Free with quern_tokens_free. Invalid UTF-8 is
 * EFORMAT with the byte in detail; replace it first (quern_utf8_replace) if that is wanted. */
QUERN_API int quern_model_tokenize(const quern_model *m, quern_str text, quern_tokens **out,
                                   quern_error *err);
QUERN_API void quern_tokens_free(quern_tokens *t);
/* The vocabulary's string of an id ("##ing"), borrowed; NULL for an id outside. */
QUERN_API const char *quern_model_token_text(const quern_model *m, int32_t id);

#ifdef __cplusplus
}
#endif
#endif
