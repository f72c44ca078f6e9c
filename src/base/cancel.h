/* cancel.h — the flag behind quern_cancel, for code that checks it in loops. */
#ifndef QUERN_BASE_CANCEL_H
#define QUERN_BASE_CANCEL_H

#include "base/error.h"

/* QUERN_OK, or QUERN_ECANCELLED with err filled once the flag is raised. NULL c: QUERN_OK. */
int quern__check_cancel(const quern_cancel *c, quern_error *err);

/* A flag of its own that is also raised whenever `parent` (NULL: none) is. */
int quern__cancel_new_child(quern_cancel **out, const quern_cancel *parent, quern_error *err);
/* One that also raises itself, ms from now. */
int quern__cancel_new_deadline(quern_cancel **out, const quern_cancel *parent, uint32_t ms,
                               quern_error *err);

#endif
