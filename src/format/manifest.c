/*
 * manifest.c — reads and writes quern-manifest.json. The file lies in a folder that others may have
 * edited or shipped, so it is read as hostile: every name must be a plain relative path (it is joined
 * to the folder later), every hash 64 hex digits, no name twice, at most 64 files.
 */
#include "format/manifest.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/json.h"
#include "format/weights.h"

enum { MANIFEST_MAX_BYTES = 64 * 1024, MANIFEST_VERSION = 1 };

bool quern__manifest_path_ok(const char *path)
{
    size_t n = strlen(path), start = 0;
    if (n == 0 || n >= QUERN__MANIFEST_PATH)
        return false;
    for (size_t i = 0; i <= n; i++) {
        unsigned char c = (unsigned char)path[i];
        if (c == '/' || c == 0) {
            size_t len = i - start;
            if (len == 0 || (len == 1 && path[start] == '.') ||
                (len == 2 && path[start] == '.' && path[start + 1] == '.'))
                return false;
            start = i + 1;
        } else if (c < 0x20 || c == 0x7f || c == '\\' || c == ':') {
            return false;
        }
    }
    return true;
}

static bool hash_ok(const char *hex)
{
    for (size_t i = 0; i < 64; i++)
        if (!((hex[i] >= '0' && hex[i] <= '9') || (hex[i] >= 'a' && hex[i] <= 'f')))
            return false;
    return hex[64] == 0;
}

const quern__manifest_file *quern__manifest_find(const quern__manifest *m, const char *name)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (strcmp(m->file[i].name, name) == 0)
            return &m->file[i];
    return NULL;
}

/* An index's shards are the files beside it that end as it does before ".index.json": import takes no
 * others but the quantised ones. */
static bool is_shard(const char *name, const char *index)
{
    const char *dot = index + strcspn(index, ".");
    const size_t n = strlen(name), ending = *dot ? strcspn(dot + 1, ".") + 1 : 0;
    return !strchr(name, '/') && !quern__is_quantised(name) && n > ending &&
           memcmp(name + n - ending, dot, ending) == 0;
}

int quern__manifest_weights(const quern__manifest *m, char out[65], quern_error *err)
{
    quern__weights_choice c = {0};
    char hex[QUERN__WEIGHTS_FILES][65];
    out[0] = 0;
    for (uint32_t i = 0; i < m->n; i++)
        quern__weights_consider(&c, m->file[i].name);
    if (!c.rank)
        return QUERN_OK;
    quern__weights_files *files = quern__calloc(1, sizeof *files);
    if (!files)
        return quern__fail_memory(err, sizeof *files);
    const bool index = quern__weights_is_index(c.name);
    if (index)
        memcpy(files->index, c.name, sizeof c.name);
    for (uint32_t i = 0; i < m->n && files->n < QUERN__WEIGHTS_FILES; i++) {
        const char *name = m->file[i].name;
        if (!(index ? is_shard(name, c.name) : strcmp(name, c.name) == 0))
            continue;
        uint32_t at = files->n++;
        for (; at && strcmp(files->name[at - 1], name) > 0; at--) {
            memcpy(files->name[at], files->name[at - 1], sizeof files->name[at]);
            memcpy(hex[at], hex[at - 1], sizeof hex[at]);
        }
        memcpy(files->name[at], name, strlen(name) + 1);
        memcpy(hex[at], m->file[i].sha256, sizeof hex[at]);
    }
    int rc = quern__weights_hash(files, (const char(*)[65])hex, out, err);
    quern__free(files);
    return rc;
}

bool quern__manifest_agrees(const quern__manifest_file *f, const quern__stat *st)
{
    return st->exists && st->is_file && st->size == f->size && st->mtime_ns == f->mtime_ns;
}

