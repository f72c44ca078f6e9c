/*
 * test_torture_weights.c — every allocation of each reader of weights fails in turn, over the seeds of the
 * fuzz targets that are good files, and over a folder of shards: ENOMEM, and every block comes back.
 */
#include "torture/torture.h"

#include <string.h>

#include "base/os.h"
#include "format/weights.h"

typedef struct seed {
    int format;
    const char *path; /* below tests/fuzz/corpus */
    char *data;
    size_t size;
} seed;

static int parse(void *ud, quern_error *err)
{
    const seed *s = ud;
    quern__weights *w = NULL;
    int rc = quern__weights_parse(&w, s->format, s->data, s->size, s->path, err);
    if (rc == QUERN_OK)
        assert_true(quern__weights_count(w) > 0);
    else
        assert_null(w);
    quern__weights_free(w);
    return rc;
}

/* Into memory of the C library's, which the torture does not count. */
static void load(seed *s)
{
    char path[1024];
    const char *root = getenv("QUERN_ROOT");
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/%s", root ? root : ".", s->path);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s: cannot be read", path);
    s->data = malloc(1 << 16);
    assert_non_null(s->data);
    s->size = fread(s->data, 1, 1 << 16, file);
    fclose(file);
}

static void each_reader(void **state)
{
    static seed seeds[] = {
        {QUERN__TORCH, "torch/zip.bin", NULL, 0},
        {QUERN__TORCH, "torch/zip-views.bin", NULL, 0},
        {QUERN__TORCH, "torch/legacy.bin", NULL, 0},
        {QUERN__TORCH, "torch/legacy-views.bin", NULL, 0},
        {QUERN__ONNX, "onnx/fused.onnx", NULL, 0},
        {QUERN__ONNX, "onnx/spelt.onnx", NULL, 0},
        {QUERN__ONNX, "onnx/dynamic.onnx", NULL, 0},
        {QUERN__ONNX, "onnx/gemm.onnx", NULL, 0},
        {QUERN__ONNX, "onnx/turned.onnx", NULL, 0},
        {QUERN__GGUF, "gguf/q8_0.gguf", NULL, 0},
    };
    quern_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        load(&seeds[i]);
        if (parse(&seeds[i], &err) != QUERN_OK)
            fail_msg("%s", err.msg);
        assert_true(torture_run(parse, &seeds[i]) > 3);
        free(seeds[i].data);
    }
}

static int open_folder(void *ud, quern_error *err)
{
    quern__weights *w = NULL;
    int rc = quern__weights_open(&w, ud, err);
    if (rc == QUERN_OK)
        assert_int_equal(quern__weights_count(w), 2);
    quern__weights_free(w);
    return rc;
}

static void put(const char *folder, const char *name, const void *data, size_t size)
{
    char path[256];
    quern_error err;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(quern__write_file_atomic(path, data, size, &err), QUERN_OK);
}

static void shards(void **state)
{
    static const char map[] =
        "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}}";
    char folder[64], shard[8 + 64 + 1] = {64};
    quern_error err = {0};
    (void)state;
    snprintf(folder, sizeof folder, "torture-weights.%u", (unsigned)quern__os_pid());
    assert_int_equal(quern__make_dirs(folder, &err), QUERN_OK);
    put(folder, "model.safetensors.index.json", map, sizeof map - 1);
    for (int i = 0; i < 2; i++) {
        memset(shard + 8, ' ', 64);
        int n =
            snprintf(shard + 8, 64,
                     "{\"%c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 'a' + i);
        shard[8 + n] = ' ';
        put(folder, i ? "m-2.safetensors" : "m-1.safetensors", shard, sizeof shard);
    }
    if (open_folder(folder, &err) != QUERN_OK)
        fail_msg("%s", err.msg);
    assert_true(torture_run(open_folder, folder) > 5);
    assert_int_equal(quern__remove_tree(folder, &err), QUERN_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_reader), cmocka_unit_test(shards)};
    torture_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
