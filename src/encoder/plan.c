/*
 * plan.c — a call's texts cut into blocks, the blocks given to threads, and the result looked over.
 *
 * Many texts: blocks of whole texts of nearly equal size, each on one thread with its own workspace, no
 * barrier. One text, or few tokens a thread: one block after another, each shared out inside its
 * products, because then the weights' way from memory is the cost and threads should each carry a
 * part of them. Which of the two is chosen depends on the call and cannot be seen in the bits.
 */
#include <math.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/fpenv.h"
#include "encoder/encoder_impl.h"
#include "encoder/lookup.h"
#include "format/family.h"

enum {
    ROOM_TOKENS = QUERN__BLOCK_TOKENS * 3 / 2, /* a block may be this large, or one longest text */
    SHARE_BELOW = 64                           /* tokens a thread */
};

/* ---- scratch ---- */

static uint32_t rows_of(const quern__encoder *e)
{
    return QUERN__MAX(e->max_tokens, (uint32_t)ROOM_TOKENS);
}

static float *take(float **at, size_t floats)
{
    float *p = *at;
    *at += (floats + 15) & ~(size_t)15;
    return p;
}

/* Floats of scratch memory for attention, in whichever way. */
static size_t attention_floats(const quern__encoder *e)
{
    const size_t f32 = quern__attention_scratch(e->max_tokens),
                 int8 =
                     e->int8 ? e->int8->attention_room(e->max_tokens, e->slot) / sizeof(float) : 0;
    return QUERN__MAX(f32, int8);
}

/* Floats that codes of so many pieces take, with their scales and lows. */
static size_t codes_floats(const quern__encoder *e, uint32_t rows, uint32_t pieces)
{
    if (!e->int8)
        return 0;
    return (size_t)rows * pieces * (QUERN__PIECE * e->int8->code_size / sizeof(float) + 2) + 64;
}

static quern__codes take_codes(const quern__encoder *e, float **at, uint32_t rows, uint32_t pieces)
{
    quern__codes c = {NULL, (size_t)rows * QUERN__PIECE, NULL, NULL, rows};
    if (!e->int8)
        return c;
    c.at = take(at, (size_t)rows * pieces * QUERN__PIECE * e->int8->code_size / sizeof(float));
    c.scale = take(at, (size_t)rows * pieces);
    c.low = take(at, (size_t)rows * pieces);
    return c;
}

/* Of what products of hidden columns, and of the context's, read. */
static uint32_t read_pieces(const quern__encoder *e)
{
    return QUERN__MAX(e->hidden_pieces, e->context_pieces);
}

/* Rule 21 has none. */
static float *lows(const quern__encoder *e, float *low)
{
    return e->family->feed == QUERN__FEED_GELU ? NULL : low;
}

static size_t workspace_floats(const quern__encoder *e, uint32_t rows)
{
    const size_t piece = (size_t)rows * QUERN__STRIDE;
    return piece * (2 * (size_t)e->hidden_pieces + e->context_pieces + e->group_pieces) +
           codes_floats(e, rows, read_pieces(e)) + codes_floats(e, rows, 1) + attention_floats(e) +
           quern__head_scratch(e->head) + 64;
}

/* Inner columns of all chunks, and as many of their gate's. */
static uint32_t inner_pieces(const quern__encoder *e)
{
    return e->chunk_count * (quern__family_gated(e->family) ? 2 : 1);
}

static void lay_out(quern__encoder_scratch *s)
{
    const quern__encoder *e = s->encoder;
    const size_t piece = (size_t)s->rows * QUERN__STRIDE;
    float *at = s->memory;
    for (uint32_t t = 0; t < s->threads; t++) {
        quern__workspace *w = s->each + t;
        w->x = (quern__rows){take(&at, piece * e->hidden_pieces), piece};
        w->y = (quern__rows){take(&at, piece * e->hidden_pieces), piece};
        w->h = (quern__rows){take(&at, piece * e->context_pieces), piece};
        w->qkv = (quern__rows){take(&at, piece * e->group_pieces), piece};
        w->x8 = take_codes(e, &at, s->rows, read_pieces(e));
        w->h8 = take_codes(e, &at, s->rows, 1);
        w->h8.low = lows(e, w->h8.low);
        w->attention = take(&at, attention_floats(e));
        w->head = take(&at, quern__head_scratch(e->head));
    }
    if (s->threads > 1)
        s->shared8 = take_codes(e, &at, s->rows, e->chunk_count);
    s->shared8.low = lows(e, s->shared8.low);
    s->shared = (quern__rows){at, piece};
}

