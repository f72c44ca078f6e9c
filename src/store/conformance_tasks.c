/*
 * conformance_tasks.c — the rules of tasks, as part of the suite of conformance.c. Leases of some ten milliseconds run out
 * here by waiting; what a clock does that is set back, and what several workers do at once, is tested store by store.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/os.h"
#include "store/conformance_suite.h"

enum { MOST = 64, LONG_MS = 600000, SHORT_MS = 400 };

typedef struct tasks {
    size_t n;
    int64_t id[MOST], created[MOST], due[MOST], generation[MOST];
    char source[MOST][32], key[MOST][32], reason[MOST][32], error[MOST][32];
    int rescued[MOST], state[MOST], attempts[MOST];
} tasks;

static void copy(char to[32], quern_str from)
{
    snprintf(to, 32, "%.*s", (int)from.len, from.ptr ? from.ptr : "");
}

static int see(const quern_task *t, void *ud)
{
    tasks *v = ud;
    if (v->n == MOST)
        return -99;
    v->id[v->n] = t->id;
    v->created[v->n] = t->created_ms;
    v->due[v->n] = t->due_ms;
    v->generation[v->n] = t->generation;
    copy(v->source[v->n], t->source);
    copy(v->key[v->n], t->key);
    copy(v->reason[v->n], t->reason);
    copy(v->error[v->n], t->error);
    v->rescued[v->n] = t->rescued;
    v->state[v->n] = t->state;
    v->attempts[v->n] = (int)t->attempts;
    v->n++;
    return 0;
}

static const quern_str numbers[] = {{"1", 1}, {"2", 1}, {"3", 1}, {"4", 1}, {"5", 1}};

/* Source declared, tasks 1..n put. */
static int begin(suite *s, size_t n)
{
    uint64_t added = 99;
    MUST(CALL(source_put, &s->spec, 0) == QUERN_OK);
    MUST(CALL(task_put, "items", numbers, n, "why", &added) == QUERN_OK && added == n);
    return QUERN_OK;
}

#define BEGIN(n)                                                                                   \
    do {                                                                                           \
        int begun = begin(s, (n));                                                                 \
        if (begun)                                                                                 \
            return begun;                                                                          \
    } while (0)

static int claim(suite *s, size_t limit, uint32_t lease_ms, int64_t *lease, tasks *v)
{
    v->n = 0;
    return CALL(task_claim, NULL, limit, lease_ms, lease, see, v);
}

static int settle(suite *s, int64_t lease, int64_t id, int kind, uint64_t delay_ms)
{
    quern_task_end e = {
        .id = id, .kind = kind, .delay_ms = delay_ms, .error = {"bad luck", 8}, .generation = 77};
    uint8_t settled = 9;
    int rc = CALL(task_settle, lease, &e, 1, &settled);
    return rc ? rc : settled;
}

static int count(suite *s, quern_task_stats *st)
{
    QUERN_INIT(st);
    return CALL(task_stats, "items", st);
}

/* ---- put and claim ---- */

static int keys_with_a_task_are_known(suite *s)
{
    tasks v;
    int64_t lease;
    uint8_t known[4] = {9, 9, 9, 9};
    static const quern_str some[] = {{"3", 1}, {"9", 1}, {"1", 1}, {"\"1\"", 3}};
    BEGIN(3);
    if (!s->t->task_known)
        return QUERN_OK;
    MUST(claim(s, 1, LONG_MS, &lease, &v) == QUERN_OK && v.n == 1);
    MUST(settle(s, lease, v.id[0], QUERN_TASK_GIVE_UP, 0) == 1);
    MUST(CALL(task_known, "items", some, 4, known) == QUERN_OK);
    MUST(known[0] == 1 && known[1] == 0 && known[2] == 1 && known[3] == 0);
    MUST(CALL(task_known, "items", some, 0, known) == QUERN_OK);
    return QUERN_OK;
}

static int a_task_is_put_once(suite *s)
{
    tasks v;
    uint64_t added = 99;
    quern_task_stats st;
    int64_t lease;
    static const quern_str twice[] = {{"1", 1}, {"9", 1}, {"1", 1}};
    BEGIN(3);
    MUST(CALL(task_put, "items", twice, 3, "edited", &added) == QUERN_OK && added == 1);
    MUST(CALL(task_put, "nobody", twice, 1, "r", &added) == QUERN_ENOTFOUND && added == 0);
    MUST(count(s, &st) == QUERN_OK && st.ready == 4 && st.waiting + st.leased + st.dead == 0);
    MUST(st.attempts[0] == 4 && st.rescued == 0 && st.oldest_ms < 60000);
    MUST(claim(s, 10, LONG_MS, &lease, &v) == QUERN_OK && v.n == 4 && lease != 0);
    for (size_t i = 0; i < 4; i++) {
        bool edited = strcmp(v.key[i], "1") == 0 || strcmp(v.key[i], "9") == 0;
        MUST(strcmp(v.reason[i], edited ? "edited" : "why") == 0 && v.attempts[i] == 1);
        MUST(strcmp(v.source[i], "items") == 0 && v.created[i] > 0 && !v.rescued[i]);
        MUST(v.state[i] == QUERN_TASK_LEASED && v.due[i] > v.created[i]);
        for (size_t k = 0; k < i; k++)
            MUST(v.id[i] != v.id[k]);
    }
    return QUERN_OK;
}

