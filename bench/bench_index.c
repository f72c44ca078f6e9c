/*
 * bench_index.c — from how many vectors on a search by pgvector's HNSW index is faster than an exact one, and what it misses:
 * the number at which `--index auto` changes from one to the other.
 *
 *     bench_index postgres://… [ROWS…]
 *
 * The database is one without table `items` and with pgvector. ROWS (5000 10000 20000 50000) grow: at each the index is brought
 * up to date by a fill, and QUERIES searches for ten hits are made both ways in turn, ROUNDS times. Vectors are of
 * 384 dimensions around one centre in fifty rows, which is kinder to a graph than no clusters and harder than few. A search is the whole of
 * quern_search: candidates, and the join back to their rows. Prints for each way the mean over the queries of the best of the
 * rounds and of the median, and recall@10.
 */
#include "no_model.h"
#include "quern/search.h"

enum { QUERIES = 40, ROUNDS = 15, HITS = 10, MOST = 16, KEY = 24 };

typedef struct way {
    const char *name;
    int index;
    double ms[QUERIES][ROUNDS];
    char keys[QUERIES][HITS][KEY];
    size_t n[QUERIES];
} way;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void search(quern_store *s, quern_embedder *e, way *w, size_t q, size_t round)
{
    char text[64];
    quern_search_options o;
    quern_results *r = NULL;
    QUERN_INIT(&o);
    o.limit = HITS;
    o.index = w->index;
    snprintf(text, sizeof text, "what is asked for, number %zu", q);
    uint64_t began = quern__now_ns();
    need(quern_search(&r, s, e, quern_str_of(text), &o, &err), w->name);
    w->ms[q][round] = (double)(quern__now_ns() - began) / 1e6;
    w->n[q] = quern_results_count(r);
    for (size_t i = 0; i < w->n[q]; i++) {
        snprintf(w->keys[q][i], KEY, "%s", quern_results_at(r, i)->key);
    }
    quern_results_free(r);
}

static double recall(const way *exact, const way *other)
{
    size_t found = 0, all = 0;
    for (size_t q = 0; q < QUERIES; q++)
        for (size_t i = 0; i < exact->n[q]; i++, all++)
            for (size_t k = 0; k < other->n[q]; k++)
                found += strcmp(exact->keys[q][i], other->keys[q][k]) == 0;
    return all ? (double)found / (double)all : 0;
}

static void report(way *w, long rows, const way *exact)
{
    double best = 0, median = 0;
    for (size_t q = 0; q < QUERIES; q++) {
        qsort(w->ms[q], ROUNDS, sizeof w->ms[q][0], by_value);
        best += w->ms[q][0] / QUERIES;
        median += w->ms[q][ROUNDS / 2] / QUERIES;
    }
    printf("%7ld vectors, %-9s %7.2f ms, median %7.2f ms, recall@%d %.3f\n", rows, w->name, best,
           median, HITS, recall(exact, w));
    fflush(stdout);
}

static void measure(quern_store *s, quern_embedder *e, long rows)
{
    static way exact, graph;
    exact.name = "exact", exact.index = QUERN_SEARCH_EXACT;
    graph.name = "pgvector", graph.index = QUERN_SEARCH_PGVECTOR;
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t q = 0; q < QUERIES; q++) {
            search(s, e, round % 2 ? &graph : &exact, q, round);
            search(s, e, round % 2 ? &exact : &graph, q, round);
        }
    report(&exact, rows, &exact);
    report(&graph, rows, &exact);
}

int main(int argc, char **argv)
{
    static const long usual[] = {5000, 10000, 20000, 50000};
    long sizes[MOST], there = 0;
    int n = 0;
    if (argc < 2 || argc - 2 > MOST || !strstr(argv[1], "://")) {
        fprintf(stderr, "usage: %s postgres://… [ROWS…]\n", argv[0]);
        return 2;
    }
    for (; n < argc - 2; n++)
        sizes[n] = atol(argv[n + 2]);
    for (; argc == 2 && n < (int)(sizeof usual / sizeof *usual); n++)
        sizes[n] = usual[n];
    quern_embedder *e = open_embedder();
    for (int i = 0; i < n; i++) {
        quern_fill_options o;
        QUERN_INIT(&o);
        o.index = "pgvector";
        if (sizes[i] <= there) {
            fprintf(stderr, "bench_index: %ld rows after %ld: they must grow\n", sizes[i], there);
            return 2;
        }
        clusters = (uint32_t)(sizes[n - 1] / 50 + 1);
        quern_store *s = open_store(argv[1]);
        if (there)
            make_items(argv[1], there + 1, sizes[i]);
        else
            declare(s, argv[1], sizes[i]);
        there = sizes[i];
        need(quern_fill(s, e, &o, NULL, &err), "fill");
        measure(s, e, there);
        quern_store_free(s);
    }
    quern_embedder_free(e);
    return 0;
}