int quern__encoder_scratch_new(quern__encoder_scratch **out, const quern__encoder *e,
                               uint32_t threads, quern_error *err)
{
    QUERN__REQUIRE(out && e && (e->head || e->lookup) && threads, err);
    *out = NULL;
    quern__encoder_scratch *s = quern__calloc(1, sizeof *s);
    if (!s)
        return quern__fail_memory(err, sizeof *s);
    s->encoder = e;
    s->threads = threads;
    s->rows = rows_of(e);
    if (e->lookup) {
        s->memory_size =
            (quern__lookup_scratch(e->lookup) + QUERN__LANES) * threads * sizeof(float);
        s->rows = 0;
        if (!(s->memory = quern__alloc_pages(s->memory_size))) {
            const int rc = quern__fail_memory(err, s->memory_size);
            quern__encoder_scratch_free(s);
            return rc;
        }
        *out = s;
        return QUERN_OK;
    }
    const size_t piece = (size_t)s->rows * QUERN__STRIDE, each = workspace_floats(e, s->rows),
                 common = threads > 1 ? piece * QUERN__MAX(inner_pieces(e),
                                                           e->group_count * e->group_pieces) +
                                            codes_floats(e, s->rows, e->chunk_count)
                                      : 0;
    s->memory_size = (each * threads + common) * sizeof(float);
    s->each = quern__calloc(threads, sizeof *s->each);
    s->memory = quern__alloc_pages(s->memory_size);
    if (!s->each || !s->memory) {
        const int rc = quern__fail_memory(err, s->memory_size);
        quern__encoder_scratch_free(s);
        return rc;
    }
    lay_out(s);
    *out = s;
    return QUERN_OK;
}

void quern__encoder_scratch_free(quern__encoder_scratch *s)
{
    if (!s)
        return;
    quern__free_pages(s->memory, s->memory_size);
    quern__free(s->each);
    quern__free(s);
}

/* ---- blocks ---- */

/* Cuts n texts into blocks of about `target` tokens, a text going where more of it fits. Returns how many;
 * `blocks` NULL counts only. */
static uint32_t cut(const quern__encoder *e, const int32_t *ids, const uint32_t *lengths,
                    uint32_t n, uint32_t target, uint32_t room, float *out, quern__block *blocks)
{
    uint32_t count = 0;
    for (uint32_t t = 0; t < n; count++) {
        quern__block b = {ids, lengths + t, 0, 0, out + (size_t)t * e->width};
        do {
            b.tokens += lengths[t++];
            b.texts++;
        } while (t < n && b.tokens + lengths[t] <= room && b.tokens + lengths[t] / 2 <= target);
        ids += b.tokens;
        if (blocks)
            blocks[count] = b;
    }
    return count;
}

static int check_input(const quern__encoder *e, const int32_t *ids, const uint32_t *lengths,
                       uint32_t n, size_t *total, quern_error *err)
{
    size_t at = 0;
    for (uint32_t t = 0; t < n; t++) {
        if (!lengths[t] && e->lookup)
            return quern__blame(err,
                                quern__fail(err, QUERN_EFORMAT, 0,
                                            "text %u has no token that the model has a row for: "
                                            "there is nothing to make a vector of",
                                            t),
                                t);
        if (!lengths[t] || lengths[t] > e->max_tokens)
            return quern__blame(err,
                                quern__fail(err, QUERN_EINVAL, lengths[t],
                                            "text %u has %u tokens; the encoder takes 1 to %u", t,
                                            lengths[t], e->max_tokens),
                                t);
        for (uint32_t i = 0; i < lengths[t]; i++, at++)
            if (ids[at] < 0 || (uint32_t)ids[at] >= e->vocab)
                return quern__blame(
                    err,
                    quern__fail(err, QUERN_EINVAL, ids[at],
                                "text %u holds token id %d; the model's vocabulary has %u", t,
                                (int)ids[at], e->vocab),
                    t);
    }
    *total = at;
    return QUERN_OK;
}

/* Rule 10: a vector has only finite components and, when of unit length, is not all zeros. */
static int check_output(const quern__encoder *e, const float *out, uint32_t n, bool normalize,
                        quern_error *err)
{
    for (uint32_t t = 0; t < n; t++) {
        const float *row = out + (size_t)t * e->width;
        bool finite = true, zero = true;
        for (uint32_t i = 0; i < e->width; i++) {
            finite &= (bool)isfinite(row[i]);
            zero &= row[i] == 0.0f;
        }
        if (!finite || (zero && normalize))
            return quern__blame(
                err,
                quern__fail(
                    err, QUERN_EFORMAT, t,
                    "text %u: the model gives a vector that is %s; its weights may be damaged "
                    "(quern model verify)",
                    t, finite ? "all zeros" : "not finite"),
                t);
    }
    return QUERN_OK;
}

/* ---- the call ---- */