static int a_leased_task_is_nobody_elses(suite *s)
{
    tasks v, w;
    int64_t first, second, third;
    quern_task_stats st;
    BEGIN(3);
    MUST(claim(s, 2, LONG_MS, &first, &v) == QUERN_OK && v.n == 2);
    MUST(claim(s, 10, LONG_MS, &second, &w) == QUERN_OK && w.n == 1 && second != first);
    MUST(strcmp(w.key[0], v.key[0]) != 0 && strcmp(w.key[0], v.key[1]) != 0);
    MUST(claim(s, 10, LONG_MS, &third, &w) == QUERN_OK && w.n == 0 && third == 0);
    MUST(count(s, &st) == QUERN_OK && st.leased == 3 && st.ready == 0 && st.attempts[1] == 3);
    return QUERN_OK;
}

static int a_claim_names_its_source(suite *s)
{
    tasks v = {.n = 0};
    int64_t lease;
    uint64_t added;
    quern_source_spec other = s->spec;
    other.name = "other";
    BEGIN(2);
    MUST(CALL(source_put, &other, 0) == QUERN_OK);
    MUST(CALL(task_put, "other", numbers, 1, "r", &added) == QUERN_OK && added == 1);
    MUST(CALL(task_claim, "other", 10, LONG_MS, &lease, see, &v) == QUERN_OK && v.n == 1);
    MUST(strcmp(v.source[0], "other") == 0);
    MUST(claim(s, 10, LONG_MS, &lease, &v) == QUERN_OK && v.n == 2);
    return QUERN_OK;
}

static int a_lease_ends(suite *s)
{
    tasks v, w;
    int64_t first, second;
    quern_task_stats st;
    BEGIN(1);
    MUST(claim(s, 1, SHORT_MS, &first, &v) == QUERN_OK && v.n == 1);
    quern__sleep_ms(2 * SHORT_MS);
    MUST(claim(s, 1, LONG_MS, &second, &w) == QUERN_OK && w.n == 1 && w.rescued[0]);
    MUST(w.id[0] == v.id[0] && w.attempts[0] == 2 && second != first);
    MUST(count(s, &st) == QUERN_OK && st.rescued == 1 && st.attempts[2] == 1);
    MUST(settle(s, first, v.id[0], QUERN_TASK_DONE, 0) == 0); /* it is somebody else's now */
    MUST(settle(s, second, v.id[0], QUERN_TASK_DONE, 0) == 1);
    MUST(settle(s, second, v.id[0], QUERN_TASK_DONE, 0) == 0);
    return QUERN_OK;
}

static int a_renewed_lease_holds(suite *s)
{
    tasks v, w;
    int64_t first, second;
    uint64_t held = 99;
    BEGIN(2);
    MUST(claim(s, 2, SHORT_MS, &first, &v) == QUERN_OK && v.n == 2);
    MUST(CALL(task_renew, first, LONG_MS, &held) == QUERN_OK && held == 2);
    quern__sleep_ms(2 * SHORT_MS);
    MUST(claim(s, 2, LONG_MS, &second, &w) == QUERN_OK && w.n == 0);
    MUST(settle(s, first, v.id[0], QUERN_TASK_DONE, 0) == 1);
    MUST(CALL(task_renew, first, LONG_MS, &held) == QUERN_OK && held == 1);
    MUST(CALL(task_renew, first + 1, LONG_MS, &held) == QUERN_OK && held == 0);
    MUST(CALL(task_renew, 0, LONG_MS, &held) == QUERN_OK && held == 0);
    return QUERN_OK;
}

/* ---- the ends of a task ---- */

