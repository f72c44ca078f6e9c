/*
 * fpenv.h — the floating-point environment that the specification assumes: round to nearest even,
 * denormals on, exceptions masked. Every public entry point that computes brackets itself with these
 * two calls (two register accesses); worker threads set it once. A caller may have FTZ, DAZ or another
 * rounding mode set — merely loading a shared library built with -ffast-math does that to a thread.
 */
#ifndef QUERN_BASE_FPENV_H
#define QUERN_BASE_FPENV_H

#include <stdint.h>

typedef struct quern__fpenv {
    uint64_t saved;
} quern__fpenv;

quern__fpenv quern__fpenv_enter(void);
void quern__fpenv_leave(quern__fpenv env);

#endif
