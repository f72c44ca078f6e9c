/* test_chunk.c — windows: whole coverage, the limit kept, overlap, the cap, gaps between words, soft ends;
 * the same by characters where there is no tokenizer; the public call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_embedder.h"
#include "base/alloc.h"
#include "pipeline/chunk.h"
#include "pipeline/headings.h"
#include "text/utf8.h"

#define HOW(tokens, shared, cap)                                                                   \
    ((quern__chunking){.max_tokens = (tokens), .overlap = (shared), .max_chunks = (cap)})

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
    quern__pieces p = cut(e, "  one two three \n", HOW(12, 3, 64));
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
    quern__pieces p = cut(e, " \n\t ", HOW(12, 3, 64));
    assert_int_equal(p.n, 0);
    quern__pieces_dispose(&p);
    p = cut(e, "", HOW(12, 3, 64));
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
    quern__pieces p = cut(e, text, HOW(12, 3, 64));
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
    quern__pieces p = cut(e, text, HOW(12, 3, 4));
    assert_int_equal(p.n, 4);
    assert_int_equal(p.dropped_bytes, n - p.items[3].end);
    quern__pieces_dispose(&p);
    /* The same cuts whether or not the tail was there. */
    quern__pieces all = cut(e, text, HOW(12, 3, 64));
    p = cut(e, text, HOW(12, 3, 4));
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
    quern__pieces p = cut(e, text, HOW(12, 3, 64));
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
    quern__pieces p = cut(e, text, HOW(10, 2, 64));
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
    quern__chunking how = HOW(12, 10, 4);
    assert_int_equal(quern__chunk_text(e, quern_str_of("a b"), &how, &p, &err), QUERN_EINVAL);
    quern__pieces_dispose(&p);
    quern_embedder_free(e);
}

#define BY_CHARACTERS(count, shared, cap)                                                          \
    ((quern__chunking){                                                                            \
        .max_tokens = (count), .overlap = (shared), .max_chunks = (cap), .characters = true})

static quern__pieces cut_characters(const char *text, quern__chunking how)
{
    return cut(NULL, text, how);
}

/* Where the first window of 8 characters ends. */
static void characters_end(const char *text, size_t end)
{
    quern__pieces p = cut_characters(text, BY_CHARACTERS(8, 2, 64));
    assert_true(p.n > 1);
    assert_int_equal(p.items[0].end, end);
    assert_int_equal(p.items[p.n - 1].end, strlen(text));
    quern__pieces_dispose(&p);
}

static void characters_end_at_breaks(void **state)
{
    (void)state;
    characters_end("abcdefghijkl", 8);
    characters_end("abcdef hijkl", 6);
    characters_end("abcdefgh ijkl", 8);
    characters_end("abc efghijkl", 8);  /* in front of the last quarter nothing counts */
    characters_end("abcde. g ijkl", 6); /* a sentence before a word */
    characters_end("abcde.\n\n ijkl mn", 6);
    characters_end("abcdef \n\n\n g. ijkl", 6); /* a paragraph ends where the window does */
    characters_end("abcdef\u3002hijkl", 9);     /* a wide mark needs no white space */
    characters_end("\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc\u00e4", 16);
}

/* Every character that is no blank is in a window, none is over the limit, offsets of characters are right. */
static void characters_cover_the_text(void **state)
{
    (void)state;
    char text[6000];
    size_t n = 0;
    for (int i = 0; i < 300; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%d\xC3\xA9%s", i % 7 ? "w" : "\u4e2d",
                              i, i % 11 ? " " : ".\n \n");
    quern__pieces p = cut_characters(text, BY_CHARACTERS(40, 10, 1024));
    assert_true(p.n > 300 * 4 / 40);
    uint64_t end = 0;
    for (size_t i = 0; i < p.n; i++) {
        const quern__piece *at = &p.items[i];
        assert_true(at->start < at->end);
        assert_true(at->char_end - at->char_start <= 40);
        assert_int_equal(at->char_start, quern__utf8_count(text, (size_t)at->start));
        assert_int_equal(at->char_end, quern__utf8_count(text, (size_t)at->end));
        assert_int_equal(quern__utf8_floor(text, n, (size_t)at->start), at->start);
        for (; end < at->start; end++) /* between two windows there are only blanks */
            assert_true(text[end] == ' ' || text[end] == '\n');
        end = at->end;
    }
    assert_int_equal(p.dropped_bytes, 0);
    quern__pieces_dispose(&p);
    p = cut_characters(text, BY_CHARACTERS(40, 10, 3));
    assert_int_equal(p.n, 3);
    assert_int_equal(p.dropped_bytes, n - p.items[2].end);
    quern__pieces_dispose(&p);
}

