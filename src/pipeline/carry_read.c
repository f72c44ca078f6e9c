/*
 * carry_read.c — an export's folder, read from the first document to the last by somebody who believes nothing of it:
 * lengths, counts, UTF-8, the order of chunks, finite vectors of unit length, and in the end the checksums of all that was
 * read. Lines and rows of vectors are read in step, so that memory holds one document.
 *
 * Everything is read and checked again each time that it is used: nothing that changes in between is trusted for having
 * been right before.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/os.h"
#include "base/sha256.h"
#include "pipeline/carry.h"
#include "quern/vector.h"

enum { BLOCK = 64 << 10, FLOATS = 1024 };

/* f16 rounds each element by 2^-11 of it at most, and the length with it. */
static const double UNIT_SLACK = 1e-3;

int quern__carry_path(const char *dir, const char *name, char **path, quern_error *err)
{
    size_t n = strlen(dir) + strlen(name) + 2;
    *path = quern__alloc(n);
    if (!*path)
        return quern__fail_memory(err, n);
    snprintf(*path, n, "%s/%s", dir, name);
    return QUERN_OK;
}

int quern__carry_open(const char *dir, quern__provenance *out, quern_error *err)
{
    char *path = NULL;
    char *text = NULL;
    size_t n = 0;
    quern__stat st = {.size = 0};
    memset(out, 0, sizeof *out);
    int rc = quern__carry_path(dir, "manifest.json", &path, err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(path, &st, err);
    if (rc == QUERN_OK && !st.exists)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0,
                         "%s: there is none; %s is no export, or one that was cut off", path, dir);
    if (rc == QUERN_OK)
        rc = quern__read_file(path, QUERN__CARRY_MANIFEST, &text, &n, err);
    if (rc == QUERN_OK)
        rc = quern__provenance_read(text, n, path, out, err);
    quern__free(path);
    quern__free(text);
    return rc;
}

/* ---- a line ---- */

static int take_key(quern__json *j, quern__arena *arena, quern__carry_row *out, quern_error *err)
{
    char *key = NULL;
    quern__json_peek(j); /* skips blanks */
    size_t from = j->at;
    int rc = quern__json_skip(j, err);
    if (rc == QUERN_OK)
        rc = quern__canonical_key((quern_str){j->text + from, j->at - from}, &key, err);
    if (rc == QUERN_OK) {
        out->key.len = strlen(key);
        out->key.ptr = quern__arena_copy(arena, key, out->key.len);
        if (!out->key.ptr)
            rc = quern__fail_memory(err, out->key.len);
    }
    quern_free(key);
    return rc;
}

static int take_text(quern__json *j, quern__arena *arena, quern_str *out, quern_error *err)
{
    quern_str s;
    int rc = quern__json_string(j, &s, err);
    if (rc != QUERN_OK)
        return rc;
    out->len = s.len;
    out->ptr = quern__arena_copy(arena, s.ptr ? s.ptr : "", s.len);
    return out->ptr ? QUERN_OK : quern__fail_memory(err, s.len);
}

/* As it stands there. */
static int take_asset(quern__json *j, quern__arena *arena, quern_str *out, quern_error *err)
{
    bool object = quern__json_peek(j) == QUERN__JSON_OBJECT;
    size_t from = j->at;
    int rc = quern__json_skip(j, err);
    if (rc != QUERN_OK || !object)
        return rc ? rc : quern__json_fail(j, err, "\"asset\" is no object");
    out->len = j->at - from;
    out->ptr = quern__arena_copy(arena, j->text + from, out->len);
    return out->ptr ? QUERN_OK : quern__fail_memory(err, out->len);
}

static int take_characters(quern__json *j, quern__carry_row *out, quern_error *err)
{
    uint64_t *to[] = {&out->char_start, &out->char_end};
    int rc = quern__json_enter_array(j, err);
    for (size_t i = 0; rc == QUERN_OK && i < 2; i++) {
        int more = quern__json_next_item(j, err);
        if (more != 1)
            return more < 0 ? more : quern__json_fail(j, err, "characters are not two numbers");
        rc = quern__json_u64(j, to[i], err);
    }
    if (rc != QUERN_OK)
        return rc;
    int more = quern__json_next_item(j, err);
    return more == 1 ? quern__json_fail(j, err, "characters are not two numbers") : more;
}

