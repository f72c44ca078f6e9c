/*
 * asset_parse.c — assets as people and databases write them down: one URL, or JSON: an array of URLs and objects, or one object
 * {"url":…,"kind":"image|frame|video","key":…,"frame":…}. One grammar, for columns of rows and for lines of input.
 *
 * What is written down but empty or null has its place, so that cutting a list does not depend on it; it cannot be had, and is
 * skipped. A name that is not known is passed over, one that is there twice is refused: which of the two was meant?
 */
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/compiler.h"
#include "base/json.h"
#include "embedder/embedder.h"

static const char *const kinds[] = {"image", "frame", "video"}; /* enum quern_asset_kind */

const char *quern__asset_kind_name(int kind)
{
    return kinds[kind];
}

int quern__asset_kind_of(quern_str name)
{
    for (int i = 0; i < (int)QUERN__COUNT(kinds); i++)
        if (quern__str_is(name, kinds[i]))
            return i;
    return -1;
}

typedef struct parsing {
    quern__json j;
    quern__arena arena; /* of one asset */
    int kind;
    quern__asset_fn fn;
    void *ud;
} parsing;

static int text_or_null(parsing *p, quern_str *out, quern_error *err)
{
    quern_str s;
    *out = (quern_str){NULL, 0};
    if (quern__json_peek(&p->j) == QUERN__JSON_NULL)
        return quern__json_null(&p->j, err);
    int rc = quern__json_string(&p->j, &s, err);
    if (rc != QUERN_OK || !s.len)
        return rc;
    out->len = s.len;
    out->ptr = quern__arena_copy(&p->arena, s.ptr, s.len);
    return out->ptr ? QUERN_OK : quern__fail_memory(err, s.len);
}

static int take_frame(parsing *p, quern_asset *a, quern_error *err)
{
    uint64_t n = 0;
    if (quern__json_peek(&p->j) == QUERN__JSON_NULL)
        return quern__json_null(&p->j, err);
    int rc = quern__json_u64(&p->j, &n, err);
    if (rc == QUERN_OK && n > INT64_MAX)
        rc = quern__json_fail(&p->j, err, "there is no such frame");
    a->frame = rc == QUERN_OK ? (int64_t)n : -1;
    return rc;
}

static int take_member(parsing *p, quern_str name, quern_asset *a, unsigned *has, quern_error *err)
{
    static const char *const names[] = {"url", "kind", "key", "frame"};
    quern_str kind;
    size_t i = 0;
    while (i < QUERN__COUNT(names) && !quern__str_is(name, names[i]))
        i++;
    if (i == QUERN__COUNT(names))
        return quern__json_skip(&p->j, err);
    if (*has & 1u << i)
        return quern__json_fail(&p->j, err, "\"%s\" is there twice", names[i]);
    *has |= 1u << i;
    if (i == 0 || i == 2)
        return text_or_null(p, i ? &a->key : &a->url, err);
    if (i == 3)
        return take_frame(p, a, err);
    int rc = quern__json_string(&p->j, &kind, err);
    if (rc == QUERN_OK && (a->kind = quern__asset_kind_of(kind)) < 0)
        rc = quern__json_fail(&p->j, err, "a kind is image, frame or video");
    return rc;
}

static int take_object(parsing *p, quern_asset *a, quern_error *err)
{
    unsigned has = 0;
    quern_str name;
    int rc = quern__json_enter_object(&p->j, err);
    while (rc == QUERN_OK && (rc = quern__json_next_key(&p->j, &name, err)) == 1)
        rc = take_member(p, name, a, &has, err);
    if (rc == QUERN_OK && !(has & 1))
        rc = quern__json_fail(&p->j, err, "an asset without a url");
    if (rc == QUERN_OK && a->frame >= 0 && a->kind != QUERN_ASSET_FRAME)
        rc = quern__json_fail(&p->j, err, "a frame's number, of a kind that is not frame");
    return rc;
}

