/*
 * test_quantize.c — what stands in a model's folder when the numbers have been made: a model that was put there meanwhile keeps
 * its own, and no other process that has the shelf's lock sees a file come.
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

#include "base/os.h"
#include "quern/model.h"
#include "quern/shelf.h"

#define SHELF "./test_quantize.d"
#define ONE   SHELF "/one"
#define FILE8 ONE "/model.int8.safetensors"

static void fine(int rc, const quern_error *err)
{
    if (rc != QUERN_OK)
        fail_msg("%d: %s", rc, err->msg);
}

static void shell(const char *command)
{
    if (system(command) != 0)
        fail_msg("%s", command);
}

/* A shelf with one model, and beside it another with the numbers of an earlier quantize. */
static int setup(void **state)
{
    (void)state;
    char command[1024];
    quern_shelf_options shelf;
    quern_error err;
    QUERN_INIT(&shelf);
    shelf.folder = SHELF;
    shelf.offline = 1;
    snprintf(command, sizeof command,
             "rm -rf " SHELF " && mkdir " SHELF
             " && for i in 1 2; do '%s' '%s/tools/make-tiny-model' --layers 1 --seed $i " SHELF
             "/.$i || exit; done && echo earlier >" SHELF "/.2/model.int8.safetensors",
             getenv("QUERN_TEST_PYTHON"), getenv("QUERN_ROOT"));
    shell(command);
    fine(quern_shelf_import(SHELF "/.1", "one", &shelf, &err), &err);
    return 0;
}

static const char *meanwhile;
static atomic_uint layers;

static int told(const char *what, uint64_t done, uint64_t total, void *ud)
{
    (void)what;
    (void)total;
    (void)ud;
    if (done == 0 && meanwhile)
        shell(meanwhile);
    atomic_fetch_add(&layers, 1);
    return 0;
}

static int quantize(quern_error *err)
{
    quern_quantize_options opt;
    QUERN_INIT(&opt);
    opt.force = 1;
    opt.progress = told;
    return quern_model_quantize(ONE, &opt, NULL, err);
}

static bool there(const char *path)
{
    quern__stat st;
    return quern__stat_path(path, &st, NULL) == QUERN_OK && st.exists;
}

static void another_model_keeps_its_own(void **state)
{
    (void)state;
    quern_error err;
    meanwhile = "mv " ONE " " SHELF "/.was && cp -r " SHELF "/.2 " ONE;
    assert_int_equal(quantize(&err), QUERN_EMISMATCH);
    assert_non_null(strstr(err.msg, "model.safetensors: replaced"));
    shell("test \"$(cat " FILE8 ")\" = earlier && rm -r " ONE " && mv " SHELF "/.was " ONE);
    meanwhile =
        "sed -i.was 's/\"num_attention_heads\": 5/\"num_attention_heads\": 4/' " ONE "/config.json";
    assert_int_equal(quantize(&err), QUERN_EMISMATCH);
    assert_non_null(strstr(err.msg, "config.json: changed"));
    assert_false(there(FILE8));
    shell("mv " ONE "/config.json.was " ONE "/config.json");
    meanwhile = "mv " ONE " " SHELF "/.was";
    assert_true(quantize(&err) < 0);
    assert_false(there(ONE));
    shell("mv " SHELF "/.was " ONE);
    meanwhile = NULL;
}

static struct {
    quern__lock *lock;
    bool came_early;
} holder;

static void hold(void *ud)
{
    (void)ud;
    for (int i = 0; i < 2000 && !atomic_load(&layers); i++)
        quern__sleep_ms(5);
    for (int i = 0; i < 80; i++) {
        holder.came_early |= there(FILE8);
        quern__sleep_ms(5);
    }
    quern__unlock_file(holder.lock);
}

static void waits_for_the_shelf(void **state)
{
    (void)state;
    quern_error err;
    quern__thread *t;
    fine(quern__lock_file(&holder.lock, SHELF "/.staging/one.lock", 1000, &err), &err);
    atomic_store(&layers, 0);
    fine(quern__thread_start(&t, hold, NULL, &err), &err);
    fine(quantize(&err), &err);
    quern__thread_join(t);
    assert_false(holder.came_early);
    assert_true(there(FILE8));
    shell("grep -q model.int8.safetensors " ONE "/quern-manifest.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_model_keeps_its_own),
        cmocka_unit_test(waits_for_the_shelf),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
