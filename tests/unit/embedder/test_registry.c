/*
 * test_registry.c — several models at once: loaded, exchanged and let go while threads embed with them; each vector is one
 * of the model that its call began with, and what is held stays under the bound.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/os.h"
#include "embedder/embedder.h"
#include "quern/registry.h"

enum { DIM = 80, THREADS = 4 };

static const char *folders[3]; /* three models that differ in their weights */
static float wanted[3][DIM];
static uint64_t bytes_of_one;

static void fine(int rc, const quern_error *err)
{
    if (rc != QUERN_OK)
        fail_msg("%d: %s", rc, err->msg);
}

static quern_registry *new_registry(uint64_t limit)
{
    quern_registry_options opt;
    quern_registry *r;
    quern_error err;
    QUERN_INIT(&opt);
    opt.memory_limit = limit;
    opt.threads = 1;
    fine(quern_registry_new(&r, &opt, &err), &err);
    return r;
}

static void load(quern_registry *r, const char *id, int model)
{
    quern_error err;
    fine(quern_registry_load(r, id, folders[model], NULL, &err), &err);
}

static int embed(quern_embedder *e, float out[DIM], quern_error *err)
{
    const quern_str text = quern_str_of("ban");
    return quern_embed(e, &text, 1, NULL, out, DIM, NULL, err);
}

/* Which model it is; -1: none of them. */
static int which(const float v[DIM])
{
    for (int i = 0; i < 3; i++)
        if (memcmp(v, wanted[i], sizeof wanted[i]) == 0)
            return i;
    return -1;
}

static int ask(quern_registry *r, const char *id)
{
    quern_embedder *e;
    quern_error err;
    float v[DIM];
    fine(quern_registry_use(r, id, &e, &err), &err);
    fine(embed(e, v, &err), &err);
    quern_registry_done(r, e);
    return which(v);
}

static uint64_t held(quern_registry *r, size_t *loaded)
{
    quern_registry_entries *l;
    quern_error err;
    uint64_t sum = 0;
    *loaded = 0;
    fine(quern_registry_list(r, &l, &err), &err);
    for (size_t i = 0; i < quern_registry_count(l); i++) {
        const quern_registry_entry *e = quern_registry_at(l, i);
        if (e->loaded && !e->alias_of) {
            sum += e->bytes;
            ++*loaded;
        }
    }
    quern_registry_entries_free(l);
    return sum;
}

static int setup(void **state)
{
    (void)state;
    static char names[3][512];
    quern_error err;
    const char *python = getenv("QUERN_TEST_PYTHON"), *root = getenv("QUERN_ROOT");
    if (!python || !root)
        return -1;
    quern_registry *r = new_registry(0);
    for (int i = 0; i < 3; i++) {
        quern_embedder *e;
        size_t n;
        char command[1024];
        snprintf(names[i], sizeof names[i], "./test_registry.%d.d", i);
        snprintf(command, sizeof command, "'%s' '%s/tools/make-tiny-model' --seed %d %s", python,
                 root, i, names[i]);
        assert_int_equal(system(command), 0);
        folders[i] = names[i];
        load(r, "one", i);
        fine(quern_registry_use(r, "one", &e, &err), &err);
        fine(embed(e, wanted[i], &err), &err);
        quern_registry_done(r, e);
        bytes_of_one = held(r, &n);
    }
    quern_registry_free(r);
    return 0;
}

