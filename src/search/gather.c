/*
 * gather.c — chunks and their scores into the heap. Whatever finds a vector, its score is computed here, from the
 * stored elements, by one kernel: the same hit has the same score by every way and on every store.
 */
#include <float.h>
#include <inttypes.h>

#include "base/cancel.h"
#include "base/fpenv.h"
#include "search/search_run.h"

enum { SCORES = 1024 /* rows scored at once */ };

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
        }
    }
    r->scanned += n;
    p->scanned += n;
    return rc;
}

int quern__search_gather(quern__search_run *r, quern_error *err)
{
    r->err = err;
    r->scanned = 0;
    quern__topk_clear(&r->top);
    int rc = QUERN_OK;
    quern__fpenv env = quern__fpenv_enter();
    for (r->part = 0; rc == QUERN_OK && r->part < r->n_parts; r->part++) {
        r->parts[r->part].scanned = 0;
        rc = r->s->table.vectors(r->s->self, r->parts[r->part].generation.id, score_block, r, err);
    }
    quern__fpenv_leave(env);
    quern__topk_sort(&r->top);
    return rc;
}