enum {
    HAS_KEY = 1,
    HAS_REVISION = 2,
    HAS_CHUNK = 4,
    HAS_CHUNKS = 8,
    HAS_START = 16,
    HAS_END = 32,
    HAS_CHARACTERS = 64,
    HAS_PAGE = 128,
    HAS_DROPPED = 256,
    HAS_HEADING = 512,
    HAS_ASSET = 1024,
    NEEDED = 127
};

static int take_member(quern__json *j, quern_str name, quern__arena *arena, quern__carry_row *out,
                       unsigned *has, quern_error *err)
{
    const struct {
        const char *name;
        unsigned bit;
        uint64_t *number;
        quern_str *text;
    } members[] = {{"key", HAS_KEY, NULL, NULL},
                   {"revision", HAS_REVISION, NULL, &out->revision},
                   {"heading", HAS_HEADING, NULL, &out->heading},
                   {"chunk", HAS_CHUNK, &out->chunk, NULL},
                   {"chunks", HAS_CHUNKS, &out->chunks, NULL},
                   {"start", HAS_START, &out->start, NULL},
                   {"end", HAS_END, &out->end, NULL},
                   {"characters", HAS_CHARACTERS, NULL, NULL},
                   {"page", HAS_PAGE, &out->page, NULL},
                   {"dropped_bytes", HAS_DROPPED, &out->dropped_bytes, NULL},
                   {"asset", HAS_ASSET, NULL, NULL}};
    for (size_t i = 0; i < QUERN__COUNT(members); i++) {
        if (!quern__str_is(name, members[i].name))
            continue;
        if (*has & members[i].bit)
            return quern__json_fail(j, err, "\"%s\" is there twice", members[i].name);
        *has |= members[i].bit;
        if (members[i].number)
            return quern__json_u64(j, members[i].number, err);
        if (members[i].text)
            return take_text(j, arena, members[i].text, err);
        if (members[i].bit == HAS_ASSET)
            return take_asset(j, arena, &out->asset, err);
        return members[i].bit == HAS_KEY ? take_key(j, arena, out, err)
                                         : take_characters(j, out, err);
    }
    return quern__json_skip(j, err); /* what a later version adds */
}

int quern__carry_row_read(const char *line, size_t n, bool empty, quern__arena *arena,
                          quern__carry_row *out, quern_error *err)
{
    const unsigned need = empty ? HAS_KEY | HAS_REVISION : NEEDED;
    unsigned has = 0;
    quern__json j;
    quern_str name;
    memset(out, 0, sizeof *out);
    quern__json_init(&j, line, n, "the line");
    int rc = quern__json_enter_object(&j, err);
    for (int more = 1; rc == QUERN_OK && more == 1;) {
        more = quern__json_next_key(&j, &name, err);
        if (more == 1)
            rc = take_member(&j, name, arena, out, &has, err);
        else if (more < 0)
            rc = more;
    }
    if (rc == QUERN_OK)
        rc = quern__json_end(&j, err);
    if (rc == QUERN_OK && (has & need) != need)
        rc = quern__fail(err, QUERN_EFORMAT, 0,
                         "it lacks one of key, revision, chunk, chunks, start, end, characters");
    if (rc == QUERN_OK && (out->chunks > QUERN__CARRY_CHUNKS || out->start > out->end ||
                           out->char_start > out->char_end || out->page > UINT32_MAX))
        rc = quern__fail(err, QUERN_EFORMAT, 0,
                         "more than %d chunks, an end before its start, or no such page",
                         QUERN__CARRY_CHUNKS);
    quern__json_dispose(&j);
    return rc;
}

/* ---- vectors ---- */

int quern__carry_check_unit(const void *vectors, size_t n, uint32_t dimensions, uint32_t width,
                            uint64_t first, const char *where, quern_error *err)
{
    const unsigned char *at = vectors;
    float some[FLOATS];
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (uint32_t d = 0; d < dimensions;) {
            size_t m = QUERN__MIN((size_t)(dimensions - d), (size_t)FLOATS);
            if (width == 2) {
                uint16_t half[FLOATS];
                memcpy(half, at, m * 2);
                quern_f16_to_f32(half, some, m);
            } else {
                memcpy(some, at, m * 4);
            }
            for (size_t k = 0; k < m; k++)
                sum += (double)some[k] * (double)some[k];
            at += m * width;
            d += (uint32_t)m;
        }
        if (!isfinite(sum) || fabs(sqrt(sum) - 1.0) > UNIT_SLACK)
            return quern__fail(err, QUERN_EFORMAT, (int64_t)(first + i),
                               "%s: vector %" PRIu64 " is not finite and of unit length (%g)",
                               where, first + i, sqrt(sum));
    }
    return QUERN_OK;
}

