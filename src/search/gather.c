/*
 * gather.c — chunks and their scores into the heap. Whatever finds a vector, its score is computed here, from the
 * stored elements, by one kernel: the same hit has the same score by every way and on every store.
 *
 * Every vector is scanned here, or the database is asked for the nearest k. Asked exactly it compares with a rounded
 * query in an order of its own, so its k are right but for those around its last one: all that it did not give score at
 * most as much as the worst that it gave, plus twice the error that a dot product there can have. That bound is
 * computed, not guessed, and goes where scores go that the heap let go; so an exact search in the server gives the hits of
 * a scan, to the bit and the order. An index gives what it finds, and its part is done when the limit is full; when
 * it has no more to give before that, the part is searched exactly.
 */
#include <float.h>
#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/fpenv.h"
#include "base/log.h"
#include "search/search_run.h"

enum {
    SCORES = 1024,        /* rows scored at once */
    NEAREST_MOST = 10000, /* vectors in one answer of the database; past it a scan is as good */
    NEAREST_BYTES = 64 << 20,
    OVERSAMPLE = 5
};

static int score_block(const int64_t *refs, const void *data, size_t n, void *ud)
{
    quern__search_run *r = ud;
    quern__search_part *p = &r->parts[r->part];
    float scores[SCORES];
    size_t width = p->half ? 2 : 4;
    int rc = quern__check_cancel(r->opt->cancel, r->err);
    for (size_t at = 0; rc == QUERN_OK && at < n; at += SCORES) {
        size_t m = n - at < SCORES ? n - at : SCORES;
        const void *rows = (const char *)data + at * r->dim * width;
        if (p->half)
            quern__dot_rows_f16(r->kernels, r->query, rows, m, r->dim, scores);
        else
            quern__dot_rows_f32(r->kernels, r->query, rows, m, r->dim, scores);
        /* cppcheck-suppress knownConditionTrueFalse ; it takes the smaller of two sizes for 0 */
        for (size_t i = 0; i < m; i++) {
            if (!(scores[i] >= -FLT_MAX && scores[i] <= FLT_MAX))
                return quern__fail(r->err, QUERN_EFORMAT, refs[at + i],
                                   "source %s: stored vector %" PRId64
                                   " is not finite; run `quern verify`",
                                   p->recipe->spec.name, refs[at + i]);
            quern__scored item = {scores[i], (uint32_t)r->part, refs[at + i]};
            quern__topk_offer(&r->top, item);
            p->worst = QUERN__MIN(p->worst, scores[i]);
        }
    }
    r->scanned += n;
    p->scanned += n;
    return rc;
}

/* ---- which way ---- */

static const char *const state_notes[] = {
    [QUERN_INDEX_NONE] = "",
    [QUERN_INDEX_ABSENT] = "the index has not been built; `quern fill` builds it",
    [QUERN_INDEX_BUILDING] = "the index is being built",
    [QUERN_INDEX_INVALID] = "building the index failed; `quern fill` builds it again",
};

/* Takes the way if its index is there; *why it is not. */
static int try_way(const quern__search_run *r, quern__search_part *p, int way, const char **why,
                   bool *taken, quern_error *err)
{
    int state = QUERN_INDEX_NONE;
    *taken = false;
    int rc = r->s->table.index_state(r->s->self, p->generation.id, way, &state, why, err);
    if (rc != QUERN_OK)
        return rc;
    *taken = state == QUERN_INDEX_READY;
    if (*taken)
        p->way = way;
    else if (state != QUERN_INDEX_NONE)
        *why = state_notes[state];
    return QUERN_OK;
}

static int choose_way(const quern__search_run *r, quern__search_part *p, quern_error *err)
{
    const char *why = "";
    int index = r->opt->index;
    bool taken = false;
    int rc = QUERN_OK;
    p->way = QUERN__WAY_SCAN;
    if (!r->s->table.nearest || !r->s->table.index_state) {
        if (index == QUERN_SEARCH_PGVECTOR || index == QUERN_SEARCH_TWO_STAGE)
            return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                               "store %s has no such index; its search is exact", r->s->table.name);
        return QUERN_OK;
    }
    bool large = p->generation.chunks >= QUERN__INDEX_ROWS && index == QUERN_SEARCH_AUTO;
    if (index == QUERN_SEARCH_PGVECTOR || large)
        rc = try_way(r, p, QUERN_INDEX_ANN, &why, &taken, err);
    if (rc == QUERN_OK && !taken && (index == QUERN_SEARCH_TWO_STAGE || large)) {
        const char *why_signs = "";
        rc = try_way(r, p, QUERN_INDEX_TWO_STAGE, &why_signs, &taken, err);
        why = *why ? why : why_signs;
    }
    if (rc != QUERN_OK || taken)
        return rc;
    if (index != QUERN_SEARCH_EXACT && *why) {
        p->note = why;
        if (index != QUERN_SEARCH_AUTO)
            quern__log(QUERN_LOG_WARN, "search", "source %s: exact search: %s",
                       p->recipe->spec.name, why);
    }
    return try_way(r, p, QUERN_INDEX_EXACT, &why, &taken, err);
}

