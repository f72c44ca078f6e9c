/*
 * test_http.c — what is read from a response's header lines and from URLs, hostile ones included. The
 * transfers themselves are tested against a misbehaving server (tests/e2e/test_shelf.py).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/client.h"
#include "http/http.h"

static quern__http_response feed(const char *line)
{
    quern__http_response r;
    memset(&r, 0, sizeof r);
    quern__http_header(&r, line, strlen(line));
    return r;
}

static void headers(void **state)
{
    (void)state;
    assert_string_equal(feed("ETag: \"abc\"\r\n").etag, "\"abc\"");
    assert_string_equal(feed("etag:\t W/\"x\" \r\n").etag, "W/\"x\"");
    assert_string_equal(feed("x-etag: \"abc\"\r\n").etag, "");
    assert_string_equal(feed("etag\r\n").etag, "");
    assert_true(feed("CONTENT-LENGTH: 90868376\r\n").has_length);
    assert_int_equal(feed("content-length:0\r\n").length, 0);
    assert_false(feed("content-length: -1\r\n").has_length);
    assert_false(feed("content-length: 5x\r\n").has_length);
    assert_false(feed("content-length: 99999999999999999999\r\n").has_length);
    assert_int_equal(feed("Retry-After: 7\r\n").retry_after_s, 7);
    assert_int_equal(feed("Retry-After: 99999999999\r\n").retry_after_s, 3600);
    assert_int_equal(feed("Retry-After: Wed, 21 Oct\r\n").retry_after_s, 0);
    quern__http_response r = feed("Content-Range: bytes 100-199/200\r\n");
    assert_true(r.has_range && r.range_first == 100 && r.range_total == 200);
    r = feed("Content-Range: bytes 100-199/*\r\n");
    assert_true(r.has_range && r.range_total == 0);
    static const char *const bad[] = {
        "bytes 5-4/9",  "bytes 5-9/9",
        "bytes -9/9",   "bytes 5-/9",
        "bytes 5-8/9x", "bits 5-8/9",
        "bytes */9",    "bytes",
        "bytes 5-8",    "",
        "bytes  5-8/9", "bytes 5-8/9/9",
        "bytes 5",      "bytes 5-8/99999999999999999999999",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char line[128];
        snprintf(line, sizeof line, "Content-Range: %s\r\n", bad[i]);
        if (feed(line).has_range)
            fail_msg("accepted: %s", bad[i]);
    }
    /* A long ETag is ignored whole: half of one would match nothing. */
    char line[400] = "etag: \"";
    memset(line + 7, 'x', 300);
    assert_string_equal(feed(line).etag, "");
    /* The next response's status line clears what a redirect said. */
    r = feed("etag: \"abc\"\r\n");
    assert_true(quern__http_header(&r, "HTTP/2 200\r\n", 12));
    assert_string_equal(r.etag, "");
    assert_false(quern__http_header(&r, "Server: x\r\n", 11));
}

static quern__http_call note(const char *line)
{
    quern__http_call call;
    memset(&call, 0, sizeof call);
    call.retry_ms = -1;
    quern__http_note(&call, line, strlen(line), 1792600000);
    return call;
}

/* When to come back, as providers say it. */
static void waiting_times(void **state)
{
    static const struct {
        const char *line;
        int32_t ms;
    } cases[] = {
        {"Retry-After: 2\r\n", 2000},
        {"retry-after: 0", 0},
        {"retry-after: 1.25", 1250},
        {"retry-after: 99999999999999999999", 3600000},
        {"retry-after: -1", -1},
        {"retry-after: soon", -1},
        {"retry-after:", -1},
        {"retry-after: Wed, 21 Oct 2026 16:26:41 GMT", 1000},
        {"retry-after: Wed, 21 Oct 2020 07:28:00 GMT", 0},
        {"retry-after: Wed, 21 Oct 2099 07:28:00 GMT", 3600000},
        {"retry-after-ms: 250", 250},
        {"retry-after-ms: 0.5", 0},
        {"retry-after-ms: 5000000000", 3600000},
        {"retry-after-ms: x", -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t ms = note(cases[i].line).retry_ms;
        if (ms != cases[i].ms)
            fail_msg("%s: %d ms, not %d", cases[i].line, (int)ms, (int)cases[i].ms);
    }
    assert_string_equal(note("Location: https://Elsewhere.example/x?y").moved_to,
                        "elsewhere.example");
    assert_string_equal(note("location: /login").moved_to, "another path of the same host");
}

static void urls(void **state)
{
    (void)state;
    char host[64];
    bool https, loop;
    assert_true(quern__http_split("https://Hub.Example:8443/a", &https, host, sizeof host, &loop));
    assert_true(https && !loop);
    assert_string_equal(host, "hub.example");
    assert_true(quern__http_split("http://127.0.0.1:80", &https, host, sizeof host, &loop));
    assert_true(!https && loop);
    assert_true(quern__http_split("http://[::1]:80/x", &https, host, sizeof host, &loop) && loop);
    assert_true(quern__http_split("http://localhost", &https, host, sizeof host, &loop) && loop);
    assert_true(quern__http_split("http://127.0.0.1.example/", &https, host, sizeof host, &loop));
    assert_false(loop);
    assert_true(quern__http_split("http://localhost.example/", &https, host, sizeof host, &loop));
    assert_false(loop);
    static const char *const bad[] = {
        "",
        "hub",
        "ftp://h/",
        "HTTP://h",
        "http://",
        "http:///x",
        "http://?",
        "http://[::",
        "http://:",
        "https://a@b/c",
        "https://a:b@c/",
        "http://h/a b",
        "http://h/\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (quern__http_split(bad[i], &https, host, sizeof host, &loop))
            fail_msg("accepted: %s", bad[i]);
    char url[200] = "http://";
    memset(url + 7, 'h', 100);
    assert_false(quern__http_split(url, &https, host, sizeof host, &loop));
}

static int never(void *ud, const void *data, size_t n, quern_error *err)
{
    (void)ud;
    (void)data;
    (void)n;
    return quern__fail(err, QUERN_EINTERNAL, 0, "no body was expected");
}

/* Refused before a packet is sent. */
static void refusals(void **state)
{
    (void)state;
    quern_error err = {0};
    quern__http_response r;
    quern_cancel *cancel = NULL;
    quern__http_request q = {.url = "http://hub.invalid/x", .bearer = "hf_secret", .body = never};
    assert_int_equal(quern__http_get(&q, &r, &err), QUERN_EINVAL);
    assert_null(strstr(err.msg, "hf_secret"));
    q.url = "https://hub.invalid/x";
    q.bearer = "a\r\nHost: b";
    assert_int_equal(quern__http_get(&q, &r, &err), QUERN_EINVAL);
    q.bearer = NULL;
    q.url = "gopher://hub.invalid/x";
    assert_int_equal(quern__http_get(&q, &r, &err), QUERN_EINVAL);
    assert_int_equal(quern_cancel_new(&cancel, &err), QUERN_OK);
    quern_cancel_raise(cancel);
    q.url = "https://hub.invalid/x";
    q.cancel = cancel;
    assert_int_equal(quern__http_get(&q, &r, &err), QUERN_ECANCELLED);
    quern_cancel_free(cancel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers),
        cmocka_unit_test(waiting_times),
        cmocka_unit_test(urls),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
