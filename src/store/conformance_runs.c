/*
 * conformance_runs.c — the rules of what a store writes down about fills: the log of runs, their sums by the day, marks,
 * watermarks; and of what it may give of several documents at once. A store may lack each of them.
 */
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/os.h"
#include "store/conformance_suite.h"
#include "store/store.h"

/* Source declared, a building generation. */
static int begin(suite *s, int64_t *generation)
{
    quern_generation g = {.state = "building", .model = "m", .vector_type = "f32", .dimensions = 4};
    snprintf(g.fingerprint, sizeof g.fingerprint, "%064d", 7);
    MUST(CALL(source_put, &s->spec, 0) == QUERN_OK);
    MUST(CALL(generation_build, "items", &g, "{}", generation) == QUERN_OK);
    return QUERN_OK;
}

typedef struct log_lines {
    size_t n, stop_at; /* stop_at: return 42 at this call; 0 never */
    char error[8][32];
    int64_t processed[8], started[8];
} log_lines;

static int see_run(const quern_run *run, void *ud)
{
    log_lines *v = ud;
    if (v->n == 8 || strcmp(run->source, "items") != 0)
        return -99;
    snprintf(v->error[v->n], sizeof v->error[0], "%s", run->error);
    v->processed[v->n] = (int64_t)run->processed;
    v->started[v->n] = run->started_ms;
    return ++v->n == v->stop_at ? 42 : 0;
}

static int runs_are_kept(suite *s)
{
    int64_t g;
    log_lines v = {0}, none = {0};
    quern_run run = {.source = "items", .started_ms = 1000, .ended_ms = 2000, .error = ""};
    MUST(begin(s, &g) == QUERN_OK);
    if (!s->t->run_put || !s->t->run_each)
        return QUERN_OK;
    run.generation = g;
    for (run.processed = 1; run.processed <= 130; run.processed++) {
        run.error = run.processed == 130 ? "the last" : "";
        MUST(CALL(run_put, &run) == QUERN_OK);
    }
    MUST(CALL(run_each, "items", 3, see_run, &v) == QUERN_OK && v.n == 3);
    MUST(v.processed[0] == 130 && v.processed[2] == 128 && v.started[0] == 1000);
    MUST(strcmp(v.error[0], "the last") == 0 && v.error[1][0] == '\0');
    v = (log_lines){.stop_at = 2};
    MUST(CALL(run_each, NULL, 10, see_run, &v) == 42 && v.n == 2);
    MUST(CALL(source_remove, "items") == QUERN_OK);
    MUST(CALL(run_each, NULL, 10, see_run, &none) == QUERN_OK && none.n == 0);
    return QUERN_OK;
}

typedef struct days {
    size_t n;
    int64_t day_ms[8];
    uint64_t runs[8], calls[8], tokens[8], cached[8], cached_tokens[8], cost[8], saved[8];
} days;

static int see_usage(const quern_usage *u, void *ud)
{
    days *d = ud;
    if (d->n == 8 || strcmp(u->source, "items") != 0)
        return 42;
    d->day_ms[d->n] = u->day_ms;
    d->runs[d->n] = u->runs;
    d->calls[d->n] = u->calls;
    d->cached[d->n] = u->cached;
    d->cached_tokens[d->n] = u->cached_tokens;
    d->cost[d->n] = u->cost_nano;
    d->saved[d->n] = u->saved_nano;
    d->tokens[d->n++] = u->tokens;
    return 0;
}

static int usage_is_summed_by_the_day(suite *s)
{
    int64_t g, now = quern__wall_ms(), today = now - now % QUERN__DAY_MS;
    days d = {0}, one = {0}, none = {0};
    quern_run run = {.source = "items",
                     .processed = 1,
                     .tokens = 100,
                     .cached = 3,
                     .cached_tokens = 40,
                     .cost_nano = 1200,
                     .saved_nano = 800,
                     .error = ""};
    MUST(begin(s, &g) == QUERN_OK);
    if (!s->t->usage_each)
        return QUERN_OK;
    const int64_t began[] = {today - 3 * QUERN__DAY_MS, today - 1, today, now};
    for (size_t i = 0; i < QUERN__COUNT(began); i++) {
        run.started_ms = run.ended_ms = began[i];
        run.calls = i + 1;
        MUST(CALL(run_put, &run) == QUERN_OK);
    }
    MUST(CALL(usage_each, "items", 400, see_usage, &d) == QUERN_OK && d.n == 3);
    MUST(d.day_ms[0] == today && d.runs[0] == 2 && d.calls[0] == 7 && d.tokens[0] == 200);
    MUST(d.cost[0] == 2400 && d.saved[0] == 1600 && d.cost[1] == 1200);
    MUST(d.cached[0] == 6 && d.cached_tokens[0] == 80 && d.cached[1] == 3);
    MUST(d.day_ms[1] == today - QUERN__DAY_MS && d.runs[1] == 1 && d.calls[1] == 2);
    MUST(d.day_ms[2] == today - 3 * QUERN__DAY_MS && d.calls[2] == 1);
    MUST(CALL(usage_each, NULL, 1, see_usage, &one) == QUERN_OK && one.n == 1);
    MUST(CALL(source_remove, "items") == QUERN_OK);
    MUST(CALL(usage_each, NULL, 400, see_usage, &none) == QUERN_OK && none.n == 0);
    return QUERN_OK;
}

static int marks_are_kept(suite *s)
{
    int64_t value = 7;
    if (!s->t->mark_get || !s->t->mark_put)
        return QUERN_OK;
    MUST(CALL(mark_get, "a", &value) == QUERN_OK && value == 0);
    MUST(CALL(mark_put, "a", INT64_C(1795257600000)) == QUERN_OK);
    MUST(CALL(mark_put, "b", 2) == QUERN_OK && CALL(mark_put, "b", -3) == QUERN_OK);
    MUST(CALL(mark_get, "a", &value) == QUERN_OK && value == INT64_C(1795257600000));
    MUST(CALL(mark_get, "b", &value) == QUERN_OK && value == -3);
    return QUERN_OK;
}

