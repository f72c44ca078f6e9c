/*
 * carry_export.c — quern_export: the current vectors of one generation into a folder (docs/export.md).
 *
 * Rows are scanned page by page, and of those whose stamp is current the chunks are read. A fill may save in between;
 * therefore the stamps of a page are read once more behind its chunks, and a document whose stamp has changed is left
 * out as stale: an export never pairs one revision with the vectors of another. A lock against fills was rejected: an
 * export of millions of documents would keep a live source from following its rows.
 *
 * Memory holds a page of rows and a few MiB of vectors, whatever the number of rows. The three data files are written
 * under temporary names; when they are whole and on the disk, they get their names, and the manifest is written last.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/os.h"
#include "base/sha256.h"
#include "pipeline/carry.h"
#include "pipeline/generation_find.h"
#include "pipeline/held.h"

enum {
    PAGE = 256,
    WRITE = 256 << 10, /* bytes of lines */
    BLOCK = 256 << 10,
    KEY_BYTES = 1 << 20
};

static const char LOCK[] = ".export.lock";
static const char PARTIAL[] = ".partial";
static const char MANIFEST[] = "manifest.json";

typedef struct page_doc {
    quern_str key, revision, section;
    int outcome;
    uint32_t chunks;
    uint64_t dropped_bytes;
    int64_t created_ms, updated_ms;
    const quern_chunk *parts; /* its chunks, among those held */
    size_t found;
    bool same; /* its stamp is still the one that was read before them */
} page_doc;

typedef struct export_run {
    quern_store *s;
    const char *dir;
    const quern_export_options *opt;
    quern_export_report *report;
    quern_error *err;
    quern__recipe *recipe;
    quern_generation generation;
    quern_read read;
    quern__provenance p;
    uint32_t width; /* of an element */
    uint64_t total, seen;

    char *partial[QUERN__CARRIES], *path[QUERN__CARRIES];
    quern__file *file[QUERN__CARRIES];
    quern__buf lines[QUERN__CARRIES];

    quern__buf text, after;
    quern__arena arena; /* of a page */
    page_doc docs[PAGE];
    size_t n, rows;
    quern__held held;
} export_run;

/* ---- a page of rows ---- */

static int copy_str(export_run *r, quern_str from, quern_str *to)
{
    to->ptr = quern__arena_copy(&r->arena, from.ptr ? from.ptr : "", from.len);
    to->len = from.len;
    return to->ptr ? QUERN_OK : quern__fail_memory(r->err, from.len);
}

static int take_section(export_run *r, const quern_row *row, page_doc *d)
{
    size_t at = r->recipe->detail[QUERN__DETAIL_SECTION];
    if (at == SIZE_MAX || row->columns[at].type != QUERN_VALUE_TEXT)
        return QUERN_OK;
    return copy_str(r, row->columns[at].bytes, &d->section);
}

static int take_row(const quern_row *row, void *ud)
{
    export_run *r = ud;
    quern__document_view doc;
    r->rows++;
    quern__buf_clear(&r->after);
    quern__buf_append(&r->after, row->key.ptr, row->key.len);
    int rc = quern__buf_ok(&r->after, "a key", r->err);
    if (rc != QUERN_OK)
        return rc;
    if (row->fault) {
        r->report->failed++;
        return QUERN_OK;
    }
    rc = quern__recipe_document(r->recipe, row, QUERN__RENDER_BYTES, &r->text, &doc, r->err);
    if (rc != QUERN_OK)
        return rc;
    const quern_stamp *s = &row->stamp;
    if (s->outcome == QUERN_OUTCOME_NONE) {
        r->report->pending++;
        return QUERN_OK;
    }
    if (!quern__is_done(row, &doc)) {
        r->report->stale++;
        return QUERN_OK;
    }
    if (s->outcome == QUERN_OUTCOME_FAILED) {
        r->report->failed++;
        return QUERN_OK;
    }
    page_doc *d = &r->docs[r->n++];
    memset(d, 0, sizeof *d);
    d->outcome = s->outcome;
    d->chunks = s->outcome == QUERN_OUTCOME_OK ? s->chunks : 0;
    d->dropped_bytes = s->dropped_bytes;
    d->created_ms = s->created_ms;
    d->updated_ms = s->updated_ms;
    rc = copy_str(r, row->key, &d->key);
    if (rc == QUERN_OK)
        rc = copy_str(r, s->revision, &d->revision);
    return rc == QUERN_OK ? take_section(r, row, d) : rc;
}

