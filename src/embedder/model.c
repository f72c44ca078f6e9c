/*
 * model.c — quern_model: the files of one folder brought together. Readers below check their own file;
 * here the files are checked against each other (vocabulary against embedding rows, length against
 * positions), because a model whose parts disagree computes wrong vectors without complaint.
 *
 * Invariant: a model is immutable from the return of open to the last free, except for the weights
 * hash, which is computed at most once, under the mutex.
 */
#include "embedder/model_impl.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/cpu.h"
#include "base/fpenv.h"
#include "base/log.h"
#include "base/os.h"
#include "encoder/head.h"
#include "encoder/ort.h"
#include "encoder/quantised_file.h"
#include "kernels/classes.h"
#include "format/manifest.h"
#include "format/static_table.h"
#include "text/utf8.h"

enum { LENGTH_OF_GRAPH = 512 /* where nothing around an exported graph says more */ };

static const quern__weights_files *files_of(const quern_model *m)
{
    return m->graph ? m->graph : quern__weights_list_of(m->weights);
}

char *quern__model_file(const quern_model *m, const char *file)
{
    size_t n = strlen(m->path) + strlen(file) + 2;
    char *path = quern__alloc(n);
    if (path)
        snprintf(path, n, "%s/%s", m->path, file);
    return path;
}

static char *last_component(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    return quern__strndup(path + start, end - start);
}

/* Longest text in tokens: the caller's word, else the model's files in the order of their authority;
 * never more than there are position vectors. */
static int choose_max_length(quern_model *m, uint32_t asked, quern_error *err)
{
    uint32_t positions = m->config.positions;
    uint32_t least = quern__tokenizer_specials(m->tokenizer) + 1;
    uint64_t tokenizer_says = quern__tokenizer_model_max_length(m->tokenizer);
    if (asked > positions)
        return quern__fail(err, QUERN_EINVAL, asked,
                           "%s: maximum length %u is over the model's %u positions", m->name, asked,
                           positions);
    if (asked && asked < least)
        return quern__fail(err, QUERN_EINVAL, asked,
                           "%s: maximum length %u leaves no room for text; at least %u", m->name,
                           asked, least);
    if (asked)
        m->max_length = asked;
    else if (m->config.max_seq_length)
        m->max_length = QUERN__MIN(m->config.max_seq_length, positions);
    else if (tokenizer_says && (m->config.family[0] || tokenizer_says <= positions))
        m->max_length = (uint32_t)QUERN__MIN(tokenizer_says, (uint64_t)positions);
    else
        m->max_length = positions == QUERN__POSITIONS_UNKNOWN ? LENGTH_OF_GRAPH : positions;
    if (m->max_length < least)
        return quern__fail(err, QUERN_EFORMAT, m->max_length,
                           "%s: maximum length %u leaves no room for text", m->name, m->max_length);
    return QUERN_OK;
}

static const char *const class_names[] = {
    [QUERN_PRECISION_AUTO] = "auto", [QUERN_PRECISION_FP32] = "fp32",
    [QUERN_PRECISION_INT8] = "int8", [QUERN_PRECISION_BF16] = "bf16",
    [QUERN_PRECISION_FP16] = "fp16", [QUERN_PRECISION_INT4] = "int4",
};

const char *quern_precision_name(int precision)
{
    return precision >= 0 && (size_t)precision < QUERN__COUNT(class_names) ? class_names[precision]
                                                                           : NULL;
}

int quern_precision_named(const char *name)
{
    for (size_t i = 0; name && i < QUERN__COUNT(class_names); i++)
        if (strcmp(name, class_names[i]) == 0)
            return (int)i;
    return -1;
}

static int check_precision(int precision, quern_error *err)
{
    if (quern_precision_name(precision))
        return QUERN_OK;
    return quern__fail(err, QUERN_EUNSUPPORTED, precision,
                       "precision %d: this version computes fp32, int8, bf16, fp16 and int4",
                       precision);
}

static void count_parameters(quern_model *m, const quern__weights *w)
{
    for (size_t i = 0; i < quern__weights_count(w); i++) {
        const quern__tensor *t = quern__weights_at(w, i);
        if (t->dtype != QUERN__OTHER_DTYPE)
            m->parameters += t->count;
    }
}

/* The weights of the Dense modules; they stay open for their hashes, their pages do not. */
static int open_denses(quern_model *m, quern_error *err)
{
    int rc = QUERN_OK;
    for (uint32_t i = 0; rc == QUERN_OK && i < m->config.dense_count; i++) {
        char *path = quern__model_file(m, m->config.dense[i].path);
        rc = path ? quern__weights_open(&m->dense[i], path, err) : quern__fail_memory(err, 0);
        quern__free(path);
        if (rc == QUERN_OK)
            count_parameters(m, m->dense[i]);
    }
    return rc;
}

static void close_denses(quern_model *m)
{
    for (uint32_t i = 0; i < QUERN__DENSES; i++) {
        quern__weights_free(m->dense[i]);
        m->dense[i] = NULL;
    }
}

int quern__model_add_dense(const quern_model *m, quern__encoder *e, quern_error *err)
{
    if (!m->config.dense_count)
        return QUERN_OK;
    return quern__encoder_add_dense(e, &m->config, (const quern__weights *const *)m->dense, err);
}

