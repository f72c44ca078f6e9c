/*
 * normal.c — the steps of a normaliser over an array of code points. The reference keeps a string and a
 * table of alignments and describes each step as "this character, so many more or fewer than before";
 * what shows of that in the offsets is reproduced: a code point that replaces several has the place of
 * the first, one that was inserted has the place of the one before it.
 */
#include "tokenizer/normal.h"

#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "text/unicode_grapheme.h"
#include "text/unicode_nfc.h"
#include "text/unicode_split.h"
#include "text/utf8.h"

void quern__normalizer_dispose(quern__normalizer *n)
{
    quern__charsmap_dispose(&n->charsmap);
    n->n = 0;
}

void quern__normal_init(quern__normal *w)
{
    memset(w, 0, sizeof *w);
}

void quern__normal_dispose(quern__normal *w)
{
    quern__free(w->now.items);
    quern__free(w->next.items);
    quern__free(w->marks.items);
    quern__free(w->text);
    quern__free(w->start);
    quern__free(w->end);
    memset(w, 0, sizeof *w);
}

static void put(quern__letters *l, uint32_t cp, uint32_t start, uint32_t end)
{
    if (l->n == l->cap) {
        uint32_t cap = l->cap < 64 ? 64 : l->cap + l->cap / 2;
        quern__letter *grown =
            cap > l->cap ? quern__resize_array(l->items, cap, sizeof *grown) : NULL;
        if (!grown) {
            l->failed = true;
            return;
        }
        l->items = grown;
        l->cap = cap;
    }
    l->items[l->n++] = (quern__letter){cp, start, end};
}

/* ---- a step's output: changes counted as the reference counts them ---- */

/* Where a code point goes that stands for 1 - change of the input (change <= 0), or is new (> 0). */
struct output {
    const quern__letters *in;
    quern__letters *out;
    uint32_t used; /* of the input */
};

static void emit(struct output *o, uint32_t cp, int32_t change)
{
    const quern__letter *in = o->in->items;
    uint32_t from = change > 0 ? (o->used ? o->used - 1 : 0) : o->used;
    if (from < o->in->n)
        put(o->out, cp, change > 0 && !o->used ? 0 : in[from].start,
            change > 0 && !o->used ? 0 : in[from].end);
    else
        put(o->out, cp, o->in->n ? in[o->in->n - 1].end : 0, o->in->n ? in[o->in->n - 1].end : 0);
    if (change <= 0)
        o->used += 1 + (uint32_t)-change;
}

/* ---- NFC ---- */

/* One of a run: its combining class's rank, and how many code points it adds (1, of a decomposition)
 * or takes (composed: -1 each). */
struct part {
    uint32_t cp, rank;
    int32_t change;
};

struct composer {
    struct output o;
    struct part starter;
    bool has_starter;
    quern__letters *marks; /* held back behind the starter: cp, rank, change in the three fields */
    quern__letters *spare;
};

static int by_rank(const void *a, const void *b)
{
    const quern__letter *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

/* Stable: the C library's qsort is not, so short runs by insertion and long ones by counting ranks. */
static void sort_marks(quern__letters *m, quern__letters *spare)
{
    bool sorted = true;
    for (uint32_t i = 1; i < m->n && sorted; i++)
        sorted = by_rank(&m->items[i - 1], &m->items[i]) <= 0;
    if (sorted)
        return;
    uint32_t count[257] = {0};
    for (uint32_t i = 0; i < m->n; i++)
        count[QUERN__MIN(m->items[i].start, 255) + 1]++;
    for (uint32_t r = 1; r < 257; r++)
        count[r] += count[r - 1];
    spare->n = 0;
    for (uint32_t i = 0; i < m->n; i++)
        put(spare, 0, 0, 0);
    if (spare->failed)
        return;
    for (uint32_t i = 0; i < m->n; i++)
        spare->items[count[QUERN__MIN(m->items[i].start, 255)]++] = m->items[i];
    memcpy(m->items, spare->items, m->n * sizeof *m->items);
}

/* Marks behind the starter, in canonical order, go into it where nothing that stays blocks them. */
static void absorb(struct composer *c)
{
    quern__letters *m = c->marks;
    uint32_t kept = 0, last = 0;
    sort_marks(m, c->spare);
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t rank = m->items[i].start, whole = 0;
        if (c->has_starter && !(kept && last >= rank))
            whole = quern__nfc_compose(c->starter.cp, m->items[i].cp);
        if (whole) {
            c->starter.cp = whole;
            c->starter.change += (int32_t)m->items[i].end - 1;
        } else {
            m->items[kept++] = m->items[i];
            last = rank;
        }
    }
    m->n = kept;
}

static void release(struct composer *c)
{
    if (c->has_starter)
        emit(&c->o, c->starter.cp, c->starter.change);
    for (uint32_t i = 0; i < c->marks->n; i++)
        emit(&c->o, c->marks->items[i].cp, (int32_t)c->marks->items[i].end);
    c->has_starter = false;
    c->marks->n = 0;
}

