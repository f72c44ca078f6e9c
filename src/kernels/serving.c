/*
 * serving.c — which tables a model opened now would compute with, in words, and why not with others.
 */
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "kernels/bf16.h"
#include "kernels/int8.h"
#include "kernels/kernels.h"
#include "quern/status.h"

/* Why a level serves nothing here; NULL: it does, or nobody would expect it to (another architecture's, the tests'). */
static const char *absence(uint32_t level)
{
    const char *why = quern__cpu_lacks(level);
    if (why)
        return strcmp(why, QUERN__CPU_ELSEWHERE) == 0 ? NULL : why;
    if (quern__cpu_allowed() & level || level == QUERN__CPU_AMX_PLAIN)
        return NULL;
    return "left out (--cpu)";
}

void quern_kernels_describe(char *out, size_t size)
{
    const uint32_t allowed = quern__cpu_allowed();
    int n = snprintf(out, size, "fp32 and fp16 %s, int8 and int4 %s, bf16 %s",
                     quern__kernels_name(quern__kernels_pick(allowed)),
                     quern__int8_pick(allowed)->name, quern__bf16_pick(allowed)->name);
    for (uint32_t level = QUERN__CPU_SCALAR << 1; quern__cpu_level_name(level); level <<= 1) {
        const char *why = absence(level);
        if (why && n >= 0 && (size_t)n < size)
            n += snprintf(out + n, size - (size_t)n, "; not %s: %s", quern__cpu_level_name(level),
                          why);
    }
}
