/*
 * fill_scan.c — finds the work. Rows are read in pages by key; a row whose stamp is current is counted and
 * passed over, any other is copied into the batch. The store's statement is closed again before anything is
 * tokenised or embedded: the user's programs never wait on a read of ours that lasts as long as a model.
 *
 * The callback ends a page early once the batch is full, so what is held is bounded by FILL_DOCS and
 * FILL_BYTES however large the rows are.
 */
#include "base/cancel.h"
#include "pipeline/fill_run.h"

/* A document refused for its size may be let in by a larger ceiling. */
static bool refused_for_size(const quern_row *row)
{
    static const char MARK[] = " bytes > ";
    const quern_str *why = &row->stamp.reason;
    if (row->stamp.outcome != QUERN_OUTCOME_FAILED)
        return false;
    for (size_t i = 0; i + sizeof MARK - 1 <= why->len; i++) {
        if (memcmp(why->ptr + i, MARK, sizeof MARK - 1) == 0)
            return true;
    }
    return false;
}

static void count_current(fill_run *r, const quern_row *row)
{
    r->report->skipped++;
    if (row->stamp.outcome == QUERN_OUTCOME_FAILED)
        r->counts.failed++;
    else if (row->stamp.outcome == QUERN_OUTCOME_EMPTY)
        r->counts.empty++;
    else
        r->counts.ok++;
}

static void forget_old(fill_run *r, int outcome)
{
    uint64_t *n = outcome == QUERN_OUTCOME_OK       ? &r->counts.old_ok
                  : outcome == QUERN_OUTCOME_EMPTY  ? &r->counts.old_empty
                  : outcome == QUERN_OUTCOME_FAILED ? &r->counts.old_failed
                                                    : NULL;
    if (n && *n)
        --*n;
}

static int copy_str(fill_run *r, quern_str from, quern_str *to)
{
    to->ptr = quern__arena_copy(&r->at->arena, from.ptr ? from.ptr : "", from.len);
    to->len = from.len;
    return to->ptr ? QUERN_OK : quern__fail_memory(r->err, from.len);
}

static int take_sight(fill_run *r, const quern__document_view *doc, fill_doc *d)
{
    char reason[QUERN__SIGHT_REASON];
    quern_str why = {NULL, 0};
    d->sight = quern__arena_alloc(&r->at->arena, sizeof *d->sight);
    if (!d->sight)
        return quern__fail_memory(r->err, sizeof *d->sight);
    int rc = quern__sight_read(r->recipe, doc, &r->at->arena, d->sight, reason, r->err);
    for (size_t i = 0; rc == QUERN_OK && i < d->sight->n; i++)
        r->at->held_bytes += d->sight->assets[i].url.len;
    if (rc != QUERN_OK || !reason[0])
        return rc;
    rc = copy_str(r, quern_str_of(reason), &why);
    d->reason = why.ptr;
    d->code = QUERN_EFORMAT;
    return rc;
}

static int take_document(fill_run *r, const quern_row *row, const quern__document_view *doc,
                         bool check_only)
{
    fill_batch *b = r->at;
    fill_doc *d = &b->docs[b->n_docs];
    memset(d, 0, sizeof *d);
    int rc = copy_str(r, row->key, &d->key);
    if (rc == QUERN_OK)
        rc = copy_str(r, doc->revision, &d->revision);
    if (rc == QUERN_OK && doc->reason[0]) {
        quern_str why = {NULL, 0};
        rc = copy_str(r, quern_str_of(doc->reason), &why);
        d->reason = why.ptr;
        d->code = QUERN_EFORMAT;
    } else if (rc == QUERN_OK) {
        rc = copy_str(r, doc->text, &d->text);
        if (rc == QUERN_OK && r->recipe->assets.n)
            rc = take_sight(r, doc, d);
    }
    if (rc != QUERN_OK)
        return rc;
    d->outcome_before = row->stamp.outcome;
    d->check_only = check_only;
    b->held_bytes += d->text.len;
    b->n_docs++;
    r->taken++;
    return QUERN_OK;
}

/* Of a row whose text is not kept: what is current is passed over, and nothing else can be done for it. No stamp is
 * written: the vectors that there are stay, and once its text has come back it is pending. */
