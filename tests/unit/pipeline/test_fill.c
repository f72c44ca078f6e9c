/*
 * test_fill.c — what fill promises: work found by scanning, unchanged rows cost nothing, no wrong vector by
 * edits, deletions, changed models, poison or lost tables, and a run that was stopped ends where a whole one does.
 */
#include "base/compiler.h"
#include "quern/generation.h"
#include "unit/pipeline/fill_world.h"

static int set_up(void **state)
{
    *state = make_world();
    return 0;
}

static int tear_down(void **state)
{
    free_world(*state);
    return 0;
}

static void fills_once_and_then_costs_nothing(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 300);
    check(w, fill(w));
    assert_int_equal(w->report.total, 300);
    assert_int_equal(w->report.done, 300);
    assert_int_equal(w->report.processed, 300);
    assert_int_equal(w->report.pending, 0);
    assert_int_equal(w->report.chunks, 300);
    assert_int_equal(w->report.bytes, 300 * FAKE_DIM * 2);
    assert_true(w->fake.calls <= 300 / 256 + 1);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_vectors"), 300);
    check(w, fill(w));
    assert_int_equal(w->fake.calls, 0);
    assert_int_equal(w->report.processed, 0);
    assert_int_equal(w->report.skipped, 300);
    assert_int_equal(w->report.done, 300);
}

static void edits_and_deletions(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, "gone = 0");
    put_rows(w, 0, 100);
    check(w, fill(w));
    sql(w, "UPDATE items SET body = 'something else' WHERE id = 7");
    sql(w, "DELETE FROM items WHERE id = 8");
    sql(w, "UPDATE items SET gone = 1 WHERE id = 9");
    sql(w, "UPDATE items SET rev = 'r2'"); /* not in the text: changes nothing */
    check(w, fill(w));
    assert_int_equal(w->fake.texts, 1);
    assert_int_equal(w->report.processed, 1);
    assert_int_equal(w->report.deleted, 2);
    assert_int_equal(w->report.total, 98);
    assert_int_equal(w->report.done, 98);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_vectors"), 98);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_stamps"), 98);
}

static void a_revision_column_decides(void **state)
{
    world *w = *state;
    declare(w, "items", "rev", NULL);
    put_rows(w, 0, 10);
    check(w, fill(w));
    sql(w, "UPDATE items SET body = 'unnoticed' WHERE id = 1");
    sql(w, "UPDATE items SET rev = 'r2' WHERE id = 2");
    sql(w, "UPDATE items SET rev = NULL WHERE id = 3"); /* falls back to the text */
    check(w, fill(w));
    assert_int_equal(w->report.processed, 2);
    w->opt.since = "r2";
    sql(w, "UPDATE items SET rev = 'r3', body = 'new' WHERE id IN (4, 5)");
    check(w, fill(w));
    assert_int_equal(w->report.processed, 2);
    assert_int_equal(w->report.total, 10);
    assert_int_equal(w->report.done, 10);
}

/* The row is edited by its owner while its text is being embedded. */
static void edit_now(void *ud)
{
    world *w = ud;
    w->fake.before = NULL;
    sql(w, "UPDATE items SET body = 'moved on' WHERE id = 3");
    sql(w, "DELETE FROM items WHERE id = 4");
}

static void an_edit_between_scan_and_save_stays_pending(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 10);
    w->fake.before = edit_now;
    w->fake.ud = w;
    check(w, fill(w));
    assert_int_equal(w->report.stale, 2);
    assert_int_equal(w->report.processed, 8);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_stamps WHERE key IN ('3', '4')"), 0);
    check(w, fill(w));
    assert_int_equal(w->report.processed, 1);
    assert_int_equal(w->report.stale, 0);
    assert_int_equal(w->report.done, 9);
    assert_int_equal(w->report.pending, 0);
}

static void poison_is_isolated(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 100);
    sql(w, "UPDATE items SET body = 'POISON here' WHERE id IN (0, 40, 99)");
    for (int round = 0; round < 2; round++) {
        w->fake.no_subject = round;
        w->opt.force = round;
        assert_int_equal(fill(w), QUERN_EPARTIAL);
        assert_int_equal(w->report.failed, 3);
        assert_int_equal(w->report.done, 97);
        assert_int_equal(w->err.detail, 3);
        assert_non_null(strstr(w->report.last_error, "not finite"));
        assert_int_equal(number(w, "SELECT count(*) FROM quern_vectors"), 97);
        /* Failed is done: nothing is tried again, and the state still says so. */
        w->opt.force = 0;
        assert_int_equal(fill(w), QUERN_EPARTIAL);
        assert_int_equal(w->fake.calls, 0);
    }
    sql(w, "UPDATE items SET body = 'cured' WHERE id IN (0, 40, 99)");
    check(w, fill(w));
    assert_int_equal(w->fake.texts, 3);
}