static void names_and_aliases(void **state)
{
    (void)state;
    quern_registry *r = new_registry(0);
    quern_embedder *e;
    quern_error err;
    load(r, "a", 0);
    load(r, "b", 1);
    fine(quern_registry_alias(r, "now", "a", &err), &err);
    assert_int_equal(ask(r, "now"), 0);
    fine(quern_registry_alias(r, "now", "b", &err), &err);
    assert_int_equal(ask(r, "now"), 1);
    fine(quern_registry_alias(r, "then", "now", &err), &err);
    load(r, "b", 2); /* exchanged: the alias follows */
    assert_int_equal(ask(r, "then"), 2);
    assert_int_equal(quern_registry_alias(r, "a", "b", &err), QUERN_EEXISTS);
    assert_int_equal(quern_registry_load(r, "now", folders[0], NULL, &err), QUERN_EEXISTS);
    assert_int_equal(quern_registry_alias(r, "x", "nobody", &err), QUERN_ENOTFOUND);
    assert_int_equal(quern_registry_alias(r, "x", NULL, &err), QUERN_ENOTFOUND);
    assert_int_equal(quern_registry_load(r, "a b", folders[0], NULL, &err), QUERN_EINVAL);
    assert_int_equal(quern_registry_load(r, "", folders[0], NULL, &err), QUERN_EINVAL);
    assert_int_equal(quern_registry_load(r, "a", "/no/such/folder", NULL, &err), QUERN_ENOTFOUND);
    assert_int_equal(ask(r, "a"), 0); /* what failed exchanged nothing */
    fine(quern_registry_unload(r, "b", NULL, &err), &err);
    assert_int_equal(quern_registry_use(r, "then", &e, &err), QUERN_ENOTFOUND);
    assert_non_null(strstr(err.msg, "there are: a"));
    assert_int_equal(quern_registry_unload(r, "b", NULL, &err), QUERN_ENOTFOUND);
    quern_registry_free(r);
}

static void the_idle_one_goes_for_room(void **state)
{
    (void)state;
    quern_registry *r = new_registry(bytes_of_one * 2 + bytes_of_one / 2);
    quern_embedder *a, *b, *c;
    quern_error err;
    size_t n;
    load(r, "a", 0);
    load(r, "b", 1);
    assert_int_equal(ask(r, "a"), 0);
    load(r, "c", 2); /* b is the one longest unused */
    assert_true(held(r, &n) <= bytes_of_one * 2 + bytes_of_one / 2);
    assert_int_equal(n, 2);
    fine(quern_registry_use(r, "a", &a, &err), &err);
    fine(quern_registry_use(r, "c", &c, &err), &err);
    assert_int_equal(quern_registry_use(r, "b", &b, &err), QUERN_ENOMEM); /* both are in use */
    assert_non_null(strstr(err.msg, "bytes"));
    quern_registry_done(r, c);
    fine(quern_registry_use(r, "b", &b, &err), &err); /* c goes */
    quern_registry_done(r, a);
    quern_registry_done(r, b);
    assert_int_equal(ask(r, "c"), 2);
    assert_int_equal(ask(r, "b"), 1);
    quern_registry_free(r);
    r = new_registry(bytes_of_one / 2);
    assert_int_equal(quern_registry_load(r, "a", folders[0], NULL, &err), QUERN_ENOMEM);
    assert_int_equal(held(r, &n), 0);
    quern_registry_free(r);
}

static void shell(const char *format, const char *a, const char *b, const char *c)
{
    char command[1024];
    snprintf(command, sizeof command, format, a, b, c);
    assert_int_equal(system(command), 0);
}

static void what_never_fits_sends_nothing_away(void **state)
{
    (void)state;
    quern_registry *r = new_registry(bytes_of_one + bytes_of_one / 2);
    quern_error err;
    size_t n;
    load(r, "a", 0);
    shell("'%s' '%s/tools/make-tiny-model' --layers 12 ./test_registry.large.d",
          getenv("QUERN_TEST_PYTHON"), getenv("QUERN_ROOT"), "");
    assert_int_equal(quern_registry_load(r, "b", "./test_registry.large.d", NULL, &err),
                     QUERN_ENOMEM);
    held(r, &n);
    assert_int_equal(n, 1);
    assert_int_equal(ask(r, "a"), 0);
    quern_registry_free(r);
}

/* What is asked of the bound is what is held, whatever takes it: tables of turns, of distances, widened words, Dense. */
static void measured_as_held(void **state)
{
    (void)state;
    static const char *const kinds[] = {
        "--family t5 --length 500 --dtype f16 --dense 48:tanh", "--family modernbert --length 3000",
        "--family mpnet --length 900", "--family nomic_bert --length 2000",
        "--family qwen3 --length 5000 --head-dim 64"};
    const size_t n = getenv("QUERN_LONG") ? sizeof kinds / sizeof *kinds : 2;
    quern_error err;
    for (size_t i = 0; i < n; i++) {
        char arguments[256];
        quern_model *m;
        uint64_t bytes;
        snprintf(arguments, sizeof arguments, "%s ./test_registry.measured.d", kinds[i]);
        shell("rm -rf ./test_registry.measured.d && '%s' '%s/tools/make-tiny-model' %s",
              getenv("QUERN_TEST_PYTHON"), getenv("QUERN_ROOT"), arguments);
        fine(quern_model_open(&m, "./test_registry.measured.d", NULL, &err), &err);
        fine(quern__encoder_measure(quern__model_settings(m), quern__model_weights(m),
                                    quern__kernels_pick(quern__cpu_allowed()), NULL, NULL,
                                    quern_model_max_length(m), &bytes, &err),
             &err);
        assert_int_equal(bytes, quern__encoder_bytes(quern__model_encoder(m)));
        quern_model_free(m);
    }
}

