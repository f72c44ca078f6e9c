/*
 * conformance_columns.c — the rules of kept texts and of stamp columns, for stores that have them. The suite has no triggers, so it lets a
 * write move the revision in the plainest way: the revision column is one of those that are written, which a
 * declaration could not say.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "store/conformance_suite.h"

enum { DIM = 4, ROWS = 4 };

static const char *const all_columns[] = {"title", "body", "rev"};

typedef struct look {
    char title[ROWS][64], revision[ROWS][64], stamp[ROWS][64], key[ROWS][16];
    bool has_title[ROWS], has_revision[ROWS];
    size_t n;
} look;

static void keep(char out[64], quern_str from)
{
    snprintf(out, 64, "%.*s", (int)from.len, from.ptr ? from.ptr : "");
}

static int see(const quern_row *row, void *ud)
{
    look *v = ud;
    if (v->n == ROWS || row->n_columns != 3)
        return -99;
    keep(v->key[v->n], row->key);
    keep(v->title[v->n], row->columns[0].bytes);
    v->has_title[v->n] = row->columns[0].type != QUERN_VALUE_NULL;
    keep(v->revision[v->n], row->revision);
    v->has_revision[v->n] = row->columns[2].type != QUERN_VALUE_NULL;
    keep(v->stamp[v->n++], row->stamp.revision);
    return QUERN_OK;
}

/* What is said of each document, before and behind the writing of its columns, and how often it was asked. */
typedef struct answers {
    int first[ROWS], second[ROWS];
    int asked[ROWS], again[ROWS];
} answers;

static int still(const quern_row *row, size_t i, void *ud)
{
    answers *a = ud;
    ++*(row->stamped ? &a->again[i] : &a->asked[i]);
    return row->stamped ? a->second[i] : a->first[i];
}

/* A store beside a database that is only read writes none. */
static bool cannot(suite *s)
{
    s->spec.text = "{body}";
    s->spec.stamp_columns = "model=title";
    return CALL(stamp_columns_check, &s->spec, all_columns + 1, 1) == QUERN_EUNSUPPORTED;
}

static int begin(suite *s, int64_t *generation)
{
    quern_generation g = {
        .state = "building", .model = "m", .vector_type = "f32", .dimensions = DIM};
    snprintf(g.fingerprint, sizeof g.fingerprint, "%064d", 7);
    s->spec.stamp_columns = "generated_at=rev,model=title";
    s->read.columns = all_columns;
    s->read.n_columns = 3;
    MUST(CALL(source_put, &s->spec, 0) == QUERN_OK);
    for (int64_t id = 1; id <= ROWS; id++)
        MUST(s->c->put(s->self, id, "title", "body", "r", s->c->ud, &s->inner) == QUERN_OK);
    MUST(CALL(generation_build, "items", &g, "{}", generation) == QUERN_OK);
    s->read.generation = *generation;
    return QUERN_OK;
}

/* Saves documents 1 to n, the last of them empty if that is asked for. */
static int save(suite *s, size_t n, bool columns, bool last_empty, answers *a, uint8_t *stored)
{
    static const float vector[DIM] = {1, 0, 0, 0};
    static const char *const keys[] = {"1", "2", "3", "4"};
    const quern_chunk chunk = {.end = 4, .vector = vector};
    quern_save docs[ROWS];
    for (size_t i = 0; i < n; i++) {
        bool empty = last_empty && i + 1 == n;
        docs[i] = (quern_save){.key = quern_str_of(keys[i]), .chunks = &chunk};
        docs[i].stamp.outcome = empty ? QUERN_OUTCOME_EMPTY : QUERN_OUTCOME_OK;
        docs[i].stamp.chunks = empty ? 0 : 1;
        docs[i].stamp.revision = quern_str_of("r");
        docs[i].stamp_columns = columns;
        docs[i].model = quern_str_of("m'\"1");
    }
    return CALL(save, &s->read, docs, n, still, a, stored);
}

static int look_at(suite *s, int64_t generation, look *v)
{
    *v = (look){.n = 0};
    s->read.generation = generation;
    return CALL(scan, &s->read, (quern_str){NULL, 0}, ROWS, see, v);
}