/* Skips 1, leaves 2 for later, ends at 3. */
static int decide(quern_str key, const quern_error *why, void *ud)
{
    ++*(int *)ud;
    assert_int_equal(why->status, QUERN_EINTERNAL);
    assert_non_null(strstr(why->msg, "not finite"));
    return key.ptr[0] == '1'   ? QUERN_ON_ERROR_SKIP
           : key.ptr[0] == '2' ? QUERN_ON_ERROR_RETRY
                               : QUERN_ON_ERROR_ABORT;
}

static void the_caller_decides_about_failures(void **state)
{
    world *w = *state;
    int asked = 0;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 10);
    sql(w, "UPDATE items SET body = 'POISON here' WHERE id IN (1, 2)");
    w->opt.on_error = decide;
    w->opt.on_error_ud = &asked;
    assert_int_equal(fill(w), QUERN_EPARTIAL);
    assert_int_equal(asked, 2);
    assert_int_equal(w->report.failed, 1);
    assert_int_equal(w->report.pending, 1);
    assert_int_equal(w->report.done, 8);
    sql(w, "UPDATE items SET body = 'POISON here' WHERE id IN (1, 3)");
    sql(w, "UPDATE items SET body = 'another' WHERE id = 5");
    sql(w, "UPDATE items SET body = 'cured' WHERE id = 2");
    assert_int_equal(fill(w), QUERN_EINTERNAL);
    assert_non_null(strstr(w->err.msg, "document 3"));
    assert_int_equal(w->report.processed, 2); /* what was finished is saved all the same */
    w->opt.on_error = NULL;
    assert_int_equal(fill(w), QUERN_EPARTIAL);
    assert_int_equal(w->report.failed, 2);
}

static void after_an_outage_nothing_more_is_started(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 700);
    sql(w, "UPDATE items SET body = 'OUTAGE' WHERE id = 300");
    assert_int_equal(fill(w), QUERN_EREMOTE);
    assert_int_equal(w->fake.calls, 1 + 5); /* five times in a row is down */
    assert_non_null(strstr(w->err.msg, "endpoint is down"));
    assert_non_null(
        strstr(w->err.msg, "444 documents are left: `quern fill --source items` goes on"));
    assert_int_equal(number(w, "SELECT count(*) FROM quern_stamps"), 256);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_stamps WHERE outcome <> 1"), 0);
    sql(w, "UPDATE items SET body = 'up again' WHERE id = 300");
    check(w, fill(w));
    assert_int_equal(w->fake.texts, 444);
}

static void a_short_outage_is_waited_for(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 10);
    w->fake.outages = 2;
    check(w, fill(w));
    assert_int_equal(w->fake.calls, 3);
    assert_int_equal(w->report.done, 10);
}

static bool overlapped; /* asked on a thread that may not fail a test */

/* Keeps the first batch from being saved until the second is being embedded, then waits there for its stamps: one thing
 * after the other would never get so far. */
static void wait_for_the_first_batch(void *ud)
{
    world *w = ud;
    if (w->fake.calls == 1)
        sql(w, "BEGIN IMMEDIATE");
    if (w->fake.calls != 2)
        return;
    bool none = number(w, "SELECT count(*) FROM quern_stamps") == 0;
    sql(w, "COMMIT");
    for (int i = 0; none && !overlapped && i < 1000; i++) {
        quern__sleep_ms(10);
        overlapped = number(w, "SELECT count(*) FROM quern_stamps") == 256;
    }
}

static void saving_and_embedding_overlap(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 600);
    w->fake.before = wait_for_the_first_batch;
    w->fake.ud = w;
    overlapped = false;
    check(w, fill(w));
    assert_true(overlapped);
    assert_int_equal(w->report.done, 600);
    assert_true(w->report.encode_seconds > 0);
    assert_true(w->report.encode_seconds <= w->report.seconds);
}

static void large_and_ill_formed_documents_fail_alone(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 5);
    sql(w, "UPDATE items SET title = '', body = printf('%.*c', 3000, 'x') WHERE id = 1");
    sql(w, "UPDATE items SET title = '', body = CAST(x'61FF62' AS TEXT) WHERE id = 2");
    w->opt.max_document_bytes = 1000;
    assert_int_equal(fill(w), QUERN_EPARTIAL);
    assert_int_equal(w->report.failed, 2);
    assert_int_equal(w->report.done, 3);
    char *why = text_of(w, "SELECT reason FROM quern_stamps WHERE reason <> '' ORDER BY key");
    assert_string_equal(why, "3000 bytes > 1000|\nnot UTF-8 at byte 1 of its text|\n");
    free(why);
    w->opt.max_document_bytes = 0;
    assert_int_equal(fill(w), QUERN_EPARTIAL); /* the large one is let in now */
    assert_int_equal(w->report.failed, 1);
    assert_int_equal(w->fake.texts, 1);
}

static void empty_documents_lose_their_vectors(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 5);
    sql(w, "UPDATE items SET title = NULL, body = '  ' WHERE id = 1");
    check(w, fill(w));
    assert_int_equal(w->report.empty, 1);
    assert_int_equal(w->report.done, 5);
    sql(w, "UPDATE items SET title = '', body = NULL WHERE id = 2");
    check(w, fill(w));
    assert_int_equal(w->report.empty, 2);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_vectors"), 3);
    check(w, fill(w));
    assert_int_equal(w->report.processed, 0);
}

