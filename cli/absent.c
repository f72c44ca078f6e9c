/*
 * absent.c — until the store and quern_add land: the commands that need them say so. Goes with them.
 */
#include "cli.h"

#define ABSENT(name, ...)                                                                          \
    __attribute__((weak)) int name(__VA_ARGS__)                                                    \
    {                                                                                              \
        return fail(err, QUERN_EUNSUPPORTED, "this build has no store yet");                       \
    }
#define UNUSED __attribute__((unused))

ABSENT(quern_store_open, UNUSED quern_store **out, UNUSED const quern_store_options *opt,
       quern_error *err)
ABSENT(quern_source_add, UNUSED quern_store *s, UNUSED const quern_source_spec *spec,
       quern_error *err)
ABSENT(quern_source_set, UNUSED quern_store *s, UNUSED const quern_source_spec *spec,
       quern_error *err)
ABSENT(quern_source_remove, UNUSED quern_store *s, UNUSED const char *name, quern_error *err)
ABSENT(quern_source_list_open, UNUSED quern_source_list **out, UNUSED quern_store *s,
       quern_error *err)
ABSENT(quern_add, UNUSED quern_store *s, UNUSED const char *const *paths, UNUSED size_t n,
       UNUSED const quern_add_options *opt, UNUSED quern_add_report *report, quern_error *err)
ABSENT(quern_verify, UNUSED quern_store *s, UNUSED quern_embedder *e,
       UNUSED const quern_verify_options *opt, UNUSED quern_verify_report *report, quern_error *err)
__attribute__((weak)) void quern_store_free(UNUSED quern_store *s)
{
}
__attribute__((weak)) size_t quern_source_list_count(UNUSED const quern_source_list *l)
{
    return 0;
}
__attribute__((weak)) const quern_source_spec *
quern_source_list_at(UNUSED const quern_source_list *l, UNUSED size_t i)
{
    return NULL;
}
__attribute__((weak)) void quern_source_list_free(UNUSED quern_source_list *l)
{
}
