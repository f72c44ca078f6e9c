/*
 * bench_fill.c — what a fill costs beside the model: rows of a table through scan, cut, save and scan again.
 *
 *     bench_fill DB ROWS [CALL_MS [INDEX]]
 *
 * DB is a SQLite file or postgres://…; without a source `items` its table is made first. Each call of the embedder lasts
 * CALL_MS (0). The first fill writes everything; the second finds everything current, by the revision column. Prints
 * times and the most memory the process ever held.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "no_model.h"

static quern_fill_options fill_options;

static double peak_mib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024;
}

static void run(quern_store *s, quern_embedder *e, const char *what)
{
    quern_fill_report r;
    QUERN_INIT(&r);
    uint64_t began = quern__now_ns();
    first_call_ns = 0;
    need(quern_fill(s, e, &fill_options, &r, &err), what);
    if (first_call_ns)
        printf("%-16s first embedded after %.3f s\n", what, (double)(first_call_ns - began) * 1e-9);
    printf("%-16s %9llu rows, %9llu embedded, %8.2f s, %6.2f us a row, embedder busy %3.0f %%, "
           "peak %.0f MiB, index built in %.1f s\n",
           what, (unsigned long long)r.total, (unsigned long long)r.processed, r.seconds,
           r.seconds * 1e6 / (double)r.total, 100 * r.encode_seconds / r.seconds, peak_mib(),
           r.index_seconds);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s DB ROWS [CALL_MS [INDEX]]\n", argv[0]);
        return 2;
    }
    call_ms = argc > 3 ? (uint32_t)atol(argv[3]) : 0;
    QUERN_INIT(&fill_options);
    fill_options.index = argc > 4 ? argv[4] : strstr(argv[1], "://") ? "exact" : NULL;
    quern_store *s = open_store(argv[1]);
    quern_embedder *e = open_embedder();
    declare(s, argv[1], atol(argv[2]));
    run(s, e, "fill");
    run(s, e, "all current");
    quern_store_free(s);
    quern_embedder_free(e);
    return 0;
}
