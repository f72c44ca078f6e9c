/*
 * embed_authorized.c — calls to a hosted model that the program authorizes one by one, for the Python tests.
 *
 *   embed_authorized URL MODE CALLS [KEY]
 *
 * MODE is what the callback does: headers (a token of its own and the number of the call), refuse (from the second call on),
 * silent (a code and no word), odd (a code that is none), later (refuses twice, and may be asked again), newline, name, many, blab (its word
 * holds the token). Prints a line for each time it was asked, "URL TEXTS", "STATUS BODY" for each answer that was an error,
 * and "right" for each vector that came; a failure is
 * "NAME: message" on stderr, and exit 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quern/provider.h"

static const char token[] = "Bearer rotating-secret-0123456789";

typedef struct program {
    const char *mode;
    int asked;
} program;

static int is(const program *p, const char *mode)
{
    return strcmp(p->mode, mode) == 0;
}

static int refuse(quern_error *err, int code, const char *word)
{
    snprintf(err->msg, sizeof err->msg, "%s", word);
    return code;
}

static int authorize(quern_provider_request *r, void *ud, quern_error *err)
{
    program *p = ud;
    char number[16];
    p->asked++;
    printf("%s %zu\n", quern_provider_request_url(r), quern_provider_request_texts(r));
    snprintf(number, sizeof number, "%d", p->asked);
    if (is(p, "refuse") && p->asked > 1)
        return refuse(err, QUERN_EBUDGET, "the budget of team 7 is spent");
    if (is(p, "silent"))
        return QUERN_EBUSY;
    if (is(p, "odd"))
        return 12345;
    if (is(p, "later") && p->asked < 3) {
        err->retry_ms = 1;
        return refuse(err, QUERN_EREMOTE, "the token is being renewed");
    }
    if (is(p, "newline"))
        return quern_provider_request_header(r, "X-Trace", "1\r\nX-Evil: 2", err);
    if (is(p, "name"))
        return quern_provider_request_header(r, "X Trace", "1", err);
    for (int i = 0, rc = 0; is(p, "many") && i < 200; i++)
        if ((rc = quern_provider_request_header(r, "X-Many", "1", err)) != QUERN_OK)
            return rc;
    int rc = quern_provider_request_header(r, "Authorization", token, err);
    if (is(p, "blab"))
        return refuse(err, QUERN_EREMOTE, token);
    return rc ? rc : quern_provider_request_header(r, "X-Call", number, err);
}

static void refused(int status, quern_str body, void *ud)
{
    (void)ud;
    printf("%d %.*s\n", status, (int)body.len, body.ptr);
}

int main(int argc, char **argv)
{
    quern_provider_options o;
    quern_retry_options retry;
    quern_embedder *e = NULL, *outer = NULL;
    quern_error err = {0};
    program p = {0};
    quern_str texts[2];
    float v[2 * 24];
    if (argc < 4)
        return 2;
    p.mode = argv[2];
    QUERN_INIT(&o);
    QUERN_INIT(&retry);
    o.provider = "compatible";
    o.model = "any";
    o.base_url = argv[1];
    o.api_key = argc > 4 ? argv[4] : NULL;
    o.dimensions = 24;
    o.authorize = authorize;
    o.authorize_ud = &p;
    o.refused = refused;
    retry.base_ms = 1;
    texts[0] = quern_str_of("ban");
    texts[1] = quern_str_of("lan");
    int rc = quern_embedder_from_provider(&e, &o, &err);
    if (!rc && !(rc = quern_embedder_retrying(&outer, e, &retry, &err)))
        e = outer;
    for (int i = 0; i < atoi(argv[3]) && !rc; i++)
        if (!(rc = quern_embed(e, texts, 2, NULL, v, 48, NULL, &err)))
            printf("right\n");
    if (rc)
        fprintf(stderr, "%s: %s\n", quern_status_name(rc), err.msg);
    quern_embedder_free(e);
    return rc != 0;
}
