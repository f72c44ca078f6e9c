/* test_chunk.c — windows: whole coverage, the limit kept, overlap, the cap, gaps between words, no tokenizer, soft ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_embedder.h"
#include "pipeline/chunk.h"

static quern__pieces cut(quern_embedder *e, const char *text, quern__chunking how)
{
    quern__pieces p = {0};
    quern_error err = {0};
    int rc = quern__chunk_text(e, quern_str_of(text), &how, &p, &err);
    if (rc != QUERN_OK)
        fail_msg("%s", err.msg);
    return p;
}

static void short_text_is_one_slice(void **state)
{
    (void)state;
    fake_embedder f = {0};
    quern_embedder *e = fake_open(&f);
    quern__pieces p = cut(e, "  one two three \n", (quern__chunking){12, 3, 64});
    assert_int_equal(p.n, 1);
    assert_int_equal(p.items[0].start, 2);
    assert_int_equal(p.items[0].end, 15);
    assert_int_equal(p.items[0].tokens, 5);
    assert_int_equal(p.dropped_bytes, 0);
    quern__pieces_dispose(&p);
    quern_embedder_free(e);
}

static void blank_text_gives_none(void **state)
{
    (void)state;
    fake_embedder f = {0};
    quern_embedder *e = fake_open(&f);
    quern__pieces p = cut(e, " \n\t ", (quern__chunking){12, 3, 64});
    assert_int_equal(p.n, 0);
    quern__pieces_dispose(&p);
    p = cut(e, "", (quern__chunking){12, 3, 64});
    assert_int_equal(p.n, 0);
    quern__pieces_dispose(&p);
    quern_embedder_free(e);
}

/* Every word is in a window, neighbours overlap, no window is over the limit, offsets ascend. */
static void long_text_is_covered(void **state)
{
    (void)state;
    fake_embedder f = {0};
    quern_embedder *e = fake_open(&f);
    char text[4000];
    size_t n = 0;
    for (int i = 0; i < 200; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "w%d\xC3\xA9 ", i);
    quern__pieces p = cut(e, text, (quern__chunking){12, 3, 64});
    assert_true(p.n > 200 / 10);
    for (size_t i = 0; i < p.n; i++) {
        quern_str s = {text + p.items[i].start, (size_t)(p.items[i].end - p.items[i].start)};
        size_t words = fake_words(s, NULL, NULL);
        assert_true(words + 2 <= 12);
        assert_int_equal(words + 2, p.items[i].tokens);
        if (i) {
            assert_true(p.items[i].start > p.items[i - 1].start);
            assert_true(p.items[i].start < p.items[i - 1].end); /* overlap */
            assert_true(p.items[i].end > p.items[i - 1].end);
        }
        uint64_t chars = 0; /* counted again, the slow way */
        for (uint64_t b = 0; b < p.items[i].start; b++)
            chars += ((unsigned char)text[b] & 0xC0) != 0x80;
        assert_int_equal(chars, p.items[i].char_start);
    }
    assert_int_equal(p.items[p.n - 1].end, n - 1);
    assert_int_equal(p.dropped_bytes, 0);
    quern__pieces_dispose(&p);
    quern_embedder_free(e);
}

static void the_cap_drops_a_counted_tail(void **state)
{
    (void)state;
    fake_embedder f = {0};
    quern_embedder *e = fake_open(&f);
    char text[4000];
    size_t n = 0;
    for (int i = 0; i < 200; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "w%d ", i);
    quern__pieces p = cut(e, text, (quern__chunking){12, 3, 4});
    assert_int_equal(p.n, 4);
    assert_int_equal(p.dropped_bytes, n - p.items[3].end);
    quern__pieces_dispose(&p);
    /* The same cuts whether or not the tail was there. */
    quern__pieces all = cut(e, text, (quern__chunking){12, 3, 64});
    p = cut(e, text, (quern__chunking){12, 3, 4});
    assert_memory_equal(p.items, all.items, 4 * sizeof *p.items);
    quern__pieces_dispose(&all);
    quern__pieces_dispose(&p);
    quern_embedder_free(e);
}

/* "a#a#a…": tokens without gaps; a slice from the middle has one token more than its window (the '#'
 * opens a token of its own in the fake), so windows must shrink rather than pass the limit. */
static void slices_are_counted_again(void **state)
{
    (void)state;
    fake_embedder f = {0};
    quern_embedder *e = fake_open(&f);
    char text[1200];
    size_t n = 0;
    for (int i = 0; i < 300; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "ab#");
    quern__pieces p = cut(e, text, (quern__chunking){12, 3, 64});
    assert_true(p.n > 1);
    for (size_t i = 0; i < p.n; i++) {
        quern_str s = {text + p.items[i].start, (size_t)(p.items[i].end - p.items[i].start)};
        assert_true(fake_words(s, NULL, NULL) + 2 <= 12);
    }
    assert_int_equal(p.items[p.n - 1].end, n);
    quern__pieces_dispose(&p);
    quern_embedder_free(e);
}

/* Where the first window of 8 words (10 tokens with the special ones) ends. */
static void ends(const char *text, const char *at)
{
    fake_embedder f = {0};
    quern_embedder *e = fake_open(&f);
    quern__pieces p = cut(e, text, (quern__chunking){10, 2, 64});
    assert_true(p.n > 1);
    const size_t end = (size_t)p.items[0].end;
    if (end < strlen(at) || memcmp(text + end - strlen(at), at, strlen(at)) != 0)
        fail_msg("\"%.*s\" does not end at \"%s\"", (int)end, text, at);
    assert_int_equal(p.items[p.n - 1].end, strlen(text)); /* nothing is lost by it */
    quern__pieces_dispose(&p);
    quern_embedder_free(e);
}

/* The strongest break of the last quarter, the last of its kind; in front of that nothing counts. */
static void windows_end_at_breaks(void **state)
{
    (void)state;
    ends("a b c d e f g h i j k", "g h");           /* words: full */
    ends("a b c d e f. g h i j k", "f.");           /* a sentence before words */
    ends("a b c d e f! g? h i j k", "g?");          /* the last sentence */
    ends("a b c d e f\n \ng. h i j k", "f");        /* a paragraph before a sentence */
    ends("a b c d e f\ng h i j k", "g h");          /* one line end is white space */
    ends("a b c d. e f g h i j k", "g h");          /* too far in front */
    ends("a b c d e 3.14 g h i j k", "g h");        /* no end of a sentence */
    ends("a b c d e f\u3002#g h#i j k", "f\u3002"); /* a wide mark needs no white space */
    ends("a b c d e f.#g h i j k", "g h");          /* a narrow one does */
    ends("a b c d e f g#h#i#j#k", "f");             /* not inside a word where there is a gap */
    ends("a#b#c#d#e#f#g#h#i#j#k", "#h");            /* but where there is none */
}

static void bad_settings_are_refused(void **state)
{
    (void)state;
    fake_embedder f = {0};
    quern_embedder *e = fake_open(&f);
    quern__pieces p = {0};
    quern_error err = {0};
    quern__chunking how = {12, 10, 4};
    assert_int_equal(quern__chunk_text(e, quern_str_of("a b"), &how, &p, &err), QUERN_EINVAL);
    quern__pieces_dispose(&p);
    quern_embedder_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_text_is_one_slice),  cmocka_unit_test(blank_text_gives_none),
        cmocka_unit_test(long_text_is_covered),     cmocka_unit_test(the_cap_drops_a_counted_tail),
        cmocka_unit_test(slices_are_counted_again), cmocka_unit_test(bad_settings_are_refused),
        cmocka_unit_test(windows_end_at_breaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
