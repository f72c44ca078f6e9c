/*
 * bench_work.c — how workers on one database scale: the tasks of ROWS new rows, worked off by 1 and then by WORKERS
 * processes, with an embedder each of whose calls lasts CALL_MS, as a provider's.
 *
 *     bench_work DB ROWS WORKERS CALL_MS
 *
 * DB is a new SQLite file, or postgres://… of a database without table `items`. 32 tasks are taken at once. Prints the
 * times, their ratio, and how many documents were embedded: as many as there are tasks, or some were done twice.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "no_model.h"
#include "quern/work.h"

enum { CLAIM = 32, MANY = 1000 };

/* Rows first … last are made, and a task for each. */
static void put_tasks(const char *db, long first, long last)
{
    char text[MANY][24];
    quern_str keys[MANY];
    quern_store *s = open_store(db);
    make_items(db, first, last);
    for (long at = first; at <= last;) {
        size_t n = 0;
        for (; n < MANY && at <= last; n++, at++) {
            snprintf(text[n], sizeof text[n], "%ld", at);
            keys[n] = quern_str_of(text[n]);
        }
        uint64_t added = 0;
        need(quern_enqueue(s, "items", keys, n, "bench", &added, &err), "enqueue");
    }
    quern_store_free(s);
}

static void work(const char *db, int result)
{
    quern_work_report r;
    quern_work_options o;
    quern_store *s = open_store(db);
    quern_embedder *e = open_embedder();
    QUERN_INIT(&r);
    QUERN_INIT(&o);
    o.claim = CLAIM;
    o.once = 1;
    o.interval_ms = o.backstop_ms = -1;
    need(quern_work(s, e, &o, &r, &err), "work");
    if (write(result, &r.processed, sizeof r.processed) != sizeof r.processed)
        exit(1);
    quern_store_free(s);
    quern_embedder_free(e);
    exit(0);
}

/* Seconds that n processes take for all tasks; *processed: documents of all of them. */
static double run(const char *db, int n, uint64_t *processed)
{
    int ends[2];
    if (pipe(ends))
        exit(1);
    uint64_t began = quern__now_ns();
    for (int i = 0; i < n; i++)
        if (fork() == 0)
            work(db, ends[1]);
    *processed = 0;
    for (int i = 0; i < n; i++) {
        uint64_t one = 0;
        int status = 0;
        if (wait(&status) < 0 || status || read(ends[0], &one, sizeof one) != sizeof one)
            exit(1);
        *processed += one;
    }
    double seconds = (double)(quern__now_ns() - began) * 1e-9;
    close(ends[0]);
    close(ends[1]);
    return seconds;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: %s DB ROWS WORKERS CALL_MS\n", argv[0]);
        return 2;
    }
    long rows = atol(argv[2]);
    int workers = (int)atol(argv[3]);
    call_ms = (uint32_t)atol(argv[4]);
    quern_store *s = open_store(argv[1]);
    quern_embedder *e = open_embedder();
    declare(s, argv[1], 1);
    need(quern_fill(s, e, NULL, NULL, &err), "fill"); /* a generation to work into */
    quern_store_free(s);
    quern_embedder_free(e);
    double seconds[2];
    for (int i = 0; i < 2; i++) {
        uint64_t processed;
        put_tasks(argv[1], 2 + i * rows, 1 + (i + 1) * rows);
        seconds[i] = run(argv[1], i ? workers : 1, &processed);
        printf("%2d workers: %ld tasks in %.2f s, %llu documents embedded\n", i ? workers : 1, rows,
               seconds[i], (unsigned long long)processed);
        fflush(stdout);
    }
    printf("%.2f times as fast\n", seconds[0] / seconds[1]);
    return 0;
}
