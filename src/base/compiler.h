/*
 * compiler.h — the one place for compiler extensions, and the names that library code may not use.
 */
#ifndef QUERN_BASE_COMPILER_H
#define QUERN_BASE_COMPILER_H

/* Inlining without fail, and full unrolling of the next loop (gcc and clang ignore each other's spelling):
 * what kernels are written for. Not under a sanitizer, which makes minutes of compiling out of it. */
#if defined(QUERN_SANITIZED) || !defined(__GNUC__)
#define QUERN__INLINE static inline
#else
#define QUERN__INLINE static inline __attribute__((always_inline))
#endif
#if defined(QUERN_SANITIZED)
#define QUERN__UNROLL
#elif defined(__clang__)
#define QUERN__UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define QUERN__UNROLL _Pragma("GCC unroll 64")
#else
#define QUERN__UNROLL
#endif

#if defined(__GNUC__)
#define QUERN__NOINLINE    __attribute__((noinline))
#define QUERN__LIKELY(x)   __builtin_expect(!!(x), 1)
#define QUERN__UNLIKELY(x) __builtin_expect(!!(x), 0)
#define QUERN__RESTRICT    __restrict__
#define QUERN__PREFETCH(p) __builtin_prefetch((p), 0, 3)
#else
#define QUERN__NOINLINE
#define QUERN__LIKELY(x)   (x)
#define QUERN__UNLIKELY(x) (x)
#define QUERN__RESTRICT
#define QUERN__PREFETCH(p) ((void)0)
#endif

#define QUERN__COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define QUERN__MIN(a, b) ((a) < (b) ? (a) : (b))
#define QUERN__MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