/*
 * The most by which a dot product of the server can differ from ours: the query's rounding to f16 (its length times that
 * of a vector, about 1), and the rounding of two sums of dim products in whatever order.
 */
static int bound_error(quern__search_run *r, quern_error *err)
{
    double rounded = 0, norm = 0;
    uint16_t *half = quern__alloc_array(r->dim, sizeof *half);
    float *back = quern__alloc_array(r->dim, sizeof *back);
    if (half && back) {
        quern__f32_to_f16(r->query, half, r->dim);
        quern__f16_to_f32(half, back, r->dim);
        for (size_t i = 0; i < r->dim; i++) {
            double d = (double)r->query[i] - (double)back[i];
            rounded += d * d;
            norm += (double)r->query[i] * (double)r->query[i];
        }
    }
    int rc = half && back ? QUERN_OK : quern__fail_memory(err, r->dim * sizeof *back);
    quern__free(half);
    quern__free(back);
    double sums = 2.0 * (double)r->dim * FLT_EPSILON * sqrt(norm);
    r->query_error = (float)(1.01 * (sqrt(rounded) + sums));
    return rc;
}

int quern__search_choose(quern__search_run *r, quern_error *err)
{
    int rc = bound_error(r, err);
    for (size_t i = 0; rc == QUERN_OK && i < r->n_parts; i++)
        rc = choose_way(r, &r->parts[i], err);
    return rc;
}

/* ---- a round ---- */

static int gather_part(quern__search_run *r, quern__search_part *p, quern_error *err)
{
    const quern_store_table *t = &r->s->table;
    size_t k = r->top.k;
    p->scanned = 0;
    p->full = false;
    p->worst = FLT_MAX;
    if (k > NEAREST_MOST || k * r->dim * sizeof(float) > NEAREST_BYTES)
        p->way = QUERN__WAY_SCAN;
    if (p->way == QUERN__WAY_SCAN)
        return t->vectors(r->s->self, p->generation.id, score_block, r, err);
    size_t oversample = r->opt->oversample ? r->opt->oversample : OVERSAMPLE;
    int rc = t->nearest(r->s->self, p->generation.id, r->query, p->way, k, oversample, score_block,
                        r, err);
    p->full = p->scanned >= k;
    if (rc == QUERN_OK && p->full && p->way == QUERN_INDEX_EXACT)
        quern__topk_let_go(&r->top, p->worst + 2.0f * r->query_error);
    return rc;
}

int quern__search_gather(quern__search_run *r, quern_error *err)
{
    r->err = err;
    r->scanned = 0;
    quern__topk_clear(&r->top);
    int rc = QUERN_OK;
    quern__fpenv env = quern__fpenv_enter();
    for (r->part = 0; rc == QUERN_OK && r->part < r->n_parts; r->part++)
        rc = gather_part(r, &r->parts[r->part], err);
    quern__fpenv_leave(env);
    quern__topk_sort(&r->top);
    return rc;
}

static bool is_approximate(const quern__search_part *p)
{
    return p->way == QUERN_INDEX_ANN || p->way == QUERN_INDEX_TWO_STAGE;
}

bool quern__search_enough(const quern__search_run *r)
{
    for (size_t i = 0; i < r->n_parts && r->n_list < r->limit; i++) {
        const quern__search_part *p = &r->parts[i];
        bool below = r->opt->has_min_similarity && p->worst < r->opt->min_similarity;
        if (is_approximate(p) && !below && p->generation.chunks > 0)
            return false;
    }
    return true;
}

void quern__search_widen(quern__search_run *r)
{
    for (size_t i = 0; i < r->n_parts; i++) {
        quern__search_part *p = &r->parts[i];
        if (!is_approximate(p) || p->full)
            continue;
        p->way = QUERN_INDEX_EXACT;
        p->note = "the index had no more candidates before the limit was full";
    }
}