/* Where no modules.json says how the model pools, its exported graph does. */
static int ask_graph(quern_model *m, quern_error *err)
{
    const quern__weights_graph *g = quern__weights_graph_of(m->weights);
    if (!g->pooling || m->config.pooling_stated)
        return QUERN_OK;
    if (g->pooling < 0)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "%s: its exported graph pools in a way that is not understood, and no "
                           "modules.json says how; quern model import --pooling says it",
                           m->name);
    m->config.pooling = g->pooling;
    m->pooling_of_graph = true;
    return QUERN_OK;
}

/* Nothing but the tokenizer says how much of a text a table in a module's folder reads. */
static int take_cut(quern_model *m, quern_error *err)
{
    bool left;
    const uint64_t cut = quern__tokenizer_cut(m->tokenizer, &left);
    if (!cut)
        return QUERN_OK;
    if (left)
        return quern__fail(
            err, QUERN_EUNSUPPORTED, 0,
            "%s: its tokenizer.json keeps the end of a long text (truncation), which "
            "is not supported",
            m->name);
    m->config.max_seq_length = (uint32_t)QUERN__MIN(cut, (uint64_t)m->config.positions);
    return QUERN_OK;
}

static int open_tokenizer(quern_model *m, quern_error *err)
{
    char *path = quern__model_file(m, m->config.table_path);
    int rc = path ? quern__tokenizer_open(&m->tokenizer, path, err) : quern__fail_memory(err, 0);
    quern__free(path);
    if (rc == QUERN_OK && m->config.table_path[0])
        rc = take_cut(m, err);
    if (rc == QUERN_OK && m->config.lower && !quern__tokenizer_lowers(m->tokenizer))
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0,
                         "%s: do_lower_case is true in sentence_bert_config.json, and the "
                         "tokenizer does not lower-case, which is not supported",
                         m->name);
    return rc;
}

static int open_folder(quern_model *m, quern_error *err)
{
    char *path = NULL;
    int rc = quern__model_config_read(&m->config, m->path, err);
    if (rc == QUERN_OK && !(path = quern__model_file(m, m->config.table_path)))
        rc = quern__fail_memory(err, 0);
    if (rc == QUERN_OK)
        rc = quern__weights_open(&m->weights, path, err);
    quern__free(path);
    if (rc == QUERN_OK && m->config.table)
        rc = quern__static_table_measure(&m->config, m->weights, err);
    if (rc == QUERN_OK)
        rc = ask_graph(m, err);
    return rc ? rc : open_tokenizer(m, err);
}

static int open_files(quern_model *m, const quern_model_options *opt, quern_error *err)
{
    int rc = m->alone ? QUERN_OK : quern__model_find_alone(m, err);
    if (rc == QUERN_OK)
        rc = m->alone ? quern__model_open_alone(m, err) : open_folder(m, err);
    if (rc == QUERN_OK)
        rc = quern__model_config_cut(&m->config, opt->dimensions, opt->force_dimensions, m->name,
                                     err);
    if (rc != QUERN_OK)
        return rc;
    if (quern__tokenizer_vocab_size(m->tokenizer) > m->config.vocab)
        return quern__fail(err, QUERN_EFORMAT, 0,
                           "%s: the tokenizer has %u ids, the embedding table %u rows", m->name,
                           quern__tokenizer_vocab_size(m->tokenizer), m->config.vocab);
    quern__model_config_pooling(&m->config, m->pooling);
    count_parameters(m, m->weights);
    return open_denses(m, err);
}

/* ---- the class int8, and which class it is ---- */

static const char *quantised_name(bool four)
{
    return four ? QUERN__FOUR_NAME : QUERN__QUANTISED_NAME;
}

/* Of other weights, or of these under another config.json, its numbers would be of neither. */
static int check_made_from(quern_model *m, const char *path, const quern__quantised_file *file,
                           bool four, quern_error *err)
{
    if (file->four != four)
        return quern__fail(err, QUERN_EMISMATCH, 0,
                           "%s: its weights are those of the class %s; %s makes them anew", path,
                           file->four ? "int4" : "int8", quern__quantise_command(four));
    char weights[65], architecture[65] = "";
    int rc = quern_model_weights_sha256(m, weights, err);
    if (rc == QUERN_OK)
        rc = quern__model_config_architecture_sha256(&m->config, architecture, err);
    if (rc == QUERN_OK && strcmp(weights, file->source) != 0)
        rc =
            quern__fail(err, QUERN_EMISMATCH, 0,
                        "%s: made from other weights (sha256 %.12s…, the model's %.12s…); %s makes "
                        "them anew",
                        path, file->source, weights, quern__quantise_command(four));
    else if (rc == QUERN_OK && strcmp(architecture, file->architecture) != 0)
        rc = quern__fail(err, QUERN_EMISMATCH, 0,
                         "%s: made under another config.json (its heads, layers or epsilon: "
                         "architecture %.12s…, now %.12s…); %s makes them anew",
                         path, file->architecture, architecture, quern__quantise_command(four));
    return rc;
}