/* ---- files ---- */

typedef struct carry_input {
    char *path;
    quern__file *file;
    quern__sha256 hash;
    unsigned char *block;
    size_t at, have;
    uint64_t bytes, line;
    quern__buf text; /* the line at hand */
} carry_input;

typedef struct carry_reader {
    const quern__provenance *p;
    carry_input in[QUERN__CARRIES];
    quern__npy shape;
    quern__carry_fn fn;
    void *ud;
    const quern_cancel *cancel;
    quern__arena arena;    /* of a document */
    quern__carry_row head; /* its first line */
    quern_chunk *chunks;   /* [QUERN__CARRY_CHUNKS] */
    unsigned char *vectors;
    size_t n, cap_vectors, width;
    uint64_t documents, rows, empty;
} carry_reader;

static int open_input(carry_input *in, const char *dir, const char *name, quern_error *err)
{
    quern__buf_init(&in->text, QUERN__CARRY_LINE);
    in->block = quern__alloc(BLOCK);
    int rc =
        in->block ? quern__carry_path(dir, name, &in->path, err) : quern__fail_memory(err, BLOCK);
    if (rc == QUERN_OK)
        rc = quern__sha256_begin(&in->hash, err);
    return rc == QUERN_OK ? quern__file_open(&in->file, in->path, QUERN__FILE_READ, err) : rc;
}

static void close_input(carry_input *in)
{
    quern__sha256_dispose(&in->hash);
    quern__file_close(in->file, NULL);
    quern__buf_dispose(&in->text);
    quern__free(in->block);
    quern__free(in->path);
}

/* More into an empty block; have stays 0 at the end. */
static int read_more(carry_input *in, quern_error *err)
{
    in->at = 0;
    int rc = quern__file_read(in->file, in->block, BLOCK, &in->have, err);
    in->bytes += in->have;
    return rc == QUERN_OK ? quern__sha256_add(&in->hash, in->block, in->have, err) : rc;
}

static int take_bytes(carry_input *in, void *out, size_t n, quern_error *err)
{
    for (unsigned char *to = out; n;) {
        int rc = in->at == in->have ? read_more(in, err) : QUERN_OK;
        if (rc != QUERN_OK)
            return rc;
        size_t m = QUERN__MIN(n, in->have - in->at);
        if (m == 0)
            return quern__fail(err, QUERN_EFORMAT, (int64_t)in->bytes,
                               "%s: ends at byte %" PRIu64 ", before all of its vectors", in->path,
                               in->bytes);
        memcpy(to, in->block + in->at, m);
        to += m;
        in->at += m;
        n -= m;
    }
    return QUERN_OK;
}

/* The next line without its end into in->text; *got false at the end of the file. */
static int take_line(carry_input *in, bool *got, quern_error *err)
{
    quern__buf_clear(&in->text);
    *got = false;
    for (bool end = false; !end;) {
        int rc = in->at == in->have ? read_more(in, err) : QUERN_OK;
        if (rc != QUERN_OK)
            return rc;
        size_t left = in->have - in->at;
        if (left == 0) {
            if (!*got)
                return QUERN_OK;
            return quern__fail(err, QUERN_EFORMAT, (int64_t)in->bytes,
                               "%s:%" PRIu64 ": the line is cut off", in->path, in->line);
        }
        if (!*got)
            in->line++;
        *got = true;
        const unsigned char *from = in->block + in->at;
        const unsigned char *stop = memchr(from, '\n', left);
        size_t n = stop ? (size_t)(stop - from) : left;
        quern__buf_append(&in->text, from, n);
        in->at += n + (stop != NULL);
        end = stop != NULL;
        if (in->text.failed)
            return quern__buf_ok(&in->text, in->path, err);
    }
    return QUERN_OK;
}