static void an_empty_source_keeps_its_vectors(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 5);
    check(w, fill(w));
    sql(w, "DELETE FROM items");
    assert_int_equal(fill(w), QUERN_EMISMATCH);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_vectors"), 5);
    w->opt.allow_empty = 1;
    check(w, fill(w));
    assert_int_equal(w->report.deleted, 5);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_vectors"), 0);
}

static void lost_vectors_are_made_again(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 200);
    check(w, fill(w));
    char *before = state_of(w);
    sql(w, "DELETE FROM quern_vectors WHERE id IN (SELECT id FROM quern_chunks WHERE key IN ('5', "
           "'77', '199'))");
    check(w, fill(w));
    assert_int_equal(w->fake.texts, 3);
    assert_int_equal(w->report.processed, 3);
    assert_int_equal(w->report.done, 200);
    char *after = state_of(w);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void a_changed_model_never_mixes(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 200);
    check(w, fill(w));
    change_model(w, "fake-2");
    w->opt.limit = 50;
    check(w, fill(w));
    assert_int_equal(w->report.processed, 50);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_generations"), 2);
    quern_results *res = NULL;
    assert_int_equal(quern_search(&res, w->s, w->e, quern_str_of("title5"), NULL, &w->err),
                     QUERN_EMISMATCH);
    assert_non_null(strstr(w->err.msg, "weights differs"));
    change_model(w, "fake-1"); /* the old one is still served to the old model */
    check(w, quern_search(&res, w->s, w->e, quern_str_of("title5"), NULL, &w->err));
    quern_results_free(res);
    change_model(w, "fake-2");
    w->opt.limit = 0;
    check(w, fill(w));
    assert_int_equal(w->fake.texts, 150); /* what was built is not built twice */
    check(w, quern_search(&res, w->s, w->e, quern_str_of("title5"), NULL, &w->err));
    quern_results_free(res);
    change_model(w, "fake-1");
    assert_int_equal(quern_search(&res, w->s, w->e, quern_str_of("title5"), NULL, &w->err),
                     QUERN_EMISMATCH);
    assert_null(res);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_generations"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_vectors"), 200);
}

static void changed_settings_make_a_generation(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 20);
    check(w, fill(w));
    quern_source_spec spec;
    QUERN_INIT(&spec);
    spec.name = "items";
    spec.text = "{title}\nscope={body}";
    check(w, quern_source_set(w->s, &spec, &w->err));
    quern_results *res = NULL;
    assert_int_equal(quern_search(&res, w->s, w->e, quern_str_of("x"), NULL, &w->err),
                     QUERN_EMISMATCH);
    assert_non_null(strstr(w->err.msg, "template differs"));
    quern_status_report *st = NULL;
    check(w, quern_status_open(&st, w->s, w->e, NULL, NULL, &w->err));
    assert_non_null(strstr(quern_status_at(st, 0)->note, "settings differ"));
    quern_status_free(st);
    check(w, fill(w));
    assert_int_equal(w->report.processed, 20);
    w->opt.vector_type = "f32";
    check(w, fill(w));
    assert_int_equal(w->report.bytes, 20 * FAKE_DIM * 4);
    w->opt.vector_type = "f64";
    assert_int_equal(fill(w), QUERN_EINVAL);
}

static int stop_after(const quern_fill_progress *p, void *ud)
{
    (void)p;
    return --*(int *)ud < 0;
}

/* Stopped again and again, the end is that of one whole run. */
static void stopped_runs_end_where_a_whole_one_does(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 400);
    sql(w, "UPDATE items SET body = printf('%.*c', 300, 'x ') || replace(hex(zeroblob(60)), '0', ' "
           "y') WHERE id % 50 = 0");
    check(w, fill(w));
    char *whole = state_of(w);
    check(w, quern_source_remove(w->s, "items", &w->err));
    declare(w, "items", NULL, NULL);
    int rc = QUERN_ECANCELLED;
    int runs = 0;
    quern_cancel *cancel = NULL;
    check(w, quern_cancel_new(&cancel, &w->err));
    for (; rc == QUERN_ECANCELLED && runs < 100; runs++) {
        int left = 0;
        w->opt.progress = runs % 2 ? stop_after : NULL;
        w->opt.progress_ud = &left;
        w->opt.limit = 90;
        w->opt.cancel = NULL;
        rc = fill(w);
        if (rc == QUERN_OK && w->report.pending)
            rc = QUERN_ECANCELLED;
    }
    assert_true(runs > 4);
    check(w, rc);
    quern_cancel_raise(cancel);
    w->opt.cancel = cancel;
    assert_int_equal(fill(w), QUERN_ECANCELLED);
    quern_cancel_free(cancel);
    char *pieces = state_of(w);
    assert_string_equal(whole, pieces);
    free(whole);
    free(pieces);
}

