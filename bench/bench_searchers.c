/*
 * bench_searchers.c — a store under a steady rate of searches, as a server puts it there: one process, THREADS threads
 * with a connection each, RATE searches a second in all, every second thread with --partial. Unlike `quern search`, run
 * again and again, it opens model and store once, so that what is timed is the search.
 *
 *     bench_searchers STORE MODEL_FOLDER THREADS RATE LIMIT QUERY [pgvector]
 *
 * Goes on until standard input ends. A line for each search: when it was due and what it took in ms, whether it was
 * partial, how many hits and how many servers were missed, or what it failed with; the last line is the sum. A search that
 * is late starts at once, and the next is due when it would have been, so the rate is kept after a pause.
 * `pgvector` asks for its index however few vectors there are.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "quern/model.h"
#include "quern/search.h"

enum { MOST_THREADS = 64 };

typedef struct searcher {
    const char *store, *query;
    quern_embedder *embedder;
    uint32_t limit;
    int partial, index;
    uint64_t first_ns,
        every_ns; /* when its first search is due, and how long after it each other one */
    uint64_t searches, busy_ns, worst_ns;
    pthread_t thread;
} searcher;

static atomic_bool over;

static void need(int rc, const char *what, const quern_error *err)
{
    if (rc == QUERN_OK)
        return;
    fprintf(stderr, "bench_searchers: %s: %s\n", what, err->msg);
    exit(1);
}

static void search_once(searcher *w, quern_store *s, uint64_t due)
{
    quern_error err;
    quern_results *r = NULL;
    quern_search_options o;
    QUERN_INIT(&o);
    o.limit = w->limit;
    o.partial = w->partial;
    o.index = w->index;
    uint64_t began = quern__now_ns();
    int rc = quern_search(&r, s, w->embedder, quern_str_of(w->query), &o, &err);
    uint64_t took = quern__now_ns() - began;
    w->searches++;
    w->busy_ns += took;
    w->worst_ns = took > w->worst_ns ? took : w->worst_ns;
    if (rc)
        printf("at %.1f took %.1f partial %d failed %s\n", (double)due * 1e-6, (double)took * 1e-6,
               w->partial, err.msg);
    else
        printf("at %.1f took %.1f partial %d hits %zu missed %u\n", (double)due * 1e-6,
               (double)took * 1e-6, w->partial, quern_results_count(r), quern_results_missed(r));
    quern_results_free(r);
}

static void *search_on(void *arg)
{
    searcher *w = arg;
    quern_error err;
    quern_store *s = NULL;
    quern_store_options o;
    QUERN_INIT(&o);
    o.db = w->store;
    need(quern_store_open(&s, &o, &err), "open the store", &err);
    for (uint64_t due = w->first_ns; !atomic_load(&over); due += w->every_ns) {
        uint64_t now = quern__now_ns();
        if (now < due)
            quern__sleep_ms((uint32_t)((due - now) / 1000000));
        search_once(w, s, due - w->first_ns);
    }
    quern_store_free(s);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 7 && !(argc == 8 && !strcmp(argv[7], "pgvector"))) {
        fprintf(stderr,
                "usage: bench_searchers STORE MODEL_FOLDER THREADS RATE LIMIT QUERY [pgvector]\n");
        return 2;
    }
    static searcher all[MOST_THREADS];
    long n = strtol(argv[3], NULL, 10);
    double rate = strtod(argv[4], NULL);
    quern_error err;
    quern_model *model = NULL;
    quern_embedder *embedder = NULL;
    if (n < 1 || n > MOST_THREADS || rate <= 0) {
        fprintf(stderr, "bench_searchers: 1 to %d threads and a rate above 0\n", MOST_THREADS);
        return 2;
    }
    need(quern_model_open(&model, argv[2], NULL, &err), "open the model", &err);
    need(quern_embedder_from_model(&embedder, model, NULL, &err), "make an embedder", &err);
    uint64_t began = quern__now_ns();
    for (long i = 0; i < n; i++) {
        all[i] = (searcher){.store = argv[1], .query = argv[6], .embedder = embedder};
        all[i].limit = (uint32_t)strtoul(argv[5], NULL, 10);
        all[i].partial = i % 2;
        all[i].index = argc == 8 ? QUERN_SEARCH_PGVECTOR : QUERN_SEARCH_AUTO;
        all[i].every_ns = (uint64_t)((double)n / rate * 1e9);
        all[i].first_ns = began + (uint64_t)((double)i / rate * 1e9);
        if (pthread_create(&all[i].thread, NULL, search_on, &all[i]))
            return 1;
    }
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    atomic_store(&over, true);
    uint64_t searches = 0, busy = 0, worst = 0;
    for (long i = 0; i < n; i++) {
        pthread_join(all[i].thread, NULL);
        searches += all[i].searches;
        busy += all[i].busy_ns;
        worst = all[i].worst_ns > worst ? all[i].worst_ns : worst;
    }
    printf("searches %llu a_second %.2f mean_ms %.1f worst_ms %.1f\n", (unsigned long long)searches,
           (double)searches / ((double)(quern__now_ns() - began) * 1e-9),
           (double)busy / (double)searches * 1e-6, (double)worst * 1e-6);
    quern_embedder_free(embedder);
    quern_model_free(model);
    return 0;
}
