/*
 * shelf_pull.c — a known model from the hub: {base}/{repository}/resolve/{revision}/{file}, file by file
 * into staging, small ones first so that a wrong address shows before 90 MB. Files finished by an earlier
 * run are hashed, not fetched.
 */
#include "shelf/shelf_fetch.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "http/http.h"

/* The model hub that the catalogue's names are of. */
#define HUB "https://huggingface.co"

static int unknown_model(const char *name, quern_error *err)
{
    quern__buf names;
    quern__buf_init(&names, 4096);
    for (size_t i = 0; quern__known_at(i); i++)
        quern__buf_printf(&names, "%s%s", i ? ", " : "", quern__known_at(i)->name);
    int rc = quern__fail(err, QUERN_ENOTFOUND, 0,
                         "no published model '%.100s' is known: pull knows %s; import takes any "
                         "model folder",
                         name, names.data ? names.data : "none");
    quern__buf_dispose(&names);
    return rc;
}

const char *quern_shelf_known(size_t i)
{
    const quern__known_model *k = quern__known_at(i);
    return k ? k->name : NULL;
}

static int file_url(quern__buf *url, const quern__shelf *s, const quern__known_model *k,
                    const char *file, quern_error *err)
{
    const char *base = s->opt.base_url && s->opt.base_url[0] ? s->opt.base_url : HUB;
    size_t n = strlen(base);
    while (n && base[n - 1] == '/')
        n--;
    quern__buf_clear(url);
    quern__buf_append(url, base, n);
    quern__buf_printf(url, "/%s/resolve/%s/%s", k->repository, k->revision, file);
    return quern__buf_ok(url, "a URL", err);
}

/* A file that an earlier run finished: there, and still the pinned bytes. */
static int is_finished(const quern__shelf *s, const char *path, const quern__known_file *file,
                       bool *yes, quern_error *err)
{
    quern__stat st;
    char hex[65];
    uint64_t size;
    *yes = false;
    int rc = quern__stat_path(path, &st, err);
    if (rc || !st.is_file || st.size != file->size)
        return rc;
    rc = quern__shelf_hash(s, path, file->name, hex, &size, err);
    *yes = rc == QUERN_OK && strcmp(hex, file->sha256) == 0;
    return rc;
}

static int fetch_files(const quern__shelf *s, const quern__known_model *k, const char *staged,
                       quern__manifest *m, quern_error *err)
{
    quern__buf url;
    char *path = NULL;
    uint64_t before = 0, total = 0;
    bool finished;
    int rc = QUERN_OK;
    quern__buf_init(&url, 4096);
    for (size_t i = 0; i < k->n_files; i++)
        total += k->files[i].size;
    for (size_t i = 0; rc == QUERN_OK && i < k->n_files; i++) {
        const quern__known_file *file = &k->files[i];
        quern__free(path);
        rc = quern__join(&path, staged, file->name, err);
        if (rc == QUERN_OK)
            rc = file_url(&url, s, k, file->name, err);
        if (rc == QUERN_OK)
            rc = is_finished(s, path, file, &finished, err);
        if (rc == QUERN_OK && !finished)
            rc = quern__shelf_fetch(s, url.data, file, path, before, total, err);
        if (rc == QUERN_OK)
            rc = quern__stage_record(m, staged, file->name, file->sha256, err);
        before += file->size;
    }
    quern__free(path);
    quern__buf_dispose(&url);
    return rc;
}

static int pull_locked(const quern__shelf *s, const quern__known_model *k, quern_error *err)
{
    char *staged = NULL;
    char part[160];
    quern__manifest *m = quern__calloc(1, sizeof *m);
    if (!m)
        return quern__fail_memory(err, sizeof *m);
    snprintf(part, sizeof part, "%s.%.8s", k->name, k->revision);
    snprintf(m->origin, sizeof m->origin, "hub %s@%s", k->repository, k->revision);
    int rc = quern__join(&staged, s->staging, part, err);
    if (rc == QUERN_OK)
        rc = quern__make_dirs(staged, err);
    if (rc == QUERN_OK)
        rc = fetch_files(s, k, staged, m, err);
    if (rc == QUERN_OK)
        rc = quern__stage_check(staged, err);
    if (rc == QUERN_OK)
        rc = quern__shelf_ask(s, k->name, staged, err);
    if (rc == QUERN_OK)
        rc = quern__stage_publish(s, staged, k->name, m, err);
    quern__free(staged);
    quern__free(m);
    return rc;
}

/* *done: nothing to fetch. */
static int look(const quern__shelf *s, const quern__known_model *k, bool *done, quern_error *err)
{
    int standing = QUERN__STANDS_NOTHING;
    int rc = quern__standing(s, k->name, quern__known_weights(k), k, &standing, err);
    *done = standing == QUERN__STANDS_SAME;
    if (rc == QUERN_OK && standing == QUERN__STANDS_OTHER)
        rc = quern__fail(err, QUERN_EEXISTS, 0,
                         "%s/%s: another model has this name; `quern model remove %s` makes room",
                         s->folder, k->name, k->name);
    return rc;
}

static int check_base(const quern__shelf *s, quern_error *err)
{
    char host[256];
    bool https, loopback;
    const char *url = s->opt.base_url;
    if (url && url[0] && !quern__http_split(url, &https, host, sizeof host, &loopback))
        return quern__fail(err, QUERN_EINVAL, 0,
                           "'%.200s' is no address of a model hub: http:// or https://, a host, no "
                           "user name",
                           url);
    return QUERN_OK;
}

int quern_shelf_pull(const char *name, const quern_shelf_options *opt, quern_error *err)
{
    quern__shelf s;
    quern__lock *lock = NULL;
    bool done = false;
    QUERN__REQUIRE(name, err);
    const quern__known_model *k = quern__known_find(name);
    if (!k)
        return unknown_model(name, err);
    int rc = quern__shelf_begin(&s, opt, err);
    if (rc)
        return rc;
    rc = check_base(&s, err);
    if (rc == QUERN_OK)
        rc = look(&s, k, &done, err);
    if (rc || done)
        goto out;
    if (s.opt.offline) {
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0,
                         "%s is not on the shelf and --offline forbids fetching it; import a copy "
                         "with `quern model import PATH`",
                         k->name);
        goto out;
    }
    rc = quern__shelf_lock(&lock, &s, k->name, err);
    if (rc == QUERN_OK)
        rc = look(&s, k, &done, err); /* another pull may have finished while we waited */
    if (rc == QUERN_OK && !done)
        rc = pull_locked(&s, k, err);
out:
    quern__unlock_file(lock);
    quern__shelf_end(&s);
    return rc;
}