typedef struct job {
    const quern__encoder *e;
    quern__encoder_scratch *s;
    const quern__block *blocks;
    bool normalize;
    const quern_cancel *cancel;
} job;

static void run_block(void *ud, uint32_t part, uint32_t worker)
{
    const job *j = ud;
    quern__forward_block(j->e, j->s, j->s->each + worker, j->blocks + part, j->normalize,
                         j->cancel);
}

static int run(job *j, quern__pool *pool, uint32_t threads, const int32_t *ids,
               const uint32_t *lengths, uint32_t n, size_t total, float *out, quern_error *err)
{
    const quern__encoder *e = j->e;
    const bool share = threads > 1 && (total < (size_t)threads * SHARE_BELOW || n <= threads / 2);
    size_t wanted = (total + QUERN__BLOCK_TOKENS - 1) / QUERN__BLOCK_TOKENS;
    if (!share)
        wanted = (wanted + threads - 1) / threads * threads;
    const uint32_t target = (uint32_t)((total + wanted - 1) / wanted),
                   count = cut(e, ids, lengths, n, target, j->s->rows, out, NULL);
    quern__block one = {0}, *blocks = count > 1 ? quern__alloc_array(count, sizeof *blocks) : &one;
    if (!blocks)
        return quern__fail_memory(err, count * sizeof *blocks);
    cut(e, ids, lengths, n, target, j->s->rows, out, blocks);
    j->blocks = blocks;
    if (threads > 1 && !share)
        quern__pool_run(pool, count, run_block, j);
    else
        for (uint32_t i = 0; i < count && !quern_cancel_raised(j->cancel); i++)
            if (share)
                quern__forward_shared(e, j->s, pool, blocks + i, j->normalize, j->cancel);
            else
                run_block(j, i, 0);
    j->blocks = NULL; /* it may be on this call's stack */
    if (blocks != &one)
        quern__free(blocks);
    const int rc = quern__check_cancel(j->cancel, err);
    return rc ? rc : check_output(e, out, n, j->normalize, err);
}

/* ---- a static table ---- */

enum { LOOKED_UP = 64 /* texts a thread takes at a time */ };

typedef struct looking {
    const quern__encoder *e;
    const quern__encoder_scratch *s;
    const int32_t *ids;
    const uint32_t *lengths;
    uint32_t n;
    bool normalize;
    float *out;
    const quern_cancel *cancel;
} looking;

static void look_up(void *ud, uint32_t part, uint32_t worker)
{
    const looking *l = ud;
    const quern__lookup *table = l->e->lookup;
    const uint32_t first = part * LOOKED_UP, end = QUERN__MIN(l->n, first + LOOKED_UP);
    float *scratch = l->s->memory + worker * (quern__lookup_scratch(table) + QUERN__LANES);
    const int32_t *ids = l->ids;
    for (uint32_t t = 0; t < first; t++)
        ids += l->lengths[t];
    for (uint32_t t = first; t < end && !quern_cancel_raised(l->cancel); ids += l->lengths[t++])
        quern__lookup_text(table, scratch, ids, l->lengths[t], l->normalize,
                           l->out + (size_t)t * l->e->width);
}

static int look_up_all(looking *l, quern__pool *pool, quern_error *err)
{
    const uint32_t parts = (l->n + LOOKED_UP - 1) / LOOKED_UP;
    if (pool && parts > 1)
        quern__pool_run(pool, parts, look_up, l);
    else
        for (uint32_t p = 0; p < parts; p++)
            look_up(l, p, 0);
    const int rc = quern__check_cancel(l->cancel, err);
    return rc ? rc : check_output(l->e, l->out, l->n, l->normalize, err);
}

int quern__encode(const quern__encoder *e, quern__encoder_scratch *s, quern__pool *pool,
                  const int32_t *ids, const uint32_t *lengths, uint32_t n, bool normalize,
                  float *out, const quern_cancel *cancel, quern_error *err)
{
    QUERN__REQUIRE(e && s && s->encoder == e, err);
    QUERN__REQUIRE(!n || ((ids || e->lookup) && lengths && out), err); /* no tokens, no ids */
    const uint32_t threads = pool ? quern__pool_threads(pool) : 1;
    QUERN__REQUIRE(threads <= s->threads, err);
    size_t total = 0;
    int rc = check_input(e, ids, lengths, n, &total, err);
    if (rc || !n)
        return rc;
    const quern__fpenv env = quern__fpenv_enter();
    looking l = {e, s, ids, lengths, n, normalize, out, cancel};
    job j = {e, s, NULL, normalize, cancel};
    rc = e->lookup ? look_up_all(&l, pool, err)
                   : run(&j, pool, threads, ids, lengths, n, total, out, err);
    quern__fpenv_leave(env);
    return rc;
}