static int stamp_columns_are_written(suite *s)
{
    int64_t g;
    look v;
    uint8_t stored[ROWS];
    answers a = {.first = {1, 1, 0, 1}, .second = {1, 0, 1, 1}};
    if (cannot(s))
        return QUERN_OK;
    int rc = begin(s, &g);
    if (rc)
        return rc;
    MUST(save(s, ROWS, true, true, &a, stored) == QUERN_OK);
    MUST(stored[0] && stored[1] && !stored[2] && stored[3]);
    MUST(a.asked[0] == 1 && a.again[0] == 1 && a.again[1] == 1 && a.again[2] == 0);
    MUST(look_at(s, g, &v) == QUERN_OK && v.n == ROWS);
    for (size_t i = 0; i < ROWS; i++)
        switch (v.key[i][0]) {
        case '1': /* the same document: its stamp has the revision that our write gave the row */
            MUST(strcmp(v.title[i], "m'\"1") == 0);
            MUST(strlen(v.revision[i]) == 24 && v.revision[i][10] == 'T' &&
                 v.revision[i][23] == 'Z');
            MUST(strcmp(v.stamp[i], v.revision[i]) == 0);
            break;
        case '2': /* something else moved with it: the stamp is of what was embedded */
            MUST(strcmp(v.title[i], "m'\"1") == 0 && strcmp(v.stamp[i], "r") == 0);
            break;
        case '3': /* the row had moved on before: nothing is written */
            MUST(strcmp(v.title[i], "title") == 0 && strcmp(v.revision[i], "r") == 0);
            MUST(v.stamp[i][0] == '\0');
            break;
        default: /* empty: no model, no time */
            MUST(!v.has_title[i] && !v.has_revision[i]);
        }
    return QUERN_OK;
}

static int other_generations_move_along(suite *s)
{
    int64_t old, new;
    look v;
    uint8_t stored[ROWS];
    answers a = {.first = {1, 1, 1, 1}, .second = {1, 1, 1, 1}};
    quern_generation g = {
        .state = "building", .model = "m", .vector_type = "f32", .dimensions = DIM};
    if (cannot(s))
        return QUERN_OK;
    int rc = begin(s, &old);
    if (rc)
        return rc;
    MUST(CALL(generation_activate, old) == QUERN_OK);
    snprintf(g.fingerprint, sizeof g.fingerprint, "%064d", 8);
    MUST(CALL(generation_build, "items", &g, "{}", &new) == QUERN_OK);
    s->read.generation = new;
    MUST(save(s, 2, false, false, &a, stored) == QUERN_OK && stored[1]);
    MUST(a.again[0] == 0); /* nothing was written: nobody is asked twice */
    s->read.generation = old;
    MUST(save(s, 1, true, false, &a, stored) == QUERN_OK && stored[0]);
    MUST(look_at(s, new, &v) == QUERN_OK && v.n == ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        if (v.key[i][0] == '1')
            MUST(strlen(v.revision[i]) == 24 && strcmp(v.stamp[i], v.revision[i]) == 0);
        else if (v.key[i][0] == '2')
            MUST(strcmp(v.revision[i], "r") == 0 && strcmp(v.stamp[i], "r") == 0);
    }
    return QUERN_OK;
}

static int stamp_columns_are_tried(suite *s)
{
    static const char *const body[] = {"body"};
    static const struct {
        const char *list;
        int status;
    } cases[] = {{"generated_at=title", QUERN_OK},
                 {"model=title", QUERN_OK},
                 {" model = title ", QUERN_OK},
                 {"model=body", QUERN_EINVAL},       /* in the text */
                 {"generated_at=rev", QUERN_EINVAL}, /* the revision */
                 {"model=id", QUERN_EINVAL},         /* the key */
                 {"model=nothing", QUERN_ENOTFOUND}, /* no such column */
                 {"models=title", QUERN_EINVAL},     /* no such thing */
                 {"model=title,", QUERN_EINVAL},     /* an empty one */
                 {"model", QUERN_EINVAL},            /* no column */
                 {"model=title,generated_at=title", QUERN_EINVAL}};
    if (cannot(s))
        return QUERN_OK;
    for (size_t i = 0; i < QUERN__COUNT(cases); i++) {
        s->spec.stamp_columns = cases[i].list;
        MUST(CALL(stamp_columns_check, &s->spec, body, 1) == cases[i].status);
    }
    s->spec.stamp_columns = "model=title";
    s->spec.table = NULL;
    s->spec.query = "SELECT * FROM items";
    MUST(CALL(stamp_columns_check, &s->spec, body, 1) == QUERN_EINVAL);
    return QUERN_OK;
}

