/* test_prepare.c — the steps that clean a text, one by one; what they must leave alone; names; hostile input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/prepare.h"
#include "text/utf8.h"

typedef size_t (*step_fn)(char *text, size_t len);

static void expect(step_fn step, const char *text, const char *want)
{
    char buf[4000];
    size_t len = strlen(text);
    assert_true(len < sizeof buf);
    memcpy(buf, text, len);
    size_t n = step(buf, len);
    assert_true(n <= len);
    buf[n] = '\0';
    assert_string_equal(buf, want);
}

static void crlf(void **state)
{
    (void)state;
    expect(quern__prepare_crlf, "a\r\nb\rc\n\r\nd\r", "a\nb\nc\n\nd\n");
    expect(quern__prepare_crlf, "\r\r\n", "\n\n");
    expect(quern__prepare_crlf, "", "");
}

static void whitespace(void **state)
{
    (void)state;
    step_fn f = quern__prepare_whitespace;
    expect(f, "  a \t b  ", "a b");
    expect(f, "a \n  b", "a\nb");
    expect(f, "a\n \n\n \nb\n\n", "a\n\nb");
    expect(f, "a\u00A0\u2003\u3000b", "a b");
    expect(f, "a\u200Bb\u00ADc\uFEFF", "abc");
    expect(f,
           "a\u2028b\u2029\u2029c\xC2\x85"
           "d",
           "a\nb\n\nc\nd");
    expect(f, "a\r\nb", "a\n\nb"); /* crlf is a step of its own */
    expect(f, "\fa \f\n b\f", "\fa\fb");
    expect(f, "a\f\fb", "a\f\fb");
    expect(f, " \n\u200B ", "");
    expect(f, "\u0915\u200D\u0937", "\u0915\u200D\u0937"); /* a joiner is part of a word */
}

static void data_uris(void **state)
{
    (void)state;
    step_fn f = quern__prepare_data_uri;
    expect(f, "see ![x](data:image/png;base64,iVBORw0KGgo=) there", "see ![x]() there");
    expect(f, "<img src=\"DATA:image/svg+xml;charset=utf-8,%3Csvg%20a='b'\">", "<img src=\"'b'\">");
    expect(f, "a data:;base64,QUJD+/ b", "a  b");
    expect(f, "data: the, metadata:image/png,x data:a,b",
           "data: the, metadata:image/png,x data:a,b");
    char text[1000] = "before ";
    char want[1000];
    for (int i = 0; i < 30; i++) /* 120 characters */
        strcat(text, "aB3/");
    strcat(text, "== after");
    expect(f, text, "before  after");
    text[0] = '\0';
    for (int i = 0; i < 25; i++) /* 100: not over it */
        strcat(text, "aB3/");
    expect(f, text, text);
    text[0] = '\0';
    for (int i = 0; i < 200; i++) /* a long word of one kind */
        strcat(text, "ACGT");
    expect(f, text, text);
    snprintf(text, sizeof text, "%s", "x\n");
    for (int line = 0; line < 3; line++) {
        for (int i = 0; i < 19; i++)
            strcat(text, "Zm9v");
        strcat(text, "\n");
    }
    strcat(text, "YmFyYg==\nRegards\n");
    expect(f, text, "x\n\nRegards\n");
    snprintf(want, sizeof want, "%s", "Zm9vYmFy and 3 words\n");
    expect(f, want, want);
}

static void html(void **state)
{
    (void)state;
    step_fn f = quern__prepare_html;
    expect(f, "<p>One <b>bold</b> word.</p><p>Two</p>", "One bold word.\n\nTwo\n\n");
    expect(f, "a<br>b<BR/>c<br />d", "a\nb\nc\nd");
    expect(f, "<ul><li>x</li><li>y</li></ul>z", "x\ny\n\nz");
    expect(f, "<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>", "1 2 \n3 \n\n");
    expect(f, "a<script>if (a < b) x('</p>');</script>b<STYLE type=\"a>b\">p {}</STYLE >c", "abc");
    expect(f, "a<!-- <p>gone</p> -- > still -->b<!---->c", "abc");
    expect(f, "<!DOCTYPE html><?xml version=\"1\"?>x", "x");
    expect(f, "<a title=\"a > b\" href='x>y'>link</a>", "link");
    expect(f, "<title>T</title><h1>H</h1>t", "T\n\nH\n\nt");
    expect(f, "1 < 2 and 3 > 2 <3 </ >", "1 < 2 and 3 > 2 <3 </ >");
    expect(f, "x <a href=", "x <a href=");
    expect(f, "x <em<b>y", "x <emy");
    expect(f, "<a title=\"open>y <b>z</b>", "y z"); /* a quote that is never closed */
    expect(f, "a<script>b", "ab");
    expect(f, "a<!--b", "ab");
    expect(f, "<unknown-thing x>y</unknown-thing>", "y");
    expect(f, "&lt;b&gt; &amp;lt; &quot;&apos;&nbsp;&eacute;&thetasym;&hearts;",
           "<b> &lt; \"'\u00A0\u00E9\u03D1\u2665");
    expect(f, "&#65;&#x1F600;&#X41;&#150;&#0;&#xD800;&#x110000;",
           "A\U0001F600A\u2013\uFFFD\uFFFD\uFFFD");
    expect(f, "& &; &x; &amp &#; &#x; &#12 &lt", "& &; &x; &amp &#; &#x; &#12 &lt");
    expect(f, "AT&T &copy;2024", "AT&T \u00A92024");
    expect(f, "&#99999999999999;", "&#99999999999999;");
}

