/*
 * search_explain.c — what a search did, as one JSON object, from counts that are kept anyway: asking for it changes
 * nothing about the search.
 */
#include "base/json.h"
#include "search/search_run.h"

enum { EXPLAIN_BYTES = 1 << 20 };

static const char *const reasons[QUERN__DROPS] = {
    [QUERN__DROP_REPLACED] = "replaced",  [QUERN__DROP_GONE] = "gone",
    [QUERN__DROP_STALE] = "stale",        [QUERN__DROP_FILTERED] = "filtered",
    [QUERN__DROP_SEED] = "seed",          [QUERN__DROP_EXCLUDED] = "excluded",
    [QUERN__DROP_SAME] = "same_document", [QUERN__DROP_BELOW] = "below_min_similarity"};

static const char *way_name(int way)
{
    switch (way) {
    case QUERN_INDEX_ANN:
        return "pgvector";
    case QUERN_INDEX_TWO_STAGE:
        return "two-stage";
    case QUERN_INDEX_EXACT:
        return "exact in the server";
    default:
        return "exact";
    }
}

static void put_parts(quern__jsonw *w, const quern__search_run *r)
{
    quern__jsonw_key(w, "sources");
    quern__jsonw_array(w);
    for (size_t i = 0; i < r->n_parts; i++) {
        const quern__search_part *p = &r->parts[i];
        quern__jsonw_object(w);
        quern__jsonw_put_cstr(w, "source", p->recipe->spec.name);
        quern__jsonw_put_i64(w, "generation", p->generation.id);
        quern__jsonw_put_cstr(w, "index",
                              r->opt->mode == QUERN_MODE_TEXT ? "words" : way_name(p->way));
        if (r->opt->mode != QUERN_MODE_VECTOR)
            quern__jsonw_put_bool(w, "text_search", p->has_words);
        if (p->note)
            quern__jsonw_put_cstr(w, "note", p->note);
        quern__jsonw_put_u64(w, "scanned", p->scanned);
        quern__jsonw_end_object(w);
    }
    quern__jsonw_end_array(w);
}

int quern__search_explain(const quern__search_run *r, size_t hits, char **json, quern_error *err)
{
    quern__buf b;
    quern__jsonw w;
    quern__buf_init(&b, EXPLAIN_BYTES);
    quern__jsonw_init(&w, &b);
    quern__jsonw_object(&w);
    quern__jsonw_put_cstr(&w, "mode",
                          r->opt->mode == QUERN_MODE_TEXT     ? "text"
                          : r->opt->mode == QUERN_MODE_HYBRID ? "hybrid"
                                                              : "vector");
    if (r->opt->mode != QUERN_MODE_VECTOR) {
        quern__jsonw_put_u64(&w, "words", r->n_words);
        quern__jsonw_put_u64(&w, "texts", r->texts);
    }
    put_parts(&w, r);
    quern__jsonw_put_u64(&w, "scanned", r->scanned);
    quern__jsonw_put_u64(&w, "rounds", r->rounds);
    quern__jsonw_put_u64(&w, "candidates", r->candidates);
    quern__jsonw_put_u64(&w, "kept", hits);
    quern__jsonw_key(&w, "dropped");
    quern__jsonw_object(&w);
    for (int i = 0; i < QUERN__DROPS; i++) {
        if (!reasons[i])
            continue;
        quern__jsonw_put_u64(&w, reasons[i], r->drops[i]);
    }
    quern__jsonw_end_object(&w);
    quern__jsonw_end_object(&w);
    int rc = quern__buf_ok(&b, "the explanation of a search", err);
    if (rc == QUERN_OK && !(*json = quern__buf_detach(&b)))
        rc = quern__fail_memory(err, b.len);
    quern__buf_dispose(&b);
    return rc;
}
