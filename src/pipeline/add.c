/*
 * add.c — files into the built-in documents table: stage, check, publish.
 *
 * Everything is staged first, in short transactions of its own that no reader sees; only when the last
 * record of the last input has been read without a fault is it published, again in short transactions. So a fault
 * on line 60,000 leaves nothing of the first 59,999, and the user's other programs never wait. An abandoned batch
 * (kill -9) is dropped by the next add.
 *
 * Ids: a record's own; a file's path relative to the folder that was named (its name, when it was named itself);
 * else SHA-256 of the content. Two files that would have one id are refused with both paths, rather than one of
 * them silently winning.
 *
 * In a folder, what cannot be text is passed over and counted; what was named on the command line is refused
 * instead: the user meant that very file.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/os.h"
#include "base/sha256.h"
#include "pipeline/record_reader.h"
#include "pipeline/recipe.h"
#include "quern/pipeline.h"
#include "text/utf8.h"

enum {
    STAGE_DOCS = 256, /* in one transaction */
    STAGE_BYTES = 1024 * 1024,
    STDIN_BLOCK = 65536,
    ROOTS_BYTES = 4 << 20,
    PATH_BYTES = 4096,
    WALK_DEPTH = 128,
    TELL_EVERY = 64,
    LOCK_WAIT_MS = 2000,
    LOCK_NAME = 96
};

typedef struct add_run {
    quern_store *s;
    const quern_add_options *opt;
    quern_add_report *report;
    const char *source;
    int64_t batch;
    bool keeps;            /* what the source is declared as */
    quern__recipe *recipe; /* NULL: it is made by this call */
    const char *made_of[QUERN__TEMPLATE_FIELDS + QUERN__ASSET_COLUMNS];
    quern__shape shape;
    quern__template *template;
    bool seen[QUERN__TEMPLATE_FIELDS]; /* fields of the template that some record had */
    uint64_t records;
    /* documents not yet staged */
    quern__arena arena;
    quern_document docs[STAGE_DOCS];
    size_t n_docs;
    uint64_t bytes, since_told;
    quern__buf id, fields;
    quern__buf roots; /* JSON array of what was named, for sync */
    quern__jsonw roots_writer;
} add_run;

/* ---- staging ---- */

static int tell(add_run *r, quern_error *err)
{
    int rc = quern__check_cancel(r->opt->cancel, err);
    if (rc == QUERN_OK && r->opt->progress &&
        r->opt->progress(r->report->documents, r->bytes, r->opt->progress_ud))
        rc = quern__fail(err, QUERN_ECANCELLED, 0, "cancelled by the caller");
    return rc;
}

static int flush(add_run *r, quern_error *err)
{
    if (r->n_docs == 0)
        return QUERN_OK;
    uint64_t duplicates = 0;
    int rc = r->s->table.stage_put(r->s->self, r->batch, r->docs, r->n_docs, &duplicates, err);
    r->report->duplicates += duplicates;
    quern__arena_dispose(&r->arena);
    r->n_docs = 0;
    return rc == QUERN_OK ? tell(r, err) : rc;
}

static int copy_str(add_run *r, quern_str from, quern_str *to, quern_error *err)
{
    char *copy = quern__arena_copy(&r->arena, from.ptr ? from.ptr : "", from.len);
    if (!copy)
        return quern__fail_memory(err, from.len);
    *to = (quern_str){copy, from.len};
    return QUERN_OK;
}

/* Copies the document; an empty id is derived from `content`. derived: so is the one given, from a path. */
static int stage(add_run *r, quern_str id, bool derived, quern_str fields, quern_str content,
                 const char *origin, uint64_t line, quern_error *err)
{
    char hex[65];
    quern_document d = {.line = line, .derived_id = derived || id.len == 0};
    if (id.len == 0) {
        uint8_t digest[32];
        int rc = quern__sha256_of(content.ptr ? content.ptr : "", content.len, digest, err);
        if (rc != QUERN_OK)
            return rc;
        quern__hex32(digest, hex);
        id = quern_str_of(hex);
    }
    int rc = copy_str(r, id, &d.id, err);
    if (rc == QUERN_OK)
        rc = copy_str(r, fields, &d.fields, err);
    if (rc == QUERN_OK)
        rc = copy_str(r, quern_str_of(origin), &d.origin, err);
    if (rc != QUERN_OK)
        return rc;
    r->docs[r->n_docs++] = d;
    r->report->documents++;
    if (r->n_docs == STAGE_DOCS || r->arena.used >= STAGE_BYTES)
        return flush(r, err);
    return ++r->since_told % TELL_EVERY ? QUERN_OK : tell(r, err);
}

