/*
 * fpenv.c — save, set and restore the control register of SSE (MXCSR) or of arm64 (FPCR). Both are
 * set to their architectural default: nearest even, denormals on, no exception enabled. Exception
 * flags raised in between are dropped on leave, as a caller would want. A machine that is neither
 * goes through fenv.h, which knows no denormal flag because those machines have none.
 */
#include "base/fpenv.h"

#if defined(__x86_64__) || defined(__SSE__)
#include <xmmintrin.h>

enum { MXCSR_DEFAULT = 0x1F80 };

quern__fpenv quern__fpenv_enter(void)
{
    quern__fpenv env = {_mm_getcsr()};
    if (env.saved != MXCSR_DEFAULT)
        _mm_setcsr(MXCSR_DEFAULT);
    return env;
}

void quern__fpenv_leave(quern__fpenv env)
{
    _mm_setcsr((unsigned int)env.saved);
}

#elif defined(__aarch64__)

/* The control register (its upper half is reserved) and, above it, the one with the exceptions raised. */
quern__fpenv quern__fpenv_enter(void)
{
    uint64_t control, raised;
    __asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(control), "=r"(raised) : : "memory");
    if (control)
        __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0) : "memory");
    return (quern__fpenv){raised << 32 | (uint32_t)control};
}

void quern__fpenv_leave(quern__fpenv env)
{
    __asm__ volatile("msr fpsr, %0\n\tmsr fpcr, %1"
                     :
                     : "r"(env.saved >> 32), "r"(env.saved & UINT32_MAX)
                     : "memory");
}

#else
#include <fenv.h>

quern__fpenv quern__fpenv_enter(void)
{
    quern__fpenv env = {(uint64_t)fegetround()};
    fesetround(FE_TONEAREST);
    return env;
}

void quern__fpenv_leave(quern__fpenv env)
{
    fesetround((int)env.saved);
}
#endif