/* The stamps again: whose is still the same? */
static int take_stamp(const quern_row *row, void *ud)
{
    export_run *r = ud;
    const quern_stamp *s = &row->stamp;
    for (size_t i = 0; i < r->n; i++) {
        page_doc *d = &r->docs[i];
        if (d->key.len == row->key.len && memcmp(d->key.ptr, row->key.ptr, d->key.len) == 0)
            d->same = !row->fault && !s->redo && s->outcome == d->outcome &&
                      s->updated_ms == d->updated_ms && s->revision.len == d->revision.len &&
                      (d->revision.len == 0 ||
                       memcmp(s->revision.ptr, d->revision.ptr, d->revision.len) == 0);
    }
    return QUERN_OK;
}

/* ---- writing ---- */

static int flush_lines(export_run *r, size_t which, size_t least, quern_error *err)
{
    quern__buf *b = &r->lines[which];
    int rc = quern__buf_ok(b, "the lines of an export", err);
    if (rc != QUERN_OK || b->len < least || b->len == 0)
        return rc;
    rc = quern__file_write(r->file[which], b->data, b->len, err);
    quern__buf_clear(b);
    return rc;
}

static void put_time(quern__jsonw *w, const char *name, int64_t ms)
{
    char text[25];
    quern__rfc3339(ms, text);
    quern__jsonw_put_cstr(w, name, text);
}

static void begin_line(quern__jsonw *w, quern__buf *out, const page_doc *d)
{
    quern__jsonw_init(w, out);
    quern__jsonw_object(w);
    quern__jsonw_key(w, "key");
    quern__jsonw_raw(w, d->key.ptr, d->key.len);
}

static void end_line(quern__jsonw *w, quern__buf *out, const page_doc *d)
{
    quern__jsonw_put_str(w, "revision", d->revision);
    put_time(w, "created", d->created_ms);
    put_time(w, "updated", d->updated_ms);
    quern__jsonw_end_object(w);
    quern__buf_putc(out, '\n');
}

static void write_chunk(export_run *r, const page_doc *d, const quern_chunk *c)
{
    quern__buf *out = &r->lines[QUERN__CARRY_ROWS];
    quern__jsonw w;
    begin_line(&w, out, d);
    quern__jsonw_put_u64(&w, "chunk", c->index);
    quern__jsonw_put_u64(&w, "chunks", d->chunks);
    quern__jsonw_put_u64(&w, "start", c->start);
    quern__jsonw_put_u64(&w, "end", c->end);
    quern__jsonw_key(&w, "characters");
    quern__jsonw_array(&w);
    quern__jsonw_u64(&w, c->char_start);
    quern__jsonw_u64(&w, c->char_end);
    quern__jsonw_end_array(&w);
    if (c->page)
        quern__jsonw_put_u64(&w, "page", c->page);
    if (d->section.len)
        quern__jsonw_put_str(&w, "section", d->section);
    if (c->heading.len)
        quern__jsonw_put_str(&w, "heading", c->heading);
    if (c->asset.len) {
        quern__jsonw_key(&w, "asset");
        quern__jsonw_raw(&w, c->asset.ptr, c->asset.len);
    }
    if (d->dropped_bytes)
        quern__jsonw_put_u64(&w, "dropped_bytes", d->dropped_bytes);
    end_line(&w, out, d);
}

