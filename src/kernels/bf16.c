/*
 * bf16.c — which table of the class bf16.
 */
#include "kernels/bf16.h"

#include "base/compiler.h"
#include "base/cpu.h"

/* Best first; the last one runs everywhere, and so does the one for tests in front of it. */
static const quern__bf16_kernels *const tables[] = {
#if defined(__x86_64__)
    &quern__bf16_amx,
    &quern__bf16_avx512,
#endif
    &quern__bf16_amx_plain,
    &quern__bf16_scalar,
};

const quern__bf16_kernels *quern__bf16_pick(uint32_t allowed)
{
    const uint32_t usable = quern__cpu_usable(allowed);
    for (size_t i = 0; i < QUERN__COUNT(tables); i++)
        if ((tables[i]->need & usable) == tables[i]->need)
            return tables[i];
    return &quern__bf16_scalar;
}

const quern__bf16_kernels *quern__bf16_at(size_t i)
{
    return i < QUERN__COUNT(tables) ? tables[i] : NULL;
}
