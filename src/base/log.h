/* log.h — lines to the callback of quern_set_log; dropped when none is set or the level is off. */
#ifndef QUERN_BASE_LOG_H
#define QUERN_BASE_LOG_H

#include "quern/status.h"

void quern__log(int level, const char *component, const char *fmt, ...) QUERN_PRINTF(3, 4);

/* One item that failed, at level warn: its source and key, the code and the reason; never its text. */
void quern__log_item(const char *component, const char *source, const char *key, int code,
                     const char *reason);

#endif
