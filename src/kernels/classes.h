/*
 * classes.h — the classes of precision whose matrices alone differ from fp32: bf16 and fp16 (docs/bits.md, specifications
 * 3 and 4). Each is an fp32 table in which packing and product are the class's own; the encoder cannot tell them apart.
 */
#ifndef QUERN_KERNELS_CLASSES_H
#define QUERN_KERNELS_CLASSES_H

#include "kernels/kernels_table.h"

enum quern__class { QUERN__CLASS_FP32, QUERN__CLASS_BF16, QUERN__CLASS_FP16 };

/* Numbers of the arithmetic specifications, for fingerprints. */
enum { QUERN__SPEC_BF16 = 3, QUERN__SPEC_FP16 = 4 };

/* The best table of a class among the levels `allowed`; `room` holds it where it is made, and outlives its use. */
const quern__kernels *quern__kernels_of(int precision, uint32_t allowed, quern__kernels *room);

#endif