/* ---- kept texts ---- */

typedef struct kept {
    char key[ROWS][16], revision[ROWS][64], text[ROWS][64];
    size_t n;
} kept;

static int see_text(quern_str key, quern_str revision, quern_str text, void *ud)
{
    kept *v = ud;
    if (v->n == ROWS)
        return -99;
    snprintf(v->key[v->n], 16, "%.*s", (int)key.len, key.ptr);
    keep(v->revision[v->n], revision);
    keep(v->text[v->n++], text);
    return QUERN_OK;
}

static int save_texts(suite *s, const char *const *texts, size_t n, bool only, uint8_t *stored)
{
    static const float vector[DIM] = {1, 0, 0, 0};
    static const char *const keys[] = {"1", "2", "3", "4"};
    const quern_chunk chunk = {.end = 4, .vector = vector};
    answers a = {.first = {1, 1, 1, 1}};
    quern_save docs[ROWS];
    for (size_t i = 0; i < n; i++) {
        docs[i] = (quern_save){.key = quern_str_of(keys[i]), .chunks = &chunk, .text_only = only};
        docs[i].stamp.outcome = QUERN_OUTCOME_OK;
        docs[i].stamp.chunks = 1;
        docs[i].stamp.revision = quern_str_of("r");
        docs[i].text = texts[i] ? quern_str_of(texts[i]) : (quern_str){NULL, 0};
    }
    return CALL(save, &s->read, docs, n, still, &a, stored);
}

static int kept_texts_are_of_the_last_save(suite *s)
{
    static const char *const first[] = {"one", "zw\xC3\xB6lf 'x' \"y\"", NULL, "four"};
    static const char *const second[] = {NULL, "again"};
    static const char *const later[] = {"put later"};
    const quern_str keys[] = {quern_str_of("1"), quern_str_of("2"), quern_str_of("3"),
                              quern_str_of("4")};
    uint64_t documents = 0, bytes = 0, removed = 0;
    int64_t g;
    kept v = {.n = 0};
    uint8_t stored[ROWS];
    if (!s->t->kept_each)
        return QUERN_OK;
    int rc = begin(s, &g);
    if (rc)
        return rc;
    s->spec.stamp_columns = NULL;
    MUST(save_texts(s, first, ROWS, false, stored) == QUERN_OK && stored[0] && stored[3]);
    MUST(CALL(kept_size, g, &documents, &bytes) == QUERN_OK && documents == 3);
    MUST(bytes == 3 + strlen(first[1]) + 4);
    MUST(CALL(kept_each, g, keys, ROWS, see_text, &v) == QUERN_OK && v.n == 3);
    for (size_t i = 0; i < v.n; i++)
        MUST(strcmp(v.text[i], first[v.key[i][0] - '1']) == 0 && strcmp(v.revision[i], "r") == 0);
    MUST(save_texts(s, second, 2, false, stored) ==
         QUERN_OK); /* nothing kept: the old one goes too */
    MUST(save_texts(s, later, 1, true, stored) == QUERN_OK && stored[0]);
    v.n = 0;
    MUST(CALL(kept_each, g, keys, 2, see_text, &v) == QUERN_OK && v.n == 2);
    for (size_t i = 0; i < v.n; i++)
        MUST(strcmp(v.text[i], v.key[i][0] == '1' ? "put later" : "again") == 0);
    MUST(s->c->remove(s->self, 2, s->c->ud, &s->inner) == QUERN_OK);
    MUST(CALL(erase, &s->read, keys, ROWS, &removed) == QUERN_OK && removed == 1);
    v.n = 0;
    MUST(CALL(kept_each, g, keys, ROWS, see_text, &v) == QUERN_OK && v.n == 2);
    for (int more = 1; more;)
        MUST(CALL(kept_drop, g, &more) == QUERN_OK);
    MUST(CALL(kept_size, g, &documents, &bytes) == QUERN_OK && documents == 0 && bytes == 0);
    MUST(save_texts(s, later, 1, false, stored) == QUERN_OK);
    for (int more = 1; more;)
        MUST(CALL(generation_purge, g, &more) == QUERN_OK);
    MUST(CALL(kept_size, g, &documents, &bytes) == QUERN_OK && documents == 0);
    return QUERN_OK;
}

/* ---- texts of documents that are taken away again ---- */

