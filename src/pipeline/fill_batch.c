/*
 * fill_batch.c — the documents of a batch, cut, embedded and saved.
 *
 * Two kinds of fault are told apart. One that belongs to a text (too long, not UTF-8, a vector that is not
 * finite) makes its document `failed`, and the others of the call are embedded without it: the embedder names
 * the text in err->subject, else it is found by halving. Any other fault is the embedder's or the store's: no document
 * is blamed, and no further call is made after it (requirement: nothing launched after the first fatal error), but
 * documents already embedded are saved. A server that answers with an error is asked again, after pauses that
 * double, until it has failed DOWN_AFTER times in a row.
 *
 * Saving is compare-and-swap: the store reads each row again inside its transaction and asks whether the revision is
 * still the one that was embedded. A row that moved on meanwhile stays pending and is counted stale.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/os.h"
#include "embedder/embedder.h"
#include "pipeline/batches.h"
#include "pipeline/fill_run.h"
#include "text/words.h"
#include "quern/vector.h"

enum {
    SAVE_FIRST = 8, /* documents in the first save of a run */
    SAVE_QUICK_MS = 15,
    SAVE_SLOW_MS = 40,
    SAVE_TRIES = 3,     /* when somebody else holds the database longer than the store waits */
    BYTES_A_TOKEN = 4,  /* of text whose tokens nobody has counted */
    MAP_TOKENS = 256,   /* taken for a text whose tokens are not known */
    DOWN_AFTER = 5,     /* failures in a row of the embedder's server */
    DOWN_PAUSE_MS = 200 /* after the first of them */
};

/* Seconds a token takes when the embedder has not yet been used, for a dry run: order of magnitude only. */
static const double GUESS_SECONDS_PER_TOKEN = 40e-6;

void quern__fill_note_failure(fill_run *r, quern_str key, int code, const char *reason)
{
    snprintf(r->report->last_error, sizeof r->report->last_error, "%.*s: %s",
             (int)QUERN__MIN(key.len, 80), key.ptr ? key.ptr : "", reason);
    char name[128];
    snprintf(name, sizeof name, "%.*s", (int)QUERN__MIN(key.len, sizeof name - 1),
             key.ptr ? key.ptr : "");
    quern__log_item("fill", r->recipe->spec.name, name, code, reason);
}

static int set_reason(fill_batch *b, fill_doc *d, int code, const char *reason, quern_error *err)
{
    d->code = code;
    size_t n = strlen(reason);
    d->reason = quern__arena_copy(&b->arena, reason, QUERN__MIN(n, (size_t)FILL_REASON));
    return d->reason ? QUERN_OK : quern__fail_memory(err, n);
}

/* A fault that belongs to one text and not to the embedder. */
static bool is_text_fault(int rc, const quern_error *err)
{
    return rc == QUERN_ETOOLONG || rc == QUERN_EFORMAT || rc == QUERN_EINTERNAL ||
           (rc == QUERN_EREMOTE && err->subject >= 0 && err->retry_ms < 0);
}

/* ---- cutting ---- */

static int count_vector(const quern_chunk *c, void *ud)
{
    (void)c;
    ++*(uint64_t *)ud;
    return QUERN_OK;
}

/* A document that is current needs nothing unless its vectors are not all there. */
static int check_document(fill_run *r, fill_doc *d, size_t expected, quern_error *err)
{
    uint64_t n = 0;
    int rc = r->s->table.chunks(r->s->self, r->generation.id, d->key, count_vector, &n, err);
    if (rc == QUERN_OK && n == expected) {
        d->drop = true;
        r->counts.ok++;
        r->report->skipped++;
        r->taken--;
    }
    return rc;
}

/* What it has lost cannot be made again, and what is left of it is right. */
static int check_without_text(fill_run *r, fill_doc *d, quern_error *err)
{
    int rc = check_document(r, d, d->promised, err);
    if (rc != QUERN_OK || d->drop)
        return rc;
    d->drop = true;
    r->taken--;
    r->counts.no_text++;
    r->scan_hole = r->at->hole = true;
    quern__fill_note_failure(
        r, d->key, QUERN_EFORMAT,
        "its vectors have been lost, and its text is not kept (add --keep-text "
        "no); add it again to embed it anew");
    return QUERN_OK;
}

