/*
 * The face in front of an embedder, with a made-up embedder behind it: what it refuses, what it counts,
 * and that jobs end. The made-up one is told by the text what to answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/os.h"
#include "quern/sys/embedder.h"

enum { DIM = 4 };

static atomic_int calls, released;

static int fake_embed(void *self, const quern_str *texts, size_t n, const quern_embed_options *opt,
                      float *out, quern_embed_result *results, quern_error *err)
{
    (void)self;
    (void)err;
    atomic_fetch_add(&calls, 1);
    for (size_t i = 0; i < n; i++) {
        float *v = out + i * DIM;
        memset(v, 0, DIM * sizeof *v);
        v[0] = 1;
        if (texts[i].len && texts[i].ptr[0] == 'z')
            v[0] = 0;
        if (texts[i].len && texts[i].ptr[0] == 'n')
            v[1] = NAN;
        if (texts[i].len && texts[i].ptr[0] == 'l')
            v[0] = 2;
        if (texts[i].len && texts[i].ptr[0] == 's')
            for (int wait = 0; wait < 5000 && !quern_cancel_raised(opt->cancel); wait++)
                quern__sleep_ms(1);
        if (quern_cancel_raised(opt->cancel)) {
            if (err) {
                memset(err, 0, sizeof *err);
                err->status = QUERN_ECANCELLED;
            }
            return QUERN_ECANCELLED;
        }
        results[i].tokens = 3;
    }
    return QUERN_OK;
}

static int fake_fingerprint(void *self, char **json, quern_error *err)
{
    (void)self;
    (void)err;
    *json = quern_alloc(3);
    memcpy(*json, "{}", 3);
    return QUERN_OK;
}

static void fake_release(void *self)
{
    (void)self;
    atomic_fetch_add(&released, 1);
}

static quern_embedder *open_fake(void)
{
    quern_embedder_table t = {.struct_size = sizeof t,
                              .name = "fake",
                              .dimensions = DIM,
                              .max_length = 8,
                              .embed = fake_embed,
                              .fingerprint = fake_fingerprint,
                              .release = fake_release};
    quern_embedder *e;
    atomic_store(&calls, 0);
    assert_int_equal(quern_embedder_from_table(&e, &t, NULL, NULL), QUERN_OK);
    return e;
}

static int embed_one(quern_embedder *e, const char *text, const quern_embed_options *opt,
                     quern_error *err)
{
    quern_str s = quern_str_of(text);
    float out[DIM];
    return quern_embed(e, &s, 1, opt, out, DIM, NULL, err);
}

static void refuses_vectors_that_are_none(void **state)
{
    (void)state;
    quern_embedder *e = open_fake();
    quern_error err;
    quern_str three[3] = {{"a", 1}, {"b", 1}, {"z", 1}};
    float out[3 * DIM];
    assert_int_equal(embed_one(e, "good", NULL, &err), QUERN_OK);
    assert_int_equal(embed_one(e, "nan", NULL, &err), QUERN_EINTERNAL);
    assert_int_equal(embed_one(e, "long", NULL, &err), QUERN_EINTERNAL);
    assert_int_equal(quern_embed(e, three, 3, NULL, out, 3 * DIM, NULL, &err), QUERN_EINTERNAL);
    assert_int_equal(err.subject, 2);
    quern_embed_options raw;
    QUERN_INIT(&raw);
    raw.no_normalize = 1;
    assert_int_equal(embed_one(e, "long", &raw, &err), QUERN_OK);
    assert_int_equal(embed_one(e, "zero", &raw, &err), QUERN_EINTERNAL);
    quern_embedder_free(e);
}

static void checks_arguments(void **state)
{
    (void)state;
    quern_embedder *e = open_fake();
    quern_error err;
    quern_str texts[2] = {{"a", 1}, {NULL, 5}};
    float out[2 * DIM];
    assert_int_equal(quern_embed(e, NULL, 0, NULL, NULL, 0, NULL, &err), QUERN_OK);
    assert_int_equal(atomic_load(&calls), 0); /* zero texts: nobody is asked */
    assert_int_equal(quern_embed(e, texts, 2, NULL, out, 2 * DIM, NULL, &err), QUERN_EINVAL);
    assert_int_equal(err.subject, 1);
    texts[1] = quern_str_of("");
    assert_int_equal(quern_embed(e, texts, 2, NULL, out, 2 * DIM - 1, NULL, &err), QUERN_EINVAL);
    assert_int_equal(quern_embed(e, texts, 2, NULL, out, 2 * DIM, NULL, &err), QUERN_OK);
    assert_int_equal(quern_embed(e, texts, 2, NULL, NULL, 2 * DIM, NULL, NULL), QUERN_EINVAL);
    quern_tokens *t;
    assert_int_equal(quern_embedder_tokenize(e, texts[0], &t, &err), QUERN_EUNSUPPORTED);
    assert_null(t);
    quern_embedder_free(e);
}

