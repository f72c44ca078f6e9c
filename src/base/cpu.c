/*
 * cpu.c — instruction sets. CPUID says what the processor has, XGETBV what the operating system
 * saves across a task switch; a level counts only when both agree. AMX needs a permission besides,
 * which quern__os_amx_permit asks the kernel for.
 */
#include "base/cpu.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/compiler.h"
#include "base/os.h"

static const char *const level_names[] = {"scalar",     "avx2", "avx512", "avx512vnni",
                                          "avx512bf16", "amx",  "neon"};

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

/* The state components that the operating system saves. */
static uint64_t xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has(uint32_t word, uint32_t bits)
{
    return (word & bits) == bits;
}

static uint32_t detect(void)
{
    enum { SSE_AVX = 0x6, OPMASK_ZMM = 0xE0, TILES = 0x60000 };
    uint32_t found = QUERN__CPU_SCALAR, a, b, c, d, b7, c7, d7, a71 = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, bit_OSXSAVE))
        return found;
    uint64_t saved = xcr0();
    if ((saved & SSE_AVX) != SSE_AVX || !has(c, bit_AVX | bit_FMA | bit_F16C))
        return found;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) || !has(b7, bit_AVX2 | bit_BMI2))
        return found;
    if (a >= 1)
        __get_cpuid_count(7, 1, &a71, &b, &c, &d);
    found |= QUERN__CPU_AVX2;
    if ((saved & OPMASK_ZMM) != OPMASK_ZMM ||
        !has(b7, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL | bit_AVX512CD))
        return found;
    found |= QUERN__CPU_AVX512;
    if (has(c7, 1u << 11))
        found |= QUERN__CPU_AVX512_VNNI;
    if (has(a71, 1u << 5))
        found |= QUERN__CPU_AVX512_BF16;
    if ((saved & TILES) == TILES && has(d7, 1u << 22 | 1u << 24 | 1u << 25) &&
        quern__os_amx_permit())
        found |= QUERN__CPU_AMX;
    return found;
}

static void brand(char out[49])
{
    uint32_t words[12] = {0};
    for (uint32_t i = 0; i < 3; i++)
        __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
                    &words[4 * i + 3]);
    memcpy(out, words, 48);
    out[48] = '\0';
    if (!out[0])
        snprintf(out, 49, "x86");
}

#elif defined(__aarch64__)

static uint32_t detect(void)
{
    return QUERN__CPU_SCALAR | QUERN__CPU_NEON; /* part of the base architecture */
}

static void brand(char out[49])
{
    snprintf(out, 49, "arm64");
}

#else

static uint32_t detect(void)
{
    return QUERN__CPU_SCALAR;
}

static void brand(char out[49])
{
    snprintf(out, 49, "unknown processor");
}

#endif

static _Atomic uint32_t limit = UINT32_MAX;

uint32_t quern__cpu_detected(void)
{
    static _Atomic uint32_t known; /* 0: not yet; two threads would store the same */
    uint32_t found = atomic_load_explicit(&known, memory_order_relaxed);
    if (!found) {
        found = detect();
        atomic_store_explicit(&known, found, memory_order_relaxed);
    }
    return found;
}

uint32_t quern__cpu_allowed(void)
{
    return (quern__cpu_detected() & atomic_load(&limit)) | QUERN__CPU_SCALAR;
}

int quern__cpu_parse(const char *levels, uint32_t *out, quern_error *err)
{
    uint32_t mask = QUERN__CPU_SCALAR;
    for (const char *at = levels;;) {
        at += strspn(at, " ");
        size_t n = strcspn(at, ","), i = 0;
        size_t trimmed = n;
        while (trimmed && at[trimmed - 1] == ' ')
            trimmed--;
        while (i < QUERN__COUNT(level_names) &&
               (strlen(level_names[i]) != trimmed || memcmp(level_names[i], at, trimmed) != 0))
            i++;
        if (i == QUERN__COUNT(level_names))
            return quern__fail(err, QUERN_EINVAL, 0,
                               "unknown instruction set '%.*s'; known are scalar, avx2, avx512, "
                               "avx512vnni, avx512bf16, amx, neon",
                               (int)QUERN__MIN(trimmed, 64), at);
        mask |= 1u << i;
        if (!at[n])
            break;
        at += n + 1;
    }
    *out = mask;
    return QUERN_OK;
}

int quern_cpu_limit(const char *levels, quern_error *err)
{
    uint32_t mask = UINT32_MAX;
    if (levels) {
        int rc = quern__cpu_parse(levels, &mask, err);
        if (rc != QUERN_OK)
            return rc;
    }
    atomic_store(&limit, mask);
    return QUERN_OK;
}

const char *quern_cpu_level(void)
{
    uint32_t allowed = quern__cpu_allowed();
    size_t best = 0;
    for (size_t i = 0; i < QUERN__COUNT(level_names); i++)
        if (allowed & 1u << i)
            best = i;
    return level_names[best];
}

const char *quern_cpu_describe(void)
{
    enum { EMPTY, BUSY, READY };
    static _Atomic int state;
    static char line[256];
    int expected = EMPTY;
    if (atomic_load(&state) != READY && atomic_compare_exchange_strong(&state, &expected, BUSY)) {
        char name[49];
        brand(name);
        size_t end = strlen(name);
        while (end && name[end - 1] == ' ')
            name[--end] = '\0';
        int n = snprintf(line, sizeof line, "%s; ", name);
        uint32_t found = quern__cpu_detected();
        for (size_t i = 0; i < QUERN__COUNT(level_names); i++)
            if (found & 1u << i)
                n += snprintf(line + n, sizeof line - (size_t)n, "%s ", level_names[i]);
        uint32_t cores = quern__cpu_count();
        snprintf(line + n - 1, sizeof line - (size_t)n + 1, "; %u core%s allowed", cores,
                 cores == 1 ? "" : "s");
        atomic_store(&state, READY);
    }
    while (atomic_load(&state) != READY)
        quern__sleep_ms(1); /* another thread is writing it */
    return line;
}
