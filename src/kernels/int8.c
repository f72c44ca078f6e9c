/*
 * int8.c — which table of the int8 class.
 */
#include "kernels/int8.h"

#include "base/compiler.h"
#include "base/cpu.h"

/* Best first; the last one runs everywhere, and so does the one for tests in front of it. */
static const quern__int8_kernels *const tables[] = {
#if defined(__x86_64__)
    &quern__int8_amx,       &quern__int8_avx512vnni, &quern__int8_avx2,
#elif defined(__aarch64__)
    &quern__int8_i8mm,      &quern__int8_dotprod, &quern__int8_neon,
#endif
    &quern__int8_amx_plain, &quern__int8_scalar,
};

const quern__int8_kernels *quern__int8_pick(uint32_t allowed)
{
    const uint32_t usable = quern__cpu_usable(allowed);
    for (size_t i = 0; i < QUERN__COUNT(tables); i++)
        if ((tables[i]->need & usable) == tables[i]->need)
            return tables[i];
    return &quern__int8_scalar;
}

const quern__int8_kernels *quern__int8_at(size_t i)
{
    return i < QUERN__COUNT(tables) ? tables[i] : NULL;
}