static void tracking(void **state)
{
    (void)state;
    step_fn f = quern__prepare_tracking;
    expect(f, "https://a.b/c?utm_source=x&id=7&gclid=1#top", "https://a.b/c?id=7#top");
    expect(f, "https://a.b/c?utm_source=x&UTM_Medium=y", "https://a.b/c");
    expect(f, "https://a.b/c?utm_source=x#f", "https://a.b/c#f");
    expect(f, "https://a.b/?id=7&amp;fbclid=abc&amp;q=1", "https://a.b/?id=7&amp;q=1");
    expect(f, "https://a.b/?fbclid=abc&amp;q=1", "https://a.b/?q=1");
    expect(f, "(HTTP://a.b/?mc_eid=1) [x](https://c.d?igshid=2&x)",
           "(HTTP://a.b/) [x](https://c.d?x)");
    expect(f, "See https://a.b/?gclid=1. Then https://a.b/?id=1&gclid=2!",
           "See https://a.b/. Then https://a.b/?id=1!");
    expect(f, "<a href=\"http://a.b/?utm_id=1&k=v\">", "<a href=\"http://a.b/?k=v\">");
    expect(f, "https://a.b/?utm=1&gclids=2&xgclid=3", "https://a.b/?utm=1&gclids=2&xgclid=3");
    expect(f, "utm_source=x ?gclid=1 ftp://a?gclid=1", "utm_source=x ?gclid=1 ftp://a?gclid=1");
    expect(f, "https://a.b/#x?utm_source=1", "https://a.b/#x?utm_source=1");
    expect(f, "https://a.b/? https://a.b/?& h http:/", "https://a.b/? https://a.b/?& h http:/");
    expect(f, "https://a.b/?q=\u00E4&yclid=\u00E4", "https://a.b/?q=\u00E4");
}

static void quoted(void **state)
{
    (void)state;
    step_fn f = quern__prepare_quoted;
    expect(f, "Yes.\n\nOn Mon, 3 May 2021 at 10:00, Ann <a@b.c> wrote:\n> Shall we?\n>\n> Ann\n",
           "Yes.\n\n");
    expect(f, "Yes.\nOn Mon, 3 May 2021 at 10:00, Ann\n<a@b.c> wrote:\n\n> Shall we?\nAnd more.\n",
           "Yes.\nAnd more.\n");
    expect(f, "Am 3. Mai schrieb Ann <a@b.c>:\n > Ja?\nNein.", "Nein.");
    expect(f, "He wrote:\n> quoted\nback\n",
           "He wrote:\nback\n"); /* no date: may be the writer's own */
    expect(f, "On Monday we met.\n> q\n", "On Monday we met.\n");
    expect(f, "Fine.\n-----Original Message-----\nFrom: x\nall of it\n", "Fine.\n");
    expect(f, "Gut.\n----- Urspr\u00FCngliche Nachricht -----\nweg\n", "Gut.\n");
    expect(f, "Ok.\n\nFrom: A\nSent: B\nTo: C\nSubject: D\n\ngone", "Ok.\n\n");
    expect(f, "Ok.\nVon: A\nGesendet: B\nAn: C\nCc: E\nBetreff: D\ngone", "Ok.\n");
    expect(f, "From: A\nDate: B\nTo: C\nSubject: D\n\nthe mail itself\n",
           "From: A\nDate: B\nTo: C\nSubject: D\n\nthe mail itself\n");
    expect(f, "a\nFrom: the top\nTo: the bottom\n", "a\nFrom: the top\nTo: the bottom\n");
    expect(f, "---------- Forwarded message ----------\nkept",
           "---------- Forwarded message ----------\nkept");
    expect(f, "a > b\nx->y\n", "a > b\nx->y\n");
    expect(f, "On 1 May Ann wrote:\r\n> q\r\nyes\r\n", "yes\r\n");
}