/* The most memory that this process ever had, in bytes. */
static uint64_t peak(void)
{
    char text[4096];
    FILE *f = fopen("/proc/self/status", "r");
    const size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = 0;
    if (f)
        fclose(f);
    const char *at = strstr(text, "VmHWM:");
    return at ? strtoull(at + 6, NULL, 10) * 1024 : 0;
}

/* config.json alone can ask for hundreds of megabytes: they are refused before they are taken, and nobody goes for them. */
static void tables_are_within_the_bound(void **state)
{
    (void)state;
    const uint64_t tables = (uint64_t)50000 * 256 * sizeof(float);
    quern_registry *r = new_registry(bytes_of_one + tables / 2);
    quern_error err;
    size_t n;
    load(r, "a", 0);
    shell("rm -rf ./test_registry.long.d && '%s' '%s/tools/make-tiny-model' --family qwen3 "
          "--hidden 32 --heads 2 --head-dim 256 "
          "--layers 1 --intermediate 16 --length 50000 ./test_registry.long.d",
          getenv("QUERN_TEST_PYTHON"), getenv("QUERN_ROOT"), "");
    const uint64_t before = peak();
    assert_int_equal(quern_registry_load(r, "b", "./test_registry.long.d", NULL, &err),
                     QUERN_ENOMEM);
    assert_true((uint64_t)err.detail >= tables);
    assert_non_null(strstr(err.msg, "b needs"));
    assert_true(peak() - before < tables / 2);
    held(r, &n);
    assert_int_equal(n, 1);
    assert_int_equal(ask(r, "a"), 0);
    quern_registry_free(r);
    r = new_registry(2 * bytes_of_one + tables);
    load(r, "a", 0);
    load(r, "c", 1);
    fine(quern_registry_load(r, "b", "./test_registry.long.d", NULL, &err), &err);
    assert_true(held(r, &n) <= 2 * bytes_of_one + tables);
    quern_registry_free(r);
}

typedef struct long_load {
    quern_registry *r;
    atomic_bool over;
} long_load;

static void load_long(void *ud)
{
    long_load *l = ud;
    quern_error err;
    for (int i = 0; i < 4 && !atomic_load(&l->over); i++)
        fine(quern_registry_load(l->r, "b", "./test_registry.long.d", NULL, &err), &err);
    atomic_store(&l->over, true);
}

/* Who waits for a model that is being opened may stop waiting. */
static void unload_is_cancelled_while_one_opens(void **state)
{
    (void)state;
    long_load l = {.r = new_registry(0)};
    quern__thread *t;
    quern_cancel *stop;
    quern_error err;
    int rc = QUERN_OK;
    fine(quern_cancel_new(&stop, &err), &err);
    quern_cancel_raise(stop);
    atomic_init(&l.over, false);
    fine(quern__thread_start(&t, load_long, &l, &err), &err);
    while (rc != QUERN_ECANCELLED && !atomic_load(&l.over)) {
        load(l.r, "a", 0); /* between two openings */
        quern__sleep_ms(1);
        rc = quern_registry_unload(l.r, "a", stop, &err);
    }
    assert_int_equal(rc, QUERN_ECANCELLED);
    assert_non_null(strstr(err.msg, "a stays"));
    assert_int_equal(ask(l.r, "a"), 0);
    atomic_store(&l.over, true);
    quern__thread_join(t);
    quern_cancel_free(stop);
    quern_registry_free(l.r);
}

static const char replaced[] = "./test_registry.replaced.d";

