/*
 * turns.c — see turns.h. libm's pow, sin and cos differ between versions and processors, so none is used: the
 * frequencies are powers of a root found by bisection, an angle of one position goes through a fixed
 * polynomial, and the angles of later positions are made by turning on. All in binary64 with written order; the
 * errors of 2^17 turns stay far below what rounding to binary32 takes off. Rejected: reducing each angle by
 * multiples of pi, which needs more bits of pi than it saves work.
 */
#include "encoder/turns.h"

#include <math.h>
#include <string.h>

enum { TERMS = 12 };

static double power(double base, double root, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        base = base * root;
    return base;
}

/* The greatest root <= 1 with base * root^n <= 1, multiplied in that order. Products of what is positive round
 * monotonically, so there is one; positive numbers are in the order of their bits. */
static double root_of(double base, uint32_t n)
{
    const double one = 1.0;
    uint64_t low = 0, high;
    double root;
    memcpy(&high, &one, sizeof high);
    high++;
    while (high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        memcpy(&root, &middle, sizeof root);
        if (power(base, root, n) <= 1.0)
            low = middle;
        else
            high = middle;
    }
    memcpy(&root, &low, sizeof root);
    return root;
}

/* x in 0..1: the series of sine and cosine, 1 - x^2 / (n (n + 1)) * (the rest), innermost first. */
static void first_turn(double x, double *cosine, double *sine)
{
    const double square = x * x;
    double c = 1.0, s = 1.0;
    for (int k = TERMS; k > 0; k--) {
        c = fma(-(square / (double)((2 * k - 1) * 2 * k)), c, 1.0);
        s = fma(-(square / (double)(2 * k * (2 * k + 1))), s, 1.0);
    }
    *cosine = c;
    *sine = x * s;
}

void quern__turns(float *out, uint32_t positions, uint32_t depth, double base)
{
    const uint32_t half = depth / 2;
    const double root = half ? root_of(base, half) : 0;
    double angle = 1.0;
    for (uint32_t i = 0; i < half; i++, angle = angle * root) {
        double c1, s1, c = 1.0, s = 0.0;
        first_turn(angle, &c1, &s1);
        for (uint32_t p = 0; p < positions; p++) {
            float *row = out + (size_t)p * depth;
            row[i] = (float)c;
            row[half + i] = (float)s;
            const double next = fma(c, c1, -(s * s1));
            s = fma(s, c1, c * s1);
            c = next;
        }
    }
}
