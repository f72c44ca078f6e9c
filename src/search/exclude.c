/*
 * exclude.c — documents that are to be no hits, by their keys, and how a key that somebody typed is spelled.
 *
 * They fall out as soon as a candidate's key is known, before its row is read, and before anything that keeps a number
 * of candidates: what is left out takes nobody's place, and the search goes on until its limit is full of others. A key
 * that no document has leaves nothing out; which sources it is looked for in is said by those that are searched.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "search/search_run.h"

int quern__search_spell(quern_str key, char *keys[QUERN__SPELLINGS], size_t *n, quern_error *err)
{
    quern_value values[64];
    char *storage = NULL;
    size_t parts = 0;
    int rc = QUERN_OK;
    *n = 0;
    if (quern_key_decode(key, values, 64, &parts, &storage, NULL) == QUERN_OK)
        rc = quern_key_encode(values, parts, &keys[0], err);
    quern_free(storage);
    if (rc == QUERN_OK && keys[0])
        *n = 1;
    quern_value word = {.type = QUERN_VALUE_TEXT, .bytes = key};
    if (rc == QUERN_OK)
        rc = quern_key_encode(&word, 1, &keys[*n], err);
    if (rc == QUERN_OK)
        ++*n;
    return rc == QUERN_EFORMAT ? quern__fail(err, QUERN_EINVAL, 0, "the key is not UTF-8") : rc;
}

static int by_bytes(const void *a, const void *b)
{
    return quern__compare_bytes(*(const quern_str *)a, *(const quern_str *)b);
}

/* Strings of r->excluded are each memory of their own, freed by quern__search_admit. */
static int exclude_one(quern__search_run *r, quern_str key, quern_error *err)
{
    char *keys[QUERN__SPELLINGS] = {0};
    size_t n = 0;
    if (!key.ptr || !key.len)
        return quern__fail(err, QUERN_EINVAL, 0, "exclude: a key is empty");
    int rc = quern__search_spell(key, keys, &n, err);
    for (size_t i = 0; i < QUERN__SPELLINGS; i++) {
        if (rc == QUERN_OK && i < n)
            r->excluded[r->n_excluded++] = quern_str_of(keys[i]);
        else
            quern_free(keys[i]);
    }
    return rc;
}

int quern__search_exclude(quern__search_run *r, quern_error *err)
{
    size_t n = r->opt->n_exclude;
    QUERN__REQUIRE(n == 0 || r->opt->exclude, err);
    if (n > QUERN__EXCLUDE_MOST)
        return quern__fail(err, QUERN_EINVAL, (int64_t)n, "exclude: %zu keys, at most %d", n,
                           QUERN__EXCLUDE_MOST);
    if (n == 0)
        return QUERN_OK;
    r->excluded = quern__alloc_array(QUERN__SPELLINGS * n, sizeof *r->excluded);
    if (!r->excluded)
        return quern__fail_memory(err, QUERN__SPELLINGS * n * sizeof *r->excluded);
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < n; i++)
        rc = exclude_one(r, r->opt->exclude[i], err);
    if (rc == QUERN_OK)
        qsort(r->excluded, r->n_excluded, sizeof *r->excluded, by_bytes);
    return rc;
}

void quern__search_admit(quern__search_run *r)
{
    for (size_t i = 0; i < r->n_excluded; i++)
        quern_free((void *)(uintptr_t)r->excluded[i].ptr);
    quern__free(r->excluded);
    r->excluded = NULL;
    r->n_excluded = 0;
}

static int why_out(const quern__search_run *r, const quern__candidate *c)
{
    if (r->has_seed && c->part == r->seed_part && !quern__compare_bytes(c->key, r->seed_key))
        return QUERN__DROP_SEED;
    if (r->n_excluded &&
        bsearch(&c->key, r->excluded, r->n_excluded, sizeof *r->excluded, by_bytes))
        return QUERN__DROP_EXCLUDED;
    return QUERN__DROP_NOT;
}

void quern__search_leave_out(quern__search_run *r, size_t from)
{
    size_t n = from;
    for (size_t i = from; i < r->n_list; i++) {
        int why = why_out(r, &r->list[i]);
        r->drops[why]++;
        if (why == QUERN__DROP_NOT)
            r->list[n++] = r->list[i];
    }
    r->n_list = n;
}