static void characters_that_show_nothing(void **state)
{
    (void)state;
    quern__pieces p = cut_characters(" \n\u200b \u2003\u00ad \t", BY_CHARACTERS(4, 1, 64));
    assert_int_equal(p.n, 0);
    quern__pieces_dispose(&p);
    p = cut_characters("a\u200b\u200b\u200b\u200b\u200b\u200b\u200b\u200b", BY_CHARACTERS(4, 1, 1));
    assert_int_equal(p.n, 1);
    assert_int_equal(p.dropped_bytes, 0); /* what lies beyond is nothing */
    quern__pieces_dispose(&p);
    static char blanks[1 << 20]; /* in linear time */
    memset(blanks, ' ', sizeof blanks - 2);
    blanks[sizeof blanks - 2] = 'x';
    p = cut_characters(blanks, BY_CHARACTERS(1024, 512, 64));
    assert_int_equal(p.n, 1);
    assert_int_equal(p.items[0].start, sizeof blanks - 2);
    quern__pieces_dispose(&p);
}

static void settings_follow_from_the_embedder(void **state)
{
    (void)state;
    fake_embedder f = {.max_length = 12};
    fake_embedder wide = {.max_length = 512};
    fake_embedder remote = {.max_length = 8192, .no_tokenizer = 1};
    quern_embedder *e = fake_open(&f);
    quern_embedder *w = fake_open(&wide);
    quern_embedder *r = fake_open(&remote);
    quern__chunking how;
    quern_error err = {0};
    assert_int_equal(quern__chunking_settle(&how, e, 0, 0, &err), QUERN_OK);
    assert_true(how.max_tokens == 12 && how.overlap == 3 && how.max_chunks == 64);
    assert_false(how.characters);
    assert_int_equal(quern__chunking_settle(&how, w, 7, 100, &err), QUERN_OK);
    assert_true(how.max_tokens == 256 && how.overlap == 100 && how.max_chunks == 7);
    assert_int_equal(quern__chunking_settle(&how, w, 0, 129, &err), QUERN_EINVAL);
    assert_int_equal(quern__chunking_settle(&how, w, 1025, 0, &err), QUERN_EINVAL);
    assert_int_equal(quern__chunking_settle(&how, r, 0, 0, &err), QUERN_OK);
    assert_true(how.max_tokens == 1024 && how.overlap == 128 && how.characters);
    quern_embedder_free(e);
    quern_embedder_free(w);
    quern_embedder_free(r);
}

static void the_public_call(void **state)
{
    (void)state;
    fake_embedder f = {0};
    quern_embedder *e = fake_open(&f);
    quern_error err = {0};
    quern_text_chunks *c = NULL;
    const char *text = "a b c d e f g h i j k l m n o p q r s t";
    quern_chunk_options opt;
    QUERN_INIT(&opt);
    opt.max_chunks = 2;
    assert_int_equal(quern_chunk_text(&c, e, quern_str_of(text), &opt, &err), QUERN_OK);
    assert_int_equal(quern_text_chunks_count(c), 2);
    const quern_text_chunk *second = quern_text_chunks_at(c, 1);
    assert_ptr_equal(second->text.ptr, text + second->start);
    assert_int_equal(second->text.len, second->end - second->start);
    assert_int_equal(second->tokens, 12);
    assert_int_equal(second->char_start, second->start);
    assert_null(quern_text_chunks_at(c, 2));
    assert_int_equal(quern_text_chunks_dropped(c), strlen(text) - second->end);
    quern_text_chunks_free(c);
    assert_int_equal(quern_chunk_text(&c, e, (quern_str){NULL, 0}, NULL, &err), QUERN_OK);
    assert_int_equal(quern_text_chunks_count(c), 0);
    quern_text_chunks_free(c);
    assert_int_equal(quern_chunk_text(&c, e, quern_str_of("ab\xff"), NULL, &err), QUERN_EFORMAT);
    assert_int_equal(err.detail, 2);
    assert_null(c);
    quern_text_chunks_free(NULL);
    quern_embedder_free(e);
}

/* The path above the last byte of the text. */
static void above(const char *text, const char *want)
{
    quern__headings h;
    char path[QUERN__HEADING_PATH + 1];
    size_t n;
    quern__headings_init(&h, quern_str_of(text));
    quern__headings_walk(&h, strlen(text));
    path[quern__headings_path(&h, 0, path, &n)] = '\0';
    assert_string_equal(path, want);
}

static void headings_above(void **state)
{
    (void)state;
    above("# A\ntext\n", "A");
    above("# A\n## B\n### C\n## D ##\n", "A > D");
    above("### C\n# A\n", "A");
    above("### C\n## B\ntext", "B");
    above("# A", "A"); /* the end of the text is behind it */
    above("Title\n=====\ntext\n\nPart\n---\n", "Title > Part");
    above("#no\n ####### no\n\\# no\n", "");
    above("# \n#\n", "");
    above("    # code\n\t# code\n   # A\n", "A");
    above("```\n# code\n```\n# A\n~~~~ sh\n# code\n```\n~~~\n# code\n~~~~\n", "A");
    above("```\n# never closed\n", "");
    above("---\ntitle: x\n---\ntext\n", "");
    above("text\n\n---\n", ""); /* a rule */
    above("| a | b |\n---\n- item\n---\n> q\n===\n", "");
    above("# A\r\nb\r\n===\r\n", "b");
    char text[400] = "# ";
    for (int i = 0; i < 60; i++)
        strcat(text, "\u00e4\u00e4");
    quern__headings h;
    char path[QUERN__HEADING_PATH];
    size_t n;
    quern__headings_init(&h, quern_str_of(text));
    quern__headings_walk(&h, strlen(text));
    size_t len = quern__headings_path(&h, 0, path, &n);
    assert_int_equal(len, QUERN__HEADING_BYTES);
    assert_int_equal(quern__utf8_check(path, len), len);
    quern__headings_init(&h, quern_str_of("# A\nx"));
    quern__headings_walk(&h, 3); /* on its own line it does not yet count */
    assert_int_equal(quern__headings_path(&h, 0, path, &n), 0);
    quern__headings_walk(&h, 4);
    assert_int_equal(quern__headings_path(&h, 0, path, &n), 1);
}