static int write_doc(export_run *r, const page_doc *d, quern_error *err)
{
    size_t width = (size_t)r->generation.dimensions * r->width;
    char where[160];
    if (d->outcome == QUERN_OUTCOME_EMPTY) {
        quern__jsonw w;
        begin_line(&w, &r->lines[QUERN__CARRY_EMPTY], d);
        end_line(&w, &r->lines[QUERN__CARRY_EMPTY], d);
        r->p.empty++;
        return flush_lines(r, QUERN__CARRY_EMPTY, WRITE, err);
    }
    const void *vectors = d->parts->vector; /* the others lie behind it */
    snprintf(where, sizeof where, "source %s, key %.*s", r->recipe->spec.name,
             (int)QUERN__MIN(d->key.len, (size_t)80), d->key.ptr);
    int rc = quern__carry_check_unit(vectors, d->found, r->generation.dimensions, r->width, 0,
                                     where, err);
    for (size_t i = 0; rc == QUERN_OK && i < d->found; i++)
        write_chunk(r, d, &d->parts[i]);
    if (rc == QUERN_OK)
        rc = quern__file_write(r->file[QUERN__CARRY_NPY], vectors, d->found * width, err);
    if (rc == QUERN_OK)
        rc = flush_lines(r, QUERN__CARRY_ROWS, WRITE, err);
    r->p.documents++;
    r->p.vectors += d->found;
    return rc;
}

static bool whole(const page_doc *d)
{
    for (size_t i = 0; i < d->found; i++)
        if (d->parts[i].index != i)
            return false;
    return d->found == d->chunks && (d->chunks > 0) == (d->outcome == QUERN_OUTCOME_OK);
}

/* Documents [from, end) of the page: their chunks are read, then their stamps again. */
static int write_some(export_run *r, size_t from, size_t end, quern_error *err)
{
    quern_str keys[PAGE] = {r->docs[from].key};
    size_t first[PAGE + 1], n = 0;
    for (size_t i = from; i < end; i++)
        if (r->docs[i].chunks)
            keys[n++] = r->docs[i].key;
    int rc = quern__held_read(&r->held, r->s, r->generation.id, keys, n, first, err);
    n = 0;
    for (size_t i = from; rc == QUERN_OK && i < end; i++)
        if (r->docs[i].chunks) {
            r->docs[i].parts = r->held.chunks ? &r->held.chunks[first[n]] : NULL;
            r->docs[i].found = first[n + 1] - first[n];
            n++;
        }
    for (size_t i = from; i < end; i++)
        keys[i - from] = r->docs[i].key;
    if (rc == QUERN_OK)
        rc = r->s->table.fetch(r->s->self, &r->read, keys, end - from, take_stamp, r, err);
    for (size_t i = from; rc == QUERN_OK && i < end; i++) {
        if (r->docs[i].same && whole(&r->docs[i]))
            rc = write_doc(r, &r->docs[i], err);
        else
            r->report->stale++;
    }
    return rc;
}

static int write_page(export_run *r, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t from = 0, end; rc == QUERN_OK && from < r->n; from = end) {
        size_t bytes = r->docs[from].chunks * r->held.width;
        for (end = from + 1; end < r->n && bytes < QUERN__HELD_BYTES; end++)
            bytes += r->docs[end].chunks * r->held.width;
        rc = write_some(r, from, end, err);
    }
    return rc;
}

