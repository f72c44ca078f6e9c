/* sample_texts.c — texts to measure with, made from a list of words by a fixed rule, so that two runs do the same work. */
#include "cli.h"

#include <stdio.h>

static const char *const words[] = {
    "water", "city",  "a",     "the",   "engine", "music",  "of",     "quiet", "market", "letter",
    "stone", "and",   "river", "price", "child",  "winter", "window", "to",    "report", "garden",
    "light", "train", "in",    "voice", "money",  "doctor", "school", "paper", "is",     "north"};

void sample_text(char *out, size_t size, size_t n, uint32_t *state)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n && used + 12 < size; i++) {
        *state = *state * 1664525u + 1013904223u;
        const char *word = words[(*state >> 16) % (sizeof words / sizeof words[0])];
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? " " : "", word);
    }
}
