/*
 * cpu.c — instruction sets. CPUID says what the processor has, XGETBV what the operating system
 * saves across a task switch; a level counts only when both agree. AMX needs a permission besides,
 * which quern__os_amx_permit asks the kernel for. On arm64 the kernel's list of what programs may use is the one source:
 * the registers that tell are not readable everywhere.
 */
#include "base/cpu.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/compiler.h"
#include "base/os.h"

static const char *const level_names[] = {"scalar", "avx2", "avx512",  "avx512vnni", "avx512bf16",
                                          "amx",    "neon", "dotprod", "i8mm",       "amxplain"};

/* What a limit that was never set leaves out: the level that is taken only by name. */
#define UNLIMITED (~(uint32_t)QUERN__CPU_AMX_PLAIN)

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

/* What CPUID says in its leaves 1 and 7, and the state components that the operating system saves. */
typedef struct machine {
    uint32_t c1, b7, c7, d7, a71;
    uint64_t saved;
} machine;

static bool has(uint32_t word, uint32_t bits)
{
    return (word & bits) == bits;
}

static machine ask(void)
{
    machine m = {0};
    uint32_t a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &m.c1, &d))
        return m;
    if (has(m.c1, bit_OSXSAVE)) {
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        m.saved = (uint64_t)high << 32 | low;
    }
    if (__get_cpuid_count(7, 0, &a, &m.b7, &m.c7, &m.d7) && a >= 1)
        __get_cpuid_count(7, 1, &m.a71, &b, &c, &d);
    return m;
}

/* NULL, or why the level is not there. */
static const char *lacking(const machine *m, uint32_t level)
{
    enum { SSE_AVX = 0x6, OPMASK_ZMM = 0xE0, TILES = 0x60000 };
    static const char unsaved[] = "the operating system does not save its registers";
    const uint32_t wide = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL | bit_AVX512CD;
    const char *below;
    switch (level) {
    case QUERN__CPU_SCALAR:
        return NULL;
    case QUERN__CPU_AVX2:
        if (!has(m->c1, bit_AVX | bit_FMA | bit_F16C) || !has(m->b7, bit_AVX2 | bit_BMI2))
            return "the processor has no AVX2 with FMA, F16C and BMI2";
        return (m->saved & SSE_AVX) == SSE_AVX ? NULL : unsaved;
    case QUERN__CPU_AVX512:
        if ((below = lacking(m, QUERN__CPU_AVX2)))
            return below;
        if (!has(m->b7, wide))
            return "the processor has no AVX-512 F, BW, DQ, VL, CD";
        return (m->saved & OPMASK_ZMM) == OPMASK_ZMM ? NULL : unsaved;
    case QUERN__CPU_AVX512_VNNI:
        if ((below = lacking(m, QUERN__CPU_AVX512)))
            return below;
        return has(m->c7, 1u << 11) ? NULL : "the processor has no AVX512-VNNI";
    case QUERN__CPU_AVX512_BF16:
        if ((below = lacking(m, QUERN__CPU_AVX512)))
            return below;
        return has(m->a71, 1u << 5) ? NULL : "the processor has no AVX512-BF16";
    case QUERN__CPU_AMX:
        if (!has(m->d7, 1u << 22 | 1u << 24 | 1u << 25))
            return "the processor has no AMX (tile, int8, bf16)";
        if ((below = lacking(m, QUERN__CPU_AVX512)))
            return below;
        if ((m->saved & TILES) != TILES)
            return "the operating system does not save tiles";
        return quern__os_amx_permit() ? NULL : "the kernel refuses this process the tiles";
    default:
        return QUERN__CPU_ELSEWHERE;
    }
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

typedef struct machine {
    uint64_t first, second; /* words of what a program may use */
} machine;

static machine ask(void)
{
    machine m;
    quern__os_hwcap(&m.first, &m.second);
    return m;
}

static const char *lacking(const machine *m, uint32_t level)
{
    enum { ASIMDDP = 1 << 20, /* of the first word */ I8MM = 1 << 13 /* of the second */ };
    switch (level) {
    case QUERN__CPU_SCALAR:
    case QUERN__CPU_NEON: /* part of the base architecture */
        return NULL;
    case QUERN__CPU_DOTPROD:
        return m->first & ASIMDDP ? NULL : "the processor has no dot products";
    case QUERN__CPU_I8MM:
        return m->second & I8MM ? NULL : "the processor has no i8mm";
    default:
        return QUERN__CPU_ELSEWHERE;
    }
}

static void brand(char out[49])
{
    snprintf(out, 49, "arm64");
}

#else

typedef struct machine {
    char unused;
} machine;

static machine ask(void)
{
    return (machine){0};
}

static const char *lacking(const machine *m, uint32_t level)
{
    (void)m;
    return level == QUERN__CPU_SCALAR ? NULL : QUERN__CPU_ELSEWHERE;
}

static void brand(char out[49])
{
    snprintf(out, 49, "unknown processor");
}

#endif

static _Atomic uint32_t limit = UNLIMITED;

static uint32_t detect(uint32_t levels)
{
    const machine m = ask();
    uint32_t found = 0;
    for (uint32_t level = 1; level < QUERN__CPU_AMX_PLAIN; level <<= 1)
        if (levels & level && !lacking(&m, level))
            found |= level;
    return found;
}

/* Those of `levels` that the machine has. The kernel is asked for tiles where they are wanted only: a process that has the
 * permission has it for good, and saves 8 KB more at every switch. */
static uint32_t detected(uint32_t levels)
{
    const uint32_t known = 1u << 31; /* two threads would store the same */
    static _Atomic uint32_t most, tiles;
    _Atomic uint32_t *const of[] = {&most, &tiles};
    const uint32_t asked[] = {~(uint32_t)QUERN__CPU_AMX, QUERN__CPU_AMX};
    uint32_t all = 0;
    for (int i = 0; i < 2; i++) {
        uint32_t found =
            levels & asked[i] ? atomic_load_explicit(of[i], memory_order_relaxed) : known;
        if (!found) {
            found = detect(asked[i]) | known;
            atomic_store_explicit(of[i], found, memory_order_relaxed);
        }
        all |= found;
    }
    return all & levels & ~known;
}

uint32_t quern__cpu_detected(void)
{
    return detected(UNLIMITED);
}

uint32_t quern__cpu_usable(uint32_t levels)
{
    return detected(levels) | (levels & QUERN__CPU_AMX_PLAIN);
}

uint32_t quern__cpu_runnable(void)
{
    return quern__cpu_usable(UNLIMITED | QUERN__CPU_AMX_PLAIN);
}

uint32_t quern__cpu_allowed(void)
{
    return quern__cpu_usable(atomic_load(&limit)) | QUERN__CPU_SCALAR;
}

const char *quern__cpu_lacks(uint32_t level)
{
    if (quern__cpu_usable(level))
        return NULL;
    const machine m = ask();
    return lacking(&m, level);
}

const char *quern__cpu_level_name(uint32_t level)
{
    for (size_t i = 0; i < QUERN__COUNT(level_names); i++)
        if (level == 1u << i)
            return level_names[i];
    return NULL;
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
                               "avx512vnni, avx512bf16, amx, neon, dotprod, i8mm, amxplain",
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
    uint32_t mask = UNLIMITED;
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