static int write_rows(export_run *r, quern_error *err)
{
    int rc = r->s->table.count(r->s->self, &r->read, &r->total, err);
    do {
        quern__arena_dispose(&r->arena);
        r->n = r->rows = 0;
        quern_str from = {r->after.data, r->after.len};
        if (rc == QUERN_OK)
            rc = quern__check_cancel(r->opt->cancel, err);
        if (rc == QUERN_OK)
            rc = r->s->table.scan(r->s->self, &r->read, from, PAGE, take_row, r, err);
        if (rc == QUERN_OK)
            rc = write_page(r, err);
        r->seen += r->rows;
        if (rc == QUERN_OK && r->opt->progress &&
            r->opt->progress(r->seen, QUERN__MAX(r->total, r->seen), r->opt->progress_ud))
            rc = quern__fail(err, QUERN_ECANCELLED, 0, "cancelled by the caller");
    } while (rc == QUERN_OK && r->rows == PAGE);
    return rc;
}

/* ---- files ---- */

static int note_name(void *ud, const char *name)
{
    bool *full = ud;
    bool ours = strcmp(name, LOCK) == 0;
    for (size_t i = 0; i < QUERN__CARRIES; i++) {
        size_t n = strlen(quern__carry_names[i]);
        ours |= strncmp(name, quern__carry_names[i], n) == 0 && strcmp(name + n, PARTIAL) == 0;
    }
    *full |= !ours; /* what an export left that was cut off may be written over */
    return 0;
}

static int prepare_folder(export_run *r, quern__lock **lock, quern_error *err)
{
    quern__stat st;
    char *path = NULL;
    bool full = false;
    int rc = quern__stat_path(r->dir, &st, err);
    if (rc == QUERN_OK && st.exists && !st.is_dir)
        rc = quern__fail(err, QUERN_EEXISTS, 0, "%s: is not a folder", r->dir);
    if (rc == QUERN_OK && !st.exists)
        rc = quern__make_dirs(r->dir, err);
    if (rc == QUERN_OK && st.exists && !r->opt->force)
        rc = quern__list_dir(r->dir, note_name, &full, err);
    if (rc == QUERN_OK && full)
        rc = quern__fail(err, QUERN_EEXISTS, 0,
                         "%s: there is something in that folder; take another, or say that an "
                         "earlier export may be written over (--force)",
                         r->dir);
    if (rc == QUERN_OK)
        rc = quern__carry_path(r->dir, LOCK, &path, err);
    if (rc == QUERN_OK)
        rc = quern__lock_file(lock, path, 0, err);
    quern__free(path);
    return rc;
}

static int open_files(export_run *r, quern_error *err)
{
    unsigned char room[QUERN__NPY_HEADER] = {0};
    char name[40];
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < QUERN__CARRIES; i++) {
        snprintf(name, sizeof name, "%s%s", quern__carry_names[i], PARTIAL);
        rc = quern__carry_path(r->dir, quern__carry_names[i], &r->path[i], err);
        if (rc == QUERN_OK)
            rc = quern__carry_path(r->dir, name, &r->partial[i], err);
        if (rc == QUERN_OK)
            rc = quern__file_open(&r->file[i], r->partial[i], QUERN__FILE_WRITE, err);
    }
    return rc == QUERN_OK ? quern__file_write(r->file[QUERN__CARRY_NPY], room, sizeof room, err)
                          : rc;
}

/* The checksum is taken of what can be read back, not of what was meant to be written. */
static int hash_file(export_run *r, size_t which, quern_error *err)
{
    quern__file *f = NULL;
    quern__sha256 h = {NULL};
    uint8_t digest[32];
    size_t got = 1;
    unsigned char *block = quern__alloc(BLOCK);
    int rc = block ? quern__file_open(&f, r->partial[which], QUERN__FILE_READ, err)
                   : quern__fail_memory(err, BLOCK);
    if (rc == QUERN_OK)
        rc = quern__sha256_begin(&h, err);
    r->p.files[which].bytes = 0;
    while (rc == QUERN_OK && got) {
        rc = quern__file_read(f, block, BLOCK, &got, err);
        if (rc == QUERN_OK)
            rc = quern__sha256_add(&h, block, got, err);
        if (rc == QUERN_OK)
            rc = quern__check_cancel(r->opt->cancel, err);
        r->p.files[which].bytes += got;
    }
    if (rc == QUERN_OK)
        rc = quern__sha256_end(&h, digest, err);
    if (rc == QUERN_OK)
        quern__hex32(digest, r->p.files[which].sha256);
    quern__sha256_dispose(&h);
    quern__file_close(f, NULL);
    quern__free(block);
    return rc;
}