/* The quantised weights beside the others. */
static int open_quantised(quern_model *m, bool four, quern__quantised_file *file, uint64_t *bytes,
                          quern_error *err)
{
    quern__stat st = {0};
    char *path = quern__model_file(m, quantised_name(four));
    memset(file, 0, sizeof *file);
    int rc = path ? quern__stat_path(path, &st, err) : quern__fail_memory(err, 0);
    if (rc == QUERN_OK && !st.exists)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "%s has no %s weights yet; %s makes them",
                         m->name, four ? "int4" : "int8", quern__quantise_command(four));
    if (rc == QUERN_OK) /* first whose they are: then what is wrong with their shapes */
        rc = quern__quantised_peek(file, path, err);
    if (rc == QUERN_OK)
        rc = check_made_from(m, path, file, four, err);
    if (rc == QUERN_OK)
        rc = quern__quantised_open(file, path, &m->config, err);
    if (rc == QUERN_OK)
        rc = check_made_from(m, path, file, four, err);
    if (rc != QUERN_OK)
        quern__quantised_close(file);
    *bytes = st.size;
    quern__free(path);
    return rc;
}

static int look_beside(quern_model *m, bool four, quern_int8_info *info, quern_error *err)
{
    QUERN__REQUIRE(m, err);
    QUERN__REQUIRE(info && info->struct_size >= sizeof *info, err);
    quern__quantised_file file;
    if (m->ort || m->alone)
        return quern__fail(err, QUERN_ENOTFOUND, 0, "%s: %s has no quantised weights beside it",
                           m->name, m->ort ? "an exported graph" : "a GGUF file that stands alone");
    int rc = open_quantised(m, four, &file, &info->bytes, err);
    if (rc != QUERN_OK)
        return rc;
    info->cosine_mean = (double)file.fidelity.mean;
    info->cosine_worst = (double)file.fidelity.worst;
    info->ranking = (double)file.fidelity.ranking;
    info->passed = quern__fidelity_passes(&file.fidelity, four);
    memcpy(info->checksum, file.checksum, sizeof info->checksum);
    quern__quantised_close(&file);
    return QUERN_OK;
}

int quern_model_int8(quern_model *m, quern_int8_info *info, quern_error *err)
{
    return look_beside(m, false, info, err);
}

int quern_model_int4(quern_model *m, quern_int8_info *info, quern_error *err)
{
    return look_beside(m, true, info, err);
}

/* What AUTO is where nothing has been embedded yet, by what the file says of itself. *there: there is one. What is wrong
 * with it is for those to hear who would take it. */
static int look_at_int8(quern_model *m, bool *there, int *anew, quern_error *err)
{
    quern__quantised_file head = {0};
    quern__stat st = {0};
    quern_error why = {0};
    char weights[65], *path = quern__model_file(m, QUERN__QUANTISED_NAME);
    *anew = QUERN_PRECISION_FP32;
    int rc = path ? quern__stat_path(path, &st, err) : quern__fail_memory(err, 0);
    *there = rc == QUERN_OK && st.exists;
    if (*there)
        rc = quern_model_weights_sha256(m, weights, err);
    if (*there && rc == QUERN_OK) {
        int read = quern__quantised_peek(&head, path, &why);
        if (read == QUERN_OK)
            read = check_made_from(m, path, &head, false, &why);
        if (read == QUERN_OK && quern__fidelity_passes(&head.fidelity, false))
            *anew = QUERN_PRECISION_INT8;
        rc = read == QUERN_ENOMEM ? quern__fail_memory(err, 0) : QUERN_OK;
    }
    quern__free(path);
    return rc;
}

/* A file that is not taken is looked at whole: a byte of it that has changed shall not choose the class. One that is not this
 * model's, by its weights, its config.json or its version, may have any shape. */
static int check_passed_over(quern_model *m, quern_error *err)
{
    quern__quantised_file file = {0};
    quern_error why;
    char *path = quern__model_file(m, QUERN__QUANTISED_NAME);
    if (!path)
        return quern__fail_memory(err, 0);
    int rc = quern__quantised_peek(&file, path, &why);
    if (rc == QUERN_OK)
        rc = check_made_from(m, path, &file, false, &why);
    if (rc == QUERN_EMISMATCH) {
        rc = quern__quantised_verify(path, err);
        if (rc == QUERN_OK)
            quern__log(QUERN_LOG_WARN, "model", "%s; fp32 computes", why.msg);
    } else {
        rc = quern__quantised_open(&file, path, &m->config, err);
        quern__quantised_close(&file);
    }
    quern__free(path);
    return rc;
}

static int choose_class(quern_model *m, const quern_model_options *opt, int *precision,
                        char calibration[65], quern_error *err)
{
    char weights[65];
    bool there = false;
    int anew = QUERN_PRECISION_FP32, rc;
    calibration[0] = 0;
    *precision = opt ? opt->precision : QUERN_PRECISION_AUTO;
    if (*precision != QUERN_PRECISION_AUTO)
        return QUERN_OK;
    rc = m->config.table || m->alone ? QUERN_OK : look_at_int8(m, &there, &anew, err);
    if (rc == QUERN_OK && opt && opt->choose) {
        rc = quern_model_weights_sha256(m, weights, err);
        if (rc == QUERN_OK)
            rc = opt->choose(weights, anew, opt->choose_ud, precision, calibration, err);
        if (rc == QUERN_OK)
            rc = check_precision(*precision, err);
    }
    if (rc == QUERN_OK && *precision == QUERN_PRECISION_AUTO) {
        *precision = anew;
        if (there && anew == QUERN_PRECISION_FP32)
            rc = check_passed_over(m, err);
    }
    return rc;
}

