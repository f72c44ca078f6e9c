/*
 * worker_loop — keep a table of your own searchable: declare it once, then bring the vectors up to date
 * after every change. A program would loop on a timer; this one makes three rounds of changes and exits.
 *
 *     worker_loop MODEL-FOLDER DATABASE
 */
#include <sqlite3.h>
#include <stdio.h>

#include <quern/quern.h>

static const char *const rounds[] = {
    "CREATE TABLE recipes (id INTEGER PRIMARY KEY, title TEXT, steps TEXT);"
    "INSERT INTO recipes VALUES (1, 'Pancakes', 'Whisk eggs, milk and flour, fry in butter.'),"
    "(2, 'Lentil soup', 'Simmer lentils with onion and carrot.')",
    "INSERT INTO recipes VALUES (3, 'Lemon sorbet', 'Freeze lemon juice and sugar, stir often.')",
    "DELETE FROM recipes WHERE id = 1; UPDATE recipes SET title = 'Red lentil soup' WHERE id = 2",
};

static int declare_source(quern_store *store, quern_error *err)
{
    quern_source_spec spec;
    QUERN_INIT(&spec);
    spec.name = "recipes";
    spec.table = "recipes";
    spec.keys = "id";
    spec.text = "{title}. {steps}";
    int rc = quern_source_add(store, &spec, err);
    return rc == QUERN_EEXISTS ? QUERN_OK : rc;
}

static int show_search(quern_store *store, quern_embedder *embedder, quern_error *err)
{
    quern_results *results = NULL;
    int rc = quern_search(&results, store, embedder, quern_str_of("a sweet breakfast"), NULL, err);
    if (rc == QUERN_OK) {
        const quern_hit *hit = quern_results_count(results) ? quern_results_at(results, 0) : NULL;
        printf("  best: %s %s\n", hit ? hit->key : "-", hit ? hit->excerpt : "");
    }
    quern_results_free(results);
    return rc;
}

static int one_round(sqlite3 *db, int round, quern_store *store, quern_embedder *embedder,
                     quern_error *err)
{
    quern_fill_options options;
    quern_fill_report report;
    if (sqlite3_exec(db, rounds[round], NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s\n", sqlite3_errmsg(db));
        return QUERN_EIO;
    }
    int rc = round == 0 ? declare_source(store, err) : QUERN_OK;
    QUERN_INIT(&options);
    QUERN_INIT(&report);
    options.source = "recipes";
    if (rc == QUERN_OK)
        rc = quern_fill(store, embedder, &options, &report, err);
    if (rc != QUERN_OK)
        return rc;
    printf("round %d: %d embedded, %d removed, %d of %d current\n", round + 1,
           (int)report.processed, (int)report.deleted, (int)report.done, (int)report.total);
    return show_search(store, embedder, err);
}

int main(int argc, char **argv)
{
    quern_model *model = NULL;
    quern_embedder *embedder = NULL;
    quern_store *store = NULL;
    quern_store_options options;
    quern_error err = {0};
    sqlite3 *db = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: worker_loop MODEL-FOLDER DATABASE\n");
        return 2;
    }
    QUERN_INIT(&options);
    options.db = argv[2];
    int rc = sqlite3_open(argv[2], &db) == SQLITE_OK ? QUERN_OK : QUERN_EIO;
    if (rc == QUERN_OK)
        rc = quern_model_open(&model, argv[1], NULL, &err);
    if (rc == QUERN_OK)
        rc = quern_embedder_from_model(&embedder, model, NULL, &err);
    if (rc == QUERN_OK)
        rc = quern_store_open(&store, &options, &err);
    for (int round = 0; rc == QUERN_OK && round < 3; round++)
        rc = one_round(db, round, store, embedder, &err);
    if (rc != QUERN_OK)
        fprintf(stderr, "%s\n", err.msg);
    quern_store_free(store);
    quern_embedder_free(embedder);
    quern_model_free(model);
    sqlite3_close(db);
    return rc == QUERN_OK ? 0 : 1;
}
