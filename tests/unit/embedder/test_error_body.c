/* The body of an error page in a form that may be shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "embedder/error_body.h"

static void is(const char *page, size_t len, const char *want)
{
    char out[QUERN__ERROR_BODY + 1];
    assert_int_equal(quern__error_body((quern_str){page, len}, out), strlen(want));
    assert_string_equal(out, want);
}

static void one_line(void **state)
{
    (void)state;
    is(NULL, 0, "");
    is("a \xC3\xA9 b", 6, "a \xC3\xA9 b");
    is("a\nb\033[2J\x7F", 8, "a\\u000ab\\u001b[2J\\u007f");
    is("a\0b", 3, "a\\u0000b");
    is("\xC2\x9B"
       "2J",
       4, "\\u009b2J"); /* C1's CSI */
    is("a\xE2\x80\xA8"
       "b\xE2\x80\xA9",
       8, "a\\u2028b\\u2029"); /* ends of lines, to some */
    is("\xFF\xC3", 2, "\xEF\xBF\xBD\xEF\xBF\xBD");
}

static void bounded(void **state)
{
    (void)state;
    char page[QUERN__ERROR_BODY + 100], out[QUERN__ERROR_BODY + 1];
    memset(page, 'x', sizeof page);
    assert_int_equal(quern__error_body((quern_str){page, sizeof page}, out), QUERN__ERROR_BODY);
    memcpy(page + QUERN__ERROR_BODY - 1, "\xC3\xA9", 2); /* would end behind the bound */
    assert_int_equal(quern__error_body((quern_str){page, sizeof page}, out), QUERN__ERROR_BODY - 1);
    memset(page, '\n', sizeof page);
    assert_int_equal(quern__error_body((quern_str){page, sizeof page}, out),
                     QUERN__ERROR_BODY / 6 * 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line),
        cmocka_unit_test(bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