/* The file is as it was made, by its size and time in the manifest: then its own word for its checksum will do. */
static bool is_known(const quern_model *m, bool four, const char *path)
{
    quern__stat st;
    quern__manifest *manifest = quern__calloc(1, sizeof *manifest);
    const quern__manifest_file *f =
        manifest && quern__manifest_read(manifest, m->path, NULL) == QUERN_OK
            ? quern__manifest_find(manifest, quantised_name(four))
            : NULL;
    const bool known =
        f && quern__stat_path(path, &st, NULL) == QUERN_OK && quern__manifest_agrees(f, &st);
    quern__free(manifest);
    return known;
}

/* Where packed weights are kept, if they are to be: place->folder is then *folder, the caller's to free. */
static int find_place(const quern_model_options *opt, quern__image_place *place, char **folder,
                      quern_error *err)
{
    memset(place, 0, sizeof *place);
    *folder = NULL;
    if (!opt || !opt->packed)
        return QUERN_OK;
    int rc = QUERN_OK;
    if (!opt->packed[0]) {
        if (quern__image_default_folder(folder, err) == QUERN_ENOMEM)
            return QUERN_ENOMEM; /* no place at all: nothing is kept */
    } else if (!(*folder = quern__strdup(opt->packed))) {
        rc = quern__fail_memory(err, strlen(opt->packed));
    }
    place->folder = *folder;
    place->limit = opt->packed_limit ? opt->packed_limit : (uint64_t)2 << 30;
    place->map = !opt->no_mmap;
    return rc;
}

/* Before the encoder's memory is asked for. */
static int ask_bound(const quern_model *m, const quern__quantised *quantised, quern_error *err)
{
    uint64_t bytes;
    if (!m->bound)
        return QUERN_OK;
    int rc = quern__encoder_measure(&m->config, m->weights, m->kernels, m->int8, quantised,
                                    m->max_length, &bytes, err);
    return rc == QUERN_OK ? m->bound->ask(m->bound->ud, bytes, err) : rc;
}

/* From an image, when there is one of a file that is known: the only way on which its numbers are not read. *done: it was. */
static int open_image(quern_model *m, bool four, const char *calibration, quern__image_place *place,
                      bool *done, quern_error *err)
{
    quern__quantised_file file = {0};
    char weights[65], *path = quern__model_file(m, quantised_name(four));
    *done = false;
    int rc = path ? quern_model_weights_sha256(m, weights, err) : quern__fail_memory(err, 0);
    if (rc == QUERN_OK && is_known(m, four, path) &&
        quern__quantised_open_known(&file, path, &m->config, NULL) == QUERN_OK &&
        check_made_from(m, path, &file, four, NULL) == QUERN_OK &&
        (!calibration[0] || strcmp(calibration, file.checksum) == 0))
        rc = quern__image_key(place, weights, file.checksum, &file.fidelity, m->kernels, m->int8,
                              err);
    if (rc == QUERN_OK && place->key[0] && quern__image_is_there(place)) {
        place->only = true; /* nobody has looked at the numbers: nothing is packed from them */
        rc = ask_bound(m, file.numbers, err);
        if (rc == QUERN_OK)
            rc = quern__encoder_open_kept(&m->encoder, &m->config, m->weights, file.numbers,
                                          m->kernels, m->int8, m->max_length, place, err);
        place->only = false;
        *done = rc == QUERN_OK;
        rc = rc == QUERN_ENOTFOUND ? QUERN_OK : rc;
    }
    if (*done)
        memcpy(m->calibration, file.checksum, sizeof m->calibration);
    quern__quantised_close(&file);
    quern__free(path);
    return rc;
}

/* int8, or int4, which is the same with other weights. */
static int open_int8(quern_model *m, const char *calibration, const quern_model_options *opt,
                     quern_error *err)
{
    quern__quantised_file file = {0};
    quern__image_place place;
    char *folder = NULL, weights[65];
    uint64_t bytes;
    bool done = false;
    const bool four = m->precision == QUERN_PRECISION_INT4;
    m->int8 = quern__int8_pick(quern__cpu_allowed());
    int rc = QUERN_OK;
    if (m->alone)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0,
                         "%s: a GGUF file that stands alone has no quantised weights; put the "
                         "model's JSON files beside it",
                         m->name);
    if (rc == QUERN_OK)
        rc = find_place(opt, &place, &folder, err);
    if (rc == QUERN_OK && folder)
        rc = open_image(m, four, calibration, &place, &done, err);
    if (rc != QUERN_OK || done) {
        quern__free(folder);
        return rc;
    }
    rc = open_quantised(m, four, &file, &bytes, err);
    if (rc == QUERN_ENOTFOUND && calibration[0]) /* and no reason to take another engine */
        rc = quern__code(
            err,
            quern__fail(err, QUERN_EMISMATCH, 0,
                        "%s: the vectors were made with %s weights (calibration %.12s…) that "
                        "the model has no longer; %s makes them",
                        m->name, quern_precision_name(m->precision), calibration,
                        quern__quantise_command(four)),
            "index_stale");
    else if (rc == QUERN_EMISMATCH && calibration[0])
        rc = quern__code(err, rc, "index_stale"); /* these made no vector that is there */
    if (rc == QUERN_OK && calibration[0] && strcmp(calibration, file.checksum) != 0)
        rc = quern__code(
            err,
            quern__fail(err, QUERN_EMISMATCH, 0,
                        "%s: the vectors were made with other %s weights (calibration %.12s…) "
                        "than the model's now (%.12s…); --precision %s makes all anew",
                        m->name, quern_precision_name(m->precision), calibration, file.checksum,
                        quern_precision_name(m->precision)),
            "index_stale");
    if (rc == QUERN_OK && folder)
        rc = quern_model_weights_sha256(m, weights, err);
    if (rc == QUERN_OK && folder)
        rc = quern__image_key(&place, weights, file.checksum, &file.fidelity, m->kernels, m->int8,
                              err);
    if (rc == QUERN_OK)
        rc = ask_bound(m, file.numbers, err);
    if (rc == QUERN_OK) {
        memcpy(m->calibration, file.checksum, sizeof m->calibration);
        rc = quern__encoder_open_kept(&m->encoder, &m->config, m->weights, file.numbers, m->kernels,
                                      m->int8, m->max_length, folder ? &place : NULL, err);
    }
    quern__quantised_close(&file);
    quern__free(folder);
    return rc;
}