static int finish_file(export_run *r, size_t which, quern_error *err)
{
    int rc = QUERN_OK;
    if (which == QUERN__CARRY_NPY) {
        unsigned char header[QUERN__NPY_HEADER];
        const quern__npy shape = {r->p.vectors, r->p.dimensions, r->width};
        quern__npy_write(&shape, header);
        rc = quern__file_write_at(r->file[which], 0, header, sizeof header, err);
    } else {
        rc = flush_lines(r, which, 0, err);
    }
    if (rc == QUERN_OK)
        rc = quern__file_sync(r->file[which], err);
    int closed = quern__file_close(r->file[which], rc == QUERN_OK ? err : NULL);
    r->file[which] = NULL;
    if (rc == QUERN_OK)
        rc = closed;
    return rc == QUERN_OK ? hash_file(r, which, err) : rc;
}

/* All files are whole: they get their names, and then the manifest says so. */
static int publish(export_run *r, quern_error *err)
{
    quern__provenance_more more = {&r->recipe->spec, &r->generation, r->report->stale,
                                   r->report->pending, r->report->failed};
    char *path = NULL;
    quern__buf json;
    quern__buf_init(&json, QUERN__CARRY_MANIFEST);
    int rc = quern__provenance_write(&r->p, &more, &json, err);
    if (rc == QUERN_OK)
        rc = quern__carry_path(r->dir, MANIFEST, &path, err);
    if (rc == QUERN_OK)
        rc = quern__remove_file(path, err);
    for (size_t i = 0; rc == QUERN_OK && i < QUERN__CARRIES; i++)
        rc = quern__rename(r->partial[i], r->path[i], err);
    if (rc == QUERN_OK)
        rc = quern__write_file_atomic(path, json.data, json.len, err);
    for (size_t i = 0; i < QUERN__CARRIES; i++)
        r->report->bytes += r->p.files[i].bytes;
    r->report->bytes += json.len;
    quern__free(path);
    quern__buf_dispose(&json);
    return rc;
}

static int write_folder(export_run *r, quern_error *err)
{
    quern__lock *lock = NULL;
    char *path = NULL;
    int rc = prepare_folder(r, &lock, err);
    if (rc != QUERN_OK)
        return rc;
    rc = open_files(r, err);
    if (rc == QUERN_OK)
        rc = write_rows(r, err);
    for (size_t i = 0; rc == QUERN_OK && i < QUERN__CARRIES; i++)
        rc = finish_file(r, i, err);
    if (rc == QUERN_OK)
        rc = publish(r, err);
    for (size_t i = 0; i < QUERN__CARRIES; i++) {
        quern__file_close(r->file[i], NULL);
        if (rc != QUERN_OK && r->partial[i])
            quern__remove_file(r->partial[i], NULL);
    }
    if (quern__carry_path(r->dir, LOCK, &path, NULL) == QUERN_OK)
        quern__remove_file(path, NULL);
    quern__free(path);
    quern__unlock_file(lock);
    return rc;
}

/* ---- which generation ---- */

