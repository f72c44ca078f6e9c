/* profile.h — providers that are known by name. */
#ifndef QUERN_EMBEDDER_PROFILE_H
#define QUERN_EMBEDDER_PROFILE_H

#include <stdbool.h>

#include "embedder/dialect.h"
#include "quern/provider.h"

typedef struct quern__profile {
    quern_provider_profile known;
    int dialect; /* enum quern__dialect */
    bool base64; /* honours a request for it, which halves what travels */
} quern__profile;

const quern__profile *quern__profile_find(const char *name); /* NULL: none */
/* A model's dimension when it is known by its name, else 0. */
uint32_t quern__profile_dimensions(const char *model);
/* What this provider calls a model; the same name where nothing else is known. */
const char *quern__profile_model(const char *provider, const char *model);

#endif