static int push_pieces(fill_batch *b, size_t doc, const quern__pieces *found, quern_error *err)
{
    const quern__sight *sight = b->docs[doc].sight;
    size_t need = b->n_pieces + found->n;
    if (need > b->cap_pieces) {
        size_t cap = QUERN__MAX(need, b->cap_pieces * 2);
        fill_piece *grown = quern__resize_array(b->pieces, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, cap * sizeof *grown);
        b->pieces = grown;
        b->cap_pieces = cap;
    }
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < found->n; i++) {
        fill_piece *p = &b->pieces[b->n_pieces++];
        *p = (fill_piece){.doc = doc, .at = found->items[i], .asset = quern__sight_label(sight, i)};
        rc = quern__piece_input(found, &p->at, b->docs[doc].text, &b->arena, &p->input, err);
        p->heading = (quern_str){p->input.ptr, p->at.heading_len};
    }
    return rc;
}

static int cut_document(fill_batch *b, size_t doc, quern__pieces *found, quern_error *err)
{
    fill_run *r = b->run;
    fill_doc *d = &b->docs[doc];
    d->first = b->n_pieces;
    if (d->reason)
        return QUERN_OK;
    if (d->no_text)
        return check_without_text(r, d, err);
    quern_error local = {0};
    int rc = quern__chunk_text(r->e, d->text, &r->settings.chunking, found, &local);
    if (is_text_fault(rc, &local))
        return set_reason(b, d, rc, local.msg, err);
    if (rc != QUERN_OK) {
        if (err)
            *err = local;
        return rc;
    }
    if (d->sight && d->sight->n && (rc = quern__sight_pieces(found, d->sight->n, err)) != QUERN_OK)
        return rc;
    if (d->check_only) {
        rc = check_document(r, d, found->n, err);
        if (rc != QUERN_OK || d->drop)
            return rc;
    }
    d->n = found->n;
    d->dropped_bytes = found->dropped_bytes;
    return push_pieces(b, doc, found, err);
}

int quern__fill_cut(fill_batch *b, quern_error *err)
{
    quern__pieces found = {0};
    int rc = quern__fill_build(b, err);
    for (size_t i = 0; rc == QUERN_OK && i < b->n_docs; i++) {
        rc = cut_document(b, i, &found, err);
        if (rc == QUERN_OK)
            rc = quern__fill_tell(b->run, false, err);
    }
    quern__pieces_dispose(&found);
    return rc;
}

/* ---- embedding ---- */

static bool wanted(const fill_batch *b, size_t piece)
{
    return !b->docs[b->pieces[piece].doc].reason;
}

/* What the embedder is asked: texts, or a document with its assets. */
typedef struct question {
    const quern_str *texts;
    size_t n;
    quern_embed_result *results;
    const quern__sight *sight; /* with texts[0] */
    quern_asset_result seen;
} question;

static int ask(const fill_batch *b, question *q, quern_error *err)
{
    quern_embed_options opt;
    size_t room = (size_t)FILL_PIECES * b->run->generation.dimensions;
    if (q->sight)
        return quern__sight_embed(b->run->e, q->texts[0], q->sight, b->cancel, b->floats, &q->seen,
                                  err);
    QUERN_INIT(&opt);
    opt.as = QUERN_AS_DOCUMENT;
    opt.truncation = QUERN_TRUNCATION_ERROR;
    opt.cancel = b->cancel;
    memset(q->results, 0, q->n * sizeof *q->results);
    return quern_embed(b->run->e, q->texts, q->n, &opt, b->floats, room, q->results, err);
}

static uint64_t calls_made(const fill_batch *b, const question *q)
{
    uint64_t calls = 0;
    if (q->sight) /* together and each alone, or all at once */
        return quern__embedder_fuses(b->run->e) && q->sight->n + (q->texts[0].len > 0) > 1 ? 2 : 1;
    for (size_t i = 0; i < q->n; i++)
        calls += q->results[i].calls;
    return calls;
}

/* A server that fails, and not for good, is asked again until it has failed too often in a row. */
static int ask_patiently(fill_batch *b, question *q, quern_error *err)
{
    for (uint32_t failed = 0;;) {
        uint64_t began = quern__now_ns();
        int rc = ask(b, q, err);
        b->encode_ns += quern__now_ns() - began;
        b->calls += rc == QUERN_OK ? calls_made(b, q) : 1;
        if (rc != QUERN_EREMOTE || err->retry_ms < 0 || ++failed == DOWN_AFTER)
            return rc;
        for (uint32_t pause = DOWN_PAUSE_MS << (failed - 1); pause; pause -= DOWN_PAUSE_MS) {
            quern__sleep_ms(DOWN_PAUSE_MS);
            if ((rc = quern__check_cancel(b->cancel, err)) != QUERN_OK)
                return rc;
        }
    }
}

