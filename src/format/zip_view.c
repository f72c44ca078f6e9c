/*
 * zip_view.c — end record, central directory, and the local header of each file, with the 64-bit fields.
 *
 * Why not libzip: it hands out copies, and of a file of weights that is all of it again; import, which
 * unpacks strangers' archives, uses it (shelf_import.c). Check sums are not computed here, as for no other
 * format: the file as a whole has a hash.
 */
#include "format/zip_view.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

enum {
    END_SIZE = 22,
    END64_SIZE = 56,
    LOCATOR_SIZE = 20,
    DIRECTORY_SIZE = 46,
    LOCAL_SIZE = 30,
    MAX_ENTRIES = 131072,
    MAX_NAME = 512
};

typedef struct reader {
    const uint8_t *data;
    size_t size;
    const char *name;
    quern_error *err;
} reader;

static int fail(const reader *r, size_t at, const char *what)
{
    return quern__fail(r->err, QUERN_EFORMAT, (int64_t)at, "%s: %s, at byte %zu of the archive",
                       r->name, what, at);
}

static uint64_t number(const uint8_t *b, size_t width)
{
    uint64_t v = 0;
    for (size_t i = 0; i < width; i++)
        v |= (uint64_t)b[i] << 8 * i;
    return v;
}

static bool signature(const reader *r, size_t at, size_t size, const char *two)
{
    return at <= r->size && r->size - at >= size && memcmp(r->data + at, "PK", 2) == 0 &&
           memcmp(r->data + at + 2, two, 2) == 0;
}

/* Where the central directory is, and how many files it lists. */
static int find_directory(const reader *r, size_t *at, size_t *bytes, size_t *n)
{
    if (r->size < END_SIZE || !signature(r, r->size - END_SIZE, END_SIZE, "\5\6"))
        return fail(r, r->size, "no zip archive ends here: torn, or no file of torch.save");
    const size_t end = r->size - END_SIZE;
    const uint8_t *e = r->data + end;
    uint64_t count = number(e + 10, 2), length = number(e + 12, 4), start = number(e + 16, 4);
    uint64_t limit = end;
    if (number(e + 4, 4) || number(e + 8, 2) != count || number(e + 20, 2))
        return fail(r, end, "an archive in parts, or with a comment");
    if (end >= LOCATOR_SIZE && signature(r, end - LOCATOR_SIZE, LOCATOR_SIZE, "\6\7")) {
        const uint64_t where = number(r->data + end - LOCATOR_SIZE + 8, 8);
        if (where > end - LOCATOR_SIZE || !signature(r, (size_t)where, END64_SIZE, "\6\6"))
            return fail(r, end - LOCATOR_SIZE, "the 64-bit end record is not where it is said");
        count = number(r->data + where + 32, 8);
        length = number(r->data + where + 40, 8);
        start = number(r->data + where + 48, 8);
        limit = where;
    }
    if (start > limit || length > limit - start || count > MAX_ENTRIES ||
        count * DIRECTORY_SIZE > length)
        return fail(r, end, "a directory that is not inside the archive");
    *at = (size_t)start;
    *bytes = (size_t)length;
    *n = (size_t)count;
    return QUERN_OK;
}

/* Sizes and offset of 64 bits, from the extra field, for those that are all ones. */
static int widen(const reader *r, size_t at, const uint8_t *extra, size_t n, uint64_t *const v[3])
{
    size_t i = 0;
    if (*v[0] != UINT32_MAX && *v[1] != UINT32_MAX && *v[2] != UINT32_MAX)
        return QUERN_OK;
    for (; n - i >= 4; i += 4 + (size_t)number(extra + i + 2, 2)) {
        const size_t size = (size_t)number(extra + i + 2, 2);
        if (size > n - i - 4)
            break;
        if (number(extra + i, 2) != 1)
            continue;
        size_t from = i + 4;
        for (int k = 0; k < 3; k++)
            if (*v[k] == UINT32_MAX) {
                if (i + 4 + size - from < 8)
                    return fail(r, at, "a 64-bit size that is missing");
                *v[k] = number(extra + from, 8);
                from += 8;
            }
        return QUERN_OK;
    }
    return fail(r, at, "a 64-bit size that is missing");
}