int quern__manifest_add(quern__manifest *m, const char *name, const char *sha256, uint64_t size,
                        int64_t mtime_ns, quern_error *err)
{
    if (!quern__manifest_path_ok(name))
        return quern__fail(err, QUERN_EINVAL, 0, "'%.100s' is not a plain relative path", name);
    if (quern__manifest_find(m, name))
        return quern__fail(err, QUERN_EINVAL, 0, "'%s' is in the manifest twice", name);
    if (m->n == QUERN__MANIFEST_FILES)
        return quern__fail(err, QUERN_EINVAL, 0, "more than %d files in one model",
                           QUERN__MANIFEST_FILES);
    if (strlen(sha256) != 64 || !hash_ok(sha256))
        return quern__fail(err, QUERN_EINVAL, 0, "'%s': its SHA-256 is not 64 hex digits", name);
    quern__manifest_file *f = &m->file[m->n++];
    memcpy(f->name, name, strlen(name) + 1);
    memcpy(f->sha256, sha256, 65);
    f->size = size;
    f->mtime_ns = mtime_ns;
    return QUERN_OK;
}

void quern__manifest_drop(quern__manifest *m, const char *name)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < m->n; i++)
        if (strcmp(m->file[i].name, name) != 0)
            m->file[kept++] = m->file[i];
    m->n = kept;
}

/* A string value into a fixed field: a longer one, or one with a NUL in it, is refused, never cut. */
static int read_field(quern__json *j, char *out, size_t size, const char *what, quern_error *err)
{
    quern_str s;
    int rc = quern__json_string(j, &s, err);
    if (rc)
        return rc;
    if (s.len >= size || (s.len && memchr(s.ptr, 0, s.len)))
        return quern__json_fail(j, err, "\"%s\" is too long or holds a NUL", what);
    if (s.len)
        memcpy(out, s.ptr, s.len);
    out[s.len] = 0;
    return QUERN_OK;
}

static int read_file_entry(quern__json *j, quern__manifest_file *f, quern_error *err)
{
    quern_str key;
    bool has_size = false, has_time = false;
    int rc = quern__json_enter_object(j, err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_key(j, &key, err)) == 1) {
        if (quern__str_is(key, "sha256")) {
            rc = read_field(j, f->sha256, sizeof f->sha256, "sha256", err);
        } else if (quern__str_is(key, "size")) {
            rc = quern__json_u64(j, &f->size, err);
            has_size = true;
        } else if (quern__str_is(key, "mtime_ns")) {
            rc = quern__json_i64(j, &f->mtime_ns, err);
            has_time = true;
        } else {
            rc = quern__json_skip(j, err);
        }
        if (rc)
            return rc;
    }
    if (rc < 0)
        return rc;
    if (!has_size || !has_time || !hash_ok(f->sha256))
        return quern__json_fail(j, err, "an entry lacks size, mtime_ns or a SHA-256");
    return QUERN_OK;
}

static int read_files(quern__json *j, quern__manifest *m, quern_error *err)
{
    quern_str key;
    quern__manifest_file f;
    int rc = quern__json_enter_object(j, err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_key(j, &key, err)) == 1) {
        memset(&f, 0, sizeof f);
        if (key.len >= sizeof f.name || memchr(key.ptr, 0, key.len))
            return quern__json_fail(j, err, "a file name is too long or holds a NUL");
        memcpy(f.name, key.ptr, key.len);
        if (!quern__manifest_path_ok(f.name))
            return quern__json_fail(j, err, "'%s' is not a plain relative path", f.name);
        if (quern__manifest_find(m, f.name))
            return quern__json_fail(j, err, "'%s' is there twice", f.name);
        if (m->n == QUERN__MANIFEST_FILES)
            return quern__json_fail(j, err, "more than %d files", QUERN__MANIFEST_FILES);
        if ((rc = read_file_entry(j, &f, err)) != 0)
            return rc;
        m->file[m->n++] = f;
    }
    return rc;
}