static int add_root(add_run *r, const char *prefix, quern_error *err)
{
    quern__jsonw_cstr(&r->roots_writer, prefix);
    return quern__buf_ok(&r->roots, "the list of inputs", err);
}

/* ---- kinds of input ---- */

static bool ends_with(const char *path, const char *suffix)
{
    size_t n = strlen(path);
    size_t m = strlen(suffix);
    if (n < m)
        return false;
    for (size_t i = 0; i < m; i++) {
        char c = path[n - m + i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        if (c != suffix[i])
            return false;
    }
    return true;
}

/* By file name; AUTO when it says nothing. */
static int format_of(const char *path)
{
    static const struct {
        const char *suffix;
        int format;
    } known[] = {{".txt", QUERN_ADD_TEXT},      {".md", QUERN_ADD_TEXT},
                 {".markdown", QUERN_ADD_TEXT}, {".text", QUERN_ADD_TEXT},
                 {".jsonl", QUERN_ADD_JSONL},   {".ndjson", QUERN_ADD_JSONL},
                 {".csv", QUERN_ADD_CSV}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (ends_with(path, known[i].suffix))
            return known[i].format;
    }
    return QUERN_ADD_AUTO;
}

static int read_open_file(void *ud, void *buf, size_t n, size_t *got, quern_error *err)
{
    return quern__file_read(ud, buf, n, got, err);
}

static int add_records(add_run *r, quern__file *file, const char *name, const char *origin,
                       int format, quern_error *err)
{
    quern__input in;
    int rc = quern__input_init(&in, name, read_open_file, file,
                               r->shape.max_bytes + QUERN__INPUT_SLACK, err);
    while (rc == QUERN_OK) {
        json_t *object = NULL;
        uint64_t before = in.bytes;
        rc = format == QUERN_ADD_CSV ? quern__csv_next(&in, &object, err)
                                     : quern__jsonl_next(&in, &object, err);
        r->bytes += in.bytes - before;
        if (rc != QUERN_OK || !object)
            break;
        size_t text_bytes = 0;
        rc = quern__shape_record(&in, &r->shape, object, &r->id, &r->fields, &text_bytes, err);
        json_decref(object);
        r->records++;
        quern_str fields = {r->fields.data, r->fields.len};
        quern_str id = {r->id.data, r->id.len};
        if (rc == QUERN_OK)
            rc = stage(r, id, false, fields, fields, origin, in.line, err);
    }
    quern__input_dispose(&in);
    return rc;
}

/* Why these bytes are no text, or NULL. */
static const char *not_text(quern_str text, size_t *at)
{
    const char *nul = text.len ? memchr(text.ptr, '\0', text.len) : NULL;
    if (nul) {
        *at = (size_t)(nul - text.ptr);
        return "a NUL";
    }
    *at = text.len ? quern__utf8_check(text.ptr, text.len) : 0;
    return *at < text.len ? "not UTF-8" : NULL;
}

static int stage_text(add_run *r, quern_str text, quern_str id, const char *origin,
                      quern_error *err)
{
    if (text.len >= 3 && memcmp(text.ptr, "\xEF\xBB\xBF", 3) == 0)
        text = (quern_str){text.ptr + 3, text.len - 3};
    int rc = quern__shape_text(text, &r->fields, err);
    quern_str fields = {r->fields.data, r->fields.len};
    r->bytes += text.len;
    return rc == QUERN_OK ? stage(r, id, true, fields, text, origin, 0, err) : rc;
}

/* `walked`: found in a folder, so skipped and counted when it is no text. */
static int add_text_file(add_run *r, const char *path, const char *origin, const char *id,
                         bool walked, quern_error *err)
{
    char *data = NULL;
    size_t size = 0;
    int rc = quern__read_file(path, r->shape.max_bytes, &data, &size, err);
    if (rc != QUERN_OK)
        return rc;
    quern_str text = {data, size};
    size_t at = 0;
    const char *why = not_text(text, &at);
    if (why && walked) {
        r->report->skipped_encoding++;
    } else if (why) {
        rc = quern__fail(err, QUERN_EFORMAT, (int64_t)at,
                         "%s: %s at byte %zu; only UTF-8 text can be added", path, why, at);
    } else {
        r->report->files++;
        rc = stage_text(r, text, quern_str_of(id), origin, err);
    }
    quern__free(data);
    return rc;
}

static int add_record_file(add_run *r, const char *path, const char *origin, int format,
                           quern_error *err)
{
    quern__file *file = NULL;
    int rc = quern__file_open(&file, path, QUERN__FILE_READ, err);
    if (rc != QUERN_OK)
        return rc;
    r->report->files++;
    rc = add_records(r, file, path, origin, format, err);
    quern__file_close(file, NULL);
    return rc;
}

static int add_stdin_text(add_run *r, quern__file *in, quern_error *err)
{
    quern__buf text;
    quern__buf_init(&text, r->shape.max_bytes + 2);
    size_t got = 1;
    int rc = QUERN_OK;
    while (rc == QUERN_OK && got) {
        char *room = NULL;
        size_t left = r->shape.max_bytes + 1 - text.len;
        size_t n = left < STDIN_BLOCK ? left : STDIN_BLOCK;
        /* cppcheck-suppress knownConditionTrueFalse ; it takes the smaller of two sizes for 0 */
        if (n == 0)
            rc =
                quern__fail(err, QUERN_EFORMAT, 0,
                            "standard input: over %zu bytes, for one document", r->shape.max_bytes);
        else if (!(room = quern__buf_reserve(&text, n)))
            rc = quern__fail_memory(err, n);
        else
            rc = quern__file_read(in, room, n, &got, err);
        if (rc == QUERN_OK) {
            text.len += got;
            rc = tell(r, err);
        }
    }
    size_t at = 0;
    quern_str all = {text.data, text.len};
    const char *why = rc == QUERN_OK ? not_text(all, &at) : NULL;
    if (why)
        rc =
            quern__fail(err, QUERN_EFORMAT, (int64_t)at, "standard input: %s at byte %zu", why, at);
    if (rc == QUERN_OK)
        rc = stage_text(r, all, (quern_str){NULL, 0}, "-", err);
    quern__buf_dispose(&text);
    return rc;
}

static int add_stdin(add_run *r, quern_error *err)
{
    quern__file *in = NULL;
    int rc = quern__file_stdin(&in, err);
    if (rc == QUERN_OK)
        rc = add_root(r, "-", err);
    if (rc == QUERN_OK && (r->opt->format == QUERN_ADD_JSONL || r->opt->format == QUERN_ADD_CSV))
        rc = add_records(r, in, "standard input", "-", r->opt->format, err);
    else if (rc == QUERN_OK)
        rc = add_stdin_text(r, in, err);
    r->report->files += rc == QUERN_OK;
    quern__file_close(in, NULL);
    return rc;
}

/* ---- folders ---- */

typedef struct walk {
    add_run *run;
    const char *root_real; /* canonical, without a '/' at the end unless it is the root itself */
    const char *path;      /* as the user named it, for reading and errors */
    const char *relative;  /* "" at the top, else "sub/dir/" */
    unsigned depth;
    quern_error *err;
} walk;

static int walk_folder(const walk *w);

static int join(char out[PATH_BYTES], const char *a, const char *between, const char *b,
                quern_error *err)
{
    int n = snprintf(out, PATH_BYTES, "%s%s%s", a, between, b);
    if (n < 0 || n >= PATH_BYTES)
        return quern__fail(err, QUERN_EINVAL, n, "%.200s…: the path is over %d bytes", a,
                           PATH_BYTES);
    return QUERN_OK;
}

static bool is_inside(const char *root, const char *path)
{
    size_t n = strlen(root);
    if (n == 1 && root[0] == '/')
        return true;
    return strncmp(root, path, n) == 0 && path[n] == '/';
}

static int add_found_file(const walk *w, const char *path, const char *relative)
{
    add_run *r = w->run;
    int format = r->opt->format != QUERN_ADD_AUTO ? r->opt->format : format_of(relative);
    if (format == QUERN_ADD_AUTO)
        return QUERN_OK; /* not a kind that is known */
    if (quern__utf8_check(relative, strlen(relative)) < strlen(relative)) {
        r->report->skipped_encoding++;
        return QUERN_OK;
    }
    char origin[PATH_BYTES];
    const char *slash = strcmp(w->root_real, "/") == 0 ? "" : "/";
    int rc = join(origin, w->root_real, slash, relative, w->err);
    if (rc != QUERN_OK)
        return rc;
    if (format == QUERN_ADD_TEXT)
        return add_text_file(r, path, origin, relative, true, w->err);
    return add_record_file(r, path, origin, format, w->err);
}

/* A link to a file inside the folder is read under its own name; to a folder inside, its files are found anyway. */
static int follow_link(const walk *w, const char *path, const char *relative, const quern__stat *st)
{
    char *real = NULL;
    bool inside = st->exists && quern__real_path(path, &real, NULL) == QUERN_OK &&
                  is_inside(w->root_real, real);
    quern__free(real);
    if (!inside) {
        w->run->report->skipped_links++;
        return QUERN_OK;
    }
    return st->is_file ? add_found_file(w, path, relative) : QUERN_OK;
}

static int visit(void *ud, const char *name)
{
    const walk *w = ud;
    char path[PATH_BYTES];
    char relative[PATH_BYTES];
    const char *slash = ends_with(w->path, "/") ? "" : "/";
    int rc = join(path, w->path, slash, name, w->err);
    if (rc == QUERN_OK)
        rc = join(relative, w->relative, "", name, w->err);
    quern__stat st = {0};
    if (rc == QUERN_OK)
        rc = tell(w->run, w->err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(path, &st, w->err);
    if (rc != QUERN_OK)
        return rc;
    if (st.is_link)
        return follow_link(w, path, relative, &st);
    if (!st.exists)
        return QUERN_OK; /* gone since the folder was listed */
    if (st.is_file)
        return add_found_file(w, path, relative);
    if (!st.is_dir) {
        w->run->report->skipped_special++;
        return QUERN_OK;
    }
    if ((rc = join(relative, w->relative, name, "/", w->err)) != QUERN_OK)
        return rc;
    walk below = {w->run, w->root_real, path, relative, w->depth + 1, w->err};
    return walk_folder(&below);
}

static int walk_folder(const walk *w)
{
    if (w->depth > WALK_DEPTH)
        return quern__fail(w->err, QUERN_EINVAL, WALK_DEPTH, "%s: folders nested over %d deep",
                           w->path, WALK_DEPTH);
    walk here = *w;
    return quern__list_dir(w->path, visit, &here, w->err);
}

static int add_folder(add_run *r, const char *path, const char *real, quern_error *err)
{
    char prefix[PATH_BYTES];
    int rc = join(prefix, real, strcmp(real, "/") == 0 ? "" : "/", "", err);
    if (rc == QUERN_OK)
        rc = add_root(r, prefix, err);
    walk w = {r, real, path, "", 0, err};
    return rc == QUERN_OK ? walk_folder(&w) : rc;
}

/* ---- one argument ---- */

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int add_path(add_run *r, const char *path, quern_error *err)
{
    if (strcmp(path, "-") == 0)
        return add_stdin(r, err);
    quern__stat st;
    int rc = quern__stat_path(path, &st, err);
    if (rc != QUERN_OK)
        return rc;
    if (!st.exists)
        return quern__fail(err, QUERN_ENOTFOUND, 0, "%s: no such file or folder", path);
    if (!st.is_file && !st.is_dir)
        return quern__fail(
            err, QUERN_EINVAL, 0,
            "%s: neither a file nor a folder; to read a pipe or device, give - and let it be "
            "standard input",
            path);
    char *real = NULL;
    rc = quern__real_path(path, &real, err);
    if (rc != QUERN_OK)
        return rc;
    int format = r->opt->format != QUERN_ADD_AUTO ? r->opt->format : format_of(path);
    if (st.is_dir)
        rc = add_folder(r, path, real, err);
    else if ((rc = add_root(r, real, err)) != QUERN_OK)
        ;
    else if (format == QUERN_ADD_JSONL || format == QUERN_ADD_CSV)
        rc = add_record_file(r, path, real, format, err);
    else
        rc = add_text_file(r, path, real, file_name(path), false, err);
    quern__free(real);
    return rc;
}

/* ---- publishing ---- */

static int publish(add_run *r, quern_error *err)
{
    quern_publish_report sum = {0};
    int more = 1;
    int rc = QUERN_OK;
    while (rc == QUERN_OK && more) {
        rc = tell(r, err);
        if (rc == QUERN_OK)
            rc = r->s->table.stage_publish(r->s->self, r->batch, r->roots.data, r->opt->sync, &sum,
                                           &more, err);
    }
    r->report->added = sum.added;
    r->report->changed = sum.changed;
    r->report->unchanged = sum.unchanged;
    r->report->removed = sum.removed;
    r->report->missing = sum.missing;
    r->report->duplicates += sum.duplicates;
    return rc;
}

/* A field that no record has is a slip of the hand, and would leave its text out of every document. */
static int check_fields(const add_run *r, quern_error *err)
{
    const char *unseen =
        r->template && r->records ? quern__template_unseen(r->template, r->seen) : NULL;
    return unseen ? quern__fail(err, QUERN_EINVAL, 0,
                                "no record has the field %.80s that the text names", unseen)
                  : QUERN_OK;
}

/* Not before everything has been read without a fault. */
static int declare(const add_run *r, quern_error *err)
{
    quern_source_spec spec;
    if (r->keeps == !r->shape.no_text)
        return QUERN_OK;
    QUERN_INIT(&spec);
    spec.name = r->source;
    spec.keep_text = r->shape.no_text ? "no" : "yes";
    return quern_source_set(r->s, &spec, err);
}

static int run_batch(add_run *r, const char *const *paths, size_t n, quern_error *err)
{
    int rc = r->s->table.stage_begin(r->s->self, r->source, &r->batch, err);
    if (rc != QUERN_OK)
        return rc;
    quern__jsonw_init(&r->roots_writer, &r->roots);
    quern__jsonw_array(&r->roots_writer);
    for (size_t i = 0; rc == QUERN_OK && i < n; i++)
        rc = add_path(r, paths[i], err);
    if (rc == QUERN_OK)
        rc = flush(r, err);
    if (rc == QUERN_OK)
        rc = check_fields(r, err);
    quern__jsonw_end_array(&r->roots_writer);
    if (rc == QUERN_OK)
        rc = quern__buf_ok(&r->roots, "the list of inputs", err);
    if (rc == QUERN_OK)
        rc = declare(r, err);
    if (rc == QUERN_OK)
        rc = publish(r, err);
    if (rc != QUERN_OK)
        r->s->table.stage_drop(r->s->self, r->batch, NULL);
    return rc;
}

/* ---- the source ---- */

/* URLs of assets may hold a signature, so they come back with no hit; and what of a text that is not kept would stay? */
static void note_made_of(add_run *r)
{
    const quern__recipe *p = r->recipe;
    quern__shape *shape = &r->shape;
    shape->made_of = r->made_of;
    for (size_t i = 0; i < p->assets.n; i++)
        r->made_of[shape->n_made_of++] = p->assets.name[i];
    for (size_t i = 0; shape->no_text && i < quern__template_count(p->template); i++)
        r->made_of[shape->n_made_of++] = quern__template_column(p->template, i);
}

/* Declares the built-in source when there is none of that name; *made says so. */
static int need_source(add_run *r, bool *made, quern_error *err)
{
    quern_store *s = r->s;
    const char *name = r->source;
    const char *keep = r->opt->keep_text && r->opt->keep_text[0] ? r->opt->keep_text : NULL;
    r->keeps = r->shape.no_text = false;
    if (keep && strcmp(keep, "yes") != 0 && strcmp(keep, "no") != 0)
        return quern__fail(err, QUERN_EINVAL, 0, "keep text '%.40s': \"yes\" or \"no\"", keep);
    quern_error missing = {0};
    *made = false;
    int rc = quern__recipe_open(&r->recipe, s, name, &missing);
    const quern__recipe *recipe = r->recipe;
    if (rc == QUERN_ENOTFOUND) {
        quern_source_spec spec;
        QUERN_INIT(&spec);
        spec.name = name;
        spec.text = "{text}";
        spec.keep_text = keep;
        r->shape.no_text = keep && strcmp(keep, "no") == 0;
        r->keeps = !r->shape.no_text;
        rc = quern_source_add(s, &spec, err);
        *made = rc == QUERN_OK;
        return rc;
    }
    if (rc != QUERN_OK) {
        if (err)
            *err = missing;
        return rc;
    }
    if (recipe->spec.table || recipe->spec.query)
        rc = quern__fail(
            err, QUERN_EINVAL, 0,
            "source %s reads %s of your own database; files go into a source of quern's own: give "
            "another name with --source",
            name, recipe->spec.table ? recipe->spec.table : "a query");
    r->keeps = !recipe->forgets;
    r->shape.no_text = keep ? strcmp(keep, "no") == 0 : recipe->forgets;
    note_made_of(r);
    return rc;
}

static int prepare(add_run *r, quern_error *err)
{
    uint64_t max = r->opt->max_bytes ? r->opt->max_bytes : QUERN__DOCUMENT_BYTES;
    if (max > QUERN__RENDER_BYTES)
        return quern__fail(err, QUERN_EINVAL, (int64_t)max,
                           "documents of %" PRIu64 " bytes: at most %d", max, QUERN__RENDER_BYTES);
    r->shape.max_bytes = (size_t)max;
    r->shape.id_field = r->opt->id_field && r->opt->id_field[0] ? r->opt->id_field : NULL;
    quern__arena_init(&r->arena, 0);
    quern__buf_init(&r->id, QUERN__INPUT_ID + 1);
    /* A text of control characters is six times as long in JSON. */
    quern__buf_init(&r->fields, 7 * (r->shape.max_bytes + QUERN__INPUT_SLACK));
    quern__buf_init(&r->roots, ROOTS_BYTES);
    const char *text = r->opt->text && r->opt->text[0] ? r->opt->text : NULL;
    if (text && strchr(text, '{')) {
        int rc = quern__template_parse(&r->template, text, err);
        if (rc != QUERN_OK)
            return rc;
        r->shape.template = r->template;
        r->shape.seen = r->seen;
    } else {
        r->shape.text_field = text;
    }
    return QUERN_OK;
}

static int lock_source(add_run *r, void **held, quern_error *err)
{
    char name[LOCK_NAME];
    snprintf(name, sizeof name, "add:%.70s", r->source);
    return r->s->table.lock(r->s->self, name, LOCK_WAIT_MS, held, err);
}

static int add_all(add_run *r, const char *const *paths, size_t n, quern_error *err)
{
    bool made = false;
    void *held = NULL;
    int rc = prepare(r, err);
    if (rc ==
        QUERN_OK) /* the next add drops abandoned batches: it must not take a living one for such */
        rc = lock_source(r, &held, err);
    if (rc == QUERN_OK)
        rc = need_source(r, &made, err);
    if (rc == QUERN_OK)
        rc = run_batch(r, paths, n, err);
    if (rc != QUERN_OK && made)
        r->s->table.source_remove(r->s->self, r->source, NULL); /* nothing of this call shows */
    if (held)
        r->s->table.unlock(r->s->self, held);
    quern__template_free(r->template);
    quern__recipe_free(r->recipe);
    quern__arena_dispose(&r->arena);
    quern__buf_dispose(&r->id);
    quern__buf_dispose(&r->fields);
    quern__buf_dispose(&r->roots);
    return rc;
}

int quern_add(quern_store *s, const char *const *paths, size_t n, const quern_add_options *opt,
              quern_add_report *report, quern_error *err)
{
    QUERN__REQUIRE(s && (paths || n == 0), err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    QUERN__REQUIRE(!report || report->struct_size >= sizeof(size_t), err);
    quern_add_options o;
    quern_add_report sum;
    QUERN_INIT(&o);
    QUERN_INIT(&sum);
    if (opt)
        memcpy(&o, opt, QUERN__MIN(opt->struct_size, sizeof o));
    if (n == 0)
        return quern__fail(err, QUERN_EINVAL, 0, "nothing to add: name files, folders, or -");
    if (o.format < QUERN_ADD_AUTO || o.format > QUERN_ADD_CSV)
        return quern__fail(err, QUERN_EINVAL, o.format, "format %d is not known", o.format);
    add_run *r = quern__calloc(1, sizeof *r);
    if (!r)
        return quern__fail_memory(err, sizeof *r);
    r->s = s;
    r->opt = &o;
    r->report = &sum;
    r->source = o.source && o.source[0] ? o.source : "documents";
    int rc = add_all(r, paths, n, err);
    quern__free(r);
    if (report) {
        size_t size = report->struct_size;
        memcpy(report, &sum, QUERN__MIN(size, sizeof sum));
        report->struct_size = size;
    }
    return rc;
}