/* Other calls, the same vectors. */
static void batching_changes_calls_and_nothing_else(void **state)
{
    world *w = *state;
    static const int ways[] = {QUERN_BATCHING_DYNAMIC, QUERN_BATCHING_FIXED,
                               QUERN_BATCHING_ADAPTIVE};
    char *first = NULL;
    uint64_t calls[3];
    put_rows(w, 0, 700);
    sql(w, "UPDATE items SET body = replace(hex(zeroblob(400)), '00', 'word ') WHERE id % 9 = 0");
    w->opt.batch = 7;
    for (size_t i = 0; i < QUERN__COUNT(ways); i++) {
        declare(w, "items", NULL, NULL);
        w->opt.batching = ways[i];
        check(w, fill(w));
        calls[i] = w->fake.calls;
        assert_int_equal(w->report.calls, calls[i]);
        char *got = state_of(w);
        if (first)
            assert_string_equal(got, first);
        first = first ? (free(got), first) : got;
        check(w, quern_source_remove(w->s, "items", &w->err));
    }
    free(first);
    assert_true(calls[1] > 3 * calls[0]);
    declare(w, "items", NULL, NULL);
    w->opt.batching = 3;
    assert_int_equal(fill(w), QUERN_EINVAL);
}

/* ---- watermarks: where a run begins that comes after one that was cut off ---- */

typedef struct outage {
    world *w;
    uint64_t after; /* calls that still work */
} outage;

static void end_it(void *ud)
{
    outage *o = ud;
    if (o->w->fake.calls > o->after)
        o->w->fake.outages = 1000;
    o->w->fake.for_good = 1; /* else each would be waited for, three seconds */
}

/* A fill that is cut off after so many calls of the embedder (256 documents each). */
static void cut_off_after(world *w, uint64_t calls)
{
    outage o = {w, calls};
    w->fake.before = end_it;
    w->fake.ud = &o;
    assert_int_equal(fill(w), QUERN_EREMOTE);
    w->fake.before = NULL;
    w->fake.outages = 0;
}

static char *watermark_of(world *w)
{
    return text_of(w, "SELECT watermark FROM quern_generations WHERE watermark IS NOT NULL");
}

static void watermark_is(world *w, const char *expected)
{
    char *found = watermark_of(w);
    assert_string_equal(found, expected);
    free(found);
}

/* What the text of an embedder's first call was. */
typedef struct first_texts {
    world *w;
    int64_t lowest_before; /* rows in front of this id had a stamp when the first call was made */
} first_texts;

static void look_at_stamps(void *ud)
{
    first_texts *f = ud;
    if (f->w->fake.calls == 1)
        f->lowest_before =
            number(f->w, "SELECT count(*) FROM items WHERE NOT EXISTS (SELECT 1 FROM quern_stamps "
                         "WHERE key = items.id) AND id < 256");
}

static void expect_all_current(world *w)
{
    assert_int_equal(w->report.total, number(w, "SELECT count(*) FROM items"));
    assert_int_equal(w->report.done, w->report.total);
    assert_int_equal(w->report.pending, 0);
    assert_int_equal(w->report.processed + w->report.skipped, w->report.total);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_vectors"), w->report.total);
    watermark_is(w, "");
    quern_verify_options o;
    quern_verify_report r;
    QUERN_INIT(&o);
    QUERN_INIT(&r);
    o.sample = UINT64_MAX;
    check(w, quern_verify(w->s, w->e, &o, &r, &w->err));
    assert_int_equal(r.equal, w->report.total);
    uint64_t texts = w->fake.texts;
    check(w, fill(w)); /* nothing was left for it */
    assert_int_equal(w->report.processed, 0);
    assert_int_equal(w->report.skipped, w->report.total);
    assert_true(texts > 0);
}

static void a_run_goes_on_where_the_last_was_cut_off(void **state)
{
    world *w = *state;
    first_texts first = {w, -1};
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 1500);
    cut_off_after(w, 3);
    watermark_is(w, "767|\n");
    quern_status_report *s = NULL;
    check(w, quern_status_open(&s, w->s, w->e, "items", NULL, &w->err));
    assert_string_equal(quern_status_at(s, 0)->watermark, "767");
    quern_status_free(s);
    /* in front of it: edited, new, gone; it, and the row behind it, gone */
    sql(w, "UPDATE items SET body = 'edited behind the scan' WHERE id IN (0, 100, 766)");
    sql(w, "DELETE FROM items WHERE id IN (5, 767, 768)");
    sql(w, "INSERT INTO items (id, title, body) VALUES (-7, 'new', 'in front of all')");
    w->opt.dry_run = 1;
    check(w, fill(w));
    assert_int_equal(w->report.processed, 1500 - 768 - 1 + 4);
    w->opt.dry_run = 0;
    watermark_is(w, "767|\n");
    w->fake.before = look_at_stamps;
    w->fake.ud = &first;
    check(w, fill(w));
    w->fake.before = NULL;
    assert_int_equal(first.lowest_before, 1); /* the new row: what is left came first */
    assert_int_equal(w->report.processed, 1500 - 768 - 1 + 4);
    assert_int_equal(w->report.deleted, 2);
    expect_all_current(w);
}