/* The i-th of the vectors that came. */
static void keep_vector(fill_batch *b, size_t piece, size_t i)
{
    const fill_run *r = b->run;
    size_t dim = r->generation.dimensions;
    unsigned char *to = b->vectors + piece * r->width;
    const float *from = b->floats + i * dim;
    if (quern__vector_width(r->settings.vector_type) == 2)
        quern_f32_to_f16(from, (uint16_t *)(void *)to, dim);
    else
        quern_vector_to_blob(from, dim, to);
    b->docs[b->pieces[piece].doc].ready++;
    b->chunks++;
}

static int embed_call(fill_batch *b, const size_t *which, size_t n, quern_error *err)
{
    quern_str texts[FILL_PIECES];
    quern_embed_result results[FILL_PIECES] = {0};
    for (size_t i = 0; i < n; i++)
        texts[i] = b->pieces[which[i]].input;
    question q = {.texts = texts, .n = n, .results = results};
    int rc = ask_patiently(b, &q, err);
    for (size_t i = 0; rc == QUERN_OK && i < n; i++) {
        keep_vector(b, which[i], i);
        b->tokens += results[i].tokens;
        b->cached += results[i].cached != 0;
        b->cached_tokens += results[i].cached ? results[i].tokens : 0;
    }
    return rc;
}

/* Embeds n pieces; a text at fault fails its document and the rest goes on without it. */
static int embed_pieces(fill_batch *b, const size_t *which, size_t n, quern_error *err)
{
    size_t live[FILL_PIECES];
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (wanted(b, which[i]))
            live[m++] = which[i];
    }
    if (m == 0)
        return QUERN_OK;
    quern_error local = {.subject = -1};
    int rc = embed_call(b, live, m, &local);
    if (rc == QUERN_OK)
        return rc;
    if (!is_text_fault(rc, &local)) {
        if (err)
            *err = local;
        return rc;
    }
    size_t bad = local.subject >= 0 && (size_t)local.subject < m ? (size_t)local.subject : m / 2;
    if (m == 1 || local.subject >= 0) {
        rc = set_reason(b, &b->docs[b->pieces[live[bad]].doc], rc, local.msg, err);
        if (rc == QUERN_OK)
            rc = embed_pieces(b, live, bad, err);
        if (rc == QUERN_OK)
            rc = embed_pieces(b, live + bad + 1, m - bad - 1, err);
        return rc;
    }
    rc = embed_pieces(b, live, bad, err);
    return rc == QUERN_OK ? embed_pieces(b, live + bad, m - bad, err) : rc;
}

/* The rows of a document that are seen; a fault of its own fails it, and the rest goes on. */
static int embed_seen(fill_batch *b, fill_doc *d, quern_error *err)
{
    char reason[QUERN__SIGHT_REASON];
    quern_error local = {.subject = -1};
    question q = {.texts = &b->pieces[d->first].input, .n = 1, .sight = d->sight};
    int rc = ask_patiently(b, &q, &local);
    if (rc == QUERN_OK) {
        for (size_t i = 0; i <= d->sight->n; i++)
            keep_vector(b, d->first + i, i);
        b->tokens += q.seen.tokens;
        return rc;
    }
    if (quern__sight_fault(d->sight, rc, &local, reason))
        return set_reason(b, d, rc, reason, err);
    if (err)
        *err = local;
    return rc;
}

static int grow_vectors(fill_batch *b, quern_error *err)
{
    size_t dim = b->run->generation.dimensions;
    if (!b->floats && !(b->floats = quern__alloc_array((size_t)FILL_PIECES * dim, sizeof(float))))
        return quern__fail_memory(err, (size_t)FILL_PIECES * dim * sizeof(float));
    if (b->n_pieces <= b->cap_vectors)
        return QUERN_OK;
    size_t cap = QUERN__MAX(b->n_pieces, (size_t)FILL_PIECES);
    unsigned char *grown = quern__resize_array(b->vectors, cap, b->run->width);
    if (!grown)
        return quern__fail_memory(err, cap * b->run->width);
    b->vectors = grown;
    b->cap_vectors = cap;
    return QUERN_OK;
}

