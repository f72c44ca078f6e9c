/* log.h — lines to the callback of quern_set_log; dropped when none is set or the level is off. */
#ifndef QUERN_BASE_LOG_H
#define QUERN_BASE_LOG_H

#include "quern/status.h"

void quern__log(int level, const char *component, const char *fmt, ...) QUERN_PRINTF(3, 4);

#endif