static int a_put_under_a_lease_runs_again(suite *s)
{
    tasks v, w;
    int64_t lease;
    uint64_t added = 99;
    quern_task_stats st;
    static const int kinds[] = {QUERN_TASK_DONE, QUERN_TASK_RETRY, QUERN_TASK_GIVE_UP};
    BEGIN(3);
    MUST(claim(s, 3, LONG_MS, &lease, &v) == QUERN_OK && v.n == 3);
    MUST(CALL(task_put, "items", numbers, 3, "again", &added) == QUERN_OK && added == 0);
    MUST(count(s, &st) == QUERN_OK && st.leased == 3); /* the holder keeps it */
    for (size_t i = 0; i < 3; i++)
        MUST(settle(s, lease, v.id[i], kinds[i], LONG_MS) == 1);
    MUST(claim(s, 3, LONG_MS, &lease, &w) == QUERN_OK && w.n == 3);
    for (size_t i = 0; i < 3; i++) {
        bool retried = w.id[i] == v.id[1];
        MUST(strcmp(w.reason[i], "again") == 0 && w.attempts[i] == (retried ? 2 : 1));
        MUST(settle(s, lease, w.id[i], QUERN_TASK_DONE, 0) == 1);
    }
    MUST(count(s, &st) == QUERN_OK && st.ready + st.waiting + st.leased + st.dead == 0);
    return QUERN_OK;
}

static int a_retry_waits_and_counts(suite *s)
{
    tasks v, w;
    int64_t lease;
    uint64_t added = 99;
    quern_task_stats st;
    BEGIN(2);
    MUST(claim(s, 2, LONG_MS, &lease, &v) == QUERN_OK && v.n == 2);
    MUST(settle(s, lease, v.id[0], QUERN_TASK_RETRY, LONG_MS) == 1);
    MUST(settle(s, lease, v.id[1], QUERN_TASK_RELEASE, SHORT_MS) == 1);
    MUST(claim(s, 2, LONG_MS, &lease, &w) == QUERN_OK && w.n == 0);
    MUST(count(s, &st) == QUERN_OK && st.waiting == 2 && st.attempts[0] == 1 &&
         st.attempts[1] == 1);
    quern__sleep_ms(2 * SHORT_MS);
    MUST(claim(s, 2, LONG_MS, &lease, &w) == QUERN_OK && w.n == 1 && w.id[0] == v.id[1]);
    MUST(w.attempts[0] == 1 && w.error[0][0] == '\0' && !w.rescued[0]);
    MUST(w.generation[0] == 0);
    /* a put draws the other one near, and leaves its attempts */
    for (size_t i = 0; i < 2; i++)
        if (strcmp(v.key[0], numbers[i].ptr) == 0)
            MUST(CALL(task_put, "items", &numbers[i], 1, "now", &added) == QUERN_OK && added == 0);
    MUST(claim(s, 2, LONG_MS, &lease, &w) == QUERN_OK && w.n == 1 && w.id[0] == v.id[0]);
    MUST(w.attempts[0] == 2 && strcmp(w.error[0], "bad luck") == 0);
    return QUERN_OK;
}

static int the_dead_are_listed_and_revived(suite *s)
{
    tasks v, w = {.n = 0};
    int64_t lease;
    uint64_t n = 99;
    quern_task_stats st;
    BEGIN(4);
    MUST(claim(s, 4, LONG_MS, &lease, &v) == QUERN_OK && v.n == 4);
    for (size_t i = 0; i < 3; i++)
        MUST(settle(s, lease, v.id[i], QUERN_TASK_GIVE_UP, 0) == 1);
    MUST(count(s, &st) == QUERN_OK && st.dead == 3 && st.leased == 1);
    MUST(CALL(task_list, "items", QUERN_TASK_DEAD, 0, 2, see, &w) == QUERN_OK && w.n == 2);
    MUST(strcmp(w.error[0], "bad luck") == 0 && w.state[0] == QUERN_TASK_DEAD);
    MUST(w.generation[0] == 77);
    MUST(CALL(task_list, NULL, QUERN_TASK_DEAD, w.id[1], 9, see, &w) == QUERN_OK && w.n == 3);
    MUST(w.id[0] < w.id[1] && w.id[1] < w.id[2]);
    w.n = 0;
    MUST(CALL(task_list, NULL, QUERN_TASK_LEASED, 0, 9, see, &w) == QUERN_OK && w.n == 1);
    quern_str one = quern_str_of(v.key[0]);
    MUST(CALL(task_revive, "items", &one, 1, &n) == QUERN_OK && n == 1);
    MUST(CALL(task_revive, "items", &one, 1, &n) == QUERN_OK && n == 0);
    one = quern_str_of(v.key[1]); /* a put revives too */
    MUST(CALL(task_put, "items", &one, 1, "edited", &n) == QUERN_OK && n == 0);
    MUST(claim(s, 9, LONG_MS, &lease, &w) == QUERN_OK && w.n == 2);
    MUST(w.attempts[0] == 1 && w.attempts[1] == 1);
    MUST(CALL(task_revive, "items", NULL, 0, &n) == QUERN_OK && n == 1);
    MUST(CALL(task_revive, "nobody", NULL, 0, &n) == QUERN_ENOTFOUND);
    return QUERN_OK;
}