static void signature(void **state)
{
    (void)state;
    step_fn f = quern__prepare_signature;
    expect(f, "Hello\n-- \nAnn\nExample Ltd\n", "Hello\n");
    expect(f, "Hello\r\n-- \r\nAnn\r\n", "Hello\r\n");
    expect(f, "a\n-- \nb\n--\nAnn", "a\n-- \nb\n");
    expect(f, "a --\n --b\n---\nc", "a --\n --b\n---\nc");
    expect(f, "Yes.\n\nSent from my phone\n\n", "Yes.\n\n");
    expect(f, "Sent from my desk it went\nto hers.", "Sent from my desk it went\nto hers.");
    expect(f, "x\nVon meinem iPhone gesendet", "x\n");
    char text[3000] = "a\n-- \n";
    for (int i = 0; i < 20; i++) /* too long for one */
        strcat(text, "line\n");
    expect(f, text, text);
    expect(f, "", "");
    expect(f, "-- \n", "");
}

static void names(void **state)
{
    (void)state;
    quern_error err;
    uint32_t steps = 99;
    char out[QUERN__PREPARE_NAMES];
    assert_int_equal(quern__prepare_parse(NULL, &steps, &err), QUERN_OK);
    quern__prepare_names(steps, out);
    assert_string_equal(out, "none/1");
    assert_int_equal(quern__prepare_parse(" whitespace,html ,crlf", &steps, &err), QUERN_OK);
    quern__prepare_names(steps, out);
    assert_string_equal(out, "crlf,html,whitespace/1");
    assert_int_equal(quern__prepare_parse("all", &steps, &err), QUERN_OK);
    quern__prepare_names(steps, out);
    assert_string_equal(out, "crlf,data-uri,html,tracking,quoted,signature,whitespace/1");
    assert_int_equal(quern__prepare_parse("htlm", &steps, &err), QUERN_EINVAL);
    assert_non_null(strstr(err.msg, "did you mean \"html\""));
    assert_int_equal(quern__prepare_parse("html,,crlf", &steps, &err), QUERN_EINVAL);
    assert_int_equal(quern__prepare_parse("html/1", &steps, &err), QUERN_EINVAL);
    char longest[2000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(quern__prepare_parse(longest, &steps, &err), QUERN_EINVAL);
}

/* The steps in their order: each sees what those before it left. */
static void together(void **state)
{
    (void)state;
    static const char mail[] =
        "<p>Hello&nbsp;<b>Ann</b>,</p>\r\n<p>see https://a.b/?id=1&amp;utm_source=mail</p>\r\n"
        "<p>-- <br>Bob</p>";
    char buf[sizeof mail];
    memcpy(buf, mail, sizeof mail);
    size_t n = quern__prepare(QUERN__PREPARE_ALL, buf, strlen(mail));
    buf[n] = '\0';
    assert_string_equal(buf, "Hello Ann,\n\nsee https://a.b/?id=1");
    memcpy(buf, mail, sizeof mail);
    assert_int_equal(quern__prepare(0, buf, strlen(mail)), strlen(mail));
    assert_string_equal(buf, mail);
}

/* What takes a bad scanner quadratic time takes this one a moment: a megabyte of each beginning without its end. */
static void hostile(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "<",
        "<a",
        "<a \"",
        "<a '<b \"",
        "<a b=\"",
        "<!--",
        "<script>",
        "<style>",
        "</script",
        "&",
        "&#x",
        "&lt",
        "data:",
        "data:a/b",
        "data:;base64,",
        "aB3/",
        "aB3/\n",
        "http://?",
        "http://?&&&",
        "https://a?utm_&",
        "> ",
        ">\n",
        "From:\n",
        "On x wrote:\n",
        "-- \n",
        "Sent from my \n",
        "\u00A0",
        "\r",
        "\f",
        "-- ",
        "-----Original",
        "<p>",
        "<td>",
        "<a b='\">",
        "<a b='<c d=\"<",
    };
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE + 64);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        size_t n = 0, len = strlen(pieces[i]);
        while (n + len <= SIZE) {
            memcpy(text + n, pieces[i], len);
            n += len;
        }
        size_t left = quern__prepare(QUERN__PREPARE_ALL, text, n);
        assert_true(left <= n);
        assert_int_equal(quern__utf8_check(text, left), left);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crlf),      cmocka_unit_test(whitespace), cmocka_unit_test(data_uris),
        cmocka_unit_test(html),      cmocka_unit_test(tracking),   cmocka_unit_test(quoted),
        cmocka_unit_test(signature), cmocka_unit_test(names),      cmocka_unit_test(together),
        cmocka_unit_test(hostile),
    };
    return cmocka_run_group_tests_name("prepare", tests, NULL, NULL);
}
