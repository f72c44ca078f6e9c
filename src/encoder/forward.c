/*
 * forward.c — the forward pass over one block of whole texts, in two arrangements of the same stages:
 * on one thread (the block's activations stay in its caches, weights pass through once), or shared
 * out over a pool, stage by stage, by output columns, heads or rows. No stage ever splits a sum, so
 * the arrangement cannot be seen in the bits.
 *
 * Stages of a layer: a product for queries, keys and values of a group of heads, their turning, and its attention;
 * the output product, which adds the residual; a norm; and the feed-forward part in chunks of 384 inner columns.
 * Only turning, attention and pooling know where texts begin.
 */
#include <string.h>

#include "base/compiler.h"
#include "base/os.h"
#include "encoder/encoder_impl.h"
#include "format/family.h"

enum { INNER_ROWS = 56 };

static const quern__rows none;

/* ---- stages, on a range ---- */

/* What a product reads, in the encoder's class. */
typedef struct input {
    quern__rows rows;
    quern__codes codes;
} input;

static void multiply(const quern__encoder *e, const quern__linear *m, uint32_t first, uint32_t end,
                     int epilogue, input x, quern__rows y, quern__rows residual, uint32_t rows)
{
    if (e->int8)
        e->int8->product(&m->int8, first, end, epilogue, x.codes, y, residual, rows);
    else
        e->kernels->product(&m->f32, first, end, epilogue, x.rows, y, residual, rows);
}

static input from_row(const quern__encoder *e, input x, uint32_t row)
{
    x.rows.at += (size_t)row * QUERN__STRIDE;
    if (e->int8)
        x.codes = quern__codes_at(e->int8, x.codes, row);
    return x;
}

static quern__rows row_at(quern__rows m, uint32_t row)
{
    m.at += (size_t)row * QUERN__STRIDE;
    return m;
}

/* Where products leave their sums, and what they read: x is the one or the other (encoder_impl.h). */
static quern__rows sums_of(const quern__encoder *e, const quern__workspace *w)
{
    return e->family->norms_first ? w->x : w->y;
}

static quern__rows read_of(const quern__encoder *e, const quern__workspace *w)
{
    return e->family->norms_first ? w->y : w->x;
}

static void norm_rows(const quern__encoder *e, const quern__norm *n, quern__rows from,
                      quern__rows to, uint32_t rows)
{
    if (!n->gamma)
        for (uint32_t p = 0; p < e->hidden_pieces; p++)
            memcpy(to.at + p * to.piece, from.at + p * from.piece,
                   (size_t)rows * QUERN__STRIDE * sizeof(float));
    else if (n->beta)
        e->kernels->normalize_rows(from, to, rows, e->hidden, n->gamma, n->beta, e->eps);
    else
        e->kernels->rms_norm(from, to, rows, e->hidden, n->gamma, e->eps);
}

/* Rows first..end of the sums normalised for what reads them, and quantised. In steps, so that a row is
 * quantised while it is in the nearest cache. smooth NULL: nothing reads it quantised. */
static void norm(const quern__encoder *e, const quern__workspace *w, const quern__norm *n,
                 const float *smooth, uint32_t first, uint32_t end)
{
    const quern__rows from = sums_of(e, w), to = read_of(e, w);
    const uint32_t step = smooth ? 8 : end - first;
    for (uint32_t r = first; r < end; r += step) {
        const uint32_t rows = QUERN__MIN(end - r, step);
        norm_rows(e, n, row_at(from, r), row_at(to, r), rows);
        if (smooth)
            e->int8->quantize_rows(row_at(to, r), rows, e->hidden, smooth,
                                   quern__codes_at(e->int8, w->x8, r));
    }
}

/* The context's rows first..end quantised, where they are read so. */
static void quantize_context(const quern__encoder *e, const quern__workspace *w, uint32_t first,
                             uint32_t end)
{
    if (e->int8)
        e->int8->quantize_rows(row_at(w->h, first), end - first, e->heads * e->depth, NULL,
                               quern__codes_at(e->int8, w->x8, first));
}

static uint32_t chunk_width(const quern__encoder *e, uint32_t chunk)
{
    return QUERN__MIN(e->intermediate - chunk * QUERN__PIECE, (uint32_t)QUERN__PIECE);
}