/* One line of the directory at `at`, up to `end`; *next: the one behind it. */
static int read_entry(const reader *r, size_t at, size_t end, quern__zip_entry *e, size_t *next)
{
    if (end - at < DIRECTORY_SIZE || !signature(r, at, DIRECTORY_SIZE, "\1\2"))
        return fail(r, at, "no line of the directory where one should be");
    const uint8_t *d = r->data + at;
    const size_t name = (size_t)number(d + 28, 2), extra = (size_t)number(d + 30, 2),
                 comment = (size_t)number(d + 32, 2);
    uint64_t stored = number(d + 20, 4), size = number(d + 24, 4), offset = number(d + 42, 4);
    if (name + extra + comment > end - at - DIRECTORY_SIZE || name == 0 || name > MAX_NAME)
        return fail(r, at, "a name that is too long");
    if (number(d + 8, 2) & 1)
        return fail(r, at, "an encrypted file");
    int rc =
        widen(r, at, d + DIRECTORY_SIZE + name, extra, (uint64_t *[]){&size, &stored, &offset});
    if (rc)
        return rc;
    if (number(d + 10, 2) || stored != size)
        return fail(r, at, "a compressed file; torch.save stores them as they are");
    if (offset > r->size || !signature(r, (size_t)offset, LOCAL_SIZE, "\3\4"))
        return fail(r, at, "a file that is not where the directory says");
    const uint8_t *l = r->data + offset;
    const uint64_t skip = LOCAL_SIZE + number(l + 26, 2) + number(l + 28, 2);
    if (number(l + 26, 2) != name || skip > r->size - offset ||
        memcmp(l + LOCAL_SIZE, d + DIRECTORY_SIZE, name) != 0)
        return fail(r, (size_t)offset, "a file of another name than the directory says");
    if (size > r->size - offset - skip)
        return fail(r, at, "a file that ends behind the archive");
    *e = (quern__zip_entry){
        {(const char *)d + DIRECTORY_SIZE, name}, (size_t)(offset + skip), (size_t)size};
    *next = at + DIRECTORY_SIZE + name + extra + comment;
    return QUERN_OK;
}

static int compare(quern_str a, quern_str b)
{
    const int by_text = memcmp(a.ptr, b.ptr, QUERN__MIN(a.len, b.len));
    return by_text ? by_text : (a.len > b.len) - (a.len < b.len);
}

static int by_name(const void *a, const void *b)
{
    const quern__zip_entry *x = a, *y = b;
    return compare(x->name, y->name);
}

int quern__zip_view_read(quern__zip_view *z, const uint8_t *data, size_t size, const char *name,
                         quern_error *err)
{
    const reader r = {data, size, name, err};
    size_t at = 0, bytes = 0;
    memset(z, 0, sizeof *z);
    int rc = find_directory(&r, &at, &bytes, &z->n);
    if (rc)
        return rc;
    z->entries = quern__calloc(z->n + 1, sizeof *z->entries);
    if (!z->entries)
        return quern__fail_memory(err, z->n * sizeof *z->entries);
    const size_t end = at + bytes;
    for (size_t i = 0; rc == QUERN_OK && i < z->n; i++)
        rc = read_entry(&r, at, end, &z->entries[i], &at);
    if (rc)
        return rc;
    qsort(z->entries, z->n, sizeof *z->entries, by_name);
    for (size_t i = 1; i < z->n; i++)
        if (compare(z->entries[i - 1].name, z->entries[i].name) == 0)
            return fail(&r, z->entries[i].offset, "two files of one name");
    return QUERN_OK;
}

void quern__zip_view_dispose(quern__zip_view *z)
{
    quern__free(z->entries);
    memset(z, 0, sizeof *z);
}

const quern__zip_entry *quern__zip_view_find(const quern__zip_view *z, quern_str name)
{
    const quern__zip_entry key = {.name = name};
    return z->n ? bsearch(&key, z->entries, z->n, sizeof key, by_name) : NULL;
}
