/*
 * search_mmr.c — maximal marginal relevance: hits that are near the query and unlike each other, picked greedily out
 * of a larger list. The likeness of two hits is the dot product of their stored vectors. Likeness to what was
 * picked is kept as a running maximum, so that k of n cost k x n comparisons.
 */
#include "base/alloc.h"
#include "base/fpenv.h"
#include "search/search_run.h"

static size_t best_left(const quern_hit *hits, size_t n, float lambda, const float *likest,
                        const uint8_t *taken, bool first)
{
    size_t best = n;
    float best_value = 0;
    for (size_t i = 0; i < n; i++) {
        if (taken[i])
            continue;
        float value =
            first ? hits[i].similarity : lambda * hits[i].similarity - (1.0f - lambda) * likest[i];
        if (best == n || value > best_value) {
            best = i;
            best_value = value;
        }
    }
    return best;
}

size_t quern_mmr(const quern_hit *hits, size_t n, size_t k, float lambda,
                 float (*likeness)(const quern_hit *a, const quern_hit *b, void *ud), void *ud,
                 size_t *picked)
{
    size_t count = 0;
    float *likest = quern__alloc_array(n + 1, sizeof *likest);
    uint8_t *taken = quern__calloc(n + 1, 1);
    lambda = lambda > 0.0f ? (lambda < 1.0f ? lambda : 1.0f) : 0.0f;
    while (likest && taken && count < n && count < k) {
        size_t best = best_left(hits, n, lambda, likest, taken, count == 0);
        taken[best] = 1;
        picked[count++] = best;
        for (size_t i = 0; i < n && count < k; i++) {
            if (taken[i])
                continue;
            float like = likeness(&hits[best], &hits[i], ud);
            if (count == 1 || like > likest[i])
                likest[i] = like;
        }
    }
    quern__free(likest);
    quern__free(taken);
    return count;
}

/* ---- over stored vectors ---- */

typedef struct vectors_of_hits {
    const quern__search_run *r;
    const quern__candidate *wanted;
    const quern_hit *hits;
    float *rows; /* [n, dim] */
    float *into;
    bool found;
} vectors_of_hits;

static int take_vector(const quern_chunk *c, void *ud)
{
    vectors_of_hits *v = ud;
    if (c->index != v->wanted->chunk)
        return QUERN_OK;
    if (v->r->parts[v->wanted->part].half)
        quern__f16_to_f32(c->vector, v->into, v->r->dim);
    else
        memcpy(v->into, c->vector, v->r->dim * sizeof *v->into);
    v->found = true;
    return QUERN_OK;
}

static float likeness(const quern_hit *a, const quern_hit *b, void *ud)
{
    const vectors_of_hits *v = ud;
    float dot = 0;
    quern__dot_rows_f32(v->r->kernels, v->rows + (size_t)(a - v->hits) * v->r->dim,
                        v->rows + (size_t)(b - v->hits) * v->r->dim, 1, v->r->dim, &dot);
    return dot;
}

/* Reads the vectors; a hit whose chunk went meanwhile is one no more. */
static int load_vectors(quern__search_run *r, vectors_of_hits *v, quern_hit *hits, quern_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_list; i++) {
        const quern__candidate *c = &r->list[i];
        v->wanted = c;
        v->into = v->rows + n * r->dim;
        v->found = false;
        int rc = r->s->table.chunks(r->s->self, r->parts[c->part].generation.id, c->key,
                                    take_vector, v, err);
        if (rc != QUERN_OK)
            return rc;
        if (!v->found) {
            r->drops[QUERN__DROP_REPLACED]++;
            continue;
        }
        hits[n] = (quern_hit){.score = c->score, .similarity = c->score};
        r->list[n++] = *c;
    }
    r->n_list = n;
    return QUERN_OK;
}

int quern__search_diversify(quern__search_run *r, quern_error *err)
{
    size_t n = r->n_list;
    quern_hit *hits = quern__calloc(n + 1, sizeof *hits);
    size_t *picked = quern__alloc_array(n + 1, sizeof *picked);
    quern__candidate *list = quern__alloc_array(n + 1, sizeof *list);
    vectors_of_hits v = {.r = r, .hits = hits};
    v.rows = quern__alloc_array((n + 1) * r->dim, sizeof *v.rows);
    int rc = hits && picked && list && v.rows
                 ? QUERN_OK
                 : quern__fail_memory(err, n * r->dim * sizeof *v.rows);
    if (rc == QUERN_OK)
        rc = load_vectors(r, &v, hits, err);
    if (rc == QUERN_OK) {
        quern__fpenv env = quern__fpenv_enter();
        size_t count =
            quern_mmr(hits, r->n_list, r->wanted, r->opt->mmr_lambda, likeness, &v, picked);
        quern__fpenv_leave(env);
        for (size_t i = 0; i < count; i++)
            list[i] = r->list[picked[i]];
        if (count)
            memcpy(r->list, list, count * sizeof *list);
        r->n_list = count;
    }
    quern__free(hits);
    quern__free(picked);
    quern__free(list);
    quern__free(v.rows);
    return rc;
}