/* The row by which the end of the second part is known goes while the run goes on. */
static void take_it_away(void *ud)
{
    world *w = ud;
    if (w->fake.calls == 1)
        sql(w, "DELETE FROM items WHERE id BETWEEN 768 AND 780");
}

static void all_is_counted_again_when_its_mark_has_gone(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 1500);
    cut_off_after(w, 3);
    sql(w, "UPDATE items SET body = 'edited behind the scan' WHERE id = 9");
    w->fake.before = take_it_away;
    w->fake.ud = w;
    check(w, fill(w));
    w->fake.before = NULL;
    check(w, fill(w)); /* those that went while they were embedded */
    assert_int_equal(w->report.total, 1487);
    assert_int_equal(w->report.done, 1487);
    assert_int_equal(w->report.skipped, 1487);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_vectors"), 1487);
    watermark_is(w, "");
}

static void a_bad_watermark_is_harmless(void **state)
{
    world *w = *state;
    static const char *const bad[] = {"'99999'",
                                      "'-5'",
                                      "'not a key'",
                                      "'\"text\"'",
                                      "'[1,2]'",
                                      "'{\"blob\":'",
                                      "'null'",
                                      "'1e400'",
                                      "'{\"fault\":1}'",
                                      "zeroblob(3)",
                                      "printf('%.*c', 1100000, '7')"};
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 600);
    for (size_t i = 0; i < QUERN__COUNT(bad); i++) {
        char text[120];
        cut_off_after(w, 1);
        snprintf(text, sizeof text, "UPDATE quern_generations SET watermark = CAST(%s AS TEXT)",
                 bad[i]);
        sql(w, text);
        quern_status_report *s = NULL;
        check(w, quern_status_open(&s, w->s, w->e, "items", NULL, &w->err));
        quern_status_free(s);
        check(w, fill(w));
        expect_all_current(w);
        sql(w, "UPDATE items SET body = CASE body WHEN 'a' THEN 'b' ELSE 'a' END");
    }
}

/* Never past a row that is not current: one that changed while it was embedded, one that is to be tried again. */
static int leave_it(quern_str key, const quern_error *why, void *ud)
{
    (void)key;
    (void)why;
    (void)ud;
    return QUERN_ON_ERROR_RETRY;
}

static void it_stops_at_a_row_that_is_not_current(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 1500);
    sql(w, "UPDATE items SET body = 'POISON' WHERE id = 300");
    w->opt.on_error = leave_it;
    outage o = {w, 40};
    w->fake.before = end_it;
    w->fake.ud = &o;
    sql(w, "UPDATE items SET body = 'OUTAGE' WHERE id = 1400");
    assert_int_equal(fill(w), QUERN_EREMOTE);
    w->fake.before = NULL;
    w->fake.outages = 0;
    watermark_is(w, "255|\n");
    sql(w, "UPDATE items SET body = 'well' WHERE id IN (300, 1400)");
    check(w, fill(w));
    expect_all_current(w);
}

static void requeue_and_forget_take_it_back(void **state)
{
    world *w = *state;
    uint64_t n = 0;
    quern_requeue_options again;
    QUERN_INIT(&again);
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 600);
    cut_off_after(w, 1);
    watermark_is(w, "255|\n");
    quern_str key = quern_str_of("3");
    again.source = "items";
    again.keys = &key;
    again.n_keys = 1;
    check(w, quern_requeue(w->s, &again, &n, &w->err));
    watermark_is(w, "");
    assert_int_equal(n, 1);
    check(w, fill(w));
    assert_int_equal(w->report.processed, 600 - 256 + 1);
    sql(w, "UPDATE items SET body = body || ' again'");
    cut_off_after(w, 1);
    watermark_is(w, "255|\n");
    key = quern_str_of("255");
    sql(w, "DELETE FROM items WHERE id = 255");
    check(w, quern_forget(w->s, "items", &key, 1, NULL, &w->err));
    watermark_is(w, "");
    check(w, fill(w));
    expect_all_current(w);
}

/* Runs that may not take all rows leave it alone, and pass over nothing. */
static void a_limit_begins_at_the_first_row(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 1000);
    cut_off_after(w, 2);
    watermark_is(w, "511|\n");
    sql(w, "UPDATE items SET body = 'edited' WHERE id = 4");
    w->opt.limit = 1;
    check(w, fill(w));
    assert_int_equal(w->report.processed, 1);
    assert_int_equal(w->report.pending, 1000 - 512);
    watermark_is(w, "511|\n");
    w->opt.limit = 0;
    w->opt.force = 1;
    check(w, fill(w));
    assert_int_equal(w->report.processed, 1000);
    w->opt.force = 0;
    check(w, fill(w));
    assert_int_equal(w->report.skipped, 1000);
    watermark_is(w, "");
}