static int read_header(carry_reader *r, quern_error *err)
{
    carry_input *in = &r->in[QUERN__CARRY_NPY];
    const quern__provenance *p = r->p;
    unsigned char prefix[QUERN__NPY_PREFIX];
    unsigned char *header = NULL;
    size_t n = 0;
    quern_error fault = {0};
    int rc = take_bytes(in, prefix, sizeof prefix, &fault);
    if (rc == QUERN_OK)
        rc = quern__npy_length(prefix, &n, &fault);
    if (rc == QUERN_OK && !(header = quern__alloc(n)))
        return quern__fail_memory(err, n);
    if (rc == QUERN_OK) {
        memcpy(header, prefix, sizeof prefix);
        rc = take_bytes(in, header + sizeof prefix, n - sizeof prefix, &fault);
    }
    if (rc == QUERN_OK)
        rc = quern__npy_read(header, n, &r->shape, &fault);
    quern__free(header);
    if (rc != QUERN_OK)
        return quern__fail(err, rc, fault.detail, "%s: %.400s", in->path, fault.msg);
    if (r->shape.rows != p->vectors || r->shape.dimensions != p->dimensions ||
        r->shape.width != quern__vector_width(p->vector_type))
        return quern__fail(err, QUERN_EFORMAT, 0,
                           "%s: %" PRIu64 " rows of %u elements of %u bytes; the manifest says "
                           "%" PRIu64 " of %u, %s",
                           in->path, r->shape.rows, r->shape.dimensions, r->shape.width, p->vectors,
                           p->dimensions, p->vector_type);
    r->width = (size_t)p->dimensions * r->shape.width;
    return QUERN_OK;
}

/* ---- documents ---- */

static int line_fault(const carry_input *in, int rc, const quern_error *why, quern_error *err)
{
    return quern__fail(err, rc, (int64_t)in->line, "%s:%" PRIu64 ": %.380s", in->path, in->line,
                       why->msg);
}

static bool same_text(quern_str a, quern_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static int deliver(carry_reader *r, quern_error *err)
{
    const quern__carry_doc doc = {.key = r->head.key,
                                  .revision = r->head.revision,
                                  .n = r->n,
                                  .chunks = r->chunks,
                                  .dropped_bytes = r->head.dropped_bytes};
    int rc = quern__check_cancel(r->cancel, err);
    if (rc == QUERN_OK && r->fn)
        rc = r->fn(&doc, r->ud, err);
    r->n = 0;
    quern__arena_dispose(&r->arena);
    return rc;
}

static int take_vector(carry_reader *r, quern_error *err)
{
    if (r->n == r->cap_vectors) {
        size_t cap = r->cap_vectors ? 2 * r->cap_vectors : 16;
        unsigned char *grown = quern__resize_array(r->vectors, cap, r->width);
        if (!grown)
            return quern__fail_memory(err, cap * r->width);
        r->vectors = grown;
        r->cap_vectors = cap;
    }
    unsigned char *to = r->vectors + r->n * r->width;
    int rc = take_bytes(&r->in[QUERN__CARRY_NPY], to, r->width, err);
    if (rc == QUERN_OK)
        rc = quern__carry_check_unit(to, 1, r->p->dimensions, r->shape.width, r->rows,
                                     r->in[QUERN__CARRY_NPY].path, err);
    return rc;
}

/* A line and its vector join the document at hand, which is delivered when it has all of its chunks. */
static int take_chunk(carry_reader *r, const quern__carry_row *row, quern_error *err)
{
    const carry_input *in = &r->in[QUERN__CARRY_ROWS];
    bool first = r->n == 0;
    if (first)
        r->head = *row;
    if (row->chunk != r->n || row->chunks == 0 || row->chunks != r->head.chunks ||
        !same_text(row->key, r->head.key) || !same_text(row->revision, r->head.revision) ||
        row->dropped_bytes != r->head.dropped_bytes)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)in->line,
                           "%s:%" PRIu64 ": not chunk %zu of %" PRIu64 " of key %.*s, which must "
                           "stand here",
                           in->path, in->line, r->n, r->head.chunks,
                           (int)QUERN__MIN(r->head.key.len, (size_t)80), r->head.key.ptr);
    int rc = take_vector(r, err);
    if (rc != QUERN_OK)
        return rc;
    r->chunks[r->n] = (quern_chunk){.index = (uint32_t)row->chunk,
                                    .start = row->start,
                                    .end = row->end,
                                    .char_start = row->char_start,
                                    .char_end = row->char_end,
                                    .page = (uint32_t)row->page,
                                    .heading = row->heading,
                                    .asset = row->asset};
    r->rows++;
    r->n++;
    if (r->n < r->head.chunks)
        return QUERN_OK;
    for (size_t i = 0; i < r->n; i++) /* they may have moved while they grew */
        r->chunks[i].vector = r->vectors + i * r->width;
    r->documents++;
    return deliver(r, err);
}