/* The texts of the next call, from *at on, into which (room for FILL_PIECES); gives how many. */
static size_t next_call(const fill_batch *b, size_t *at, size_t *which)
{
    const quern_fill_options *o = b->run->opt;
    quern__batching how =
        quern__batching_of(o->batching, o->batch, b->token_ns, FILL_PIECES, FILL_TOKENS);
    uint32_t tokens[FILL_PIECES];
    size_t n = 0, next = *at;
    for (; next < b->n_pieces && n < FILL_PIECES; next++) {
        const fill_piece *p = &b->pieces[next];
        if (p->asset.len)
            continue;
        tokens[n] = p->at.tokens ? p->at.tokens : MAP_TOKENS;
        which[n++] = next;
    }
    size_t end = n ? quern__batching_end(&how, tokens, n, 0, next < b->n_pieces) : 0;
    *at = end < n ? which[end] : next;
    return end;
}

int quern__fill_embed(fill_batch *b, quern_error *err)
{
    int rc = grow_vectors(b, err);
    size_t which[FILL_PIECES];
    for (size_t at = 0; rc == QUERN_OK && at < b->n_pieces;) {
        size_t n = next_call(b, &at, which);
        rc = quern__check_cancel(b->cancel, err);
        if (rc == QUERN_OK && n)
            rc = embed_pieces(b, which, n, err);
    }
    for (size_t i = 0; rc == QUERN_OK && i < b->n_docs; i++) {
        fill_doc *d = &b->docs[i];
        if (d->reason || d->drop || !d->n || !d->sight || !d->sight->n)
            continue;
        rc = quern__check_cancel(b->cancel, err);
        if (rc == QUERN_OK)
            rc = embed_seen(b, d, err);
    }
    return rc;
}

/* ---- saving ---- */

typedef struct save_view {
    const fill_batch *b;
    const size_t *which; /* document of each save */
    quern__buf text;
    uint8_t texts[FILL_DOCS][32]; /* hashes, where stamp columns are written */
    quern_error *err;
    uint64_t first_ns, last_ns; /* when the first and the last document were asked about */
} save_view;

/* Is the row still what was embedded? */
static int still_current(const quern_row *row, size_t i, void *ud)
{
    save_view *v = ud;
    const fill_run *r = v->b->run;
    const fill_doc *d = &v->b->docs[v->which[i]];
    v->last_ns = quern__now_ns();
    if (!v->first_ns)
        v->first_ns = v->last_ns;
    if (row->fault)
        return 0;
    quern__document_view now;
    int rc = quern__recipe_document(r->recipe, row, r->max_bytes, &v->text, &now, v->err);
    if (rc != QUERN_OK)
        return rc;
    if (row->stamped)
        return quern__fill_same_text(row, &now, v->texts[i], v->err);
    if (now.revision.len != d->revision.len ||
        (now.revision.len && memcmp(now.revision.ptr, d->revision.ptr, now.revision.len) != 0))
        return 0;
    return r->recipe->spec.stamp_columns ? quern__fill_same_text(row, &now, v->texts[i], v->err)
                                         : 1;
}

/* The words of every document that is saved, one list behind the other. */
static int gather_words(const fill_batch *b, const size_t *which, quern_save *saves, size_t n,
                        quern__buf *words, quern_error *err)
{
    size_t *ends = quern__alloc_array(n + 1, sizeof *ends);
    if (!ends)
        return quern__fail_memory(err, n * sizeof *ends);
    quern__buf_init(words, n * (size_t)QUERN__WORDS_BYTES + 1);
    quern__buf_append(words, "", 1); /* so that an empty list has a place too */
    for (size_t i = 0; i < n; i++) {
        const fill_doc *d = &b->docs[which[i]];
        if (saves[i].stamp.outcome == QUERN_OUTCOME_OK)
            quern__words(d->text, words);
        ends[i] = words->len;
    }
    int rc = quern__buf_ok(words, "the words of documents", err);
    for (size_t i = 0, at = 1; rc == QUERN_OK && i < n; at = ends[i++])
        if (saves[i].stamp.outcome == QUERN_OUTCOME_OK)
            saves[i].words = (quern_str){words->data + at, ends[i] - at};
    quern__free(ends);
    return rc;
}

