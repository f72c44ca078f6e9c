/*
 * model_parts.h — between model_config.c and model_modules.c, nobody else's: what modules.json and the
 * files it names say, their parsers, and the checks that every file of a folder is read with.
 */
#ifndef QUERN_FORMAT_MODEL_PARTS_H
#define QUERN_FORMAT_MODEL_PARTS_H

#include "format/model_config.h"

enum { QUERN__MODULES = 16, QUERN__WIDEST = 16384 };

/* A value in a message: strings of a hostile file are cut. */
#define QUERN__CUT(s) (int)QUERN__MIN((s).len, 80), (s).ptr

/* Beside the configuration itself. */
typedef struct quern__reading {
    quern__model_config *config;
    char pooling_path[256];
    char normalize_path[QUERN__DENSES + 1]
                       [256]; /* one at most in front of each Dense, one behind */
    uint32_t normalize_count;
    bool bare; /* there is no config.json: only a StaticEmbedding needs none */
    bool has_transformer, has_pooling, has_normalize; /* has_normalize: the last one is */
    uint32_t modules;
    quern__dense *dense; /* whose file is being read */
    uint32_t width;      /* of what it reads */
} quern__reading;

typedef int (*quern__part)(quern__json *j, quern__reading *r, quern_error *err);

/* modules.json, and the config.json of each kind of module. */
int quern__part_modules(quern__json *j, quern__reading *r, quern_error *err);
int quern__part_pooling(quern__json *j, quern__reading *r, quern_error *err);
int quern__part_dense(quern__json *j, quern__reading *r, quern_error *err);
int quern__part_normalize(quern__json *j, quern__reading *r, quern_error *err);

int quern__part_twice(quern__json *j, const char *key, quern_error *err);
int quern__part_unknown(const quern__json *j, quern_error *err, const char *what, quern_str value,
                        const char *known);
int quern__part_copy(quern__json *j, const char *key, char *out, size_t size, quern_error *err);
int quern__part_expect(quern__json *j, const char *key, const char *wanted, quern_error *err);
int quern__part_expect_bool(quern__json *j, const char *key, bool wanted, quern_error *err);

/* A key that may have one value only, or null. */
typedef struct quern__one_value {
    const char *key;
    int type; /* QUERN__JSON_NULL: nothing but that; BOOL: false; STRING: only */
    const char *only;
} quern__one_value;

/* *is_one: the key is in the table, and its value has been read. */
int quern__part_one_value(quern__json *j, quern_str key, const quern__one_value *table,
                          size_t count, bool *is_one, quern_error *err);

#endif
