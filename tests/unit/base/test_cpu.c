/* Instruction sets: the mask and its names; the floating-point guard with every bit set oddly. */
#define _GNU_SOURCE /* syscall */
#include "unit.h"

#include <fenv.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "base/cpu.h"
#include "base/fpenv.h"
#include "base/os.h"

static void test_parse(void **state)
{
    (void)state;
    quern_error err;
    uint32_t mask = 99;
    assert_ok(err, quern__cpu_parse("scalar", &mask, &err));
    assert_int_equal(mask, QUERN__CPU_SCALAR);
    assert_ok(err, quern__cpu_parse("avx2", &mask, &err));
    assert_int_equal(mask, QUERN__CPU_SCALAR | QUERN__CPU_AVX2);
    assert_ok(err, quern__cpu_parse("amx, avx512bf16 ,avx512vnni,avx512,neon", &mask, &err));
    assert_int_equal(mask, QUERN__CPU_SCALAR | QUERN__CPU_AMX | QUERN__CPU_AVX512_BF16 |
                               QUERN__CPU_AVX512_VNNI | QUERN__CPU_AVX512 | QUERN__CPU_NEON);
    assert_ok(err, quern__cpu_parse("i8mm,dotprod", &mask, &err));
    assert_int_equal(mask, QUERN__CPU_SCALAR | QUERN__CPU_DOTPROD | QUERN__CPU_I8MM);
    static const char *const bad[] = {"",      ",",    "avx",  "avx2,",       ",avx2",
                                      "avx22", "AVX2", "sse9", "avx2;scalar", "scalar avx2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mask = 99;
        assert_fails(QUERN_EINVAL, err, quern__cpu_parse(bad[i], &mask, &err));
        assert_int_equal(mask, 99);
    }
    assert_fails(QUERN_EINVAL, err, quern__cpu_parse("avx2,sse9", &mask, &err));
    assert_non_null(strstr(err.msg, "'sse9'"));
    assert_non_null(strstr(err.msg, "avx512vnni"));
}

/* Under a limit without AMX nobody asks the kernel for tiles; first of all, for who has the permission keeps it. */
static void test_tiles_are_not_asked_for(void **state)
{
    (void)state;
    quern_error err;
    assert_ok(err, quern_cpu_limit("avx512vnni", &err));
    assert_int_equal(quern__cpu_allowed() & QUERN__CPU_AMX, 0);
    assert_int_equal(quern__cpu_usable(QUERN__CPU_SCALAR | QUERN__CPU_AMX_PLAIN),
                     QUERN__CPU_SCALAR | QUERN__CPU_AMX_PLAIN);
#if defined(__x86_64__) && defined(SYS_arch_prctl)
    enum { GET_XCOMP_PERM = 0x1022, XTILEDATA = 18 };
    uint64_t permitted = 0;
    if (syscall(SYS_arch_prctl, GET_XCOMP_PERM, &permitted) == 0)
        assert_false(permitted >> XTILEDATA & 1);
#endif
    assert_ok(err, quern_cpu_limit(NULL, &err));
    assert_int_equal(quern__cpu_usable(~0u), quern__cpu_runnable());
}

static void test_limit(void **state)
{
    (void)state;
    quern_error err;
    uint32_t found = quern__cpu_detected();
    assert_true(found & QUERN__CPU_SCALAR);
    assert_int_equal(quern__cpu_allowed(), found);
    assert_ok(err, quern_cpu_limit("scalar", &err));
    assert_int_equal(quern__cpu_allowed(), QUERN__CPU_SCALAR);
    assert_string_equal(quern_cpu_level(), "scalar");
    assert_fails(QUERN_EINVAL, err, quern_cpu_limit("mmx", &err));
    assert_int_equal(quern__cpu_allowed(), QUERN__CPU_SCALAR); /* a bad limit changes nothing */
    assert_ok(err, quern_cpu_limit("avx2", &err));
    assert_int_equal(quern__cpu_allowed(), found & (QUERN__CPU_SCALAR | QUERN__CPU_AVX2));
    assert_ok(err, quern_cpu_limit("amxplain", &err)); /* taken only by name */
    assert_int_equal(quern__cpu_allowed(), QUERN__CPU_SCALAR | QUERN__CPU_AMX_PLAIN);
    assert_ok(err, quern_cpu_limit(NULL, &err));
    assert_int_equal(quern__cpu_allowed(), found);
    assert_non_null(strstr(quern_cpu_describe(), "scalar"));
    assert_non_null(strstr(quern_cpu_describe(), quern_cpu_level()));
    assert_ptr_equal(quern_cpu_describe(), quern_cpu_describe());
}

#if defined(__x86_64__)
#define HAS(name) (__builtin_cpu_supports(name) != 0)
#endif