/* What a gate or ReLU gave goes as low as it likes (rule 29). */
static void quantize_inner(const quern__encoder *e, input h, uint32_t chunk, uint32_t rows)
{
    if (e->int8 && e->family->feed == QUERN__FEED_GELU)
        e->int8->quantize_gelu(h.rows, rows, chunk_width(e, chunk), h.codes);
    else if (e->int8)
        e->int8->quantize_rows(h.rows, rows, chunk_width(e, chunk), NULL, h.codes);
}

/* Words lie anywhere in memory, so that no processor foresees them: they are asked for a few tokens ahead. */
enum { WORDS_AHEAD = 8 };

static void fetch_word(const quern__encoder *e, const quern__block *b, uint32_t token)
{
    if (token >= b->tokens)
        return;
    const float *row = e->words + (size_t)b->ids[token] * e->hidden;
    for (uint32_t c = 0; c < e->hidden; c += 64 / sizeof *row)
        QUERN__PREFETCH(row + c);
}

/* Word and position rows of tokens first..end, normalised. Where positions have no rows there is one for all. */
static void embed(const quern__encoder *e, const quern__workspace *w, const quern__block *b,
                  uint32_t first, uint32_t end)
{
    const quern__rows to = sums_of(e, w);
    const bool placed = quern__family_placed(e->family);
    uint32_t at = 0;
    for (uint32_t token = first; token < first + WORDS_AHEAD; token++)
        fetch_word(e, b, token);
    for (uint32_t t = 0; t < b->texts && at < end; at += b->lengths[t++])
        for (uint32_t p = 0, position = 0; p < b->lengths[t]; p++) {
            const bool counts = b->ids[at + p] != e->padding;
            const uint32_t row = !placed ? 0 : counts ? position : e->max_tokens;
            position += counts;
            if (at + p < first || at + p >= end)
                continue;
            fetch_word(e, b, at + p + WORDS_AHEAD);
            e->kernels->embed_row(e->words + (size_t)b->ids[at + p] * e->hidden,
                                  e->positions + (size_t)row * e->hidden, e->hidden,
                                  row_at(to, at + p));
        }
    if (e->words_norm.gamma)
        norm_rows(e, &e->words_norm, row_at(to, first), row_at(to, first), end - first);
    norm(e, w, &e->first, e->layers->smooth[0], first, end);
}

/* The columns of one head. */
static quern__rows slot_at(const quern__encoder *e, quern__rows m, uint32_t slot)
{
    const uint32_t column = slot * e->slot;
    m.at += (column / QUERN__PIECE) * m.piece + column % QUERN__PIECE;
    return m;
}

/* Queries and keys of one group of heads, tokens first..end, by their positions in their texts. */
static void turn(const quern__encoder *e, const quern__layer *l, quern__rows qkv,
                 const quern__block *b, uint32_t group, uint32_t first, uint32_t end)
{
    const uint32_t keys = quern__keys_of_group(e, group), queries = keys * e->sharing;
    uint32_t row = 0;
    for (uint32_t t = 0; t < b->texts && row < end; row += b->lengths[t++]) {
        const uint32_t from = QUERN__MAX(first, row), to = QUERN__MIN(end, row + b->lengths[t]);
        if (from >= to)
            continue;
        for (uint32_t h = 0; h < queries + keys; h++) {
            const quern__rows x = row_at(slot_at(e, qkv, h), from);
            const float *gamma = h < queries ? l->query_norm : l->key_norm;
            if (gamma)
                e->kernels->rms_norm(x, x, to - from, e->depth, gamma, e->eps);
            e->kernels->rotate(x, to - from, e->depth, l->turns + (size_t)(from - row) * e->depth);
        }
    }
}