static void long_documents_and_the_cap(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 3);
    sql(w, "UPDATE items SET body = replace(hex(zeroblob(1000)), '00', 'word ') WHERE id = 1");
    check(w, fill(w));
    assert_true(w->report.chunks > 60);
    assert_int_equal(w->report.truncated, 1);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_chunks WHERE key = '1'"), 64);
    int64_t dropped = number(w, "SELECT dropped_bytes FROM quern_stamps WHERE key = '1'");
    assert_true(dropped > 1000);
    assert_int_equal(w->report.dropped_bytes, dropped);
    quern_status_report *st = NULL;
    check(w, quern_status_open(&st, w->s, w->e, NULL, NULL, &w->err));
    assert_int_equal(quern_status_at(st, 0)->dropped_bytes, dropped);
    quern_status_free(st);
    w->opt.max_chunks = 1000;
    check(w, fill(w));
    assert_int_equal(w->report.truncated, 0);
    w->opt.max_chunks = 5000;
    assert_int_equal(fill(w), QUERN_EINVAL);
}

static void a_dry_run_does_nothing(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 50);
    w->opt.dry_run = 1;
    check(w, fill(w));
    assert_int_equal(w->fake.calls, 0);
    assert_int_equal(w->report.processed, 50);
    assert_int_equal(w->report.chunks, 50);
    assert_int_equal(w->report.bytes, 50 * FAKE_DIM * 2);
    assert_true(w->report.tokens > 50 && w->report.seconds > 0);
    assert_int_equal(w->report.pending, 50);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_generations"), 0);
}

static void one_fill_at_a_time(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 5);
    quern_store *mine = w->s;
    void *held = NULL;
    check(w, mine->table.lock(mine->self, "fill:items", 0, &held, &w->err));
    open_store(w);
    assert_int_equal(fill(w), QUERN_EBUSY);
    mine->table.unlock(mine->self, held);
    check(w, fill(w));
    quern_store_free(mine);
}

static void faults_of_the_declaration(void **state)
{
    world *w = *state;
    assert_int_equal(fill(w), QUERN_ENOTFOUND);
    declare(w, "items", NULL, NULL);
    w->opt.source = "itmes";
    assert_int_equal(fill(w), QUERN_ENOTFOUND);
    assert_non_null(strstr(w->err.msg, "did you mean items"));
    w->opt.source = "items";
    w->opt.since = "x";
    assert_int_equal(fill(w), QUERN_EINVAL);
    w->opt.since = NULL;
    put_rows(w, 0, 5);
    check(w, fill(w));
    sql(w, "ALTER TABLE items RENAME COLUMN body TO other");
    int rc = fill(w);
    assert_true(rc < 0);
    assert_non_null(strstr(w->err.msg, "body"));
    assert_int_equal(number(w, "SELECT count(*) FROM quern_vectors"), 5);
}

static void verify_finds_what_was_tampered_with(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 150);
    check(w, fill(w));
    quern_verify_report v;
    QUERN_INIT(&v);
    quern_verify_options o;
    QUERN_INIT(&o);
    check(w, quern_verify(w->s, w->e, &o, &v, &w->err));
    assert_int_equal(v.checked, 100);
    assert_int_equal(v.equal, 100);
    o.sample = UINT64_MAX;
    check(w, quern_verify(w->s, w->e, &o, &v, &w->err));
    assert_int_equal(v.checked, 150);
    sql(w, "UPDATE items SET title = 'edited' WHERE id = 20");
    check(w, quern_verify(w->s, w->e, &o, &v, &w->err));
    assert_int_equal(v.stale, 1);
    /* One bit of one vector. */
    sql(w, "UPDATE quern_vectors SET data = CAST(substr(data, 1, 10) || x'01' || substr(data, 12) "
           "AS BLOB) "
           "WHERE id = (SELECT id FROM quern_chunks WHERE key = '30')");
    assert_int_equal(quern_verify(w->s, w->e, &o, &v, &w->err), QUERN_EMISMATCH);
    assert_int_equal(v.different, 1);
    assert_non_null(strstr(v.first_difference, "key 30, chunk 0"));
    sql(w, "DELETE FROM quern_vectors WHERE id = (SELECT id FROM quern_chunks WHERE key = '31')");
    sql(w, "DELETE FROM quern_stamps WHERE key = '32'");
    assert_int_equal(quern_verify(w->s, w->e, &o, &v, &w->err), QUERN_EMISMATCH);
    assert_int_equal(v.missing_vectors, 1);
    assert_int_equal(v.orphans, 1);
}

/* Beyond what is held of a group's texts: by themselves, and as exactly. */
static void large_documents_are_verified_too(void **state)
{
    world *w = *state;
    quern_verify_report v;
    quern_verify_options o;
    QUERN_INIT(&v);
    QUERN_INIT(&o);
    o.sample = UINT64_MAX;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 5);
    sql(w, "UPDATE items SET body = printf('%.*c', 9000000, 'x') WHERE id IN (1, 2, 4)");
    check(w, fill(w));
    check(w, quern_verify(w->s, w->e, &o, &v, &w->err));
    assert_int_equal(v.equal, 5);
    sql(w, "UPDATE quern_vectors SET data = zeroblob(length(data)) WHERE id ="
           " (SELECT id FROM quern_chunks WHERE key = '4')");
    assert_int_equal(quern_verify(w->s, w->e, &o, &v, &w->err), QUERN_EMISMATCH);
    assert_int_equal(v.equal, 4);
    assert_int_equal(v.different, 1);
    assert_non_null(strstr(v.first_difference, "key 4, chunk 0"));
}