static int take_without_text(fill_run *r, const quern_row *row, const quern__document_view *doc)
{
    fill_batch *b = r->at;
    bool done = quern__is_done(row, doc) && row->stamp.outcome != QUERN_OUTCOME_FAILED;
    bool pick = r->aim && r->aim->pick;
    bool check = !pick && r->check_vectors && row->stamp.outcome == QUERN_OUTCOME_OK;
    if (!done || r->opt->force) {
        r->counts.no_text++;
        r->scan_hole = true;
        quern__fill_note_failure(r, row->key, QUERN_EFORMAT, doc->reason);
        return QUERN_OK;
    }
    if (!check) {
        count_current(r, row);
        return QUERN_OK;
    }
    const quern__document_view bare = {.revision = doc->revision};
    int rc = take_document(r, row, &bare, true);
    if (rc != QUERN_OK)
        return rc;
    b->docs[b->n_docs - 1].no_text = true;
    b->docs[b->n_docs - 1].promised = row->stamp.chunks;
    return b->n_docs == FILL_DOCS ? FILL_PAGE_FULL : QUERN_OK;
}

int quern__fill_take_row(const quern_row *row, void *ud)
{
    fill_run *r = ud;
    bool met = false;
    int rc = quern__fill_watermark_row(r, row->key, &met);
    if (rc != QUERN_OK || met)
        return rc != QUERN_OK ? rc : FILL_PAGE_MET;
    quern__buf_clear(&r->after);
    quern__buf_append(&r->after, row->key.ptr, row->key.len);
    rc = quern__buf_ok(&r->after, "a key", r->err);
    if (rc != QUERN_OK)
        return rc;
    r->counts.rows++;
    if (row->fault) {
        r->counts.failed++;
        quern__fill_note_failure(r, quern_str_of("a row"), QUERN_EFORMAT,
                                 row->fault); /* its key is a mark */
        return QUERN_OK;
    }
    forget_old(r, row->stamp.outcome);
    quern__document_view doc;
    rc = quern__recipe_document(r->recipe, row, r->max_bytes, &r->text, &doc, r->err);
    if (rc != QUERN_OK)
        return rc;
    if (doc.no_text)
        return take_without_text(r, row, &doc);
    r->counts.texts++;
    bool current = quern__is_done(row, &doc) && (doc.reason[0] || !refused_for_size(row));
    if (r->aim && r->aim->tasks && row->stamp.outcome == QUERN_OUTCOME_FAILED)
        current = false; /* who names it wants it tried again */
    fill_pick *pick = r->aim ? r->aim->pick : NULL;
    if (pick && !current) {
        r->counts.pending++;
        return quern__pick_offer(pick, row->key, row->revision, r->err);
    }
    bool check = !pick && current && r->check_vectors && row->stamp.outcome == QUERN_OUTCOME_OK;
    if (current && quern__fill_columns_off(r, row))
        r->columns_off = true;
    if (current && !check && !r->opt->force) {
        count_current(r, row);
        return QUERN_OK;
    }
    if (r->opt->limit && r->taken >= r->opt->limit) {
        if (current)
            count_current(r, row);
        else
            r->counts.pending++;
        return QUERN_OK;
    }
    rc = take_document(r, row, &doc, check && !r->opt->force);
    if (rc != QUERN_OK)
        return rc;
    return r->at->n_docs == FILL_DOCS || r->at->held_bytes >= FILL_BYTES ? FILL_PAGE_FULL
                                                                         : QUERN_OK;
}

/* Up to where the rows have been taken into this batch, or passed over because they are current. */
static int note_last(fill_run *r, fill_batch *b)
{
    b->hole = r->scan_hole;
    return copy_str(r, (quern_str){r->after.data, r->after.len}, &b->last);
}

int quern__fill_scan(fill_run *r, fill_batch *b, bool *end, quern_error *err)
{
    *end = false;
    r->at = b;
    r->err = err;
    for (;;) {
        int rc = quern__fill_tell(r, false, err);
        if (rc != QUERN_OK)
            return rc;
        uint64_t before = r->counts.rows;
        quern__buf last;
        quern__buf_init(&last, r->after.max);
        quern__buf_append(&last, r->after.data, r->after.len);
        rc = quern__buf_ok(&last, "a key", err);
        if (rc == QUERN_OK) {
            quern_str after = {last.data, last.len};
            rc = r->s->table.scan(r->s->self, &r->read, after, FILL_PAGE, quern__fill_take_row, r,
                                  err);
        }
        quern__buf_dispose(&last);
        if (rc == QUERN_OK && r->aim && r->aim->pick)
            rc = quern__pick_weigh(r->aim->pick, r->s, r->recipe->spec.name, err);
        if (rc == QUERN_OK && r->aim && r->aim->pick && r->aim->between)
            rc = r->aim->between(r->aim->ud, err);
        if (rc < 0 && r->counts.rows == before && quern__fill_watermark_refused(r))
            continue;
        if (rc < 0)
            return rc;
        *end = rc == FILL_PAGE_MET || (rc == QUERN_OK && r->counts.rows - before < FILL_PAGE);
        if (rc == FILL_PAGE_FULL || *end)
            return note_last(r, b);
    }
}