static void has_heading(const quern__pieces *p, size_t i, const char *want)
{
    quern_str h = quern__piece_heading(p, &p->items[i]);
    assert_int_equal(h.len, strlen(want));
    assert_memory_equal(h.ptr, want, h.len);
}

/* Offsets stay those of the text; the heading takes of the window's room, and outer ones go first. */
static void windows_with_headings(void **state)
{
    (void)state;
    const char *text =
        "# Top\n\na b c d e f g h i j k l m\n\n## One Two\n\nn o p q r s t u v w x y z";
    fake_embedder f = {.max_length = 20};
    quern_embedder *e = fake_open(&f);
    quern__chunking how = HOW(20, 1, 64);
    quern__pieces plain = cut(e, text, how);
    how.headings = true;
    quern__pieces p = cut(e, text, how);
    quern__arena arena;
    quern_error err;
    quern__arena_init(&arena, 0);
    assert_true(p.n >= plain.n);
    has_heading(&p, 0, "");
    has_heading(&p, p.n - 1, "Top > One Two");
    for (size_t i = 0; i < p.n; i++) {
        quern_str input, h = quern__piece_heading(&p, &p.items[i]);
        assert_int_equal(
            quern__piece_input(&p, &p.items[i], quern_str_of(text), &arena, &input, &err),
            QUERN_OK);
        assert_int_equal(fake_words(input, NULL, NULL) + 2, p.items[i].tokens);
        assert_true(p.items[i].tokens <= 20);
        size_t context = h.len ? h.len + 2 : 0;
        assert_int_equal(input.len, context + p.items[i].end - p.items[i].start);
        assert_memory_equal(input.ptr, h.ptr, h.len);
        assert_memory_equal(input.ptr + context, text + p.items[i].start, input.len - context);
    }
    assert_int_equal(p.items[p.n - 1].end, strlen(text));
    quern__arena_dispose(&arena);
    quern__pieces_dispose(&plain);
    quern__pieces_dispose(&p);
    quern_embedder_free(e);
    f = (fake_embedder){.max_length = 12};
    e = fake_open(&f);
    how = HOW(12, 1, 64);
    how.headings = true;
    p = cut(e, text, how); /* a quarter is three tokens: "Top > One Two" has four */
    has_heading(&p, p.n - 1, "One Two");
    quern__pieces_dispose(&p);
    quern_embedder_free(e);
    quern__chunking by = BY_CHARACTERS(60, 10, 64);
    by.headings = true;
    p = cut(NULL, text, by);
    has_heading(&p, 0, "");
    has_heading(&p, p.n - 1, "Top > One Two");
    for (size_t i = 0; i < p.n; i++)
        assert_true(p.items[i].char_end - p.items[i].char_start + p.items[i].heading_len +
                        (p.items[i].heading_len ? 2 : 0) <=
                    60);
    quern__pieces_dispose(&p);
}

static void pages_are_counted(void **state)
{
    (void)state;
    fake_embedder f = {.max_length = 6};
    quern_embedder *e = fake_open(&f);
    quern__pieces p = cut(e, "a b c d\f\fe f g h\fi j", HOW(6, 0, 64));
    assert_int_equal(p.n, 3);
    assert_int_equal(p.items[0].page, 1);
    assert_int_equal(p.items[1].page, 3);
    assert_int_equal(p.items[2].page, 4);
    quern__pieces_dispose(&p);
    p = cut(e, "a b c d e f g h i j", HOW(6, 0, 64));
    assert_int_equal(p.items[2].page, 0);
    quern__pieces_dispose(&p);
    quern_embedder_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_text_is_one_slice),
        cmocka_unit_test(blank_text_gives_none),
        cmocka_unit_test(long_text_is_covered),
        cmocka_unit_test(the_cap_drops_a_counted_tail),
        cmocka_unit_test(slices_are_counted_again),
        cmocka_unit_test(bad_settings_are_refused),
        cmocka_unit_test(windows_end_at_breaks),
        cmocka_unit_test(characters_end_at_breaks),
        cmocka_unit_test(characters_cover_the_text),
        cmocka_unit_test(characters_that_show_nothing),
        cmocka_unit_test(settings_follow_from_the_embedder),
        cmocka_unit_test(the_public_call),
        cmocka_unit_test(headings_above),
        cmocka_unit_test(windows_with_headings),
        cmocka_unit_test(pages_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