static int read_top(quern__json *j, quern__manifest *m, quern_error *err)
{
    quern_str key;
    uint64_t version = 0;
    int rc = quern__json_enter_object(j, err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_key(j, &key, err)) == 1) {
        if (quern__str_is(key, "name"))
            rc = read_field(j, m->name, sizeof m->name, "name", err);
        else if (quern__str_is(key, "origin"))
            rc = read_field(j, m->origin, sizeof m->origin, "origin", err);
        else if (quern__str_is(key, "imported_at"))
            rc = read_field(j, m->imported_at, sizeof m->imported_at, "imported_at", err);
        else if (quern__str_is(key, "version"))
            rc = quern__json_u64(j, &version, err);
        else if (quern__str_is(key, "files"))
            rc = read_files(j, m, err);
        else
            rc = quern__json_skip(j, err);
        if (rc)
            return rc;
    }
    if (rc < 0)
        return rc;
    if (version != MANIFEST_VERSION)
        return quern__json_fail(j, err, "version %llu is not one this quern reads (%d)",
                                (unsigned long long)version, MANIFEST_VERSION);
    return quern__json_end(j, err);
}

int quern__manifest_parse(quern__manifest *out, const char *text, size_t len, const char *name,
                          quern_error *err)
{
    quern__json j;
    memset(out, 0, sizeof *out);
    quern__json_init(&j, text, len, name);
    int rc = read_top(&j, out, err);
    quern__json_dispose(&j);
    if (rc)
        memset(out, 0, sizeof *out);
    return rc;
}

static int manifest_path(quern__buf *path, const char *folder, quern_error *err)
{
    quern__buf_init(path, 8192);
    quern__buf_printf(path, "%s/%s", folder, QUERN__MANIFEST_NAME);
    return quern__buf_ok(path, "a path", err);
}

int quern__manifest_read(quern__manifest *out, const char *folder, quern_error *err)
{
    quern__buf path;
    char *text = NULL;
    size_t len = 0;
    memset(out, 0, sizeof *out);
    int rc = manifest_path(&path, folder, err);
    if (rc)
        goto done;
    rc = quern__read_file(path.data, MANIFEST_MAX_BYTES, &text, &len, err);
    if (rc)
        goto done;
    rc = quern__manifest_parse(out, text, len, path.data, err);
done:
    quern__free(text);
    quern__buf_dispose(&path);
    return rc;
}

static void write_text(const quern__manifest *m, quern__buf *text)
{
    quern__jsonw w;
    quern__jsonw_init(&w, text);
    quern__jsonw_object(&w);
    quern__jsonw_key(&w, "files");
    quern__jsonw_object(&w);
    for (uint32_t i = 0; i < m->n; i++) {
        quern__jsonw_key(&w, m->file[i].name);
        quern__jsonw_object(&w);
        quern__jsonw_put_i64(&w, "mtime_ns", m->file[i].mtime_ns);
        quern__jsonw_put_cstr(&w, "sha256", m->file[i].sha256);
        quern__jsonw_put_u64(&w, "size", m->file[i].size);
        quern__jsonw_end_object(&w);
    }
    quern__jsonw_end_object(&w);
    quern__jsonw_put_cstr(&w, "imported_at", m->imported_at);
    quern__jsonw_put_cstr(&w, "name", m->name);
    quern__jsonw_put_cstr(&w, "origin", m->origin);
    quern__jsonw_put_u64(&w, "version", MANIFEST_VERSION);
    quern__jsonw_end_object(&w);
    quern__buf_putc(text, '\n');
}

int quern__manifest_write(const quern__manifest *m, const char *folder, quern_error *err)
{
    quern__buf path, text;
    quern__buf_init(&text, MANIFEST_MAX_BYTES);
    int rc = manifest_path(&path, folder, err);
    if (rc)
        goto done;
    write_text(m, &text);
    rc = quern__buf_ok(&text, "the manifest", err);
    if (rc)
        goto done;
    rc = quern__write_file_atomic(path.data, text.data, text.len, err);
done:
    quern__buf_dispose(&text);
    quern__buf_dispose(&path);
    return rc;
}