/* The weights' file is replaced by its name: old numbers never get the hash of the new ones. */
static void weights_replaced_underneath(void **state)
{
    (void)state;
    quern_registry *r = new_registry(bytes_of_one + bytes_of_one / 2);
    quern_embedder *e;
    quern_model *m;
    quern_error err;
    char sha[65];
    shell("rm -rf '%s' && cp -r '%s' '%s'", replaced, folders[0], replaced);
    fine(quern_model_open(&m, replaced, NULL, &err), &err);
    fine(quern_registry_load(r, "a", replaced, NULL, &err), &err);
    load(r, "b", 1); /* a is let go */
    assert_int_equal(ask(r, "a"), 0);
    assert_int_equal(ask(r, "b"), 1);
    shell("cp '%s/model.safetensors' '%s/new' && mv '%s/new' "
          "./test_registry.replaced.d/model.safetensors",
          folders[2], replaced, replaced);
    assert_int_equal(quern_model_weights_sha256(m, sha, &err), QUERN_EMISMATCH);
    assert_non_null(strstr(err.msg, "replaced while the model was open"));
    quern_model_free(m);
    assert_int_equal(quern_registry_use(r, "a", &e, &err), QUERN_EMISMATCH);
    assert_non_null(strstr(err.msg, "load it again"));
    fine(quern_registry_load(r, "a", replaced, NULL, &err), &err);
    assert_int_equal(ask(r, "a"), 2);
    quern_registry_free(r);
}

static struct {
    quern_registry *r;
    atomic_bool stop;
    atomic_uint calls, wrong;
} run;

static void work(void *ud)
{
    const char *id = ud;
    quern_embedder *e;
    float v[DIM];
    while (!atomic_load(&run.stop)) {
        if (quern_registry_use(run.r, id, &e, NULL) != QUERN_OK) {
            quern__sleep_ms(1); /* unloaded just now, or no room */
            continue;
        }
        if (embed(e, v, NULL) != QUERN_OK || which(v) < 0)
            atomic_fetch_add(&run.wrong, 1);
        quern_registry_done(run.r, e);
        atomic_fetch_add(&run.calls, 1);
    }
}

static void exchanged_while_calls_run(void **state)
{
    (void)state;
    static char ids[THREADS][4] = {"a", "b", "c", "now"};
    quern__thread *t[THREADS];
    quern_error err;
    size_t n;
    const uint64_t limit = bytes_of_one * 3 + bytes_of_one / 2;
    const int rounds = getenv("QUERN_LONG") ? 300 : 12;
    run.r = new_registry(limit);
    load(run.r, "a", 0);
    load(run.r, "b", 1);
    fine(quern_registry_alias(run.r, "now", "a", &err), &err);
    for (int i = 0; i < THREADS; i++)
        fine(quern__thread_start(&t[i], work, ids[i], &err), &err);
    for (int i = 0; i < rounds; i++) {
        const int rc = quern_registry_load(run.r, i % 2 ? "c" : "a", folders[i % 3], NULL, &err);
        assert_true(rc == QUERN_OK || rc == QUERN_ENOMEM);
        assert_true(held(run.r, &n) <= limit);
        if (i % 4 == 3)
            assert_int_equal(quern_registry_unload(run.r, "b", NULL, &err) == QUERN_OK || 1, 1);
        if (i % 4 == 0)
            (void)quern_registry_load(run.r, "b", folders[1], NULL, &err);
        (void)quern_registry_alias(run.r, "now", i % 2 ? "a" : "b", &err);
    }
    atomic_store(&run.stop, true);
    for (int i = 0; i < THREADS; i++)
        quern__thread_join(t[i]);
    assert_int_equal(atomic_load(&run.wrong), 0);
    assert_true(atomic_load(&run.calls) > 0);
    quern_registry_free(run.r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_aliases),
        cmocka_unit_test(the_idle_one_goes_for_room),
        cmocka_unit_test(what_never_fits_sends_nothing_away),
        cmocka_unit_test(measured_as_held),
        cmocka_unit_test(tables_are_within_the_bound),
        cmocka_unit_test(unload_is_cancelled_while_one_opens),
        cmocka_unit_test(weights_replaced_underneath),
        cmocka_unit_test(exchanged_while_calls_run),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
