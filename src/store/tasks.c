/*
 * tasks.c — the face of a store's tasks: keys in their canonical spelling, transactions of a bounded size, and a plain word
 * when a store has no tasks.
 */
#include "quern/tasks.h"

#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/error.h"
#include "store/store.h"

enum { AT_ONCE = 256, KEY_VALUES = 64, LONGEST_REASON = 256 };

static int have_tasks(const quern_store *s, quern_error *err)
{
    return s->table.task_put
               ? QUERN_OK
               : quern__fail(err, QUERN_EUNSUPPORTED, 0,
                             "the store '%s' has no tasks; a fill finds the same work",
                             s->table.name);
}

int quern__canonical_key(quern_str key, char **out, quern_error *err)
{
    quern_value values[KEY_VALUES];
    char *storage = NULL;
    size_t n = 0;
    *out = NULL;
    int rc = quern_key_decode(key, values, KEY_VALUES, &n, &storage, err);
    if (!rc)
        rc = quern_key_encode(values, n, out, err);
    quern_free(storage);
    return rc;
}

/* Is the source the built-in kind, whose keys are all text? */
typedef struct key_rule {
    const char *source;
    bool all_text;
} key_rule;

static int look_at_source(const quern_source_spec *spec, void *ud)
{
    key_rule *r = ud;
    if (strcmp(spec->name, r->source) == 0)
        r->all_text = !spec->table && !spec->query;
    return QUERN_OK;
}

/* A word that is no JSON, or no text where all keys are, is text itself. The index of the key at fault joins the error. */
static int canonical_of(const key_rule *rule, const quern_str *keys, size_t i, char **out,
                        quern_error *err)
{
    char first = keys[i].len ? keys[i].ptr[0] : '\0';
    bool spelt = first == '"' || first == '[' || first == '{';
    quern_value word = {.type = QUERN_VALUE_TEXT, .bytes = keys[i]};
    int rc = first ? QUERN_EFORMAT : quern__fail(err, QUERN_EINVAL, 0, "an empty key");
    if (first && (spelt || !rule->all_text))
        rc = quern__canonical_key(keys[i], out, err);
    if (rc == QUERN_EFORMAT && !spelt)
        rc = quern_key_encode(&word, 1, out, err);
    if (rc == QUERN_EFORMAT)
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "'%.*s' is no key: 42, abc, '\"a b\"' and '[1,\"x\"]' are",
                         (int)QUERN__MIN(keys[i].len, (size_t)80), keys[i].ptr);
    return rc ? quern__blame(err, rc, i) : QUERN_OK;
}

int quern__source_key(quern_store *s, const char *source, quern_str word, char **key,
                      quern_error *err)
{
    key_rule rule = {.source = source};
    *key = NULL;
    int rc = s->table.source_each(s->self, look_at_source, &rule, err);
    return rc ? rc : canonical_of(&rule, &word, 0, key, err);
}

static void free_keys(quern_str *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        quern_free((char *)(uintptr_t)keys[i].ptr);
}

typedef int (*keys_fn)(void *self, const char *source, const quern_str *keys, size_t n,
                       uint64_t *count, quern_error *err);

/* Calls fn with the keys in their canonical spelling, some at a time; the caller's own fault is named by its index. */
static int with_keys(quern_store *s, const char *source, const quern_str *keys, size_t n,
                     const char *reason, keys_fn fn, uint64_t *count, quern_error *err)
{
    quern_str some[AT_ONCE];
    uint64_t one = 0;
    key_rule rule = {.source = source};
    int rc = s->table.source_each(s->self, look_at_source, &rule, err);
    for (size_t i = 0; i < n && n > AT_ONCE && !rc; i++) { /* all or none, as far as keys go */
        char *key = NULL;
        rc = canonical_of(&rule, keys, i, &key, err);
        quern_free(key);
    }
    for (size_t at = 0; at < n && !rc;) {
        size_t m = 0;
        while (m < AT_ONCE && at + m < n && !rc) {
            char *key = NULL;
            rc = canonical_of(&rule, keys, at + m, &key, err);
            if (!rc)
                some[m++] = quern_str_of(key);
        }
        if (!rc)
            rc = fn ? fn(s->self, source, some, m, &one, err)
                    : s->table.task_put(s->self, source, some, m, reason, &one, err);
        *count += rc ? 0 : one;
        free_keys(some, m);
        at += m;
    }
    return rc;
}

int quern_enqueue(quern_store *s, const char *source, const quern_str *keys, size_t n,
                  const char *reason, uint64_t *added, quern_error *err)
{
    QUERN__REQUIRE(s && source && (keys || n == 0), err);
    uint64_t count = 0;
    reason = reason ? reason : "enqueued";
    if (!*source)
        return quern__fail(err, QUERN_EINVAL, 0, "an empty name of a source");
    if (strlen(reason) > LONGEST_REASON)
        return quern__fail(err, QUERN_EINVAL, (int64_t)strlen(reason),
                           "a reason of %zu bytes: at most %d", strlen(reason), LONGEST_REASON);
    int rc = have_tasks(s, err);
    if (!rc)
        rc = with_keys(s, source, keys, n, reason, NULL, &count, err);
    if (added)
        *added = count;
    return rc;
}

int quern_task_statistics(quern_store *s, const char *source, quern_task_stats *out,
                          quern_error *err)
{
    QUERN__REQUIRE(s && out && out->struct_size >= sizeof *out, err);
    int rc = have_tasks(s, err);
    return rc ? rc : s->table.task_stats(s->self, source, out, err);
}

int quern_task_each(quern_store *s, const char *source, int state, int64_t after, size_t limit,
                    quern_task_fn fn, void *ud, quern_error *err)
{
    QUERN__REQUIRE(s && fn && state >= QUERN_TASK_READY && state <= QUERN_TASK_DEAD, err);
    int rc = have_tasks(s, err);
    return rc ? rc : s->table.task_list(s->self, source, state, after, limit, fn, ud, err);
}

static int some_or_all(quern_store *s, const char *source, const quern_str *keys, size_t n,
                       keys_fn fn, uint64_t *count, quern_error *err)
{
    uint64_t done = 0;
    int rc = keys ? with_keys(s, source, keys, n, NULL, fn, &done, err)
                  : fn(s->self, source, NULL, 0, &done, err);
    if (count)
        *count = done;
    return rc;
}

int quern_task_revive(quern_store *s, const char *source, const quern_str *keys, size_t n,
                      uint64_t *revived, quern_error *err)
{
    QUERN__REQUIRE(s && source, err);
    int rc = have_tasks(s, err);
    return rc ? rc : some_or_all(s, source, keys, n, s->table.task_revive, revived, err);
}

int quern_task_remove(quern_store *s, const char *source, const quern_str *keys, size_t n,
                      uint64_t *removed, quern_error *err)
{
    QUERN__REQUIRE(s && source, err);
    int rc = have_tasks(s, err);
    return rc ? rc : some_or_all(s, source, keys, n, s->table.task_remove, removed, err);
}
