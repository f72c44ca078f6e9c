/*
 * fuzz_input.h — runs a record reader over one input, in reads whose length the first byte chooses, and shapes
 * every record. Whatever comes out must itself be a JSON object with a text, in UTF-8.
 */
#ifndef TEST_FUZZ_INPUT_H
#define TEST_FUZZ_INPUT_H

#include <stdint.h>
#include <stdlib.h>

#include "pipeline/record_reader.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct fuzz_bytes {
    const uint8_t *data;
    size_t n, at, step;
} fuzz_bytes;

static int fuzz_read(void *ud, void *buf, size_t n, size_t *got, quern_error *err)
{
    fuzz_bytes *b = ud;
    (void)err;
    size_t left = b->n - b->at;
    *got = left < n ? left : n;
    if (*got > b->step)
        *got = b->step;
    memcpy(buf, b->data + b->at, *got);
    b->at += *got;
    return QUERN_OK;
}

static void fuzz_check(const quern__buf *fields)
{
    json_error_t fault;
    json_t *again = json_loadb(fields->data, fields->len, JSON_REJECT_DUPLICATES, &fault);
    if (!again || !json_is_string(json_object_get(again, "text")) ||
        quern__utf8_check(fields->data, fields->len) != fields->len)
        abort();
    json_decref(again);
}

static int fuzz_records(int (*next)(quern__input *, json_t **, quern_error *), const uint8_t *data,
                        size_t size)
{
    fuzz_bytes b = {data + 1, size ? size - 1 : 0, 0, size ? 1u + data[0] : 1u};
    quern__template *t = NULL;
    quern__input in;
    quern__buf id;
    quern__buf fields;
    quern_error err = {0};
    if (quern__template_parse(&t, "{title}: {text}", &err) != QUERN_OK)
        abort();
    quern__shape shapes[2] = {{.max_bytes = 4096}, {.max_bytes = 64, .template = t}};
    quern__buf_init(&id, QUERN__INPUT_ID + 1);
    quern__buf_init(&fields, 1 << 20);
    int rc = quern__input_init(&in, "input", fuzz_read, &b, 8192, &err);
    while (rc == QUERN_OK) {
        json_t *object = NULL;
        rc = next(&in, &object, &err);
        if (rc != QUERN_OK || !object)
            break;
        for (size_t i = 0; i < 2; i++) {
            size_t n = 0;
            if (quern__shape_record(&in, &shapes[i], object, &id, &fields, &n, &err) == QUERN_OK)
                fuzz_check(&fields);
        }
        json_decref(object);
    }
    if (rc != QUERN_OK && (err.status != rc || !err.msg[0]))
        abort();
    quern__input_dispose(&in);
    quern__buf_dispose(&id);
    quern__buf_dispose(&fields);
    quern__template_free(t);
    return 0;
}

#endif