static void compose(struct composer *c, struct part p)
{
    if (p.rank) {
        put(c->marks, p.cp, p.rank, (uint32_t)p.change);
        return;
    }
    absorb(c);
    if (c->has_starter && c->marks->n == 0) {
        uint32_t whole = quern__nfc_compose(c->starter.cp, p.cp);
        if (whole) {
            c->starter.cp = whole;
            c->starter.change += p.change - 1;
            return;
        }
    }
    release(c);
    c->starter = p;
    c->has_starter = true;
}

static void run_nfc(quern__normal *w, quern__letters *spare)
{
    struct composer c = {{&w->now, &w->next, 0}, {0, 0, 0}, false, &w->marks, spare};
    w->marks.n = 0;
    for (uint32_t i = 0; i < w->now.n; i++) {
        uint32_t parts[QUERN__NFC_PARTS], cp = w->now.items[i].cp, n = 1;
        parts[0] = cp;
        if (cp >= 0xC0)
            n = quern__nfc_parts(cp, parts);
        for (uint32_t k = 0; k < n; k++)
            compose(&c, (struct part){parts[k], quern__nfc_rank(parts[k]), k > 0});
    }
    absorb(&c);
    release(&c);
    w->next.failed |= w->marks.failed || spare->failed;
}

/* ---- the precompiled map ---- */

/* What a replacement by nothing removes is counted with the code point before it, so that one waits. */
struct waiting {
    struct output o;
    uint32_t cp;
    int32_t change;
    bool has;
};

static void wait(struct waiting *w, uint32_t cp, int32_t change)
{
    if (w->has)
        emit(&w->o, w->cp, w->change);
    w->cp = cp;
    w->change = change;
    w->has = true;
}

/* `n` code points become `to`: of more, the last ones are new; of fewer, the last takes the rest. */
static void replace(struct waiting *w, uint32_t n, quern_str to)
{
    int32_t more = (int32_t)quern__utf8_count(to.ptr, to.len) - (int32_t)n;
    uint32_t i = 0;
    for (size_t at = 0; at < to.len; i++) {
        uint32_t cp;
        bool bad = false;
        at += quern__utf8_next(to.ptr + at, to.len - at, &cp, &bad);
        wait(w, cp, i >= n ? 1 : 0);
    }
    if (more < 0 && w->has)
        w->change += more;
}

/* The code points [at, end) are one group: it is looked at whole when it is short, else one by one. */
static void map_group(const quern__charsmap *map, struct waiting *w, const quern__letter *in,
                      uint32_t at, uint32_t end)
{
    enum { SHORT = 6 };
    char text[SHORT + 4];
    uint32_t len = 0;
    quern_str to;
    for (uint32_t i = at; i < end && len < SHORT; i++)
        len += quern__utf8_put(text + len, in[i].cp);
    if (len < SHORT && quern__charsmap_find(map, (quern_str){text, len}, &to)) {
        replace(w, end - at, to);
        return;
    }
    for (; at < end; at++) {
        len = quern__utf8_put(text, in[at].cp);
        if (quern__charsmap_find(map, (quern_str){text, len}, &to))
            replace(w, 1, to);
        else
            wait(w, in[at].cp, 0);
    }
}

static void run_charsmap(const quern__charsmap *map, quern__normal *n)
{
    struct waiting w = {{&n->now, &n->next, 0}, 0, 0, false};
    quern__grapheme g = {0, 0, 0, false, false};
    uint32_t from = 0;
    for (uint32_t at = 0; at < n->now.n; at++)
        if (!quern__grapheme_joins(&g, n->now.items[at].cp) && at > from) {
            map_group(map, &w, n->now.items, from, at);
            from = at;
        }
    if (n->now.n > from)
        map_group(map, &w, n->now.items, from, n->now.n);
    if (w.has)
        emit(&w.o, w.cp, w.change);
}

/* ---- the other steps ---- */

static void run_replace(const quern__step *s, quern__normal *w)
{
    const quern__letter *in = w->now.items;
    for (uint32_t at = 0; at < w->now.n;) {
        uint32_t len = 0;
        if (s->kind == QUERN__STEP_BLANKS)
            while (at + len < w->now.n && in[at + len].cp == ' ')
                len++;
        else
            while (len < s->n_pattern && at + len < w->now.n && in[at + len].cp == s->pattern[len])
                len++;
        bool hit = s->kind == QUERN__STEP_BLANKS ? len >= 2 : len == s->n_pattern;
        if (!hit) {
            put(&w->next, in[at].cp, in[at].start, in[at].end);
            at++;
            continue;
        }
        at += len;
        for (uint32_t i = 0; i < s->n_content; i++)
            put(&w->next, s->content[i], in[at - 1].start, in[at - 1].end);
    }
}

static void run_strip(const quern__step *s, quern__normal *w)
{
    uint32_t from = 0, to = w->now.n;
    const quern__letter *in = w->now.items;
    while (s->left && from < to && quern__split_class(in[from].cp) & QUERN__SPLIT_SPACE)
        from++;
    while (s->right && from < to && quern__split_class(in[to - 1].cp) & QUERN__SPLIT_SPACE)
        to--;
    for (uint32_t i = from; i < to; i++)
        put(&w->next, in[i].cp, in[i].start, in[i].end);
}

