/*
 * input_csv.c — RFC 4180: comma, quotes doubled inside quotes, LF or CRLF, a header. Strict where a slip would put
 * text into the wrong column: a row of another number of fields, a quote inside an unquoted field, bytes
 * behind a closing quote, an unclosed quote at the end are faults with their line, never repaired.
 *
 * A state machine over bytes, one record at a time into one bounded buffer; field_ends marks where each field ends in
 * it.
 */
#include "base/alloc.h"
#include "pipeline/record_reader.h"
#include "text/utf8.h"

enum csv_state {
    CSV_START,   /* of a field */
    CSV_PLAIN,   /* in an unquoted one */
    CSV_QUOTED,  /* in a quoted one */
    CSV_CLOSING, /* behind a quote in one: its end, or half of a doubled quote */
    CSV_CR       /* behind a CR outside quotes */
};

static int end_field(quern__input *in, quern_error *err)
{
    if (in->n_fields == QUERN__INPUT_COLUMNS)
        return quern__input_fail(in, QUERN__INPUT_COLUMNS, err, "more than %d fields",
                                 QUERN__INPUT_COLUMNS);
    if (in->n_fields == in->cap_fields) {
        size_t cap = in->cap_fields ? in->cap_fields * 2 : 16;
        size_t *grown = quern__resize_array(in->field_ends, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, cap * sizeof *grown);
        in->field_ends = grown;
        in->cap_fields = cap;
    }
    in->field_ends[in->n_fields++] = in->record.len;
    return QUERN_OK;
}

static int put_byte(quern__input *in, char c, quern_error *err)
{
    if (in->record.len >= in->max_record)
        return quern__input_fail(in, (int64_t)in->max_record, err,
                                 "the record is longer than %zu bytes", in->max_record);
    quern__buf_putc(&in->record, c);
    return QUERN_OK;
}

/* One byte outside quotes that is not the record's end. */
static int step_plain(quern__input *in, enum csv_state *state, char c, quern_error *err)
{
    if (*state == CSV_CLOSING && c != ',' && c != '\r')
        return quern__input_fail(
            in, (int64_t)in->record.len, err,
            "a character behind the closing quote of field %zu; a quote inside quotes is "
            "written twice",
            in->n_fields + 1);
    if (c == ',') {
        *state = CSV_START;
        return end_field(in, err);
    }
    if (c == '\r') {
        *state = CSV_CR;
        return QUERN_OK;
    }
    if (c == '"' && *state == CSV_START) {
        *state = CSV_QUOTED;
        return QUERN_OK;
    }
    if (c == '"')
        return quern__input_fail(in, (int64_t)in->record.len, err,
                                 "a quote inside the unquoted field %zu", in->n_fields + 1);
    *state = CSV_PLAIN;
    return put_byte(in, c, err);
}

static int step(quern__input *in, enum csv_state *state, char c, bool *done, quern_error *err)
{
    if (c == '\n')
        in->next++;
    if (c == '\0')
        return quern__input_fail(in, (int64_t)in->record.len, err, "a NUL at byte %zu",
                                 in->record.len);
    if (*state == CSV_QUOTED) {
        if (c != '"')
            return put_byte(in, c, err);
        *state = CSV_CLOSING;
        return QUERN_OK;
    }
    if (*state == CSV_CLOSING && c == '"') {
        *state = CSV_QUOTED;
        return put_byte(in, c, err);
    }
    if (c == '\n') {
        *done = true;
        return end_field(in, err);
    }
    if (*state == CSV_CR)
        return quern__input_fail(in, (int64_t)in->record.len, err,
                                 "a carriage return without a line feed");
    return step_plain(in, state, c, err);
}

