/*
 * family.h — in what the families of encoders differ: what config.json calls their sizes and says where it is silent, how their
 * weights call their tensors, from where positions are counted or how they are turned, where rows are normalised, what a gate
 * does. One table for the reader of config.json and for the encoder, so that neither has a branch by name.
 */
#ifndef QUERN_FORMAT_FAMILY_H
#define QUERN_FORMAT_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { QUERN__DISTANCE_BUCKETS = 32, QUERN__DISTANCE_MOST = 128 };

/* A key of config.json that one family has. */
enum quern__rule_kind {
    QUERN__RULE_OFF,   /* null, false or 0 */
    QUERN__RULE_ON,    /* true */
    QUERN__RULE_ALL,   /* a list of nothing but `only` */
    QUERN__RULE_IS,    /* `only` */
    QUERN__RULE_FLAG,  /* to a bool */
    QUERN__RULE_COUNT, /* to a uint32_t, 1 to `most` */
    QUERN__RULE_NUMBER, /* to a double, 1 to `most`; null where it is not needed: as though it were not there */
};

typedef struct quern__rule {
    const char *key;
    int kind;
    bool needed;
    size_t field; /* of the model's settings */
    double most;
    const char *only;
} quern__rule;

/* The activation of a feed-forward part; gated: of one half, the other is multiplied with it. */
enum quern__feed {
    QUERN__FEED_GELU,
    QUERN__FEED_RELU,
    QUERN__FEED_GATED_GELU,
    QUERN__FEED_GATED_SILU,
    QUERN__FEED_GATED_GELU_TANH
};

typedef struct quern__family {
    const char *name; /* model_type of config.json, where `of` is NULL */
    const char *of;   /* the family whose model_type it has: its activation tells it from that */
    bool
        table; /* no layers: a static table (static_table.h); nothing below is of it but positions */
    bool unknown_row;   /* the unknown token's row counts like another's */
    const char *prefix; /* in front of every tensor, where there is one: "bert." */
    uint32_t
        types; /* rows of token types where config.json does not say; 0: the family adds none */
    bool
        padding; /* positions are counted from behind the padding token's, which has a row of its own */
    bool distances;    /* a bias by distance is added to the scores of attention */
    float eps;         /* where config.json does not say */
    const char *layer; /* "encoder.layer." */
    /* Pairs, BERT's and theirs, ended by NULL; NULL: as BERT. */
    const char *const (*names)[2]; /* of tensors, in a layer: of what follows its number */
    const char *const (*keys)[2];  /* of config.json */
    /* What is not BERT's layer. */
    const quern__rule *rules; /* ended by a key of NULL */
    const char *activation;   /* the value of hidden_act; NULL: "gelu" */
    int feed;
    bool biases;       /* where config.json does not say, products have biases */
    bool norms_first;  /* rows are normalised before a part, and behind the last layer */
    bool rms;          /* by RMSNorm */
    bool words_normed; /* words are, before the first layer, where norms_first */
    bool first_plain;  /* the first layer's attention reads them as they are */
    bool
        unplaced; /* positions have no rows: the bias by distance says them; scores are not scaled */
    uint32_t positions; /* where config.json does not say; 0: it must */
    bool rotary;        /* queries and keys are turned by their positions */
    bool heads_normed;  /* each is normalised before that */
    bool causal;        /* a query sees what is before it and itself */
    bool fused;         /* query, key and value are one tensor */
    bool fused_gate;    /* the activated half and the other are one tensor, in this order */
} quern__family;

/* BERT has no such tensors, but this is what family_tensor is asked for: "attention.input.LayerNorm" (before attention),
 * "attention.self.qkv" (fused), "attention.self.query_norm", "attention.self.key_norm", "intermediate.gate" (the activated
 * half), "intermediate.both" (fused), in a layer; "final.LayerNorm". */

static inline bool quern__family_gated(const quern__family *f)
{
    return f->feed >= QUERN__FEED_GATED_GELU;
}

/* Positions have rows of their own. */
static inline bool quern__family_placed(const quern__family *f)
{
    return !f->rotary && !f->unplaced;
}

/* NULL: not known here. */
const quern__family *quern__family_find(const char *name);
/* The one of this model_type whose hidden_act is `activation`; `model_type` where there is none. */
const quern__family *quern__family_variant(const quern__family *model_type, quern_str activation);
const char *quern__family_known(void); /* "bert, roberta, …", for messages */
/* What config.json calls a setting, given BERT's key. */
const char *quern__family_key(const quern__family *f, const char *bert);
/* A tensor's name, given BERT's, into out[size]; too long: cut, and then not found. */
void quern__family_tensor(const quern__family *f, const char *bert, char *out, size_t size);
/* Which of the 32 biases is that of a query at i and a key at j, given i - j: 16 for either direction, each distance under 8
 * its own, then by the logarithm up to 128. (MPNet's relative_position_bucket, from T5; in whole numbers.) */
uint32_t quern__distance_bucket(int64_t distance);

#endif