/* Attention of one group of heads over units first..end of the block: text after text, head after head. */
static void attend(const quern__encoder *e, const quern__workspace *w, const quern__layer *l,
                   quern__rows qkv, float *scratch, const quern__block *b, uint32_t group,
                   uint64_t first, uint64_t end)
{
    const uint32_t keys = quern__keys_of_group(e, group), heads = keys * e->sharing;
    uint32_t row = 0;
    for (uint32_t t = 0; t < b->texts; row += b->lengths[t++]) {
        const uint64_t unit = (uint64_t)t * heads;
        if (unit + heads <= first || unit >= end)
            continue;
        const quern__attention a = {
            .qkv = row_at(qkv, row),
            .context = row_at(w->h, row),
            .length = b->lengths[t],
            .first_head = first > unit ? (uint32_t)(first - unit) : 0,
            .end_head = (uint32_t)QUERN__MIN(end - unit, (uint64_t)heads),
            .heads = heads,
            .key_heads = keys,
            .outlook = l->outlook,
            .depth = e->depth,
            .slot = e->slot,
            .column = group * e->group_heads * e->sharing * e->depth,
            .scale = e->scale,
            .bias = e->bias ? e->bias + (size_t)group * e->group_heads * e->bias_stride +
                                  e->max_tokens - 1
                            : NULL,
            .bias_stride = e->bias_stride,
            .scratch = scratch,
        };
        if (e->int8 && !l->outlook && quern__int8_attends(b->lengths[t]))
            e->int8->attention(&a);
        else
            e->kernels->attention(&a);
    }
}

/* ---- one thread ---- */

typedef struct stopwatch {
    quern__encoder_scratch *s; /* NULL: not timed */
    uint64_t last;
    const quern__observer *observer; /* NULL: nobody looks on */
    uint32_t layer;
} stopwatch;

static void show(const stopwatch *watch, int reading, uint32_t chunk, quern__rows x, uint32_t rows)
{
    if (watch->observer)
        watch->observer->fn(watch->observer->ud, watch->layer, reading, chunk, x, rows);
}

static void lap(stopwatch *watch, int stage)
{
    if (!watch->s)
        return;
    const uint64_t now = quern__now_ns();
    watch->s->stage_ns[stage] += now - watch->last;
    watch->last = now;
}

/* Rule 33 on columns from..end of a chunk. Not a maximum: NaN stays. */
static void relu(quern__rows x, uint32_t rows, uint32_t from, uint32_t end)
{
    for (uint32_t r = 0; r < rows; r++) {
        float *row = x.at + (size_t)r * QUERN__STRIDE;
        for (uint32_t c = from; c < end; c++)
            row[c] = row[c] < 0 ? 0 : row[c];
    }
}

/* Panels first..end of the products to a chunk's inner columns, h; the gate's go to `gate`. */
static void multiply_up(const quern__encoder *e, const quern__ffn_chunk *chunk, uint32_t first,
                        uint32_t end, input x, quern__rows h, quern__rows gate, uint32_t rows)
{
    const int feed = e->family->feed;
    const uint32_t panel = e->int8 ? e->int8->panel : e->kernels->panel,
                   width = e->int8 ? chunk->up.int8.n : chunk->up.f32.n;
    if (feed == QUERN__FEED_GELU) {
        multiply(e, &chunk->up, first, end, QUERN__EP_GELU, x, h, none, rows);
        return;
    }
    if (feed == QUERN__FEED_RELU) {
        multiply(e, &chunk->up, first, end, QUERN__EP_BIAS, x, h, none, rows);
        relu(h, rows, first * panel, QUERN__MIN(end * panel, width));
        return;
    }
    const uint32_t from = first * panel, n = QUERN__MIN(end * panel, width) - from;
    multiply(e, &chunk->gate, first, end, QUERN__EP_BIAS, x, gate, none, rows);
    multiply(e, &chunk->up, first, end, QUERN__EP_BIAS, x, h, none, rows);
    gate.at += from; /* a chunk is within a piece */
    h.at += from;
    e->kernels->apply_gate(feed == QUERN__FEED_GATED_SILU        ? QUERN__GATE_SILU
                           : feed == QUERN__FEED_GATED_GELU_TANH ? QUERN__GATE_GELU_TANH
                                                                 : QUERN__GATE_GELU,
                           gate, h, rows, n);
}

/* The feed-forward part. In int8 by few rows at a time within a chunk, so that a chunk's inner columns
 * stay in the caches beside its weights. */