static int read_lines(carry_reader *r, size_t which, quern_error *err)
{
    carry_input *in = &r->in[which];
    bool got = true;
    int rc = QUERN_OK;
    while (rc == QUERN_OK) {
        rc = take_line(in, &got, err);
        if (rc != QUERN_OK || !got)
            break;
        quern__carry_row row;
        quern_error why = {0};
        rc = quern__carry_row_read(in->text.data ? in->text.data : "", in->text.len,
                                   which == QUERN__CARRY_EMPTY, &r->arena, &row, &why);
        if (rc != QUERN_OK)
            return line_fault(in, rc, &why, err);
        if (which == QUERN__CARRY_EMPTY) {
            r->head = row;
            r->empty++;
            rc = deliver(r, err);
        } else {
            rc = take_chunk(r, &row, err);
        }
    }
    return rc;
}

/* Nothing may follow, and what was read must have the checksum that the manifest says. */
static int check_end(carry_reader *r, size_t which, quern_error *err)
{
    carry_input *in = &r->in[which];
    uint8_t digest[32];
    char hash[65];
    int rc = QUERN_OK;
    bool left = in->at < in->have;
    if (!left) {
        rc = read_more(in, err);
        left = in->have > 0;
    }
    if (rc == QUERN_OK && left)
        rc = quern__fail(err, QUERN_EFORMAT, (int64_t)in->bytes, "%s: more bytes than its vectors",
                         in->path);
    if (rc == QUERN_OK)
        rc = quern__sha256_end(&in->hash, digest, err);
    if (rc != QUERN_OK)
        return rc;
    quern__hex32(digest, hash);
    if (in->bytes != r->p->files[which].bytes || strcmp(hash, r->p->files[which].sha256) != 0)
        return quern__code(err,
                           quern__fail(err, QUERN_EMISMATCH, (int64_t)in->bytes,
                                       "%s: %" PRIu64
                                       " bytes with SHA-256 %.12s; the manifest says %" PRIu64
                                       " with %.12s: the file is damaged or another",
                                       in->path, in->bytes, hash, r->p->files[which].bytes,
                                       r->p->files[which].sha256),
                           "checksum_mismatch");
    return QUERN_OK;
}

static int read_all(carry_reader *r, quern_error *err)
{
    const quern__provenance *p = r->p;
    int rc = read_header(r, err);
    if (rc == QUERN_OK)
        rc = read_lines(r, QUERN__CARRY_ROWS, err);
    if (rc == QUERN_OK && r->n)
        rc = quern__fail(err, QUERN_EFORMAT, (int64_t)r->rows,
                         "%s: ends before all chunks of its last document", r->in[1].path);
    if (rc == QUERN_OK)
        rc = read_lines(r, QUERN__CARRY_EMPTY, err);
    for (size_t i = 0; rc == QUERN_OK && i < QUERN__CARRIES; i++)
        rc = check_end(r, i, err);
    if (rc == QUERN_OK &&
        (r->documents != p->documents || r->rows != p->vectors || r->empty != p->empty))
        rc = quern__fail(err, QUERN_EFORMAT, 0,
                         "an export of %" PRIu64 " documents, %" PRIu64 " vectors, %" PRIu64
                         " blank; its manifest says %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                         r->documents, r->rows, r->empty, p->documents, p->vectors, p->empty);
    return rc;
}

int quern__carry_read(const char *dir, const quern__provenance *p, quern__carry_fn fn, void *ud,
                      const quern_cancel *cancel, quern_error *err)
{
    carry_reader *r = quern__calloc(1, sizeof *r);
    if (!r)
        return quern__fail_memory(err, sizeof *r);
    r->p = p;
    r->fn = fn;
    r->ud = ud;
    r->cancel = cancel;
    quern__arena_init(&r->arena, 0);
    r->chunks = quern__calloc(QUERN__CARRY_CHUNKS, sizeof *r->chunks);
    int rc =
        r->chunks ? QUERN_OK : quern__fail_memory(err, QUERN__CARRY_CHUNKS * sizeof *r->chunks);
    for (size_t i = 0; rc == QUERN_OK && i < QUERN__CARRIES; i++)
        rc = open_input(&r->in[i], dir, quern__carry_names[i], err);
    if (rc == QUERN_OK)
        rc = read_all(r, err);
    for (size_t i = 0; i < QUERN__CARRIES; i++)
        close_input(&r->in[i]);
    quern__arena_dispose(&r->arena);
    quern__free(r->chunks);
    quern__free(r->vectors);
    quern__free(r);
    return rc;
}
