/*
 * Byte-level BPE: tiny vocabularies written here; equality with the reference is the business of
 * test_tokenizer_families.py. What is looked at: memory that runs out at any point, long words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "torture/torture.h"
#include "text/utf8.h"
#include "tokenizer/tokenizer_draft.h"

static void letter(quern__buf *b, uint32_t byte)
{
    char utf8[5] = {0};
    quern__utf8_put(utf8, quern__byte_letter((uint8_t)byte));
    if (utf8[0] == '"' || utf8[0] == '\\')
        quern__buf_putc(b, '\\');
    quern__buf_puts(b, utf8);
}

/* All bytes, "aa" (256) and "aaaa" (257). */
static char *make(void)
{
    quern__buf b;
    quern__buf_init(&b, 1 << 20);
    quern__buf_puts(&b,
                    "{\"added_tokens\":[{\"id\":258,\"content\":\"e\\u0301!\",\"normalized\":true,"
                    "\"lstrip\":true},{\"id\":259,\"content\":\"<s>\"}],"
                    "\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                    "\"add_prefix_space\":true},\"post_processor\":{\"type\":"
                    "\"RobertaProcessing\",\"sep\":[\"<s>\",259],\"cls\":[\"<s>\",259]},"
                    "\"model\":{\"type\":\"BPE\",\"merges\":[\"a a\",[\"aa\",\"aa\"]],\"vocab\":{");
    for (uint32_t byte = 0; byte < 256; byte++) {
        quern__buf_puts(&b, byte ? ",\"" : "\"");
        letter(&b, byte);
        quern__buf_printf(&b, "\":%u", (unsigned)byte);
    }
    quern__buf_puts(&b, ",\"aa\":256,\"aaaa\":257}}}");
    return quern__buf_detach(&b);
}

static int open_and_tokenize(void *context, quern_error *err)
{
    static const char texts[][48] = {
        "aaaaa e\xCC\x81! \xE1\x84\x80\xE1\x85\xA1 b\xCC\xA7\xCC\x81\xCC\xA7",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\xFFx <s>"};
    const char *json = context;
    quern__tokenizer *t = NULL;
    quern__tokens tokens;
    quern__tokens_init(&tokens);
    int rc = quern__tokenizer_from_json(&t, "t.json", quern_str_of(json), err);
    for (size_t i = 0; rc == QUERN_OK && i < sizeof texts / sizeof texts[0]; i++) {
        rc = quern__tokenize(t, quern_str_of(texts[i]), 0, &tokens, err);
        if (rc == QUERN_OK && i == 1) {
            assert_int_equal(tokens.n, 2 + 1 + 10 + 1 + 1); /* blank, ten aaaa, aa, a */
            assert_int_equal(tokens.ids[2], 257);
        }
    }
    quern__tokens_dispose(&tokens);
    quern__tokenizer_free(t);
    return rc;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    char *json = make();
    assert_non_null(json);
    assert_true(torture_run(open_and_tokenize, json) > 10);
    quern__free(json);
}

/* A megabyte that is one word: seconds, were the merges quadratic. */
static void a_long_word_is_quick(void **state)
{
    (void)state;
    enum { LEN = 1 << 20 };
    char *json = make(), *text = malloc(LEN);
    quern__tokenizer *t = NULL;
    quern__tokens tokens;
    quern_error err = {0};
    assert_non_null(text);
    memset(text, 'a', LEN);
    quern__tokens_init(&tokens);
    assert_int_equal(quern__tokenizer_from_json(&t, "t.json", quern_str_of(json), &err), 0);
    assert_int_equal(quern__tokenize_plain(t, (quern_str){text, LEN}, &tokens, &err), 0);
    assert_int_equal(tokens.n, LEN / 4 + 1);
    assert_int_equal(tokens.end[tokens.n - 1], LEN);
    quern__tokens_dispose(&tokens);
    quern__tokenizer_free(t);
    quern__free(json);
    free(text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(a_long_word_is_quick),
    };
    torture_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