typedef struct papers {
    char text[ROWS][32], lang[ROWS][32], revision[ROWS][64];
    int no_text[ROWS], answer[ROWS];
    size_t n;
} papers;

static int see_paper(const quern_row *row, void *ud)
{
    papers *p = ud;
    size_t at = row->key.len > 1 ? (size_t)(row->key.ptr[1] - 'a') : ROWS;
    if (at >= ROWS || row->n_columns != 2)
        return -99;
    keep(p->revision[at], row->revision);
    snprintf(p->text[at], sizeof p->text[at], "%.*s", (int)row->columns[0].bytes.len,
             row->columns[0].bytes.ptr ? row->columns[0].bytes.ptr : "");
    snprintf(p->lang[at], sizeof p->lang[at], "%.*s", (int)row->columns[1].bytes.len,
             row->columns[1].bytes.ptr ? row->columns[1].bytes.ptr : "");
    p->no_text[at] = row->no_text;
    p->n++;
    return QUERN_OK;
}

static int paper_still(const quern_row *row, size_t i, void *ud)
{
    (void)row;
    return ((papers *)ud)->answer[i];
}

static int publish_papers(suite *s, const char *const *fields, size_t n, quern_publish_report *r)
{
    static const char *const ids[] = {"a", "b", "c", "d"};
    quern_document docs[ROWS];
    uint64_t duplicates = 0;
    int64_t batch;
    int more = 1;
    memset(r, 0, sizeof *r);
    for (size_t i = 0; i < n; i++)
        docs[i] = (quern_document){.id = quern_str_of(ids[i]),
                                   .fields = quern_str_of(fields[i]),
                                   .origin = quern_str_of("f")};
    MUST(CALL(stage_begin, "papers", &batch) == QUERN_OK);
    MUST(CALL(stage_put, batch, docs, n, &duplicates) == QUERN_OK);
    for (int rounds = 0; more && rounds < 100; rounds++)
        MUST(CALL(stage_publish, batch, NULL, 0, r, &more) == QUERN_OK);
    return QUERN_OK;
}

static int look_at_papers(suite *s, papers *p)
{
    memset(p->text, 0, sizeof p->text);
    p->n = 0;
    return CALL(scan, &s->read, (quern_str){NULL, 0}, ROWS, see_paper, p);
}

/* A stamp without vectors of each, as of a blank one. */
static int stamp_papers(suite *s, int64_t generation, const char *revision, int outcome, size_t n)
{
    static const char *const keys[] = {"\"a\"", "\"b\"", "\"c\"", "\"d\""};
    quern_save docs[ROWS];
    papers yes = {.answer = {1, 1, 1, 1}};
    uint8_t stored[ROWS];
    for (size_t i = 0; i < n; i++) {
        docs[i] = (quern_save){.key = quern_str_of(keys[i])};
        docs[i].stamp.outcome = outcome;
        docs[i].stamp.revision = quern_str_of(revision);
    }
    s->read.generation = generation;
    return CALL(save, &s->read, docs, n, paper_still, &yes, stored);
}

static int strip_papers(suite *s, papers *p, uint8_t *stripped)
{
    static const char *const keep_fields[] = {"lang", "none"};
    const quern_str keys[] = {quern_str_of("\"a\""), quern_str_of("\"b\""), quern_str_of("\"c\""),
                              quern_str_of("\"d\"")};
    const quern_str revisions[] = {quern_str_of("r"), quern_str_of("r"), quern_str_of("r"),
                                   quern_str_of("r")};
    return CALL(strip, &s->read, keys, revisions, ROWS, keep_fields, 2, paper_still, p, stripped);
}

