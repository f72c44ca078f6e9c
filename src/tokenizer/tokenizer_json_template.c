/*
 * tokenizer_json_template.c — the part of tokenizer.json that says which special tokens stand around a
 * text: a template, or the pairs of the processors that came before templates. Each names its tokens
 * and gives their ids, and both must be those of the vocabulary.
 */
#include <string.h>

#include "base/compiler.h"
#include "tokenizer/tokenizer_json.h"

/* {"id": NAME, "type_id": 0} */
static int read_template_token(quern__json_reader *r, quern__draft_name *out, quern_error *err)
{
    static const char *const names[] = {"id", "type_id", NULL};
    uint32_t seen = 0;
    uint64_t type = 0;
    quern_str key;
    int which, more, rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    *out = quern__draft_unnamed(&r->j);
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        rc = quern__draft_key(&r->j, key, names, &seen, false, &which, err);
        if (rc == QUERN_OK && which == 0)
            rc = quern__reader_kept(r, &out->name, err);
        else if (rc == QUERN_OK)
            rc = quern__json_u64(&r->j, &type, err);
        if (rc == QUERN_OK && type != 0)
            rc =
                quern__json_fail(&r->j, err, "a template of one text with a type_id other than 0,");
        if (rc != QUERN_OK)
            return rc;
    }
    return more < 0 ? more
                    : quern__reader_missing(r, "a token of the template", names, seen, 1, err);
}

static int add_special(quern__json_reader *r, quern__draft_name name, bool after, quern_error *err)
{
    quern__draft *d = &r->d;
    uint32_t *n = after ? &d->n_after : &d->n_before;
    if (*n == QUERN__TOKENIZER_MAX_SPECIALS)
        return quern__json_fail(&r->j, err, "a template of more than %d special tokens,",
                                QUERN__TOKENIZER_MAX_SPECIALS);
    (after ? d->after : d->before)[(*n)++] = name;
    return QUERN_OK;
}

/* {"SpecialToken": …} or {"Sequence": …} */
static int read_part(quern__json_reader *r, bool *text, quern_error *err)
{
    static const char *const kinds[] = {"SpecialToken", "Sequence", NULL};
    quern__draft_name name;
    uint32_t seen = 0;
    quern_str key;
    int which = 0, rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    int more = quern__json_next_key(&r->j, &key, err);
    if (more < 0)
        return more;
    if (more == 0)
        return quern__json_fail(&r->j, err, "an empty part of the template,");
    rc = quern__draft_key(&r->j, key, kinds, &seen, false, &which, err);
    if (rc != QUERN_OK)
        return rc;
    rc = read_template_token(r, &name, err);
    if (rc != QUERN_OK)
        return rc;
    if (which == 1 && (*text || !quern__str_is(name.name, "A")))
        return quern__json_fail(&r->j, err, "a template that does not hold the text once, as 'A',");
    if (which == 1)
        *text = true;
    else if ((rc = add_special(r, name, *text, err)) != QUERN_OK)
        return rc;
    more = quern__json_next_key(&r->j, &key, err);
    return more == 1 ? quern__json_fail(&r->j, err, "two things in one part of the template,")
                     : more;
}

/* [{"SpecialToken": …}, {"Sequence": …}, {"SpecialToken": …}] */
int quern__reader_single(quern__json_reader *r, quern_error *err)
{
    bool text = false;
    int more, rc = quern__json_enter_array(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_item(&r->j, err)) == 1)
        if ((rc = read_part(r, &text, err)) != QUERN_OK)
            return rc;
    if (more == 0 && !text)
        return quern__json_fail(&r->j, err, "a template without the text,");
    return more;
}

/* {"id": NAME, "ids": [ID], "tokens": [NAME]} */
static int read_named(quern__json_reader *r, quern_error *err)
{
    static const char *const names[] = {"id", "ids", "tokens", NULL};
    uint32_t seen = 0;
    quern_str key, unused;
    int which, more, rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    if (r->n_named == QUERN__JSON_MAX_NAMED)
        return quern__json_fail(&r->j, err, "more than %d special tokens in the template,",
                                QUERN__JSON_MAX_NAMED);
    quern__draft_name *n = &r->named[r->n_named++];
    *n = quern__draft_unnamed(&r->j);
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        uint32_t count = 0;
        uint64_t id = 0;
        rc = quern__draft_key(&r->j, key, names, &seen, false, &which, err);
        if (rc == QUERN_OK && which == 0)
            rc = quern__reader_kept(r, &n->name, err);
        else if (rc == QUERN_OK && (rc = quern__json_enter_array(&r->j, err)) == QUERN_OK) {
            while (rc == QUERN_OK && (rc = quern__json_next_item(&r->j, err)) == 1) {
                rc = which == 1 ? quern__json_u64(&r->j, &id, err)
                                : quern__json_string(&r->j, &unused, err);
                count++;
            }
            if (rc == QUERN_OK && (count != 1 || id >= QUERN__VOCAB_MAX_IDS))
                rc = quern__json_fail(&r->j, err,
                                      "a special token of the template that is not one id,");
            if (rc == QUERN_OK && which == 1)
                n->id = (int64_t)id;
        }
        if (rc != QUERN_OK)
            return rc;
    }
    return more < 0 ? more
                    : quern__reader_missing(r, "a special token of the template", names, seen,
                                            1 | 2, err);
}

int quern__reader_special_tokens(quern__json_reader *r, quern_error *err)
{
    quern_str key;
    int more, rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        quern_str kept = key;
        rc = quern__draft_keep(&r->d, &kept, err);
        if (rc == QUERN_OK)
            rc = read_named(r, err);
        if (rc == QUERN_OK && !quern__str_is(r->named[r->n_named - 1].name, kept.ptr))
            rc = quern__json_fail(&r->j, err, "special token '%.80s' under another's name,",
                                  kept.ptr);
        if (rc != QUERN_OK)
            return rc;
    }
    return more;
}

/* ["[SEP]", 102] */
int quern__reader_pair(quern__json_reader *r, bool after, quern_error *err)
{
    quern__draft_name n = quern__draft_unnamed(&r->j);
    uint64_t id = 0;
    int count = 0, more, rc = quern__json_enter_array(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_item(&r->j, err)) == 1) {
        rc = count ? quern__json_u64(&r->j, &id, err) : quern__reader_kept(r, &n.name, err);
        if (rc == QUERN_OK && ++count > 2)
            break;
        if (rc != QUERN_OK)
            return rc;
    }
    if (more < 0)
        return more;
    if (count != 2 || id >= QUERN__VOCAB_MAX_IDS)
        return quern__json_fail(&r->j, err, "a token and its id expected");
    n.id = (int64_t)id;
    return add_special(r, n, after, err);
}

/* The template's names get the ids that its special_tokens give. */
static int name_template(quern__json_reader *r, quern__draft_name *names, uint32_t n,
                         quern_error *err)
{
    for (uint32_t i = 0; r->has_template && i < n; i++) {
        uint32_t k = 0;
        while (k < r->n_named && !quern__str_is(r->named[k].name, names[i].name.ptr))
            k++;
        if (k == r->n_named)
            return quern__draft_refuse(&names[i], "the template's token",
                                       "is not among its special_tokens,", err);
        names[i].id = r->named[k].id;
    }
    return QUERN_OK;
}

int quern__reader_name_template(quern__json_reader *r, quern_error *err)
{
    int rc = name_template(r, r->d.before, r->d.n_before, err);
    return rc == QUERN_OK ? name_template(r, r->d.after, r->d.n_after, err) : rc;
}