static void run_ffn(const quern__encoder *e, const quern__workspace *w, const quern__block *b,
                    const quern__layer *l, stopwatch *watch)
{
    const uint32_t step = e->int8 ? INNER_ROWS : b->tokens;
    const input x = {read_of(e, w), w->x8}, h = {w->h, w->h8};
    const quern__rows sums = sums_of(e, w);
    for (uint32_t c = 0; c < e->chunk_count; c++)
        for (uint32_t r = 0; r < b->tokens; r += step) {
            const quern__ffn_chunk *chunk = l->chunks + c;
            const uint32_t n = QUERN__MIN(b->tokens - r, step);
            multiply_up(e, chunk, 0, chunk->up.panels, from_row(e, x, r), w->h, w->qkv, n);
            lap(watch, QUERN__STAGE_UP);
            show(watch, QUERN__READS_DOWN, c, w->h, n);
            quantize_inner(e, h, c, n);
            lap(watch, QUERN__STAGE_INNER);
            multiply(e, &chunk->down, 0, chunk->down.panels, c ? QUERN__EP_ADD : QUERN__EP_RESIDUAL,
                     h, row_at(sums, r), c ? none : row_at(w->x, r), n);
            lap(watch, QUERN__STAGE_DOWN);
        }
}

static void run_layer(const quern__encoder *e, const quern__workspace *w, const quern__block *b,
                      const quern__layer *l, const float *next_smooth, stopwatch *watch)
{
    const input x = {read_of(e, w), w->x8}, context = {w->h, w->x8};
    show(watch, QUERN__READS_QKV, 0, x.rows, b->tokens);
    for (uint32_t g = 0; g < e->group_count; g++) {
        multiply(e, l->qkv + g, 0, l->qkv[g].panels, QUERN__EP_BIAS, x, w->qkv, none, b->tokens);
        lap(watch, QUERN__STAGE_QKV);
        if (l->turns)
            turn(e, l, w->qkv, b, g, 0, b->tokens);
        lap(watch, QUERN__STAGE_TURN);
        attend(e, w, l, w->qkv, w->attention, b, g, 0,
               (uint64_t)b->texts * quern__keys_of_group(e, g) * e->sharing);
        lap(watch, QUERN__STAGE_ATTENTION);
    }
    show(watch, QUERN__READS_OUT, 0, w->h, b->tokens);
    quantize_context(e, w, 0, b->tokens);
    lap(watch, QUERN__STAGE_CONTEXT);
    multiply(e, &l->out, 0, l->out.panels, QUERN__EP_RESIDUAL, context, sums_of(e, w), w->x,
             b->tokens);
    lap(watch, QUERN__STAGE_OUT);
    norm(e, w, &l->middle, l->smooth[1], 0, b->tokens);
    lap(watch, QUERN__STAGE_NORM);
    show(watch, QUERN__READS_UP, 0, x.rows, b->tokens);
    run_ffn(e, w, b, l, watch);
    norm(e, w, &l->end, next_smooth, 0, b->tokens);
    lap(watch, QUERN__STAGE_NORM);
}

/* What smooths the output of layer i: the next one's, NULL behind the last. */
static const float *smooth_after(const quern__encoder *e, uint32_t i)
{
    return i + 1 < e->layer_count ? e->layers[i + 1].smooth[0] : NULL;
}

void quern__forward_block(const quern__encoder *e, quern__encoder_scratch *s, quern__workspace *w,
                          const quern__block *b, bool normalize, const quern_cancel *cancel)
{
    stopwatch watch = {s->timed ? s : NULL, s->timed ? quern__now_ns() : 0, s->observer, 0};
    embed(e, w, b, 0, b->tokens);
    lap(&watch, QUERN__STAGE_EMBED);
    for (uint32_t i = 0; i < e->layer_count; i++) {
        if (quern_cancel_raised(cancel))
            return;
        watch.layer = i;
        run_layer(e, w, b, e->layers + i, smooth_after(e, i), &watch);
    }
    quern__head_run(e->head, w->head, read_of(e, w), b->lengths, b->texts, normalize, b->out);
    lap(&watch, QUERN__STAGE_POOL);
}

/* ---- shared out ---- */

enum { FEW_ROWS = 4 /* a thread: below this, sharing out rows costs more than it saves */ };

typedef struct shared {
    const quern__encoder *e;
    const quern__encoder_scratch *s;
    const quern__workspace *w;
    const quern__block *b;
    const quern__layer *layer;
    const quern__norm *norm;
    const float *smooth;
    int stage;
    uint32_t parts;
} shared;

static uint64_t bound(uint64_t total, uint32_t part, uint32_t parts)
{
    return total * part / parts;
}

/* Pieces from `piece` on of the activations that all threads share. */
static quern__rows shared_from(const shared *j, uint32_t piece)
{
    return (quern__rows){j->s->shared.at + piece * j->s->shared.piece, j->s->shared.piece};
}

