/*
 * test_fingerprint.c — the canonical JSON behind a fingerprint, pinned: a change of it makes every store build anew, so it
 * never happens by accident. And no value can pass for another member of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline/recipe.h"
#include "unit/pipeline/fake_embedder.h"

static fake_embedder fake;
static quern_embedder *embedder;

static quern_source_spec books(void)
{
    quern_source_spec s;
    QUERN_INIT(&s);
    s.name = "books";
    s.table = "books";
    s.keys = "id";
    s.text = "{title}. {body}";
    s.revision = "rev";
    s.where = "gone = 0";
    s.meta = "lang";
    return s;
}

/* A store that has nothing but one source. */
static int give_source(void *self, int (*fn)(const quern_source_spec *spec, void *ud), void *ud,
                       quern_error *err)
{
    (void)err;
    return fn(self, ud);
}

/* json: at least 2,000 bytes; NULL: not wanted. */
static void fingerprint(const quern_source_spec *spec, char hash[65], char *json)
{
    quern__recipe *recipe = NULL;
    quern__fill_settings settings;
    quern_error err = {0};
    char *made = NULL;
    memset(&settings, 0, sizeof settings);
    snprintf(settings.vector_type, sizeof settings.vector_type, "f16");
    quern_store store = {.table = {.source_each = give_source}, .self = (void *)(uintptr_t)spec};
    int rc = quern__recipe_open(&recipe, &store, spec->name, &err);
    if (rc == QUERN_OK)
        rc = quern__chunking_settle(&settings.chunking, embedder, 0, 0, &err);
    if (rc == QUERN_OK)
        rc = quern__recipe_fingerprint(recipe, embedder, &settings, &made, hash, &err);
    if (rc != QUERN_OK)
        fail_msg("%s", err.msg);
    if (json)
        snprintf(json, 2000, "%s", made);
    quern_free(made);
    quern__recipe_free(recipe);
}

static void the_json_is_pinned(void **state)
{
    (void)state;
    static const char PINNED_JSON[] =
        "{\"chunker\":{\"kind\":\"token-window/"
        "2\",\"max_chunks\":64,\"max_tokens\":12,\"overlap\":3},\"max_length\":12,"
        "\"preprocessing\":\"none/"
        "1\",\"scope\":{\"keys\":\"id\",\"query\":null,\"revision\":\"rev\",\"table\":\"books\","
        "\"where\":\"gone = 0\"},\"stored_type\":\"f16\",\"template\":\"{title}. "
        "{body}\",\"weights\":\"fake-1\"}";
    static const char PINNED_HASH[] =
        "7e1a604027c1da823692117f6402d285091fa5164384deb0bf69f4286b45341f";
    char hash[65], json[2000];
    quern_source_spec spec = books();
    fingerprint(&spec, hash, json);
    assert_string_equal(json, PINNED_JSON);
    assert_string_equal(hash, PINNED_HASH);
}

/* What a hit shows beside its text, and the source's own name, decide no vector. */
static void what_decides_no_vector_is_not_in_it(void **state)
{
    (void)state;
    char a[65], b[65];
    quern_source_spec spec = books();
    fingerprint(&spec, a, NULL);
    spec.name = "other";
    spec.meta = NULL;
    spec.text_search = "words";
    spec.stamp_columns = "model=by";
    spec.keep_text = "yes";
    fingerprint(&spec, b, NULL);
    assert_string_equal(a, b);
}

/* Each field of the declaration that decides a vector is in it: a new one that is forgotten fails here. */
static void every_field_counts(void **state)
{
    (void)state;
    char seen[12][65];
    size_t n = 0;
    quern_source_spec spec = books();
    fingerprint(&spec, seen[n++], NULL);
    /* a field that is new: does it decide a vector? Then it is tried below. */
    assert_int_equal(sizeof spec,
                     15 *
                         sizeof(char *)); /* text_search, stamp_columns and keep_text decide none */
    const char **fields[] = {&spec.table, &spec.keys,    &spec.text,  &spec.revision,
                             &spec.where, &spec.prepare, &spec.assets};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *was = *fields[i];
        *fields[i] = fields[i] == &spec.text      ? "{title}"
                     : fields[i] == &spec.prepare ? "crlf"
                                                  : "other";
        fingerprint(&spec, seen[n++], NULL);
        *fields[i] = was;
    }
    spec.assets = "other=video";
    fingerprint(&spec, seen[n++], NULL);
    spec.max_assets = "3";
    fingerprint(&spec, seen[n++], NULL);
    spec.assets = spec.max_assets = NULL;
    spec.query = "SELECT 1";
    spec.table = NULL;
    fingerprint(&spec, seen[n++], NULL);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(seen[i], seen[k]);
}

/* Where fields were written as lines "name=value", the second declaration of each pair would read as the first. */
static void no_value_passes_for_another_field(void **state)
{
    (void)state;
    char a[65], b[65];
    quern_source_spec one = books(), two = books();
    one.text = "{title}\nwhere=gone = 0";
    one.where = NULL;
    two.text = "{title}";
    two.where = "gone = 0";
    fingerprint(&one, a, NULL);
    fingerprint(&two, b, NULL);
    assert_string_not_equal(a, b);
    one = two = books();
    one.keys = "id\",\"where\":\"x";
    one.where = NULL;
    two.keys = "id";
    two.where = "x";
    fingerprint(&one, a, NULL);
    fingerprint(&two, b, NULL);
    assert_string_not_equal(a, b);
    one = two = books();
    one.revision = "rev\nother=value";
    two.revision = "rev";
    fingerprint(&one, a, NULL);
    fingerprint(&two, b, NULL);
    assert_string_not_equal(a, b);
}

int main(void)
{
    embedder = fake_open(&fake);
    if (!embedder)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_json_is_pinned),
        cmocka_unit_test(what_decides_no_vector_is_not_in_it),
        cmocka_unit_test(every_field_counts),
        cmocka_unit_test(no_value_passes_for_another_field),
    };
    int failed = cmocka_run_group_tests_name("fingerprints", tests, NULL, NULL);
    quern_embedder_free(embedder);
    return failed;
}
