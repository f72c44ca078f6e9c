/* Every allocation of loading, exchanging, asking, listing and unloading fails in turn: ENOMEM, nothing lost. */
#include "torture/torture.h"

#include "quern/registry.h"

static int use_it(quern_registry *r, quern_error *err)
{
    quern_registry_entries *l = NULL;
    quern_embedder *e = NULL;
    int rc = quern_registry_use(r, "now", &e, err);
    quern_registry_done(r, e);
    if (rc == QUERN_OK)
        rc = quern_registry_list(r, &l, err);
    quern_registry_entries_free(l);
    return rc;
}

static int load_and_unload(void *ud, quern_error *err)
{
    quern_registry *r = NULL;
    quern_registry_options opt;
    QUERN_INIT(&opt);
    opt.threads = 1;
    opt.memory_limit = (uint64_t)1 << 30;
    int rc = quern_registry_new(&r, &opt, err);
    if (rc == QUERN_OK)
        rc = quern_registry_load(r, "a", ud, NULL, err);
    if (rc == QUERN_OK)
        rc = quern_registry_alias(r, "now", "a", err);
    if (rc == QUERN_OK)
        rc = use_it(r, err);
    if (rc == QUERN_OK)
        rc = quern_registry_load(r, "a", ud, NULL, err);
    if (rc == QUERN_OK)
        rc = quern_registry_unload(r, "a", NULL, err);
    quern_registry_free(r);
    return rc;
}

static void every_allocation(void **state)
{
    torture_run_strided(load_and_unload, *state, getenv("QUERN_LONG") ? 1 : 61);
}

int main(void)
{
    static char folder[] = "./test_torture_registry.d";
    char command[1024];
    torture_install();
    const char *python = getenv("QUERN_TEST_PYTHON"), *root = getenv("QUERN_ROOT");
    snprintf(command, sizeof command, "'%s' '%s/tools/make-tiny-model' --seed 3 %s",
             python ? python : "python3", root ? root : ".", folder);
    if (system(command) != 0)
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(every_allocation, folder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