static int choose_generation(export_run *r, quern_error *err)
{
    const char *name = r->recipe->spec.name;
    char what[160];
    bool same = false;
    int rc;
    if (r->opt->generation) {
        quern__generation_at at;
        rc = quern__generation_at_id(r->s, r->opt->generation, &at, err);
        if (rc == QUERN_OK && strcmp(at.source, name) != 0)
            rc = quern__fail(err, QUERN_ENOTFOUND, at.g.id,
                             "generation %" PRId64 " is of source %s, not of %s", at.g.id,
                             at.source, name);
        r->generation = at.g;
    } else {
        rc = r->s->table.generation_find(r->s->self, name, "active", &r->generation, err);
        if (rc == QUERN_ENOTFOUND)
            rc = quern__fail(err, rc, 0, "source %s has not been filled yet; run `quern fill`",
                             name);
    }
    if (rc == QUERN_OK)
        rc = r->s->table.generation_json(r->s->self, r->generation.id, &r->p.recipe, err);
    if (rc == QUERN_OK)
        rc = quern__recipe_scope_of(r->recipe, r->s, r->generation.id, err);
    if (rc == QUERN_OK)
        rc = quern__recipe_declared(r->recipe, r->p.recipe, &same, what, sizeof what, err);
    if (rc == QUERN_OK && !same)
        rc = quern__fail(err, QUERN_EMISMATCH, r->generation.id,
                         "generation %" PRId64 " of source %s was made when it was declared "
                         "otherwise (%s differs): which of its vectors are current cannot be "
                         "told; run `quern fill` first",
                         r->generation.id, name, what);
    return rc;
}

static int export_source(export_run *r, quern_error *err)
{
    int rc = quern__recipe_open(&r->recipe, r->s, r->opt->source, err);
    if (rc == QUERN_OK)
        rc = choose_generation(r, err);
    if (rc != QUERN_OK)
        return rc;
    const quern_generation *g = &r->generation;
    r->read = r->recipe->read;
    r->read.generation = g->id;
    r->width = (uint32_t)quern__vector_width(g->vector_type);
    r->held.width = (size_t)g->dimensions * r->width;
    r->p.dimensions = g->dimensions;
    memcpy(r->p.fingerprint, g->fingerprint, sizeof r->p.fingerprint);
    memcpy(r->p.vector_type, g->vector_type, sizeof r->p.vector_type);
    r->p.source = quern__strdup(r->recipe->spec.name);
    r->p.model = quern__strdup(g->model);
    if (!r->p.source || !r->p.model)
        return quern__fail_memory(err, sizeof g->model);
    return write_folder(r, err);
}

int quern_export(quern_store *s, const char *dir, const quern_export_options *opt,
                 quern_export_report *report, quern_error *err)
{
    QUERN__REQUIRE(s && dir && dir[0] && opt && opt->struct_size >= sizeof *opt, err);
    QUERN__REQUIRE(opt->source && opt->generation >= 0, err);
    QUERN__REQUIRE(!report || report->struct_size >= sizeof *report, err);
    quern_export_report own;
    QUERN_INIT(&own);
    export_run *r = quern__calloc(1, sizeof *r);
    if (!r)
        return quern__fail_memory(err, sizeof *r);
    r->s = s;
    r->dir = dir;
    r->opt = opt;
    r->report = &own;
    r->err = err;
    quern__arena_init(&r->arena, 0);
    quern__buf_init(&r->text, QUERN__TEXT_BUFFER);
    quern__buf_init(&r->after, KEY_BYTES);
    for (size_t i = 0; i < QUERN__CARRIES; i++)
        quern__buf_init(&r->lines[i], SIZE_MAX / 2);
    int rc = export_source(r, err);
    own.generation = r->generation.id;
    own.documents = r->p.documents;
    own.vectors = r->p.vectors;
    own.empty = r->p.empty;
    quern__recipe_free(r->recipe);
    quern__provenance_dispose(&r->p);
    quern__arena_dispose(&r->arena);
    quern__buf_dispose(&r->text);
    quern__buf_dispose(&r->after);
    for (size_t i = 0; i < QUERN__CARRIES; i++) {
        quern__buf_dispose(&r->lines[i]);
        quern__free(r->partial[i]);
        quern__free(r->path[i]);
    }
    quern__held_dispose(&r->held);
    quern__free(r);
    if (report)
        *report = own;
    return rc;
}
