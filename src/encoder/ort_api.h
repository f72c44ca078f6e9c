/*
 * ort_api.h — the few calls of ONNX Runtime's C API that are used, found in the library at run time. Its table is
 * append-only: a call is a number, and is there from the version on that added it. Nothing of ONNX Runtime's own headers is
 * needed, and quern is not linked with it.
 *
 * Handles are void pointers here as they are opaque there; enums are ints. A call that can fail returns a status: NULL, or an
 * error that its reader releases (quern__ort_check).
 */
#ifndef QUERN_ENCODER_ORT_API_H
#define QUERN_ENCODER_ORT_API_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/os.h"

enum {
    QUERN__ORT_FATAL = 4 /* its log level: nothing is printed below */,
    QUERN__ORT_PARALLEL = 1
};
enum { QUERN__ORT_FLOAT = 1, QUERN__ORT_INT32 = 6, QUERN__ORT_INT64 = 7, QUERN__ORT_FLOAT16 = 10 };

typedef struct quern__ort_api {
    quern__library *library;
    char version[32]; /* "1.31.1" */
    const char *(*error_message)(const void *status);
    void (*release_status)(void *status);
    void *(*create_env)(int log_level, const char *name, void **env);
    void (*release_env)(void *env);
    void *(*disable_telemetry)(const void *env);
    void *(*available_providers)(char ***names, int *n);
    void *(*release_providers)(char **names, int n);
    /* options of a session */
    void *(*create_options)(void **options);
    void (*release_options)(void *options);
    void *(*set_execution_mode)(void *options, int mode);
    void *(*set_log_level)(void *options, int level);
    void *(*set_optimization)(void *options, int level);
    void *(*set_intra_threads)(void *options, int n);
    void *(*set_inter_threads)(void *options, int n);
    void *(*disable_memory_pattern)(void *options);
    void *(*create_cuda)(void **cuda);
    void *(*update_cuda)(void *cuda, const char *const *keys, const char *const *values, size_t n);
    void (*release_cuda)(void *cuda);
    void *(*append_cuda)(void *options, const void *cuda);
    /* a session and what it takes and gives */
    void *(*create_session)(const void *env, const char *path, const void *options, void **session);
    void (*release_session)(void *session);
    void *(*input_count)(const void *session, size_t *n);
    void *(*output_count)(const void *session, size_t *n);
    void *(*input_type)(const void *session, size_t i, void **type);
    void *(*output_type)(const void *session, size_t i, void **type);
    void *(*input_name)(const void *session, size_t i, void *allocator, char **name);
    void *(*output_name)(const void *session, size_t i, void *allocator, char **name);
    void *(*cast_tensor_info)(const void *type, const void **info); /* borrowed; NULL: no tensor */
    void (*release_type)(void *type);
    void *(*default_allocator)(void **allocator);
    void *(*allocator_free)(void *allocator, void *p);
    void *(*run)(void *session, const void *how, const char *const *input_names,
                 const void *const *inputs, size_t input_n, const char *const *output_names,
                 size_t output_n, void **outputs);
    /* tensors */
    void *(*create_cpu_memory)(int allocator, int type, void **memory);
    void (*release_memory)(void *memory);
    void *(*create_tensor)(const void *memory, void *data, size_t bytes, const int64_t *shape,
                           size_t rank, int type, void **value);
    void *(*tensor_data)(void *value, void **data);
    void *(*tensor_info)(const void *value, void **info);
    void *(*element_type)(const void *info, int *type);
    void *(*dimension_count)(const void *info, size_t *n);
    void *(*dimensions)(const void *info, int64_t *out, size_t n);
    void (*release_info)(void *info);
    void (*release_value)(void *value);
} quern__ort_api;

/* library: a path, or NULL for the usual names. EUNSUPPORTED: none, or one that is too old. */
int quern__ort_api_open(quern__ort_api *out, const char *library, quern_error *err);
void quern__ort_api_close(quern__ort_api *api);
/* QUERN_OK for NULL; else `code` with ONNX Runtime's words behind `what`, one line, the status released. */
int quern__ort_check(const quern__ort_api *api, void *status, int code, const char *what,
                     quern_error *err);

#endif
