/* unit.h — what a cmocka test of base/ includes, in the order that cmocka asks for. */
#ifndef QUERN_TESTS_UNIT_H
#define QUERN_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

/* The call fails with this status, and err says so. */
#define assert_fails(status_, err_, call)                                                          \
    do {                                                                                           \
        memset(&(err_), 0, sizeof(err_));                                                          \
        assert_int_equal((call), (status_));                                                       \
        assert_int_equal((err_).status, (status_));                                                \
        assert_true((err_).msg[0] != '\0');                                                        \
    } while (0)

/* The call succeeds; if not, its message is seen. */
#define assert_ok(err_, call)                                                                      \
    do {                                                                                           \
        if ((call) != QUERN_OK)                                                                    \
            fail_msg("%s: %s", #call, (err_).msg);                                                 \
    } while (0)

#endif