/* The inner columns of chunk c. */
static input shared_inner(const shared *j, uint32_t c)
{
    input h = {shared_from(j, c), j->s->shared8};
    if (j->e->int8)
        h.codes = quern__codes_from(j->e->int8, h.codes, c);
    return h;
}

/* Panels first..end of all groups' products, numbered through. */
static void share_qkv(const shared *j, uint32_t first, uint32_t end)
{
    uint32_t before = 0;
    for (uint32_t g = 0; g < j->e->group_count; before += j->layer->qkv[g++].panels) {
        const quern__linear *m = j->layer->qkv + g;
        const uint32_t from = QUERN__MAX(first, before), to = QUERN__MIN(end, before + m->panels);
        if (from < to)
            multiply(j->e, m, from - before, to - before, QUERN__EP_BIAS,
                     (input){read_of(j->e, j->w), j->w->x8}, shared_from(j, g * j->e->group_pieces),
                     none, j->b->tokens);
    }
}

/* Units first..end: group after group, in it text after text, head after head. */
static void share_attention(const shared *j, float *scratch, uint64_t first, uint64_t end)
{
    uint64_t before = 0;
    for (uint32_t g = 0; g < j->e->group_count; g++) {
        const uint64_t n = (uint64_t)j->b->texts * quern__keys_of_group(j->e, g) * j->e->sharing,
                       from = QUERN__MAX(first, before), to = QUERN__MIN(end, before + n);
        if (from < to)
            attend(j->e, j->w, j->layer, shared_from(j, g * j->e->group_pieces), scratch, j->b, g,
                   from - before, to - before);
        before += n;
    }
}

/* Panels first..end of all chunks' `up`, numbered through. */
static void share_up(const shared *j, uint32_t first, uint32_t end)
{
    uint32_t before = 0;
    for (uint32_t c = 0; c < j->e->chunk_count; before += j->layer->chunks[c++].up.panels) {
        const quern__linear *m = &j->layer->chunks[c].up;
        const uint32_t from = QUERN__MAX(first, before), to = QUERN__MIN(end, before + m->panels);
        if (from < to)
            multiply_up(j->e, j->layer->chunks + c, from - before, to - before,
                        (input){read_of(j->e, j->w), j->w->x8}, shared_from(j, c),
                        shared_from(j, j->e->chunk_count + c), j->b->tokens);
    }
}

static void share_down(const shared *j, uint32_t first, uint32_t end)
{
    for (uint32_t c = 0; c < j->e->chunk_count; c++)
        multiply(j->e, &j->layer->chunks[c].down, first, end,
                 c ? QUERN__EP_ADD : QUERN__EP_RESIDUAL, shared_inner(j, c), sums_of(j->e, j->w),
                 c ? none : j->w->x, j->b->tokens);
}

static uint64_t units(const shared *j)
{
    uint64_t n = 0;
    switch (j->stage) {
    case QUERN__STAGE_EMBED:
    case QUERN__STAGE_TURN:
    case QUERN__STAGE_CONTEXT:
    case QUERN__STAGE_INNER:
    case QUERN__STAGE_NORM:
        return j->b->tokens;
    case QUERN__STAGE_QKV:
        for (uint32_t g = 0; g < j->e->group_count; g++)
            n += j->layer->qkv[g].panels;
        return n;
    case QUERN__STAGE_ATTENTION:
        return (uint64_t)j->b->texts * j->e->heads;
    case QUERN__STAGE_OUT:
    case QUERN__STAGE_DOWN:
        return j->layer->out.panels;
    default:
        for (uint32_t c = 0; c < j->e->chunk_count; c++)
            n += j->layer->chunks[c].up.panels;
        return n;
    }
}

/* Each part's inner columns are whole chunks, so that it can quantise them itself. */
static bool whole_chunks(const shared *j)
{
    return j->e->chunk_count % j->s->threads == 0 && j->e->intermediate % QUERN__PIECE == 0;
}

static void quantize_chunks(const shared *j, uint32_t part)
{
    const uint32_t each = j->e->chunk_count / j->parts;
    for (uint32_t c = part * each; c < (part + 1) * each; c++)
        quantize_inner(j->e, shared_inner(j, c), c, j->b->tokens);
}