/* bf16: the vectors that these must stand beside may be of the other kind of machine. */
static int check_order(const quern_model *m, const char *order, quern_error *err)
{
    if (!order[0] || !m->kernels->order || strcmp(order, m->kernels->order) == 0)
        return QUERN_OK;
    return quern__code(
        err,
        quern__fail(
            err, QUERN_EMISMATCH, 0,
            "%s: the vectors were made in bf16 on another kind of machine (sums by %s, here "
            "by %s): use such a one, or --cpu; --precision bf16 makes all anew",
            m->name, order, m->kernels->order),
        "index_stale");
}

static int open_encoder(quern_model *m, const quern_model_options *opt, quern_error *err)
{
    char calibration[65];
    int precision = QUERN_PRECISION_FP32;
    int rc = choose_class(m, opt, &precision, calibration, err);
    m->precision = precision;
    m->kernels =
        quern__kernels_of(quern__model_matrices(precision), quern__cpu_allowed(), &m->room);
    if (rc == QUERN_OK && m->kernels->base && m->config.table)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0,
                         "%s: a static table has no matrices that %s could be for; its class is "
                         "fp32",
                         m->name, quern_precision_name(precision));
    if (rc == QUERN_OK)
        rc = check_order(m, calibration, err);
    if (rc == QUERN_OK && (precision == QUERN_PRECISION_INT8 || precision == QUERN_PRECISION_INT4))
        return open_int8(m, calibration, opt, err);
    if (rc == QUERN_OK)
        rc = ask_bound(m, NULL, err);
    if (rc == QUERN_OK)
        rc = quern__encoder_open(&m->encoder, &m->config, m->weights, m->kernels, m->max_length,
                                 err);
    return rc;
}

static void forget_all(const quern__weights *w)
{
    for (size_t i = 0; i < quern__weights_count(w); i++)
        quern__weights_forget(w, quern__weights_at(w, i));
}

static int open_native(quern_model *m, const quern_model_options *opt, quern_error *err)
{
    int rc = open_files(m, opt, err);
    if (rc == QUERN_OK)
        rc = choose_max_length(m, opt->max_length, err);
    if (rc == QUERN_OK)
        rc = open_encoder(m, opt, err);
    if (rc == QUERN_OK)
        rc = quern__model_add_dense(m, m->encoder, err);
    for (uint32_t i = 0; rc == QUERN_OK && i < m->config.dense_count; i++)
        forget_all(m->dense[i]);
    return rc;
}

/* The other engines take nothing from a try of the native one. */
static void close_native(quern_model *m)
{
    quern__encoder_free(m->encoder);
    quern__tokenizer_free(m->tokenizer);
    quern__weights_free(m->weights);
    close_denses(m);
    m->int8 = NULL;
    m->precision = QUERN_PRECISION_FP32;
    m->kernels = quern__kernels_pick(quern__cpu_allowed());
    m->calibration[0] = 0;
    m->weights_sha256[0] = 0;
    m->encoder = NULL;
    m->tokenizer = NULL;
    m->weights = NULL;
    m->parameters = 0;
    memset(&m->config, 0, sizeof m->config);
}

/* ---- ONNX Runtime ---- */

/* What follows the graph's tokens; a vector of a whole text is behind pooling and modules already. */
static int open_head(quern_model *m, const quern_model_options *opt, quern_error *err)
{
    quern__model_config *c = &m->config;
    const bool pools = quern__ort_pools(m->ort);
    snprintf(m->pooling, sizeof m->pooling, "graph");
    if (pools) {
        quern__model_config_pooling(c, m->pooling);
    } else {
        c->pooling = QUERN__POOL_MEAN; /* of one row */
        c->dense_count = 0;
    }
    int rc = quern__model_config_cut(c, opt->dimensions, opt->force_dimensions, m->name, err);
    if (rc == QUERN_OK)
        rc = open_denses(m, err);
    if (rc == QUERN_OK)
        rc =
            quern__head_open(&m->head, c, (const quern__weights *const *)m->dense, m->kernels, err);
    for (uint32_t i = 0; rc == QUERN_OK && i < c->dense_count; i++)
        forget_all(m->dense[i]);
    return rc;
}