static void describe_save(const fill_batch *b, const fill_doc *d, quern_save *save,
                          quern_chunk *chunks)
{
    memset(save, 0, sizeof *save);
    save->key = d->key;
    save->stamp.revision = d->revision;
    save->chunks = chunks;
    save->lease = d->task ? d->task->lease : 0;
    if (b->run->recipe->keeps && d->n)
        save->text = d->text;
    save->stamp_columns = quern__fill_writes_columns(b->run);
    save->model = quern_str_of(b->run->generation.model);
    if (d->reason) {
        save->stamp.outcome = QUERN_OUTCOME_FAILED;
        save->stamp.reason = quern_str_of(d->reason);
        return;
    }
    save->stamp.outcome = d->n ? QUERN_OUTCOME_OK : QUERN_OUTCOME_EMPTY;
    save->stamp.chunks = (uint32_t)d->n;
    save->stamp.dropped_bytes = d->dropped_bytes;
    for (size_t i = 0; i < d->n; i++) {
        const quern__piece *at = &b->pieces[d->first + i].at;
        chunks[i] = (quern_chunk){.index = (uint32_t)i,
                                  .start = at->start,
                                  .end = at->end,
                                  .char_start = at->char_start,
                                  .char_end = at->char_end,
                                  .vector = b->vectors + (d->first + i) * b->run->width,
                                  .page = at->page,
                                  .heading = b->pieces[d->first + i].heading,
                                  .asset = b->pieces[d->first + i].asset};
    }
}

static void count_seen(fill_run *r, const fill_doc *d)
{
    if (!d->sight)
        return;
    r->report->assets += d->sight->n;
    r->report->assets_cut += d->sight->cut;
    r->report->assets_skipped += d->sight->skipped;
}

static void count_saved(fill_run *r, const fill_doc *d, bool stored)
{
    quern__fill_task_saved(d, stored);
    if (!stored) {
        r->report->stale++;
        r->counts.pending++;
        return;
    }
    r->done_here++;
    if (d->reason) {
        r->counts.failed++;
        quern__fill_note_failure(r, d->key, d->code, d->reason);
        return;
    }
    r->report->processed++;
    count_seen(r, d);
    r->report->bytes += d->n * r->width;
    r->report->truncated += d->dropped_bytes > 0;
    r->report->dropped_bytes += d->dropped_bytes;
    if (d->n)
        r->counts.ok++;
    else
        r->counts.empty++;
}

/* work_ms: what the documents' own reading and writing took. */
static int save_docs(fill_batch *b, const size_t *which, size_t n, uint64_t *work_ms,
                     quern_error *err)
{
    fill_run *r = b->run;
    quern_save saves[FILL_DOCS];
    uint8_t stored[FILL_DOCS] = {0};
    quern_error local = {0};
    quern_chunk *chunks = quern__alloc_array(b->n_pieces + 1, sizeof *chunks);
    if (!chunks)
        return quern__fail_memory(err, (b->n_pieces + 1) * sizeof *chunks);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        const fill_doc *d = &b->docs[which[i]];
        describe_save(b, d, &saves[i], chunks + used);
        used += saves[i].stamp.chunks;
    }
    save_view view = {.b = b, .which = which, .err = &local};
    quern__buf_init(&view.text, r->text.max);
    quern__buf words = {0};
    int rc = QUERN_OK;
    if (r->recipe->spec.text_search)
        rc = gather_words(b, which, saves, n, &words, &local);
    rc = rc == QUERN_OK ? QUERN_EBUSY : rc;
    for (int try = 0; rc == QUERN_EBUSY && try < SAVE_TRIES; try++) {
        if (try)
            quern__sleep_ms(50);
        memset(stored, 0, sizeof stored);
        view.first_ns = view.last_ns = 0;
        rc = r->s->table.save(r->s->self, &r->read, saves, n, still_current, &view, stored, &local);
    }
    for (size_t i = 0; rc == QUERN_OK && i < n; i++)
        count_saved(r, &b->docs[which[i]], stored[i]);
    *work_ms = (view.last_ns - view.first_ns) / 1000000;
    if (rc != QUERN_OK && err)
        *err = local;
    quern__buf_dispose(&view.text);
    quern__buf_dispose(&words);
    quern__free(chunks);
    return rc;
}

/* How long a save lasts is the source's doing: a row of a view without an index costs a scan of it. The
 * number of documents in one transaction follows what those of the last one took: without the wait for the lock and
 * the commit, which on a slow disk take long for one document as for sixty. */