static void refuses_tables_that_lack_something(void **state)
{
    (void)state;
    quern_error err;
    quern_embedder *e;
    quern_embedder_table t = {.struct_size = sizeof t,
                              .name = "fake",
                              .dimensions = DIM,
                              .max_length = 8,
                              .embed = fake_embed,
                              .fingerprint = fake_fingerprint};
    t.embed = NULL;
    assert_int_equal(quern_embedder_from_table(&e, &t, NULL, &err), QUERN_EINVAL);
    assert_null(e);
    t.embed = fake_embed;
    t.dimensions = 0;
    assert_int_equal(quern_embedder_from_table(&e, &t, NULL, &err), QUERN_EINVAL);
    t.dimensions = DIM;
    t.struct_size = sizeof t + 8;
    assert_int_equal(quern_embedder_from_table(&e, &t, NULL, &err), QUERN_EUNSUPPORTED);
}

static void counts_and_releases(void **state)
{
    (void)state;
    quern_embedder *e = open_fake();
    quern_embedder_stats s;
    QUERN_INIT(&s);
    atomic_store(&released, 0);
    embed_one(e, "a", NULL, NULL);
    embed_one(e, "z", NULL, NULL);
    assert_int_equal(quern_embedder_get_stats(e, &s, NULL), QUERN_OK);
    assert_int_equal(s.calls, 2);
    assert_int_equal(s.texts, 1);
    assert_int_equal(s.tokens, 3);
    assert_int_equal(s.failures, 1);
    quern_embedder_free(e);
    assert_int_equal(atomic_load(&released), 1);
}

static void jobs_finish_and_cancel(void **state)
{
    (void)state;
    quern_embedder *e = open_fake();
    quern_error err;
    quern_embed_job *job;
    char text[] = "a";
    quern_str s = quern_str_of(text);
    float out[DIM] = {0};
    assert_int_equal(quern_embed_start(&job, e, &s, 1, NULL, out, DIM, NULL, &err), QUERN_OK);
    text[0] = 'z'; /* the job has its own copy */
    assert_int_equal(quern_embed_wait(job, &err), QUERN_OK);
    assert_true(out[0] == 1);

    s = quern_str_of("slow");
    assert_int_equal(quern_embed_start(&job, e, &s, 1, NULL, out, DIM, NULL, &err), QUERN_OK);
    assert_int_equal(quern_embed_poll(job), 0);
    quern_embed_cancel(job);
    assert_int_equal(quern_embed_wait(job, &err), QUERN_ECANCELLED);

    quern_cancel *c;
    quern_embed_options opt;
    QUERN_INIT(&opt);
    assert_int_equal(quern_cancel_new(&c, NULL), QUERN_OK);
    opt.cancel = c;
    assert_int_equal(quern_embed_start(&job, e, &s, 1, &opt, out, DIM, NULL, &err), QUERN_OK);
    quern_cancel_raise(c); /* the caller's own flag ends the job too */
    assert_int_equal(quern_embed_wait(job, &err), QUERN_ECANCELLED);
    quern_cancel_free(c);
    quern_embedder_free(e);
}

static void writes_json(void **state)
{
    (void)state;
    quern_embedder *e = open_fake();
    char *json;
    assert_int_equal(quern_embed_json(e, quern_str_of("a"), NULL, &json, NULL), QUERN_OK);
    assert_non_null(strstr(json, "\"embedding\":[1,0,0,0]"));
    assert_non_null(strstr(json, "\"tokens\":3"));
    assert_non_null(strstr(json, "\"truncated\":false"));
    assert_non_null(strstr(json, "\"model\":\"fake\""));
    /* SHA-256 of "{}" */
    assert_non_null(strstr(
        json,
        "\"fingerprint\":\"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\""));
    quern_free(json);
    assert_int_equal(quern_embed_json(e, quern_str_of("z"), NULL, &json, NULL), QUERN_EINTERNAL);
    assert_null(json);
    quern_embedder_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_vectors_that_are_none),
        cmocka_unit_test(checks_arguments),
        cmocka_unit_test(refuses_tables_that_lack_something),
        cmocka_unit_test(counts_and_releases),
        cmocka_unit_test(jobs_finish_and_cancel),
        cmocka_unit_test(writes_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