/* What is detected agrees with the compiler's own runtime, which asks CPUID and XGETBV too. */
static void test_detected(void **state)
{
    (void)state;
#if defined(__x86_64__)
    uint32_t found = quern__cpu_detected();
    __builtin_cpu_init();
    assert_int_equal((found & QUERN__CPU_AVX2) != 0, HAS("avx2") && HAS("fma") && HAS("bmi2"));
    assert_int_equal((found & QUERN__CPU_AVX512) != 0, HAS("avx512f") && HAS("avx512bw") &&
                                                           HAS("avx512dq") && HAS("avx512vl") &&
                                                           HAS("avx512cd"));
    assert_int_equal((found & QUERN__CPU_AVX512_VNNI) != 0, HAS("avx512vnni"));
    assert_int_equal((found & QUERN__CPU_AVX512_BF16) != 0, HAS("avx512bf16"));
#endif
    for (uint32_t level = 1; quern__cpu_level_name(level); level <<= 1) /* there, or a reason */
        assert_int_equal(!quern__cpu_lacks(level), !!(quern__cpu_runnable() & level));
    assert_int_equal(quern__cpu_detected() & QUERN__CPU_AMX_PLAIN, 0);
    /* Of the processor that an emulator was told to be. */
    const char *want = getenv("QUERN_TEST_LEVELS");
    if (want) {
        quern_error err;
        uint32_t mask;
        assert_ok(err, quern__cpu_parse(want, &mask, &err));
        assert_int_equal(quern__cpu_detected(), mask);
    }
    assert_true(quern__cpu_count() >= 1);
}

/* Volatile, so that the arithmetic happens here and now. */
static volatile float tiny = 1e-40f, one = 1.0f, third = 3.0f;

static void assert_default_arithmetic(void)
{
    assert_true(tiny * one != 0.0f); /* no denormal is flushed */
    volatile float q = one / third;  /* 1/3 rounded to nearest: 0x3EAAAAAB */
    uint32_t bits;
    float copy = q;
    memcpy(&bits, &copy, sizeof bits);
    assert_int_equal(bits, 0x3EAAAAAB);
}

static void check_thread(void *ud)
{
    (void)ud;
    assert_default_arithmetic();
}

static void test_rounding(void **state)
{
    (void)state;
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        fesetround(modes[i]);
        quern__fpenv env = quern__fpenv_enter();
        assert_default_arithmetic();
        quern__fpenv_leave(env);
        assert_int_equal(fegetround(), modes[i]);
    }
    fesetround(FE_TONEAREST);
}

/* The control register: odd settings of it, the one that flushes denormals among their bits, and its default. Flags
 * of exceptions: MXCSR has them in its low bits, arm64 in another register. */
#if defined(__x86_64__)
enum { FLUSH = 0x8000, FLAGS = 0x3F, DEFAULT = 0x1F80 };
static const unsigned odd[] = {0x1F80 | FLUSH | 0x40, 0x1F80 | FLUSH | 0x2040, 0x1F80 | 0x6000,
                               0x1F80 | FLUSH | 0x3F, 0x1F80};

static unsigned control(void)
{
    return _mm_getcsr();
}

static void set_control(unsigned to)
{
    _mm_setcsr(to);
}
#elif defined(__aarch64__)
enum { FLUSH = 1 << 24, FLAGS = 0, DEFAULT = 0 };
enum { DEFAULT_NAN = 1 << 25, OTHER_HALVES = 1 << 26, FLUSH_HALVES = 1 << 19, DOWN = 2 << 22 };
static const unsigned odd[] = {FLUSH, FLUSH | DOWN | DEFAULT_NAN, OTHER_HALVES | FLUSH_HALVES, DOWN,
                               DEFAULT};

static unsigned control(void)
{
    uint64_t now;
    __asm__ volatile("mrs %0, fpcr" : "=r"(now));
    return (unsigned)now;
}

static void set_control(unsigned to)
{
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)to) : "memory");
}
#endif

static void test_control(void **state)
{
    (void)state;
#if defined(__x86_64__) || defined(__aarch64__)
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        quern_error err;
        quern__thread *t;
        set_control(odd[i]);
        const unsigned was = control(); /* bits that this processor lacks stay 0 */
        if (odd[i] & FLUSH)
            assert_true(tiny * one == 0.0f); /* the poison works */
        quern__fpenv env = quern__fpenv_enter();
        assert_default_arithmetic();
        quern__fpenv_leave(env);
        assert_int_equal(control(), was);
        /* A thread started by a poisoned one is clean. */
        assert_ok(err, quern__thread_start(&t, check_thread, NULL, &err));
        quern__thread_join(t);
        set_control(DEFAULT);
    }
    /* Nested. */
    set_control(DEFAULT | FLUSH);
    quern__fpenv outer = quern__fpenv_enter(), inner = quern__fpenv_enter();
    quern__fpenv_leave(inner);
    assert_default_arithmetic();
    quern__fpenv_leave(outer);
    assert_int_equal(control() & ~(unsigned)FLAGS, DEFAULT | FLUSH);
    set_control(DEFAULT);
#endif
}

/* Exceptions raised in between are not the caller's. */
static void test_flags(void **state)
{
    (void)state;
    feclearexcept(FE_ALL_EXCEPT);
    quern__fpenv env = quern__fpenv_enter();
    volatile float inexact = one / third;
    assert_true(inexact > 0 && fetestexcept(FE_INEXACT));
    quern__fpenv_leave(env);
    assert_false(fetestexcept(FE_INEXACT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiles_are_not_asked_for),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_detected),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_control),
        cmocka_unit_test(test_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
