/*
 * tiny_classes.h — for tests: a tiny model in class fp32 and as quantised numbers, and one with a weight that a class may not
 * hold.
 */
#ifndef QUERN_TESTS_TINY_CLASSES_H
#define QUERN_TESTS_TINY_CLASSES_H

#include "encoder/quantise.h"
#include "kernels/classes.h"
#include "tiny_model.h"

typedef struct tiny_pair {
    tiny_model *tiny;
    quern__weights *file;
    quern__encoder *fp32;
    quern__quantised *numbers;
    uint32_t longest;
} tiny_pair;

/* Takes the model; the texts calibrate. */
static inline void tiny_pair_new(tiny_pair *p, tiny_model *tiny, bool four, uint32_t longest,
                                 const int32_t *ids, const uint32_t *lengths, uint32_t n)
{
    quern_error err;
    *p = (tiny_pair){.tiny = tiny, .longest = longest};
    if (quern__weights_parse(&p->file, QUERN__SAFETENSORS, tiny->bytes, tiny->size, "tiny", &err) ||
        quern__encoder_open(&p->fp32, &tiny->config, p->file, quern__kernels_pick(~0u), longest,
                            &err) ||
        quern__quantise(&p->numbers, p->fp32, p->file, four, ids, lengths, n, NULL, NULL, NULL,
                        &err))
        fail_msg("%s", err.msg);
}

static inline void tiny_pair_free(tiny_pair *p)
{
    quern__quantised_free(p->numbers);
    quern__encoder_free(p->fp32);
    quern__weights_free(p->file);
    tiny_free(p->tiny);
}

/* An encoder of these numbers, the pair's own or others. */
static inline quern__encoder *tiny_pair_open(const tiny_pair *p, const quern__quantised *numbers,
                                             const quern__kernels *k, const quern__int8_kernels *k8)
{
    quern__encoder *e;
    quern_error err;
    if (quern__encoder_open_int8(&e, &p->tiny->config, p->file, numbers, k, k8, p->longest, &err))
        fail_msg("%s", err.msg);
    return e;
}

#define TINY_WEIGHT "encoder.layer.0.intermediate.dense.weight" /* [77, 48] */

/* What opening a model in a class says of n numbers from place `at` of that tensor. */
static inline int tiny_open_with(int class, uint32_t at, const float *numbers, uint32_t n,
                                 quern_error *err)
{
    quern__kernels room;
    quern__weights *file;
    quern__encoder *e;
    tiny_model *tiny = tiny_new(48, 2, 1, 77, 50, 20, QUERN__F32, "", 5);
    assert_int_equal(
        quern__weights_parse(&file, QUERN__SAFETENSORS, tiny->bytes, tiny->size, "tiny", err),
        QUERN_OK);
    const quern__tensor *t = quern__weights_find(file, TINY_WEIGHT);
    assert_non_null(t);
    memcpy((char *)tiny->bytes + t->offset + at * sizeof *numbers, numbers, n * sizeof *numbers);
    const int rc =
        quern__encoder_open(&e, &tiny->config, file, quern__kernels_of(class, ~0u, &room), 20, err);
    quern__encoder_free(e);
    quern__weights_free(file);
    tiny_free(tiny);
    return rc;
}

#endif
