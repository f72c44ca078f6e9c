/*
 * family.h — in what the families of encoders differ that share BERT's layer: what config.json calls their sizes and says where
 * it is silent, how their weights call their tensors, from where positions are counted, token types, and a bias by distance.
 * One table for the reader of config.json and for the encoder, so that neither has a branch by name.
 */
#ifndef QUERN_FORMAT_FAMILY_H
#define QUERN_FORMAT_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUERN__DISTANCE_BUCKETS = 32 };

typedef struct quern__family {
    const char *name;   /* model_type of config.json */
    const char *prefix; /* in front of every tensor, where there is one: "bert." */
    uint32_t
        types; /* rows of token types where config.json does not say; 0: the family adds none */
    bool
        padding; /* positions are counted from behind the padding token's, which has a row of its own */
    bool distances;    /* a bias by distance is added to the scores of attention */
    float eps;         /* where config.json does not say */
    const char *layer; /* "encoder.layer." */
    /* Pairs, BERT's and theirs, ended by NULL; NULL: as BERT. */
    const char *const (*names)[2]; /* of tensors within a layer */
    const char *const (*keys)[2];  /* of config.json */
} quern__family;

/* NULL: not known here. */
const quern__family *quern__family_find(const char *name);
const char *quern__family_known(void); /* "bert, roberta, …", for messages */
/* What config.json calls a setting, given BERT's key. */
const char *quern__family_key(const quern__family *f, const char *bert);
/* A tensor's name, given BERT's, into out[size]; too long: cut, and then not found. */
void quern__family_tensor(const quern__family *f, const char *bert, char *out, size_t size);
/* Which of the 32 biases is that of a query at i and a key at j, given i - j: 16 for either direction, each distance under 8
 * its own, then by the logarithm up to 128. (MPNet's relative_position_bucket, from T5; in whole numbers.) */
uint32_t quern__distance_bucket(int64_t distance);

#endif
