/*
 * eval_report.c — reads the report of an evaluation and holds it against its thresholds.
 *
 * What the report says of itself ("passed") is not believed but compared with its own figures: a file that says both is
 * broken or forged, and neither is a reason to switch. Members that are not known are passed over, so that a
 * report may say more; those that are known must be right, and all of them there. The fingerprint and not the
 * generation's number decides whose report it is: numbers begin anew in another database.
 */
#include "quern/eval.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/os.h"

enum { DEPTH = 16, VALUES = 20000, METRICS = 1000 };

static const char FORMAT[] = "quern-eval/1";

static int no_report(quern_error *err, const char *why, const char *what)
{
    return quern__fail(err, QUERN_EFORMAT, 0, "not a report of an evaluation: %s%.100s", why, what);
}

static int load(json_t **out, const char *json, size_t len, quern_error *err)
{
    json_error_t fault;
    int rc = quern__json_scan(json, len, QUERN_REPORT_BYTES, DEPTH, VALUES, err);
    if (rc != QUERN_OK)
        return rc;
    *out = json_loadb(json, len, JSON_REJECT_DUPLICATES, &fault);
    if (!*out)
        return no_report(err, "", fault.text);
    return json_is_object(*out) ? QUERN_OK : no_report(err, "it is no JSON object", "");
}

/* A member that is a string, and this one if `wanted`. */
static int take_text(json_t *root, const char *name, const char **out, quern_error *err)
{
    *out = json_string_value(json_object_get(root, name));
    return *out ? QUERN_OK : no_report(err, "no text under ", name);
}

static int check_identity(json_t *root, const char *source, const char *fingerprint,
                          quern_error *err)
{
    const char *format = NULL, *of = NULL, *hash = NULL;
    int rc = take_text(root, "format", &format, err);
    if (rc == QUERN_OK && strcmp(format, FORMAT) != 0)
        rc = no_report(err, "its format is not quern-eval/1 but ", format);
    if (rc == QUERN_OK)
        rc = take_text(root, "source", &of, err);
    if (rc == QUERN_OK)
        rc = take_text(root, "fingerprint", &hash, err);
    if (rc == QUERN_OK && strcmp(of, source) != 0)
        rc = quern__fail(err, QUERN_EMISMATCH, 0, "the report is about source %.64s, not %.64s", of,
                         source);
    if (rc == QUERN_OK && strcmp(hash, fingerprint) != 0)
        rc = quern__fail(err, QUERN_EMISMATCH, 0,
                         "the report is about fingerprint %.12s, not %.12s: evaluate this "
                         "generation",
                         hash, fingerprint);
    return rc;
}

/* An object of numbers from 0 to 1. */
static int check_figures(json_t *root, const char *name, json_t **out, quern_error *err)
{
    const char *key;
    json_t *value;
    *out = json_object_get(root, name);
    if (!json_is_object(*out) || json_object_size(*out) > METRICS)
        return no_report(err, "no object of figures under ", name);
    json_object_foreach(*out, key, value)
    {
        double v = json_number_value(value);
        if (!json_is_number(value) || !isfinite(v) || v < 0 || v > 1)
            return no_report(err, "a figure must be from 0 to 1: ", key);
    }
    return QUERN_OK;
}

/* How many thresholds are missed; the first by name into `first`. EFORMAT: one without its metric. */
static int compare(json_t *metrics, json_t *thresholds, size_t *missed, const char **first,
                   quern_error *err)
{
    const char *key;
    json_t *least;
    *missed = 0;
    json_object_foreach(thresholds, key, least)
    {
        json_t *value = json_object_get(metrics, key);
        if (!value)
            return no_report(err, "a threshold for what was not measured: ", key);
        if (json_number_value(value) >= json_number_value(least))
            continue;
        if (!*missed || strcmp(key, *first) < 0)
            *first = key;
        ++*missed;
    }
    return QUERN_OK;
}

static int check_verdict(json_t *root, quern_error *err)
{
    json_t *metrics = NULL, *thresholds = NULL;
    const char *first = NULL;
    size_t missed = 0;
    json_t *queries = json_object_get(root, "queries"), *passed = json_object_get(root, "passed");
    int rc = check_figures(root, "metrics", &metrics, err);
    if (rc == QUERN_OK)
        rc = check_figures(root, "thresholds", &thresholds, err);
    if (rc == QUERN_OK && json_object_size(thresholds) == 0)
        rc = no_report(err, "it has no thresholds", "");
    if (rc == QUERN_OK && (!json_is_integer(queries) || json_integer_value(queries) < 1))
        rc = no_report(err, "no number of queries", "");
    if (rc == QUERN_OK && !json_is_boolean(passed))
        rc = no_report(err, "it does not say whether it was passed", "");
    if (rc == QUERN_OK)
        rc = compare(metrics, thresholds, &missed, &first, err);
    if (rc == QUERN_OK && json_is_true(passed) != (missed == 0))
        rc = no_report(err, "it contradicts itself: passed is ",
                       json_is_true(passed) ? "true, and a threshold is missed"
                                            : "false, and no threshold is missed");
    if (rc != QUERN_OK || !missed)
        return rc;
    char more[48] = "";
    if (missed > 1)
        snprintf(more, sizeof more, ", and %zu more are missed", missed - 1);
    rc = quern__fail(err, QUERN_EMISMATCH, (int64_t)missed,
                     "the report's %.80s is %.4f, below its threshold of %.4f%s", first,
                     json_number_value(json_object_get(metrics, first)),
                     json_number_value(json_object_get(thresholds, first)), more);
    return quern__code(err, rc, "gate_missed");
}

int quern_report_check(const char *json, size_t len, const char *source, const char *fingerprint,
                       quern_error *err)
{
    QUERN__REQUIRE((json || len == 0) && source && fingerprint, err);
    json_t *root = NULL;
    int rc = load(&root, json ? json : "", len, err);
    if (rc == QUERN_OK)
        rc = check_identity(root, source, fingerprint, err);
    if (rc == QUERN_OK)
        rc = check_verdict(root, err);
    json_decref(root);
    return rc;
}

int quern_report_check_file(const char *path, const char *source, const char *fingerprint,
                            quern_error *err)
{
    QUERN__REQUIRE(path && source && fingerprint, err);
    char *data = NULL;
    size_t size = 0;
    quern_error inner = {0};
    int rc = quern__read_file(path, QUERN_REPORT_BYTES, &data, &size, err);
    if (rc != QUERN_OK)
        return rc;
    rc = quern_report_check(data, size, source, fingerprint, &inner);
    quern__free(data);
    if (rc != QUERN_OK) {
        quern__fail(err, rc, inner.detail, "%.200s: %s", path, inner.msg);
        quern__code(err, rc, inner.code);
    }
    return rc;
}
