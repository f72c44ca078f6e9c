/*
 * nearest.c — what did the user probably mean? Edit distance in which two neighbouring letters that
 * changed places count once (most slips of the hand are that), with a limit that grows with the
 * word: a suggestion that is far from what was typed is worse than none. A word that is the beginning
 * of just one candidate is that one.
 *
 * In base/ and not in text/, because the options of this floor need it.
 */
#include "quern/text.h"

#include <stdbool.h>

#include "base/compiler.h"

enum { LONGEST = 64 }; /* of words compared; names are far shorter */

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Optimal string alignment; both words are at most LONGEST bytes. */
static unsigned distance(const char *a, size_t na, const char *b, size_t nb)
{
    unsigned rows[3][LONGEST + 1];
    unsigned *older = rows[0], *old = rows[1], *now = rows[2];
    for (size_t j = 0; j <= nb; j++)
        old[j] = (unsigned)j;
    for (size_t i = 1; i <= na; i++) {
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned swap = old[j - 1] + (a[i - 1] != b[j - 1]);
            now[j] = smaller(swap, smaller(old[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = smaller(now[j], older[j - 2] + 1);
        }
        unsigned *spare = older;
        older = old;
        old = now;
        now = spare;
    }
    return old[nb];
}

/* The only candidate that begins with word; NULL when there are none or several. */
static const char *completed(const char *word, size_t n, const char *const *candidates,
                             size_t count)
{
    const char *found = NULL;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(candidates[i], word, n) != 0)
            continue;
        if (found)
            return NULL;
        found = candidates[i];
    }
    return found;
}

const char *quern_nearest(const char *word, const char *const *candidates, size_t n)
{
    size_t length = word ? strlen(word) : 0;
    if (!length || length > LONGEST || !candidates)
        return NULL;
    const char *best = length >= 3 ? completed(word, length, candidates, n) : NULL;
    if (best)
        return best;
    unsigned limit = length < 6 ? 1 : (unsigned)length / 3, least = limit + 1;
    for (size_t i = 0; i < n; i++) {
        size_t other = strlen(candidates[i]);
        if (other > LONGEST)
            continue;
        unsigned d = distance(word, length, candidates[i], other);
        if (d < least) {
            least = d;
            best = candidates[i];
        }
    }
    return best;
}
