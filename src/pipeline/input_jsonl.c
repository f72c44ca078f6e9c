/*
 * input_jsonl.c — one JSON object a line. jansson reads it, behind three gates that it does not have itself: the
 * line's length, its UTF-8 and NULs, and depth and number of values (quern__json_scan).
 */
#include "base/json.h"
#include "pipeline/record_reader.h"
#include "text/utf8.h"

/* The next line without its end into in->record; *any = false at the end of the input. */
static int next_line(quern__input *in, bool *any, quern_error *err)
{
    quern__buf_clear(&in->record);
    in->line = in->next;
    *any = false;
    for (;;) {
        if (in->at == in->have) {
            int rc = quern__input_more(in, err);
            if (rc != QUERN_OK)
                return rc;
            if (in->end)
                return quern__buf_ok(&in->record, "a line", err);
        }
        const char *from = in->block + in->at;
        const char *newline = memchr(from, '\n', in->have - in->at);
        size_t n = newline ? (size_t)(newline - from) : in->have - in->at;
        if (n > in->max_record - in->record.len)
            return quern__input_fail(in, (int64_t)in->max_record, err,
                                     "the record is longer than %zu bytes", in->max_record);
        quern__buf_append(&in->record, from, n);
        *any = true;
        in->at += n;
        if (newline) {
            in->at++;
            in->next++;
            return quern__buf_ok(&in->record, "a line", err);
        }
    }
}

static bool is_blank_line(const quern__buf *b)
{
    for (size_t i = 0; i < b->len; i++) {
        if (b->data[i] != ' ' && b->data[i] != '\t' && b->data[i] != '\r')
            return false;
    }
    return true;
}

static int parse_line(const quern__input *in, json_t **object, quern_error *err)
{
    const quern__buf *b = &in->record;
    const char *nul = memchr(b->data, '\0', b->len);
    if (nul)
        return quern__input_fail(in, nul - b->data, err, "a NUL at byte %zu",
                                 (size_t)(nul - b->data));
    size_t bad = quern__utf8_check(b->data, b->len);
    if (bad < b->len)
        return quern__input_fail(in, (int64_t)bad, err, "not UTF-8 at byte %zu", bad);
    quern_error scan = {0};
    int rc = quern__json_scan(b->data, b->len, in->max_record, QUERN__INPUT_DEPTH,
                              QUERN__INPUT_VALUES, &scan);
    if (rc != QUERN_OK)
        return quern__input_fail(in, scan.detail, err, "%s", scan.msg);
    json_error_t fault;
    json_t *value = json_loadb(b->data, b->len, JSON_REJECT_DUPLICATES, &fault);
    if (!value && json_error_code(&fault) == json_error_null_character)
        return quern__input_fail(in, fault.position, err, "a NUL (\\u0000), at byte %d",
                                 fault.position);
    if (!value)
        return quern__input_fail(in, fault.position, err, "%s, at byte %d", fault.text,
                                 fault.position);
    if (!json_is_object(value)) {
        json_decref(value);
        return quern__input_fail(in, 0, err, "not a JSON object, at byte 0");
    }
    *object = value;
    return QUERN_OK;
}

int quern__jsonl_next(quern__input *in, json_t **object, quern_error *err)
{
    *object = NULL;
    for (;;) {
        bool any = false;
        int rc = next_line(in, &any, err);
        if (rc != QUERN_OK || (!any && in->end))
            return rc;
        if (!is_blank_line(&in->record))
            return parse_line(in, object, err);
    }
}
