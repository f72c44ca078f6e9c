/*
 * cmd_similarity.c — the cosine of two texts and what else is asked of a pair, or the table of all pairs.
 */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TEXTS = 2000 }; /* a table of 4 million numbers */

typedef struct texts {
    text_item *items;
    quern_str *strings;
    float *vectors;
    size_t n, room;
    uint32_t dim;
} texts;

static void dispose(texts *t)
{
    for (size_t i = 0; i < t->n; i++)
        text_item_free(&t->items[i]);
    free(t->items);
    free(t->strings);
    free(t->vectors);
}

static int read_all(cli *c, texts *t, input **in, quern_error *err)
{
    int rc = input_open(in, c, NULL, err);
    while (rc == QUERN_OK) {
        if (t->n == t->room) {
            size_t room = t->room ? t->room * 2 : 16;
            text_item *grown = realloc(t->items, room * sizeof *grown);
            if (!grown)
                return no_memory(err);
            t->items = grown;
            t->room = room;
        }
        rc = input_next(*in, &t->items[t->n], err);
        if (rc != 1)
            return rc;
        rc = QUERN_OK;
        if (++t->n > MOST_TEXTS)
            return fail(err, QUERN_EINVAL, "--matrix: over %d texts; embed them instead",
                        MOST_TEXTS);
    }
    return rc;
}

static int embed_all(cli *c, texts *t, const input *in, quern_embedder *e, quern_error *err)
{
    quern_embed_options opt;
    QUERN_INIT(&opt);
    opt.as = option_as(c, QUERN_AS_DOCUMENT);
    opt.truncation =
        quern_config_flag(c->config, "truncate") ? QUERN_TRUNCATION_CUT : QUERN_TRUNCATION_ERROR;
    opt.cancel = c->cancel;
    t->dim = quern_embedder_dimensions(e);
    t->strings = calloc(t->n + 1, sizeof *t->strings);
    t->vectors = calloc(t->n * t->dim + 1, sizeof *t->vectors);
    if (!t->strings || !t->vectors)
        return no_memory(err);
    for (size_t i = 0; i < t->n; i++)
        t->strings[i] = t->items[i].text;
    int rc = quern_embed(e, t->strings, t->n, &opt, t->vectors, t->n * t->dim, NULL, err);
    if (rc == QUERN_ETOOLONG && err->subject >= 0 && (size_t)err->subject < t->n) {
        char place[48];
        input_place(in, t->items[err->subject].line, place);
        snprintf(err->msg, sizeof err->msg,
                 "%s: %lld tokens, the model reads %u; --truncate cuts it", place,
                 (long long)err->detail, quern_embedder_max_length(e));
    }
    return rc;
}

static void write_model(quern_embedder *e, const char *hash)
{
    put_key("model");
    put_text(quern_embedder_name(e));
    put_key("fingerprint");
    put_text(hash);
    put_end_object();
    put_line();
}

static int write_pair(const cli *c, const texts *t, quern_embedder *e, const char *hash,
                      quern_error *err)
{
    float cosine, dot, distance;
    const float *a = t->vectors, *b = t->vectors + t->dim;
    int rc = quern_cosine(a, b, t->dim, &cosine, err);
    if (rc == QUERN_OK)
        rc = quern_dot(a, b, t->dim, &dot, err);
    if (rc == QUERN_OK)
        rc = quern_l2_distance(a, b, t->dim, &distance, err);
    if (rc != QUERN_OK)
        return rc;
    float within = cosine > 1 ? 1 : cosine < -1 ? -1 : cosine;
    double angle = acos((double)within) * 180 / 3.14159265358979323846;
    if (!c->json) {
        out_printf("similarity %.4f\n", (double)cosine);
        if (!c->quiet)
            out_printf("dot        %.4f\ndistance   %.4f\nangle      %.1f degrees\n", (double)dot,
                       (double)distance, angle);
        return QUERN_OK;
    }
    put_object();
    put_key("similarity");
    put_float(cosine);
    put_key("dot");
    put_float(dot);
    put_key("distance");
    put_float(distance);
    put_key("angle");
    put_float((float)angle);
    write_model(e, hash);
    return QUERN_OK;
}

static void write_matrix_json(const texts *t, const float *m, quern_embedder *e, const char *hash)
{
    put_object();
    put_key("texts");
    put_array();
    for (size_t i = 0; i < t->n; i++)
        put_string(t->strings[i]);
    put_end_array();
    put_key("similarity");
    put_array();
    for (size_t i = 0; i < t->n; i++) {
        put_array();
        for (size_t j = 0; j < t->n; j++)
            put_float(m[i * t->n + j]);
        put_end_array();
    }
    put_end_array();
    write_model(e, hash);
}

static int write_matrix(const cli *c, const texts *t, quern_embedder *e, const char *hash,
                        quern_error *err)
{
    float *m = calloc(t->n * t->n + 1, sizeof *m);
    if (!m)
        return no_memory(err);
    int rc = t->n ? quern_cosine_matrix(t->vectors, t->n, t->vectors, t->n, t->dim, m, err) : 0;
    if (rc == QUERN_OK && c->json)
        write_matrix_json(t, m, e, hash);
    for (size_t i = 0; rc == QUERN_OK && !c->json && i < t->n; i++)
        for (size_t j = 0; j < t->n; j++)
            out_printf("%7.4f%s", (double)m[i * t->n + j], j + 1 < t->n ? " " : "\n");
    free(m);
    return rc;
}

int cmd_similarity(cli *c, quern_error *err)
{
    int matrix = quern_config_flag(c->config, "matrix");
    int rc = matrix ? QUERN_OK : args_need(c, 2, 2, err);
    if (rc != QUERN_OK)
        return rc;
    texts t = {0};
    input *in = NULL;
    quern_embedder *e = NULL;
    char *json = NULL, hash[65];
    rc = open_embedder(c, NULL, &e, err);
    if (rc == QUERN_OK)
        rc = read_all(c, &t, &in, err);
    if (rc == QUERN_OK)
        rc = embed_all(c, &t, in, e, err);
    if (rc == QUERN_OK)
        rc = quern_embedder_fingerprint(e, &json, hash, err);
    if (rc == QUERN_OK)
        rc = matrix ? write_matrix(c, &t, e, hash, err) : write_pair(c, &t, e, hash, err);
    quern_free(json);
    dispose(&t);
    input_free(in);
    quern_embedder_free(e);
    return rc;
}
