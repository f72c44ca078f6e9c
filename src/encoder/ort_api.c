/*
 * ort_api.c — see ort_api.h. The numbers are those of OrtApi in onnxruntime_c_api.h, by offsetof; version 11 of the table (ONNX
 * Runtime 1.11, 2022) is asked for, because that is the first which has them all: any later library has it too.
 *
 * The version is read from the library's own words before the table is asked for: a library that is too old would otherwise
 * write a line to standard error.
 */
#include "encoder/ort_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"

enum { TABLE_VERSION = 11 };

/* What OrtGetApiBase returns. */
typedef struct base {
    const quern__function *(*table)(uint32_t version);
    const char *(*version)(void);
} base;

static int find_library(quern__ort_api *api, const char *library, quern_error *err)
{
    static const char *const usual[] = {"libonnxruntime.so.1", "libonnxruntime.so"};
    quern_error why;
    if (library) {
        if (quern__library_open(&api->library, library, &why) != QUERN_OK)
            return quern__fail(err, QUERN_EUNSUPPORTED, 0, "ONNX Runtime cannot be opened: %s",
                               why.msg);
        return QUERN_OK;
    }
    for (size_t i = 0; i < QUERN__COUNT(usual); i++)
        if (quern__library_open(&api->library, usual[i], &why) == QUERN_OK)
            return QUERN_OK;
    return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                       "there is no ONNX Runtime: no %s that the system finds; name it by "
                       "--ort-library (the package onnxruntime of PyPI has one)",
                       usual[0]);
}

/* The n-th function of the table, as the type of *to. */
#define TAKE(to, n) memcpy(&api->to, &table[n], sizeof api->to)

static void take_session(quern__ort_api *api, const quern__function *table)
{
    TAKE(create_session, 7);
    TAKE(release_session, 95);
    TAKE(input_count, 30);
    TAKE(output_count, 31);
    TAKE(input_type, 33);
    TAKE(output_type, 34);
    TAKE(input_name, 36);
    TAKE(output_name, 37);
    TAKE(cast_tensor_info, 55);
    TAKE(release_type, 98);
    TAKE(default_allocator, 78);
    TAKE(allocator_free, 76);
    TAKE(run, 9);
    TAKE(create_cpu_memory, 69);
    TAKE(release_memory, 94);
    TAKE(create_tensor, 49);
    TAKE(tensor_data, 51);
    TAKE(tensor_info, 65);
    TAKE(element_type, 60);
    TAKE(dimension_count, 61);
    TAKE(dimensions, 62);
    TAKE(release_info, 99);
    TAKE(release_value, 96);
}

static void take(quern__ort_api *api, const quern__function *table)
{
    TAKE(error_message, 2);
    TAKE(release_status, 93);
    TAKE(create_env, 3);
    TAKE(release_env, 92);
    TAKE(disable_telemetry, 6);
    TAKE(available_providers, 125);
    TAKE(release_providers, 126);
    TAKE(create_options, 10);
    TAKE(release_options, 100);
    TAKE(set_execution_mode, 13);
    TAKE(disable_memory_pattern, 17);
    TAKE(set_log_level, 22);
    TAKE(set_optimization, 23);
    TAKE(set_intra_threads, 24);
    TAKE(set_inter_threads, 25);
    TAKE(create_cuda, 205);
    TAKE(update_cuda, 206);
    TAKE(release_cuda, 208);
    TAKE(append_cuda, 204);
    take_session(api, table);
}

static int take_table(quern__ort_api *api, const char *library, quern_error *err)
{
    const base *(*get)(void) = NULL;
    const quern__function found = quern__library_find(api->library, "OrtGetApiBase");
    const char *named = library ? library : "the library";
    memcpy(&get, &found, sizeof get);
    const base *b = get ? get() : NULL;
    if (!b)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "%s is no ONNX Runtime: it has no OrtGetApiBase", named);
    snprintf(api->version, sizeof api->version, "%s", b->version());
    char *rest = api->version;
    const long major = strtol(api->version, &rest, 10);
    const long minor = *rest == '.' ? strtol(rest + 1, NULL, 10) : 0;
    const quern__function *table =
        major == 1 && minor >= TABLE_VERSION ? b->table(TABLE_VERSION) : NULL;
    if (!table)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "%s is ONNX Runtime %s; 1.%d or a later 1.x is wanted", named,
                           api->version, TABLE_VERSION);
    take(api, table);
    return QUERN_OK;
}

int quern__ort_api_open(quern__ort_api *out, const char *library, quern_error *err)
{
    memset(out, 0, sizeof *out);
    int rc = find_library(out, library, err);
    if (rc == QUERN_OK)
        rc = take_table(out, library, err);
    if (rc)
        quern__ort_api_close(out);
    return rc;
}

void quern__ort_api_close(quern__ort_api *api)
{
    quern__library_close(api->library);
    memset(api, 0, sizeof *api);
}

int quern__ort_check(const quern__ort_api *api, void *status, int code, const char *what,
                     quern_error *err)
{
    char text[400];
    if (!status)
        return QUERN_OK;
    snprintf(text, sizeof text, "%s", api->error_message(status));
    api->release_status(status);
    text[strcspn(text, "\r\n")] = '\0'; /* what follows are addresses of its own code */
    return quern__fail(err, code, 0, "%s: ONNX Runtime %s: %s", what, api->version, text);
}