static int texts_go_when_every_generation_has_them(suite *s)
{
    static const char *const fields[] = {"{\"body\":\"B\",\"lang\":\"de\",\"text\":\"one\"}",
                                         "{\"lang\":\"en\",\"text\":\"two\"}",
                                         "{\"text\":\"three\"}", "{\"text\":\"four\"}"};
    static const char *const other[] = {"{\"lang\":\"de\",\"text\":\"uno\"}"};
    static const char *const columns[] = {"text", "lang"};
    quern_generation g = {
        .state = "building", .model = "m", .vector_type = "f32", .dimensions = DIM};
    quern_publish_report r;
    papers p = {.answer = {1, 1, 0, 1}};
    uint8_t gone[ROWS];
    int64_t first, second;
    uint64_t marked = 0;
    if (!s->t->strip)
        return QUERN_OK;
    s->spec =
        (quern_source_spec){.struct_size = sizeof s->spec, .name = "papers", .text = "{text}"};
    s->read = (quern_read){.source = &s->spec, .columns = columns, .n_columns = 2};
    MUST(CALL(source_put, &s->spec, 0) == QUERN_OK);
    MUST(publish_papers(s, fields, ROWS, &r) == QUERN_OK && r.added == ROWS);
    MUST(strip_papers(s, &p, gone) == QUERN_OK && !gone[0] && !gone[3]); /* nothing has them */
    snprintf(g.fingerprint, sizeof g.fingerprint, "%064d", 7);
    MUST(CALL(generation_build, "papers", &g, "{}", &first) == QUERN_OK);
    MUST(CALL(generation_activate, first) == QUERN_OK);
    snprintf(g.fingerprint, sizeof g.fingerprint, "%064d", 8);
    MUST(CALL(generation_build, "papers", &g, "{}", &second) == QUERN_OK);
    MUST(stamp_papers(s, first, "r", QUERN_OUTCOME_EMPTY, ROWS) == QUERN_OK);
    MUST(strip_papers(s, &p, gone) == QUERN_OK && !gone[0] && !gone[1]); /* the second has not */
    MUST(stamp_papers(s, second, "r", QUERN_OUTCOME_EMPTY, ROWS) == QUERN_OK);
    MUST(stamp_papers(s, second, "older", QUERN_OUTCOME_EMPTY, 1) == QUERN_OK);
    MUST(strip_papers(s, &p, gone) == QUERN_OK);
    MUST(!gone[0] && gone[1] && !gone[2] &&
         gone[3]); /* of another revision; moved on, it is said */
    MUST(look_at_papers(s, &p) == QUERN_OK && p.n == ROWS);
    MUST(strcmp(p.text[0], "one") == 0 && p.text[1][0] == 0 && strcmp(p.text[2], "three") == 0);
    MUST(strcmp(p.lang[1], "en") == 0 && strcmp(p.revision[1], "r") == 0);
    MUST(!p.no_text[0] && p.no_text[1] && !p.no_text[2] && p.no_text[3] && !p.revision[0][0]);
    MUST(stamp_papers(s, second, "r", QUERN_OUTCOME_FAILED, 1) == QUERN_OK);
    MUST(strip_papers(s, &p, gone) == QUERN_OK && !gone[0] &&
         !gone[1]); /* it has failed; is gone */
    MUST(stamp_papers(s, second, "r", QUERN_OUTCOME_EMPTY, 1) == QUERN_OK);
    const quern_str key = quern_str_of("\"a\"");
    if (s->t->requeue) {
        MUST(CALL(requeue, first, QUERN_REQUEUE_KEYS, &key, 1, &marked) == QUERN_OK && marked == 1);
        MUST(strip_papers(s, &p, gone) == QUERN_OK && !gone[0]); /* asked for again */
        MUST(stamp_papers(s, first, "r", QUERN_OUTCOME_EMPTY, 1) == QUERN_OK);
    }
    MUST(strip_papers(s, &p, gone) == QUERN_OK && gone[0]);
    /* put again they have their text, and what is the same counts as that */
    MUST(publish_papers(s, fields, 2, &r) == QUERN_OK && r.unchanged == 2 && r.changed == 0);
    MUST(look_at_papers(s, &p) == QUERN_OK && !p.no_text[0] && !p.no_text[1] && p.no_text[3]);
    MUST(strcmp(p.text[0], "one") == 0 && !p.revision[0][0]);
    MUST(strip_papers(s, &p, gone) == QUERN_OK && gone[0] && gone[1]);
    MUST(publish_papers(s, other, 1, &r) == QUERN_OK && r.changed == 1);
    MUST(look_at_papers(s, &p) == QUERN_OK && strcmp(p.text[0], "uno") == 0 && p.no_text[1]);
    return QUERN_OK;
}

const suite_rule quern__column_rules[] = {RULE(stamp_columns_are_tried),
                                          RULE(stamp_columns_are_written),
                                          RULE(other_generations_move_along),
                                          RULE(kept_texts_are_of_the_last_save),
                                          RULE(texts_go_when_every_generation_has_them),
                                          {NULL, NULL}};