static int save_paced(fill_batch *b, const size_t *which, size_t n, quern_error *err)
{
    fill_run *r = b->run;
    int rc = QUERN_OK;
    for (size_t at = 0, most; rc == QUERN_OK && at < n; at += most) {
        if (!r->save_most)
            r->save_most = SAVE_FIRST;
        most = QUERN__MIN(n - at, r->save_most);
        uint64_t work_ms = 0;
        rc = save_docs(b, which + at, most, &work_ms, err);
        if (work_ms > SAVE_SLOW_MS)
            r->save_most = QUERN__MAX(most / 2, (size_t)1);
        else if (work_ms < SAVE_QUICK_MS && most == r->save_most)
            r->save_most = QUERN__MIN(2 * most, (size_t)FILL_DOCS);
    }
    return rc;
}

/* What the caller wants of a document that failed; an abort leaves its error in *err. */
static int ask_about(fill_run *r, const fill_doc *d, quern_error *err)
{
    if (!r->opt->on_error)
        return QUERN_ON_ERROR_SKIP;
    quern_error why;
    quern__fail(&why, d->code, 0, "%s", d->reason);
    int verdict = r->opt->on_error(d->key, &why, r->opt->on_error_ud);
    if (verdict == QUERN_ON_ERROR_ABORT)
        quern__fail(err, d->code, 0, "source %s, document %.*s: %s", r->recipe->spec.name,
                    (int)QUERN__MIN(d->key.len, 100), d->key.ptr, d->reason);
    return verdict;
}

int quern__fill_save(fill_batch *b, quern_error *err)
{
    size_t which[FILL_DOCS];
    size_t n = 0, dropped = 0;
    uint64_t done_before = b->run->done_here;
    int aborted = QUERN_OK;
    for (size_t i = 0; i < b->n_docs; i++) {
        fill_doc *d = &b->docs[i];
        dropped += d->drop;
        if (d->drop || (!d->reason && d->ready < d->n))
            continue;
        int verdict = d->reason ? ask_about(b->run, d, aborted ? NULL : err) : QUERN_ON_ERROR_SKIP;
        if (verdict == QUERN_ON_ERROR_ABORT && !aborted)
            aborted = d->code;
        if (verdict == QUERN_ON_ERROR_SKIP)
            which[n++] = i;
        else
            b->run->counts.pending++;
    }
    int rc = save_paced(b, which, n, aborted ? NULL : err);
    quern__fill_watermark_saved(b, b->run->done_here - done_before == b->n_docs - dropped);
    return aborted ? aborted : rc;
}

/* ---- a dry run counts instead ---- */

void quern__fill_count_dry(fill_batch *b)
{
    fill_run *r = b->run;
    for (size_t i = 0; i < b->n_docs; i++) {
        fill_doc *d = &b->docs[i];
        if (d->drop)
            continue;
        if (d->reason) {
            quern__fill_note_failure(r, d->key, d->code, d->reason);
            r->counts.failed++;
            continue;
        }
        r->report->processed++;
        count_seen(r, d);
        r->report->calls += d->sight && d->sight->n ? 1 : 0;
        r->report->truncated += d->dropped_bytes > 0;
        r->report->dropped_bytes += d->dropped_bytes;
        r->counts.pending++;
    }
    quern_embedder_stats stats;
    QUERN_INIT(&stats);
    double each = GUESS_SECONDS_PER_TOKEN;
    if (quern_embedder_get_stats(r->e, &stats, NULL) == QUERN_OK && stats.tokens)
        each = (double)stats.encode_ns * 1e-9 / (double)stats.tokens;
    size_t which[FILL_PIECES];
    for (size_t at = 0; at < b->n_pieces;)
        r->report->calls += next_call(b, &at, which) > 0;
    for (size_t i = 0; i < b->n_pieces; i++) {
        const fill_piece *p = &b->pieces[i];
        size_t guess = (p->input.len + p->heading.len) / BYTES_A_TOKEN + 1;
        size_t t = p->at.tokens ? p->at.tokens : guess;
        r->report->tokens += t;
        r->report->chunks++;
        r->report->bytes += r->width;
        r->report->seconds += each * (double)t;
    }
}

/* ---- its life ---- */

void quern__fill_empty(fill_batch *b)
{
    quern__arena_dispose(&b->arena);
    b->n_docs = 0;
    b->n_pieces = 0;
    b->held_bytes = 0;
}

void quern__fill_dispose(fill_batch *b)
{
    quern__arena_dispose(&b->arena);
    quern__free(b->pieces);
    quern__free(b->vectors);
    quern__free(b->floats);
}