static void status_tells_the_truth(void **state)
{
    world *w = *state;
    declare(w, "items", NULL, NULL);
    put_rows(w, 0, 20);
    quern_status_report *st = NULL;
    check(w, quern_status_open(&st, w->s, w->e, NULL, NULL, &w->err));
    const quern_status_row *row = quern_status_at(st, 0);
    assert_int_equal(row->pending, 20);
    assert_string_equal(row->state, "");
    assert_non_null(strstr(row->note, "not filled yet"));
    quern_status_free(st);
    sql(w, "UPDATE items SET body = 'POISON' WHERE id = 1");
    sql(w, "UPDATE items SET title = '', body = '' WHERE id = 2");
    assert_int_equal(fill(w), QUERN_EPARTIAL);
    sql(w, "UPDATE items SET body = 'edited' WHERE id = 3");
    sql(w, "DELETE FROM items WHERE id = 4");
    put_rows(w, 20, 21);
    check(w, quern_status_open(&st, w->s, w->e, "items", NULL, &w->err));
    row = quern_status_at(st, 0);
    assert_int_equal(quern_status_count(st), 1);
    assert_int_equal(row->total, 20);
    assert_int_equal(row->done, 17);
    assert_int_equal(row->pending, 2);
    assert_int_equal(row->stale, 1);
    assert_int_equal(row->empty, 1);
    assert_int_equal(row->failed, 1);
    assert_string_equal(row->note, "");
    assert_string_equal(row->state, "active");
    assert_int_equal(row->dimensions, FAKE_DIM);
    quern_status_free(st);
    assert_int_equal(quern_status_open(&st, w->s, w->e, "none", NULL, &w->err), QUERN_ENOTFOUND);
}

/* ---- documents built by the program ---- */

typedef struct builder_log {
    size_t calls, documents, most;
    int stop; /* this code at the first call */
    char text[4096];
} builder_log;

/* "1" is the template's text twice, "2" has a fault, "3" is empty, "4" not UTF-8, 5 too long; the rest as it is. */
static int build_one(quern_built *doc, void *ud)
{
    builder_log *log = ud;
    log->documents++;
    if (log->stop)
        return log->stop;
    if (doc->key.ptr[0] == '1') {
        int n = snprintf(log->text, sizeof log->text, "%.*s %.*s", (int)doc->text.len,
                         doc->text.ptr, (int)doc->text.len, doc->text.ptr);
        doc->text = (quern_str){log->text, (size_t)n};
    }
    if (doc->key.ptr[0] == '2')
        doc->fault = "its comments cannot be read";
    if (doc->key.ptr[0] == '3')
        doc->text = (quern_str){NULL, 0};
    if (doc->key.ptr[0] == '4')
        doc->text = (quern_str){"a\xff", 2};
    if (doc->key.ptr[0] == '5')
        doc->text.len = 4000;
    return QUERN_OK;
}

static int build_many(quern_built *docs, size_t n, void *ud)
{
    builder_log *log = ud;
    log->calls++;
    log->most = n > log->most ? n : log->most;
    for (size_t i = 0; i < n; i++) {
        int rc = build_one(&docs[i], ud);
        if (rc != QUERN_OK)
            return rc;
    }
    return QUERN_OK;
}