/* Its files before the runtime opens them, for their hash. */
static int look_at_graph(quern_model *m, quern_error *err)
{
    int rc = QUERN_OK;
    m->graph_opened = quern__calloc(m->graph->n + 1, sizeof *m->graph_opened);
    if (!m->graph_opened)
        return quern__fail_memory(err, m->graph->n * sizeof *m->graph_opened);
    for (uint32_t i = 0; rc == QUERN_OK && i < m->graph->n; i++) {
        char *path = quern__model_file(m, m->graph->name[i]);
        rc = path ? quern__stat_path(path, &m->graph_opened[i], err) : quern__fail_memory(err, 0);
        quern__free(path);
    }
    return rc;
}

static int open_graph(quern_model *m, const quern_model_options *opt, const quern__tokens *probe,
                      quern_error *err)
{
    const quern_runtime_options *r = opt->runtime;
    static const struct {
        int number; /* ONNX Runtime's */
        const char *name;
    } optimization[] = {[QUERN_ORT_ALL] = {99, "all"},
                        [QUERN_ORT_DISABLED] = {0, "disabled"},
                        [QUERN_ORT_BASIC] = {1, "basic"},
                        [QUERN_ORT_EXTENDED] = {2, "extended"}};
    static const int devices[] = {[QUERN_DEVICE_CPU] = QUERN__ORT_CPU,
                                  [QUERN_DEVICE_CUDA] = QUERN__ORT_CUDA,
                                  [QUERN_DEVICE_AUTO] = QUERN__ORT_ANY_DEVICE};
    const quern__ort_options how = {.library = r->ort_library,
                                    .device = devices[r->device],
                                    .strict = r->strict_device != 0,
                                    .optimization = optimization[r->ort_optimization].number,
                                    .intra_threads = r->intra_threads,
                                    .inter_threads = r->inter_threads,
                                    .probe = probe->ids,
                                    .probe_tokens = probe->n};
    char *path = quern__model_file(m, m->graph->name[m->graph->graph]);
    int rc = path ? look_at_graph(m, err) : quern__fail_memory(err, 0);
    if (rc == QUERN_OK)
        rc = quern__ort_open(&m->ort, path, &how, err);
    quern__free(path);
    if (rc)
        return rc;
    m->graph_bytes = m->graph_opened[m->graph->graph].size;
    m->device_note = quern__ort_device_note(m->ort);
    m->optimization = optimization[r->ort_optimization].name;
    snprintf(m->backend, sizeof m->backend, "onnxruntime %s", quern__ort_version(m->ort));
    const uint32_t wide = quern__ort_dimensions(m->ort);
    if (quern__ort_pools(m->ort) && m->config.hidden && m->config.hidden != wide)
        return quern__fail(err, QUERN_EFORMAT, wide,
                           "%s: %s gives %u dimensions, the files beside it say %u", m->name,
                           m->graph->name[m->graph->graph], wide, m->config.hidden);
    m->config.hidden = wide;
    return open_head(m, opt, err);
}

static int open_ort(quern_model *m, const quern_model_options *opt, quern_error *err)
{
    quern__tokens probe;
    quern__tokens_init(&probe);
    int rc = QUERN_OK;
    if (opt->precision != QUERN_PRECISION_AUTO)
        return quern__fail(err, QUERN_EUNSUPPORTED, opt->precision,
                           "%s: an exported graph has the precision that it was exported with; "
                           "leave the precision auto",
                           m->name);
    m->graph = quern__calloc(1, sizeof *m->graph);
    if (!m->graph)
        return quern__fail_memory(err, sizeof *m->graph);
    rc = quern__weights_list_graph(m->graph, m->path, err);
    if (rc == QUERN_OK)
        rc = quern__model_config_around(&m->config, m->path, err);
    if (rc == QUERN_OK)
        rc = open_tokenizer(m, err);
    if (rc == QUERN_OK)
        rc = choose_max_length(m, opt->max_length, err);
    if (rc == QUERN_OK)
        rc = quern__tokenize(m->tokenizer, quern_str_of("a"), 0, &probe, err);
    if (rc == QUERN_OK && !probe.n)
        rc = quern__fail(err, QUERN_EFORMAT, 0, "%s: its tokenizer makes no token of \"a\"",
                         m->name);
    if (rc == QUERN_OK)
        rc = open_graph(m, opt, &probe, err);
    quern__tokens_dispose(&probe);
    return rc;
}

/* Natively where that reads the folder, else by its graph; what neither can is told in both's words. */
static int open_either(quern_model *m, const quern_model_options *opt, quern_error *err)
{
    quern_error native, graph;
    int rc = open_native(m, opt, &native);
    if (rc == QUERN_OK)
        return rc;
    if (m->named || (rc != QUERN_EUNSUPPORTED && rc != QUERN_ENOTFOUND))
        return quern__code(err, quern__fail(err, rc, native.detail, "%s", native.msg), native.code);
    close_native(m);
    if (open_ort(m, opt, &graph) == QUERN_OK)
        return QUERN_OK;
    return quern__fail(err, rc, native.detail, "%s; with ONNX Runtime: %s", native.msg, graph.msg);
}