/* Is the watermark this key (NULL: none)? */
static bool watermark_is(suite *s, int64_t generation, const char *key)
{
    char *got = NULL;
    bool same = CALL(watermark_get, generation, &got) == QUERN_OK &&
                (key ? got && strcmp(got, key) == 0 : got == NULL);
    quern_free(got);
    return same;
}

static int a_watermark_is_its_generations(suite *s)
{
    int64_t g, other;
    int more = 1;
    MUST(begin(s, &g) == QUERN_OK);
    if (!s->t->watermark_get || !s->t->watermark_put)
        return QUERN_OK;
    quern_generation next = {.model = "m", .vector_type = "f32", .dimensions = 4};
    snprintf(next.fingerprint, sizeof next.fingerprint, "%064d", 8);
    MUST(watermark_is(s, g, NULL));
    MUST(CALL(watermark_put, g, quern_str_of("[1,\"caf\303\251\"]")) == QUERN_OK);
    MUST(watermark_is(s, g, "[1,\"caf\303\251\"]"));
    MUST(CALL(watermark_put, g, quern_str_of("not a key")) == QUERN_OK); /* the reader's to judge */
    MUST(watermark_is(s, g, "not a key"));
    MUST(CALL(generation_activate, g) == QUERN_OK && watermark_is(s, g, "not a key"));
    MUST(CALL(generation_build, "items", &next, "{}", &other) == QUERN_OK);
    MUST(watermark_is(s, other, NULL));
    MUST(CALL(watermark_put, other, quern_str_of("7")) == QUERN_OK);
    MUST(CALL(watermark_put, g, quern_str_of("")) == QUERN_OK);
    MUST(watermark_is(s, g, NULL) && watermark_is(s, other, "7"));
    while (more)
        MUST(CALL(generation_purge, other, &more) == QUERN_OK);
    MUST(CALL(watermark_put, other, quern_str_of("8")) == QUERN_OK); /* nobody's: it goes */
    MUST(watermark_is(s, other, NULL));
    return QUERN_OK;
}

/* ---- chunks of several documents ---- */

enum { PARTS = 2 };

typedef struct parts {
    size_t key[8];
    float first[8];
    size_t n, stop_at;
} parts;

static int see_part(size_t i, const quern_chunk *c, void *ud)
{
    parts *v = ud;
    if (v->n == QUERN__COUNT(v->key))
        return -99;
    v->key[v->n] = i;
    memcpy(&v->first[v->n], c->vector, sizeof(float));
    v->n++;
    return c->index != (v->n - 1) % PARTS ? -98 : v->n == v->stop_at ? 42 : 0;
}

static int save_it(const quern_row *row, size_t i, void *ud)
{
    (void)row;
    (void)i;
    (void)ud;
    return 1;
}

/* In the order of the keys, which is not that of the documents; of one that is not there, none. */
static int chunks_of_several_come_in_order(suite *s)
{
    static const quern_str all[] = {{"1", 1}, {"2", 1}, {"3", 1}};
    static const quern_str asked[] = {{"3", 1}, {"9", 1}, {"1", 1}};
    quern_chunk chunks[3 * PARTS];
    quern_save docs[3];
    float vectors[3 * PARTS][4] = {{0}};
    uint8_t stored[3];
    parts v = {.n = 0}, ended = {.stop_at = 3}, none = {.n = 0};
    int64_t id = 0;
    if (!s->t->chunks_of)
        return QUERN_OK;
    int rc = begin(s, &id);
    if (rc)
        return rc;
    for (size_t i = 0; i < 3; i++) {
        MUST(s->c->put(s->self, (int64_t)i + 1, "title", "body", "r", s->c->ud, &s->inner) == 0);
        docs[i] = (quern_save){.key = all[i], .chunks = &chunks[i * PARTS]};
        docs[i].stamp.outcome = QUERN_OUTCOME_OK;
        docs[i].stamp.chunks = PARTS;
        docs[i].stamp.revision = quern_str_of("r");
        for (uint32_t k = 0; k < PARTS; k++) {
            vectors[i * PARTS + k][0] = (float)(10 * (i + 1) + k);
            chunks[i * PARTS + k] =
                (quern_chunk){.index = k, .end = 1, .vector = vectors[i * PARTS + k]};
        }
    }
    s->read.generation = id;
    MUST(CALL(save, &s->read, docs, 3, save_it, NULL, stored) == QUERN_OK && stored[2]);
    MUST(CALL(chunks_of, id, asked, 3, see_part, &v) == QUERN_OK && v.n == 2 * PARTS);
    for (size_t i = 0; i < v.n; i++)
        MUST(v.key[i] == (i < PARTS ? 0 : 2) &&
             v.first[i] == (i < PARTS ? 30 : 10) + (float)(i % PARTS));
    MUST(CALL(chunks_of, id, asked, 0, see_part, &none) == QUERN_OK && none.n == 0);
    MUST(CALL(chunks_of, id, asked, 3, see_part, &ended) == 42 && ended.n == 3);
    MUST(CALL(chunks_of, id + 1000, asked, 3, see_part, &none) == QUERN_ENOTFOUND);
    return QUERN_OK;
}

const suite_rule quern__run_rules[] = {
    RULE(runs_are_kept),
    RULE(usage_is_summed_by_the_day),
    RULE(marks_are_kept),
    RULE(a_watermark_is_its_generations),
    RULE(chunks_of_several_come_in_order),
    {NULL, NULL},
};