static void run_part(void *ud, uint32_t part, uint32_t worker)
{
    const shared *j = ud;
    const uint64_t total = units(j), first = bound(total, part, j->parts),
                   end = bound(total, part + 1, j->parts);
    if (first == end)
        return;
    switch (j->stage) {
    case QUERN__STAGE_EMBED:
        embed(j->e, j->w, j->b, (uint32_t)first, (uint32_t)end);
        break;
    case QUERN__STAGE_QKV:
        share_qkv(j, (uint32_t)first, (uint32_t)end);
        break;
    case QUERN__STAGE_TURN:
        for (uint32_t g = 0; g < j->e->group_count; g++)
            turn(j->e, j->layer, shared_from(j, g * j->e->group_pieces), j->b, g, (uint32_t)first,
                 (uint32_t)end);
        break;
    case QUERN__STAGE_ATTENTION:
        share_attention(j, j->s->each[worker].attention, first, end);
        break;
    case QUERN__STAGE_CONTEXT:
        quantize_context(j->e, j->w, (uint32_t)first, (uint32_t)end);
        break;
    case QUERN__STAGE_OUT:
        multiply(j->e, &j->layer->out, (uint32_t)first, (uint32_t)end, QUERN__EP_RESIDUAL,
                 (input){j->w->h, j->w->x8}, sums_of(j->e, j->w), j->w->x, j->b->tokens);
        break;
    case QUERN__STAGE_NORM:
        norm(j->e, j->w, j->norm, j->smooth, (uint32_t)first, (uint32_t)end);
        break;
    case QUERN__STAGE_INNER:
        for (uint32_t c = 0; c < j->e->chunk_count; c++)
            quantize_inner(j->e, from_row(j->e, shared_inner(j, c), (uint32_t)first), c,
                           (uint32_t)(end - first));
        break;
    case QUERN__STAGE_UP:
        share_up(j, (uint32_t)first, (uint32_t)end);
        if (whole_chunks(j))
            quantize_chunks(j, part);
        break;
    default:
        share_down(j, (uint32_t)first, (uint32_t)end);
    }
}

static void share(shared *j, quern__pool *pool, int stage)
{
    j->stage = stage;
    const bool by_rows = stage == QUERN__STAGE_EMBED || stage == QUERN__STAGE_NORM ||
                         stage == QUERN__STAGE_TURN || stage == QUERN__STAGE_CONTEXT ||
                         stage == QUERN__STAGE_INNER;
    j->parts = by_rows && j->b->tokens < FEW_ROWS * j->s->threads ? 1 : j->s->threads;
    if (j->parts == 1)
        run_part(j, 0, 0);
    else
        quern__pool_run(pool, j->parts, run_part, j);
}

static void share_norm(shared *j, quern__pool *pool, const quern__norm *n, const float *smooth)
{
    j->norm = n;
    j->smooth = smooth;
    share(j, pool, QUERN__STAGE_NORM);
}

void quern__forward_shared(const quern__encoder *e, quern__encoder_scratch *s, quern__pool *pool,
                           const quern__block *b, bool normalize, const quern_cancel *cancel)
{
    shared j = {.e = e, .s = s, .w = s->each, .b = b};
    share(&j, pool, QUERN__STAGE_EMBED);
    for (uint32_t i = 0; i < e->layer_count; i++) {
        if (quern_cancel_raised(cancel))
            return;
        j.layer = e->layers + i;
        share(&j, pool, QUERN__STAGE_QKV);
        if (j.layer->turns)
            share(&j, pool, QUERN__STAGE_TURN);
        share(&j, pool, QUERN__STAGE_ATTENTION);
        if (e->int8)
            share(&j, pool, QUERN__STAGE_CONTEXT);
        share(&j, pool, QUERN__STAGE_OUT);
        share_norm(&j, pool, &j.layer->middle, j.layer->smooth[1]);
        share(&j, pool, QUERN__STAGE_UP);
        if (e->int8 && !whole_chunks(&j))
            share(&j, pool, QUERN__STAGE_INNER);
        share(&j, pool, QUERN__STAGE_DOWN);
        share_norm(&j, pool, &j.layer->end, smooth_after(e, i));
    }
    quern__head_run(e->head, s->each->head, read_of(e, s->each), b->lengths, b->texts, normalize,
                    b->out);
}
