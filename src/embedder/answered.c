/*
 * answered.c — see answered.h. Rejected: refusing an answer by another name than asked for. Azure's deployments and every
 * server that takes any name would never work, and of their vectors nothing is wrong.
 */
#include "embedder/answered.h"

#include <string.h>

#include "base/compiler.h"
#include "base/log.h"

int quern__answered_init(quern__answered *a, quern_error *err)
{
    a->model[0] = '\0';
    return quern__mutex_new(&a->lock, err);
}

void quern__answered_dispose(quern__answered *a)
{
    quern__mutex_free(a->lock);
    a->lock = NULL;
}

/* "bge-m3" and "BAAI/bge-m3", "ada-002" and "ada-002-v2": one within the other. */
static bool alike(const char *a, const char *b)
{
    return strstr(a, b) || strstr(b, a);
}

int quern__answered_check(quern__answered *a, const char *who, const char *asked, const char *said,
                          quern_error *err)
{
    char first[QUERN__ANSWERED];
    if (!*said)
        return QUERN_OK;
    quern__mutex_lock(a->lock);
    bool is_first = a->model[0] == '\0';
    if (is_first)
        memcpy(a->model, said, strlen(said) + 1);
    memcpy(first, a->model, sizeof first);
    quern__mutex_unlock(a->lock);
    if (is_first && !alike(asked, said))
        quern__log(QUERN_LOG_WARN, "provider", "%.120s: its answers say that they are by '%s'", who,
                   said);
    if (strcmp(first, said) == 0)
        return QUERN_OK;
    return quern__fail(err, QUERN_EREMOTE, 200,
                       "an answer by the model '%s' after answers by '%s': their vectors cannot be "
                       "compared",
                       said, first);
}
