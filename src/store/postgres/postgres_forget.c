/*
 * postgres_forget.c — built-in documents and words about them go for good. The bytes of deleted rows stay in the table
 * until VACUUM, which is the owner's to run: it cannot run inside a transaction, and may take long.
 */
#include "store/postgres/postgres_store.h"

#include "base/alloc.h"

enum { KEY_VALUES = 16 };

/* The ids of those keys that may be built-in documents'. */
static int gather_ids(const quern_str *keys, size_t n, quern__pg_array *ids, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        quern_value values[KEY_VALUES];
        char *storage = NULL;
        size_t parts = 0;
        rc = quern_key_decode(keys[i], values, KEY_VALUES, &parts, &storage, err);
        if (!rc && parts == 1 && values[0].type == QUERN_VALUE_TEXT)
            quern__pg_array_bytes(ids, values[0].bytes.ptr, values[0].bytes.len);
        quern_free(storage);
    }
    return rc;
}

int quern__postgres_forget(void *self, const char *source, const quern_str *keys, size_t n,
                           uint64_t *documents, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_array ids;
    quern__pg_params p;
    int64_t went = 0, id = 0;
    *documents = 0;
    quern__pg_array_init(&ids, QUERN__PG_TEXT, 0);
    int rc = quern__postgres_source_id(s, source, &id, err);
    if (!rc)
        rc = gather_ids(keys, n, &ids, err);
    quern__pg_params_init(&p);
    quern__pg_int(&p, id);
    if (!rc)
        rc = quern__postgres_run(s, "UPDATE @runs SET error = '' WHERE source = $1 AND error <> ''",
                                 &p, NULL, err);
    quern__pg_bind_array(&p, &ids);
    if (!rc)
        rc = quern__postgres_run(s, "DELETE FROM @documents WHERE source = $1 AND id = ANY ($2)",
                                 &p, &went, err);
    *documents = rc ? 0 : (uint64_t)went;
    quern__pg_array_dispose(&ids);
    return rc;
}
