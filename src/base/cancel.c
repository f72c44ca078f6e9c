/* cancel.c — a lock-free flag: raising it is one atomic store, which a signal handler may do. */
#include "base/cancel.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/os.h"

struct quern_cancel {
    atomic_int raised;
    const quern_cancel *parent; /* raised with it; NULL; outlives this one */
    uint64_t deadline_ns;       /* raised from then on; 0: never. Set before anybody else looks */
};

_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "a signal handler may not take a lock");

int quern__cancel_new_child(quern_cancel **out, const quern_cancel *parent, quern_error *err)
{
    QUERN__REQUIRE(out != NULL, err);
    *out = quern__alloc(sizeof **out);
    if (!*out)
        return quern__fail_memory(err, sizeof **out);
    atomic_init(&(*out)->raised, 0);
    (*out)->parent = parent;
    (*out)->deadline_ns = 0;
    return QUERN_OK;
}

int quern__cancel_new_deadline(quern_cancel **out, const quern_cancel *parent, uint32_t ms,
                               quern_error *err)
{
    int rc = quern__cancel_new_child(out, parent, err);
    if (rc == QUERN_OK)
        (*out)->deadline_ns = quern__now_ns() + (uint64_t)ms * 1000000;
    return rc;
}

int quern_cancel_new(quern_cancel **out, quern_error *err)
{
    return quern__cancel_new_child(out, NULL, err);
}

void quern_cancel_raise(quern_cancel *c)
{
    if (c)
        atomic_store(&c->raised, 1);
}

int quern_cancel_raised(const quern_cancel *c)
{
    for (; c; c = c->parent)
        if (atomic_load_explicit(&c->raised, memory_order_relaxed) ||
            (c->deadline_ns && quern__now_ns() >= c->deadline_ns))
            return 1;
    return 0;
}

void quern_cancel_free(quern_cancel *c)
{
    quern__free(c);
}

int quern__check_cancel(const quern_cancel *c, quern_error *err)
{
    if (!quern_cancel_raised(c))
        return QUERN_OK;
    return quern__fail(err, QUERN_ECANCELLED, 0, "cancelled; finished work is saved");
}