static int take_value(parsing *p, quern_error *err)
{
    quern_asset a = {.kind = p->kind, .frame = -1};
    int rc = quern__json_peek(&p->j) == QUERN__JSON_OBJECT ? take_object(p, &a, err)
                                                           : text_or_null(p, &a.url, err);
    if (rc == QUERN_OK)
        rc = p->fn(&a, p->ud);
    quern__arena_dispose(&p->arena);
    return rc;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

int quern__assets_parse(quern_str text, int kind, const char *name, quern__asset_fn fn, void *ud,
                        quern_error *err)
{
    while (text.len && is_blank(text.ptr[0]))
        text = (quern_str){text.ptr + 1, text.len - 1};
    while (text.len && is_blank(text.ptr[text.len - 1]))
        text.len--;
    if (!text.len)
        return QUERN_OK;
    if (text.ptr[0] != '[' && text.ptr[0] != '{') {
        quern_asset a = {.kind = kind, .frame = -1, .url = text};
        return fn(&a, ud);
    }
    if (text.len > QUERN__ASSET_LIST)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)text.len,
                           "%s: a list of %zu bytes, at most %d", name, text.len,
                           QUERN__ASSET_LIST);
    parsing p = {.kind = kind, .fn = fn, .ud = ud};
    int rc = QUERN_OK;
    quern__arena_init(&p.arena, 0);
    quern__json_init(&p.j, text.ptr, text.len, name);
    if (text.ptr[0] == '{') {
        rc = take_value(&p, err);
    } else {
        rc = quern__json_enter_array(&p.j, err);
        while (rc == QUERN_OK && (rc = quern__json_next_item(&p.j, err)) == 1)
            rc = take_value(&p, err);
    }
    if (rc == QUERN_OK)
        rc = quern__json_end(&p.j, err);
    quern__json_dispose(&p.j);
    return rc;
}

/* ---- for programs ---- */

struct quern_asset_list {
    quern__arena arena;
    quern_asset *items;
    size_t n, cap;
    quern_error *err;
};

static int keep_str(quern_asset_list *l, quern_str *s)
{
    const char *copy = quern__arena_copy(&l->arena, s->len ? s->ptr : "", s->len);
    s->ptr = copy;
    return copy ? QUERN_OK : quern__fail_memory(l->err, s->len);
}

static int keep_asset(const quern_asset *a, void *ud)
{
    quern_asset_list *l = ud;
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 8;
        quern_asset *grown = quern__resize_array(l->items, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(l->err, cap * sizeof *grown);
        l->items = grown;
        l->cap = cap;
    }
    quern_asset *to = &l->items[l->n];
    *to = *a;
    int rc = keep_str(l, &to->key);
    if (rc == QUERN_OK)
        rc = keep_str(l, &to->url);
    l->n += rc == QUERN_OK;
    return rc;
}

int quern_asset_list_parse(quern_asset_list **out, quern_str text, int kind, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(text.ptr || !text.len, err);
    QUERN__REQUIRE(kind >= QUERN_ASSET_IMAGE && kind <= QUERN_ASSET_VIDEO, err);
    quern_asset_list *l = quern__calloc(1, sizeof *l);
    if (!l)
        return quern__fail_memory(err, sizeof *l);
    quern__arena_init(&l->arena, 0);
    l->err = err;
    int rc = quern__assets_parse(text, kind, "assets", keep_asset, l, err);
    if (rc != QUERN_OK) {
        quern_asset_list_free(l);
        return rc;
    }
    *out = l;
    return QUERN_OK;
}

size_t quern_asset_list_count(const quern_asset_list *l)
{
    return l ? l->n : 0;
}

const quern_asset *quern_asset_list_all(const quern_asset_list *l)
{
    return l ? l->items : NULL;
}

void quern_asset_list_free(quern_asset_list *l)
{
    if (!l)
        return;
    quern__arena_dispose(&l->arena);
    quern__free(l->items);
    quern__free(l);
}