/* The processor is all that the native engine has. */
static int check_device(quern_model *m, const quern_runtime_options *r, quern_error *err)
{
    m->device_note = "";
    if (r->device != QUERN_DEVICE_CUDA)
        return QUERN_OK;
    m->device_note = "quern's own engine computes on the processor; --backend ort can use CUDA";
    return r->strict_device
               ? quern__fail(err, QUERN_EUNSUPPORTED, 0, "device cuda: %s", m->device_note)
               : QUERN_OK;
}

static int open_backend(quern_model *m, const quern_model_options *opt, quern_error *err)
{
    const quern_runtime_options *r = opt->runtime;
    snprintf(m->backend, sizeof m->backend, "native");
    if (m->named && r->backend == QUERN_BACKEND_ORT)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "%s: a GGUF file is computed by quern itself; leave the backend native",
                           m->name);
    int rc = r->backend == QUERN_BACKEND_ORT    ? open_ort(m, opt, err)
             : r->backend == QUERN_BACKEND_AUTO ? open_either(m, opt, err)
                                                : open_native(m, opt, err);
    return rc == QUERN_OK && !m->ort ? check_device(m, r, err) : rc;
}

static int check_runtime(const quern_runtime_options *r, quern_error *err)
{
    QUERN__REQUIRE(r->struct_size >= sizeof *r, err);
    QUERN__REQUIRE(r->backend >= QUERN_BACKEND_NATIVE && r->backend <= QUERN_BACKEND_AUTO, err);
    QUERN__REQUIRE(r->device >= QUERN_DEVICE_CPU && r->device <= QUERN_DEVICE_AUTO, err);
    QUERN__REQUIRE(
        r->ort_optimization >= QUERN_ORT_ALL && r->ort_optimization <= QUERN_ORT_EXTENDED, err);
    QUERN__REQUIRE(r->intra_threads <= 1024 && r->inter_threads <= 1024, err);
    return QUERN_OK;
}

int quern_model_open(quern_model **out, const char *folder, const quern_model_options *opt,
                     quern_error *err)
{
    return quern__model_open_bounded(out, folder, opt, NULL, err);
}

