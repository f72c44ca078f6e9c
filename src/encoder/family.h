/*
 * family.h — in what the families of encoders differ that share BERT's layer: how their weights call their tensors, from
 * where positions are counted, token types, and a bias by distance. One table, so that the encoder has no branch by name.
 */
#ifndef QUERN_ENCODER_FAMILY_H
#define QUERN_ENCODER_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUERN__DISTANCE_BUCKETS = 32 };

typedef struct quern__family {
    const char *name;   /* model_type of config.json */
    const char *prefix; /* in front of every tensor, where there is one: "bert." */
    bool types;         /* rows of token types are added */
    bool
        padding; /* positions are counted from behind the padding token's, which has a row of its own */
    bool distances;    /* a bias by distance is added to the scores of attention */
    const char *layer; /* "encoder.layer." */
    const char *const (
        *names)[2]; /* BERT's name within a layer and theirs, NULL-terminated; NULL: the same */
} quern__family;

/* NULL: not known here. */
const quern__family *quern__family_find(const char *name);
const char *quern__family_known(void); /* "bert, roberta, …", for messages */
/* A tensor's name, given BERT's, into out[size]; too long: cut, and then not found. */
void quern__family_tensor(const quern__family *f, const char *bert, char *out, size_t size);
/* Which of the 32 biases is that of a query at i and a key at j, given i - j: 16 for either direction, each distance under 8
 * its own, then by the logarithm up to 128. (MPNet's relative_position_bucket, from T5; in whole numbers.) */
uint32_t quern__distance_bucket(int64_t distance);

#endif