/* The next record into in->record and in->field_ends; n_fields = 0 at the end of the input. */
static int next_record(quern__input *in, quern_error *err)
{
    enum csv_state state = CSV_START;
    bool done = false;
    bool any = false;
    quern__buf_clear(&in->record);
    in->n_fields = 0;
    in->line = in->next;
    while (!done) {
        if (in->at == in->have) {
            int rc = quern__input_more(in, err);
            if (rc != QUERN_OK)
                return rc;
            if (in->end)
                break;
            continue;
        }
        any = true;
        int rc = step(in, &state, in->block[in->at++], &done, err);
        if (rc != QUERN_OK)
            return rc;
    }
    if (!done && any) { /* the last record, without a line end */
        if (state == CSV_QUOTED)
            return quern__input_fail(in, (int64_t)in->record.len, err,
                                     "a quote is opened here and never closed");
        int rc = end_field(in, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return quern__buf_ok(&in->record, "a record", err);
}

static quern_str field_at(const quern__input *in, size_t i)
{
    size_t from = i ? in->field_ends[i - 1] : 0;
    const char *base = in->record.data ? in->record.data : "";
    return (quern_str){base + from, in->field_ends[i] - from};
}

static int check_utf8(const quern__input *in, quern_error *err)
{
    size_t len = in->record.len;
    size_t bad = len ? quern__utf8_check(in->record.data, len) : 0;
    return bad < len ? quern__input_fail(in, (int64_t)bad, err, "not UTF-8 at byte %zu", bad)
                     : QUERN_OK;
}

static json_t *json_text(quern_str s)
{
    return json_stringn(s.ptr, s.len);
}

static int read_header(quern__input *in, quern_error *err)
{
    int rc = next_record(in, err);
    if (rc == QUERN_OK)
        rc = check_utf8(in, err);
    if (rc != QUERN_OK || in->n_fields == 0)
        return rc;
    json_t *seen = json_object();
    in->header = json_array();
    for (size_t i = 0; rc == QUERN_OK && i < in->n_fields; i++) {
        quern_str name = field_at(in, i);
        json_t *value = json_text(name);
        const char *key = json_string_value(value);
        if (!seen || !in->header || !value)
            rc = quern__fail_memory(err, name.len);
        else if (name.len == 0)
            rc = quern__input_fail(in, (int64_t)i, err, "column %zu has no name in the header",
                                   i + 1);
        else if (json_object_get(seen, key))
            rc = quern__input_fail(in, (int64_t)i, err, "the header names column %.80s twice", key);
        else if (json_object_set_new(seen, key, json_true()) ||
                 json_array_append(in->header, value))
            rc = quern__fail_memory(err, name.len);
        json_decref(value);
    }
    json_decref(seen);
    return rc;
}

static int make_object(const quern__input *in, json_t **object, quern_error *err)
{
    json_t *o = json_object();
    for (size_t i = 0; o && i < in->n_fields; i++) {
        const char *name = json_string_value(json_array_get(in->header, i));
        json_t *value = json_text(field_at(in, i));
        if (!value || json_object_set_new(o, name, value)) {
            json_decref(o);
            o = NULL;
        }
    }
    *object = o;
    return o ? QUERN_OK : quern__fail_memory(err, in->record.len);
}

int quern__csv_next(quern__input *in, json_t **object, quern_error *err)
{
    *object = NULL;
    if (!in->header) {
        int rc = read_header(in, err);
        if (rc != QUERN_OK || !in->header)
            return rc;
    }
    size_t columns = json_array_size(in->header);
    for (;;) {
        int rc = next_record(in, err);
        if (rc != QUERN_OK || in->n_fields == 0)
            return rc;
        if (in->n_fields == 1 && in->record.len == 0)
            continue; /* an empty line */
        rc = check_utf8(in, err);
        if (rc != QUERN_OK)
            return rc;
        if (in->n_fields != columns)
            return quern__input_fail(in, (int64_t)in->n_fields, err,
                                     "%zu fields where the header has %zu", in->n_fields, columns);
        return make_object(in, object, err);
    }
}