int quern__model_open_bounded(quern_model **out, const char *folder, const quern_model_options *opt,
                              const quern__bound *bound, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(folder && *folder, err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    quern__stat st;
    quern_model_options how;
    quern_runtime_options native;
    QUERN_INIT(&how);
    QUERN_INIT(&native);
    if (opt) /* an older caller's is shorter */
        memcpy(&how, opt, QUERN__MIN(opt->struct_size, sizeof how));
    how.runtime = how.runtime ? how.runtime : &native;
    int rc = check_precision(how.precision, err);
    if (rc == QUERN_OK)
        rc = check_runtime(how.runtime, err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(folder, &st, err);
    if (rc != QUERN_OK)
        return rc;
    const bool alone = st.is_file && quern__weights_alone(folder);
    if (!st.exists || !(st.is_dir || alone))
        return quern__fail(err, QUERN_ENOTFOUND, 0, "%s: no such model folder", folder);

    quern_model *m = quern__calloc(1, sizeof *m);
    if (!m)
        return quern__fail_memory(err, sizeof *m);
    atomic_init(&m->holders, 1);
    m->kernels = quern__kernels_pick(quern__cpu_allowed());
    m->precision = QUERN_PRECISION_FP32;
    m->named = alone;
    m->name = how.name ? quern__strdup(how.name) : last_component(folder);
    quern__fpenv env = quern__fpenv_enter();
    if (alone)
        rc = quern__model_split(m, folder, err);
    else if (!(m->path = quern__strdup(folder)))
        rc = quern__fail_memory(err, 0);
    if (rc == QUERN_OK)
        rc = m->name ? quern__mutex_new(&m->mutex, err) : quern__fail_memory(err, 0);
    m->bound = bound;
    if (rc == QUERN_OK)
        rc = open_backend(m, &how, err);
    m->bound = NULL;
    quern__fpenv_leave(env);
    if (rc != QUERN_OK) {
        quern_model_free(m);
        return rc;
    }
    *out = m;
    return QUERN_OK;
}

quern_model *quern__model_hold(quern_model *m)
{
    atomic_fetch_add(&m->holders, 1);
    return m;
}

void quern_model_free(quern_model *m)
{
    if (!m || atomic_fetch_sub(&m->holders, 1) != 1)
        return;
    quern__encoder_free(m->encoder);
    quern__ort_free(m->ort);
    quern__head_free(m->head);
    quern__free(m->graph);
    quern__free(m->graph_opened);
    quern__tokenizer_free(m->tokenizer);
    quern__weights_free(m->weights);
    close_denses(m);
    quern__mutex_free(m->mutex);
    quern__free(m->name);
    quern__free(m->path);
    quern__free(m->alone);
    quern__free(m);
}

const quern__encoder *quern__model_encoder(const quern_model *m)
{
    return m->encoder;
}

const quern__ort *quern__model_ort(const quern_model *m)
{
    return m->ort;
}

const quern__head *quern__model_head(const quern_model *m)
{
    return m->head;
}

const quern__weights *quern__model_weights(const quern_model *m)
{
    return m->weights;
}

const quern__tokenizer *quern__model_tokenizer(const quern_model *m)
{
    return m->tokenizer;
}

const quern__model_config *quern__model_settings(const quern_model *m)
{
    return &m->config;
}

const char *quern__model_name(const quern_model *m)
{
    return m->name;
}

uint32_t quern_model_dimensions(const quern_model *m)
{
    return m->config.dimensions ? m->config.dimensions : quern__model_config_width(&m->config);
}

uint32_t quern_model_max_length(const quern_model *m)
{
    return m->max_length;
}

int quern_model_describe(const quern_model *m, quern_model_info *info, quern_error *err)
{
    QUERN__REQUIRE(m, err);
    QUERN__REQUIRE(info && info->struct_size >= sizeof(size_t), err);
    quern_model_info full;
    QUERN_INIT(&full);
    full.name = m->name;
    full.path = m->path;
    full.family = m->config.family;
    full.pooling = m->pooling;
    full.pooling_origin = m->ort && !quern__ort_pools(m->ort)
                              ? quern__weights_format_name(QUERN__ONNX)
                          : m->alone                 ? quern__weights_format_name(QUERN__GGUF)
                          : m->config.pooling_stated ? "modules.json"
                          : m->pooling_of_graph      ? quern__weights_format_name(QUERN__ONNX)
                                                     : "assumed";
    full.precision = quern__model_precision(m);
    full.kernels = m->int8 ? m->int8->name : quern__kernels_name(m->kernels);
    full.backend = m->backend;
    full.device = m->ort ? quern__ort_device_name(m->ort) : "cpu";
    full.device_note = m->device_note;
    full.prompt_query = m->config.prompt_query;
    full.prompt_document = m->config.prompt_document;
    full.dimensions = quern_model_dimensions(m);
    full.full_dimensions = quern__model_config_width(&m->config);
    full.modules = m->config.dense_count;
    full.max_sequence_length = m->max_length;
    full.layers = m->config.layers;
    full.heads = m->config.heads;
    full.vocabulary = m->config.vocab;
    full.parameters = m->parameters;
    full.bytes = m->ort ? m->graph_bytes : quern__weights_bytes(m->weights);
    full.normalize = m->config.normalize;
    const quern__weights_files *files = files_of(m);
    full.weights_format = quern__weights_format_name(files->format);
    full.weights_file = files->index[0] ? files->index : files->name[files->graph];
    full.calibration = m->calibration;
    full.held = m->encoder ? quern__encoder_bytes(m->encoder) : full.bytes;
    full.kept = m->encoder && quern__encoder_has_image(m->encoder);
    full.quantizable = m->encoder && !m->alone;
    /* An older caller has a shorter struct, a newer one a longer: fill what both know. */
    size_t asked = info->struct_size, n = QUERN__MIN(asked, sizeof full);
    memcpy(info, &full, n);
    info->struct_size = asked;
    return QUERN_OK;
}

/* ---- tokens ---- */

/* A static table has rows for what is in the text: neither for special tokens nor, as a rule, for the unknown one. */
int quern__model_tokens(const quern_model *m, quern_str text, uint32_t most, quern__tokens *out,
                        quern_error *err)
{
    if (!m->config.table)
        return quern__tokenize(m->tokenizer, text, most, out, err);
    const int32_t unknown = m->config.unknown_row ? -1 : quern__tokenizer_unknown(m->tokenizer);
    uint32_t n = 0;
    int rc = quern__tokenize_plain(m->tokenizer, text, out, err);
    for (uint32_t i = 0; rc == QUERN_OK && i < out->n; i++)
        if (out->ids[i] != unknown) {
            out->ids[n] = out->ids[i];
            out->start[n] = out->start[i];
            out->end[n] = out->end[i];
            out->special[n++] = out->special[i];
        }
    out->full = rc ? 0 : n;
    out->n = rc ? 0 : most && n > most ? most : n;
    return rc;
}

int quern_model_tokenize(const quern_model *m, quern_str text, quern_tokens **out, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(m && (text.ptr || !text.len), err);
    size_t bad = quern__utf8_check(text.ptr, text.len);
    if (bad < text.len)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)bad, "text is not UTF-8 at byte %zu", bad);
    quern__tokens t;
    quern__tokens_init(&t);
    int rc = quern__model_tokens(m, text, 0, &t, err);
    if (rc == QUERN_OK) {
        /* One block: the struct, then its arrays. */
        size_t per_token = sizeof(int32_t) + 2 * sizeof(uint32_t) + 1;
        quern_tokens *r = quern__alloc(sizeof *r + per_token * t.n);
        if (r) {
            int32_t *ids = (int32_t *)(void *)(r + 1);
            uint32_t *start = (uint32_t *)(ids + t.n), *end = start + t.n;
            uint8_t *special = (uint8_t *)(end + t.n);
            if (t.n) {
                memcpy(ids, t.ids, t.n * sizeof *ids);
                memcpy(start, t.start, t.n * sizeof *start);
                memcpy(end, t.end, t.n * sizeof *end);
                memcpy(special, t.special, t.n);
            }
            r->n = t.n;
            r->ids = ids;
            r->start = start;
            r->end = end;
            r->special = special;
            *out = r;
        } else {
            rc = quern__fail_memory(err, per_token * t.n);
        }
    }
    quern__tokens_dispose(&t);
    return rc;
}

void quern_tokens_free(quern_tokens *t)
{
    quern__free(t);
}

const char *quern_model_token_text(const quern_model *m, int32_t id)
{
    return quern__tokenizer_text(m->tokenizer, id);
}