static void the_program_builds_documents(void **state)
{
    world *w = *state;
    builder_log log = {0};
    quern_document_builder b;
    quern_verify_options v;
    quern_verify_report seen;
    QUERN_INIT(&b);
    QUERN_INIT(&v);
    QUERN_INIT(&seen);
    b.ud = &log;
    w->opt.builder = &b;
    sql(w,
        "INSERT INTO items (id, title, body) VALUES (1, 'one', 'x'), (2, 'two', 'x'), (3, 'three', "
        "'x'), (4, 'four', 'x'), (5, 'five', 'x'), (6, 'six', 'x')");
    declare(w, "items", NULL, NULL);
    w->opt.max_document_bytes = 3999;
    assert_int_equal(fill(w), QUERN_EINVAL); /* no source named */
    w->opt.source = v.source = "items";
    assert_int_equal(fill(w), QUERN_EINVAL); /* neither function */
    b.many = build_many;
    assert_int_equal(fill(w), QUERN_EINVAL); /* no id */
    b.id = "twice/1";
    assert_int_equal(fill(w), QUERN_EPARTIAL);
    assert_int_equal(w->report.done, 3);
    assert_int_equal(w->report.empty, 1);
    assert_int_equal(w->report.failed, 3);
    assert_int_equal(log.calls, 1);
    assert_int_equal(log.most, 6);
    char *reasons =
        text_of(w, "SELECT key, reason FROM quern_stamps WHERE outcome = 3 ORDER BY key");
    assert_string_equal(reasons,
                        "2|its comments cannot be read|\n4|not UTF-8 at byte 1 of its built "
                        "text|\n5|4000 bytes > 3999|\n");
    free(reasons);
    assert_int_equal(number(w, "SELECT byte_end FROM quern_chunks WHERE key = '1'"),
                     2 * strlen("one. x") + 1);
    /* The same of one call each; what is current is not built again. */
    char *many = state_of(w);
    assert_int_equal(fill(w), QUERN_EPARTIAL);
    assert_int_equal(log.documents, 7); /* but the one that a larger ceiling would let in */
    b.many = NULL;
    b.one = build_one;
    w->opt.force = 1;
    assert_int_equal(fill(w), QUERN_EPARTIAL);
    assert_int_equal(log.documents, 13);
    char *one = state_of(w);
    assert_string_equal(one, many);
    free(one);
    free(many);
    w->opt.force = 0;
    /* Found without it, with an empty excerpt; verified with it only. */
    quern_results *r = NULL;
    check(w, quern_search(&r, w->s, w->e, quern_str_of("one. x one. x"), NULL, &w->err));
    assert_string_equal(quern_results_at(r, 0)->key, "1");
    assert_string_equal(quern_results_at(r, 0)->excerpt, "");
    quern_results_free(r);
    assert_int_equal(quern_verify(w->s, w->e, &v, &seen, &w->err), QUERN_EUNSUPPORTED);
    assert_non_null(strstr(w->err.msg, "twice/1"));
    v.builder = &b;
    check(w, quern_verify(w->s, w->e, &v, &seen, &w->err));
    assert_int_equal(seen.equal, 2);
    /* Another id, other vectors: a new generation; a code of the program's ends the run. */
    b.id = "twice/2";
    assert_int_equal(quern_verify(w->s, w->e, &v, &seen, &w->err), QUERN_EUNSUPPORTED);
    log.stop = QUERN_EIO;
    assert_int_equal(fill(w), QUERN_EIO);
    assert_non_null(strstr(w->err.msg, "twice/2"));
    log.stop = 0;
    assert_int_equal(fill(w), QUERN_EPARTIAL);
    assert_int_equal(w->report.processed, 3);
    /* A source that keeps its texts has one to show. */
    quern_source_spec spec;
    QUERN_INIT(&spec);
    spec.name = "items";
    spec.keep_text = "yes";
    check(w, quern_source_set(w->s, &spec, &w->err));
    assert_int_equal(fill(w), QUERN_EPARTIAL); /* a built text is not made again for that */
    assert_int_equal(number(w, "SELECT count(*) FROM quern_kept"), 0);
    w->opt.force = 1;
    assert_int_equal(fill(w), QUERN_EPARTIAL);
    check(w, quern_search(&r, w->s, w->e, quern_str_of("one. x one. x"), NULL, &w->err));
    assert_string_equal(quern_results_at(r, 0)->excerpt, "one. x one. x");
    quern_results_free(r);
    spec.keep_text = "";
    check(w, quern_source_set(w->s, &spec, &w->err));
    assert_int_equal(number(w, "SELECT count(*) FROM quern_kept"), 0);
    spec.keep_text = "maybe";
    assert_int_equal(quern_source_set(w->s, &spec, &w->err), QUERN_EINVAL);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(fills_once_and_then_costs_nothing),
        WORLD_TEST(edits_and_deletions),
        WORLD_TEST(a_revision_column_decides),
        WORLD_TEST(an_edit_between_scan_and_save_stays_pending),
        WORLD_TEST(poison_is_isolated),
        WORLD_TEST(the_caller_decides_about_failures),
        WORLD_TEST(after_an_outage_nothing_more_is_started),
        WORLD_TEST(a_short_outage_is_waited_for),
        WORLD_TEST(saving_and_embedding_overlap),
        WORLD_TEST(large_and_ill_formed_documents_fail_alone),
        WORLD_TEST(empty_documents_lose_their_vectors),
        WORLD_TEST(an_empty_source_keeps_its_vectors),
        WORLD_TEST(lost_vectors_are_made_again),
        WORLD_TEST(a_changed_model_never_mixes),
        WORLD_TEST(changed_settings_make_a_generation),
        WORLD_TEST(stopped_runs_end_where_a_whole_one_does),
        WORLD_TEST(batching_changes_calls_and_nothing_else),
        WORLD_TEST(a_run_goes_on_where_the_last_was_cut_off),
        WORLD_TEST(all_is_counted_again_when_its_mark_has_gone),
        WORLD_TEST(a_bad_watermark_is_harmless),
        WORLD_TEST(it_stops_at_a_row_that_is_not_current),
        WORLD_TEST(requeue_and_forget_take_it_back),
        WORLD_TEST(a_limit_begins_at_the_first_row),
        WORLD_TEST(long_documents_and_the_cap),
        WORLD_TEST(a_dry_run_does_nothing),
        WORLD_TEST(one_fill_at_a_time),
        WORLD_TEST(faults_of_the_declaration),
        WORLD_TEST(verify_finds_what_was_tampered_with),
        WORLD_TEST(large_documents_are_verified_too),
        WORLD_TEST(status_tells_the_truth),
        WORLD_TEST(the_program_builds_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