static void run_prepend(const quern__step *s, quern__normal *w)
{
    for (uint32_t i = 0; w->now.n && i < s->n_content; i++)
        put(&w->next, s->content[i], w->now.items[0].start, w->now.items[0].end);
    for (uint32_t i = 0; i < w->now.n; i++)
        put(&w->next, w->now.items[i].cp, w->now.items[i].start, w->now.items[i].end);
}

/* ---- all of it ---- */

static bool nfc_idle(const char *text, uint32_t len)
{
    for (uint32_t at = 0; at < len;) {
        uint32_t cp;
        bool bad = false;
        if ((uint8_t)text[at] < 0xC0) {
            at++;
            continue;
        }
        at += quern__utf8_next(text + at, len - at, &cp, &bad);
        if (quern__split_class(cp) & QUERN__SPLIT_RECOMPOSES)
            return false;
    }
    return true;
}

static bool map_idle(const quern__charsmap *map, const char *text, uint32_t len)
{
    for (uint32_t at = 0; at < len; at++)
        if ((uint8_t)text[at] >= 128 || !map->plain[(uint8_t)text[at]] || text[at] == '\r')
            return false;
    return true;
}

static bool step_idle(const quern__normalizer *n, const quern__step *s, const char *text,
                      uint32_t len)
{
    switch (s->kind) {
    case QUERN__STEP_NFC:
        return nfc_idle(text, len);
    case QUERN__STEP_CHARSMAP:
        return map_idle(&n->charsmap, text, len);
    case QUERN__STEP_BLANKS:
        for (uint32_t at = 1; at < len; at++)
            if (text[at] == ' ' && text[at - 1] == ' ')
                return false;
        return true;
    case QUERN__STEP_REPLACE:
        return s->pattern[0] < 128 && !memchr(text, (int)s->pattern[0], len);
    case QUERN__STEP_STRIP: /* other white space than the blank: a no that may be wrong */
        return text[0] > ' ' && text[len - 1] > ' ';
    case QUERN__STEP_PREPEND:
        return false;
    }
    return false;
}

bool quern__normalizer_idle(const quern__normalizer *n, const char *text, uint32_t len)
{
    bool idle = true;
    for (uint32_t i = 0; i < n->n && idle && len; i++)
        idle = step_idle(n, &n->steps[i], text, len);
    return idle;
}

static int spell(quern__normal *w, quern_error *err)
{
    uint64_t need = (uint64_t)w->now.n * 4 + 1;
    if (need > UINT32_MAX)
        return quern__fail_memory(err, SIZE_MAX);
    if (need > w->cap) {
        char *text = quern__resize(w->text, need);
        w->text = text ? text : w->text;
        uint32_t *start = text ? quern__resize_array(w->start, need, sizeof *start) : NULL;
        w->start = start ? start : w->start;
        uint32_t *end = start ? quern__resize_array(w->end, need, sizeof *end) : NULL;
        w->end = end ? end : w->end;
        if (!end)
            return quern__fail_memory(err, need * 9);
        w->cap = (uint32_t)need;
    }
    w->len = 0;
    for (uint32_t i = 0; i < w->now.n; i++) {
        const quern__letter *l = &w->now.items[i];
        uint32_t n = 1;
        if (l->cp < 0x80)
            w->text[w->len] = (char)l->cp;
        else
            n = quern__utf8_put(w->text + w->len, l->cp);
        for (uint32_t k = 0; k < n; k++, w->len++) {
            w->start[w->len] = l->start;
            w->end[w->len] = l->end;
        }
    }
    return QUERN_OK;
}

int quern__normal_run(const quern__normalizer *n, quern__normal *w, const char *text, uint32_t at,
                      uint32_t len, quern_error *err)
{
    quern__letters spare = {NULL, 0, 0, false};
    w->now.n = 0;
    w->now.failed = w->next.failed = w->marks.failed = false;
    for (uint32_t end = at + len; at < end;) {
        uint32_t cp;
        bool bad = false;
        uint32_t step = quern__utf8_next(text + at, end - at, &cp, &bad);
        put(&w->now, cp, at, at + step);
        at += step;
    }
    for (uint32_t i = 0; i < n->n && !w->now.failed; i++) {
        w->next.n = 0;
        switch (n->steps[i].kind) {
        case QUERN__STEP_NFC:
            run_nfc(w, &spare);
            break;
        case QUERN__STEP_CHARSMAP:
            run_charsmap(&n->charsmap, w);
            break;
        case QUERN__STEP_BLANKS:
        case QUERN__STEP_REPLACE:
            run_replace(&n->steps[i], w);
            break;
        case QUERN__STEP_STRIP:
            run_strip(&n->steps[i], w);
            break;
        case QUERN__STEP_PREPEND:
            run_prepend(&n->steps[i], w);
            break;
        }
        quern__letters swap = w->now;
        w->now = w->next;
        w->next = swap;
    }
    quern__free(spare.items);
    if (w->now.failed)
        return quern__fail_memory(err, (size_t)w->now.cap * sizeof(quern__letter));
    return spell(w, err);
}