static int tasks_are_removed(suite *s)
{
    tasks v;
    int64_t lease;
    uint64_t n = 99;
    quern_task_stats st;
    BEGIN(4);
    MUST(CALL(task_remove, "items", numbers, 2, &n) == QUERN_OK && n == 2);
    MUST(claim(s, 1, LONG_MS, &lease, &v) == QUERN_OK && v.n == 1);
    MUST(CALL(task_remove, "items", NULL, 0, &n) == QUERN_OK && n == 2);
    MUST(settle(s, lease, v.id[0], QUERN_TASK_DONE, 0) == 0);
    MUST(CALL(task_put, "items", numbers, 3, "r", &n) == QUERN_OK && n == 3);
    MUST(CALL(source_remove, "items") == QUERN_OK);
    MUST(claim(s, 9, LONG_MS, &lease, &v) == QUERN_OK && v.n == 0);
    MUST(CALL(source_put, &s->spec, 0) == QUERN_OK);
    MUST(count(s, &st) == QUERN_OK && st.ready + st.waiting + st.leased + st.dead == 0);
    return QUERN_OK;
}

/* ---- tasks and documents ---- */

static int yes(const quern_row *row, size_t i, void *ud)
{
    (void)row, (void)i, (void)ud;
    return 1;
}

static int with_rows(suite *s, size_t n)
{
    quern_generation g = {.state = "building", .model = "m", .vector_type = "f32", .dimensions = 4};
    snprintf(g.fingerprint, sizeof g.fingerprint, "%064d", 7);
    for (size_t id = 1; id <= n; id++)
        MUST(s->c->put(s->self, (int64_t)id, "t", "b", "r", s->c->ud, &s->inner) == QUERN_OK);
    MUST(CALL(generation_build, "items", &g, "{}", &s->read.generation) == QUERN_OK);
    return QUERN_OK;
}

static int a_lost_lease_saves_nothing(suite *s)
{
    tasks v;
    int64_t first, second;
    uint8_t stored[3] = {9, 9, 9};
    static const float vector[4] = {1, 0, 0, 0};
    const quern_chunk chunk = {.end = 1, .vector = vector};
    quern_save docs[3];
    BEGIN(2);
    MUST(with_rows(s, 3) == QUERN_OK);
    for (size_t i = 0; i < 3; i++)
        docs[i] = (quern_save){.key = numbers[i],
                               .stamp = {.outcome = QUERN_OUTCOME_OK, .chunks = 1},
                               .chunks = &chunk};
    MUST(claim(s, 1, SHORT_MS, &first, &v) == QUERN_OK && v.n == 1);
    size_t mine = strcmp(v.key[0], "1") == 0 ? 0 : 1;
    quern__sleep_ms(2 * SHORT_MS);
    docs[mine].lease = first; /* over, but nobody else's yet */
    MUST(CALL(save, &s->read, docs, 3, yes, NULL, stored) == QUERN_OK);
    MUST(stored[0] == 1 && stored[1] == 1 && stored[2] == 1);
    MUST(claim(s, 2, LONG_MS, &second, &v) == QUERN_OK && v.n == 2);
    MUST(CALL(save, &s->read, docs, 3, yes, NULL, stored) == QUERN_OK);
    MUST(stored[mine] == 0 && stored[1 - mine] == 1 && stored[2] == 1);
    docs[mine].lease = second;
    docs[2].lease = second; /* has no task */
    MUST(CALL(save, &s->read, docs, 3, yes, NULL, stored) == QUERN_OK);
    MUST(stored[mine] == 1 && stored[1 - mine] == 1 && stored[2] == 0);
    return QUERN_OK;
}

static int a_row_that_goes_takes_its_task(suite *s)
{
    tasks v;
    int64_t lease;
    uint64_t removed = 0;
    BEGIN(3);
    MUST(with_rows(s, 2) == QUERN_OK);
    MUST(CALL(erase, &s->read, numbers, 3, &removed) == QUERN_OK);
    MUST(claim(s, 9, LONG_MS, &lease, &v) == QUERN_OK && v.n == 2);
    MUST(strcmp(v.key[0], "3") != 0 && strcmp(v.key[1], "3") != 0);
    return QUERN_OK;
}

const suite_rule quern__task_rules[] = {
    RULE(keys_with_a_task_are_known),
    RULE(a_task_is_put_once),
    RULE(a_leased_task_is_nobody_elses),
    RULE(a_claim_names_its_source),
    RULE(a_lease_ends),
    RULE(a_renewed_lease_holds),
    RULE(a_put_under_a_lease_runs_again),
    RULE(a_retry_waits_and_counts),
    RULE(the_dead_are_listed_and_revived),
    RULE(tasks_are_removed),
    RULE(a_lost_lease_saves_nothing),
    RULE(a_row_that_goes_takes_its_task),
    {NULL, NULL},
};
