/*
 * input_record.c — what of a record becomes a document: its id, its text, and all its fields as canonical
 * JSON. The text is made here, once, and kept as the field "text" beside the others, so that records of different
 * shapes stand in one table under one template, `{text}`; a source may be given another template over the fields later.
 */
#include <stdio.h>

#include "base/json.h"
#include "pipeline/record_reader.h"

enum { NUMBER_TEXT = 40, LIST_BYTES = 200 };

/* What a value is as text: *ok = false for an array or object. Numbers go into `number`. */
static int value_text(const json_t *v, char number[NUMBER_TEXT], quern_str *out, bool *ok,
                      quern_error *err)
{
    *ok = true;
    *out = (quern_str){"", 0};
    if (json_is_string(v)) {
        *out = (quern_str){json_string_value(v), json_string_length(v)};
    } else if (json_is_integer(v)) {
        int n = snprintf(number, NUMBER_TEXT, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        *out = (quern_str){number, (size_t)n};
    } else if (json_is_real(v)) {
        quern__buf b;
        quern__buf_init(&b, NUMBER_TEXT);
        quern__jsonw w;
        quern__jsonw_init(&w, &b);
        quern__jsonw_double(&w, json_real_value(v));
        int rc = quern__buf_ok(&b, "a number", err);
        if (rc == QUERN_OK)
            memcpy(number, b.data, b.len);
        *out = (quern_str){number, b.len};
        quern__buf_dispose(&b);
        return rc;
    } else if (json_is_boolean(v)) {
        *out = quern_str_of(json_is_true(v) ? "true" : "false");
    } else if (v && !json_is_null(v)) {
        *ok = false;
    }
    return QUERN_OK;
}

static void list_fields(json_t *object, char out[LIST_BYTES])
{
    const char *key;
    json_t *value;
    size_t n = 0;
    out[0] = '\0';
    json_object_foreach(object, key, value)
    {
        int add = snprintf(out + n, LIST_BYTES - n, "%s%s", n ? ", " : "", key);
        if (add < 0 || n + (size_t)add >= LIST_BYTES)
            break;
        n += (size_t)add;
    }
}

static int no_text(const quern__input *in, json_t *object, const char *wanted, quern_error *err)
{
    char have[LIST_BYTES];
    list_fields(object, have);
    return quern__input_fail(in, 0, err, "no field %.80s for the text (this record has: %s)",
                             wanted, have[0] ? have : "none");
}

static int structured(const quern__input *in, const char *field, quern_error *err)
{
    return quern__input_fail(
        in, 0, err, "field %.80s is an array or object; a text or number is needed there", field);
}

static int append_json(const char *data, size_t n, void *ud)
{
    return quern__buf_append(ud, data, n) ? 0 : -1;
}

/* Arrays and objects that the template reads as JSON, one behind the other. */
typedef struct json_values {
    quern__buf text;
    size_t
        end[QUERN__TEMPLATE_FIELDS]; /* of value i; where it begins is the end of the one before */
} json_values;

/* The value of field i; *made: it lies in `lists`, whose memory may still move. */
static int template_value(const quern__input *in, const quern__shape *shape, json_t *object,
                          size_t i, char number[NUMBER_TEXT], json_values *lists, quern_str *out,
                          bool *made, quern_error *err)
{
    const char *name = quern__template_column(shape->template, i);
    const json_t *v = json_object_get(object, name);
    bool ok = true;
    if (v && shape->seen)
        shape->seen[i] = true;
    int rc = value_text(v, number, out, &ok, err);
    if (rc != QUERN_OK || ok)
        return rc;
    if (!quern__template_takes_json(shape->template, i))
        return structured(in, name, err);
    *made = true;
    if (json_dump_callback(v, append_json, &lists->text, JSON_COMPACT))
        return quern__input_fail(in, 0, err, "field %.80s cannot be read: out of memory", name);
    return QUERN_OK;
}

static int render_text(const quern__input *in, const quern__shape *shape, json_t *object,
                       quern__buf *text, quern_error *err)
{
    char numbers[QUERN__TEMPLATE_FIELDS][NUMBER_TEXT];
    quern_str values[QUERN__TEMPLATE_FIELDS];
    bool made[QUERN__TEMPLATE_FIELDS] = {false};
    json_values lists;
    size_t n = quern__template_count(shape->template);
    size_t present = 0;
    int rc = QUERN_OK;
    quern__buf_init(&lists.text, 7 * in->max_record);
    for (size_t i = 0; i < n && rc == QUERN_OK; i++) {
        rc = template_value(in, shape, object, i, numbers[i], &lists, &values[i], &made[i], err);
        lists.end[i] = lists.text.len;
        present += json_object_get(object, quern__template_column(shape->template, i)) != NULL;
    }
    if (rc == QUERN_OK && present == 0)
        rc = no_text(in, object, quern__template_column(shape->template, 0), err);
    for (size_t i = 0; i < n && rc == QUERN_OK; i++) {
        size_t from = i ? lists.end[i - 1] : 0;
        if (made[i])
            values[i] = (quern_str){lists.text.data + from, lists.end[i] - from};
    }
    if (rc == QUERN_OK)
        rc = quern__template_render(shape->template, values, text, err);
    quern__buf_dispose(&lists.text);
    return rc;
}

/* "" when there is none of them. */
static const char *usual_text(const json_t *object)
{
    static const char *const usual[] = {"text", "body", "content"};
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (json_object_get(object, usual[i]))
            return usual[i];
    return "";
}

static int field_text(const quern__input *in, const quern__shape *shape, json_t *object,
                      quern__buf *text, quern_error *err)
{
    const char *name = shape->text_field ? shape->text_field : usual_text(object);
    const json_t *v = json_object_get(object, name);
    if (!v)
        return no_text(in, object, *name ? name : "text, body or content", err);
    char number[NUMBER_TEXT];
    quern_str s;
    bool ok = true;
    int rc = value_text(v, number, &s, &ok, err);
    if (rc != QUERN_OK)
        return rc;
    if (!ok)
        return structured(in, name, err);
    quern__buf_append(text, s.ptr, s.len);
    return QUERN_OK;
}

static int find_id(const quern__input *in, const quern__shape *shape, json_t *object,
                   quern__buf *id, quern_error *err)
{
    const char *name = shape->id_field ? shape->id_field : "id";
    const json_t *v = json_object_get(object, name);
    quern__buf_clear(id);
    if (!v && !shape->id_field)
        return QUERN_OK;
    char number[NUMBER_TEXT];
    quern_str s = {"", 0};
    bool ok = true;
    if (v && (json_is_string(v) || json_is_integer(v))) {
        int rc = value_text(v, number, &s, &ok, err);
        if (rc != QUERN_OK)
            return rc;
    }
    if (s.len == 0 || s.len > QUERN__INPUT_ID)
        return quern__input_fail(
            in, (int64_t)s.len, err,
            "field %.80s must be the document's id: a text of 1 to %d bytes, or an integer", name,
            QUERN__INPUT_ID);
    quern__buf_append(id, s.ptr, s.len);
    return quern__buf_ok(id, "an id", err);
}

static int write_fields(const quern__input *in, json_t *object, quern__buf *fields,
                        quern_error *err)
{
    quern__buf_clear(fields);
    if (json_dump_callback(object, append_json, fields, JSON_COMPACT | JSON_SORT_KEYS) &&
        !fields->failed)
        return quern__input_fail(in, 0, err, "the record cannot be kept: out of memory");
    return quern__buf_ok(fields, "a record", err);
}

/* ---- details ---- */

static int check_reference(const quern__input *in, const json_t *r, size_t i, quern_error *err)
{
    const json_t *chunk = json_object_get(r, "chunk");
    const json_t *confidence = json_object_get(r, "confidence");
    double sure = json_number_value(confidence);
    if (!json_is_object(r) || !(json_is_string(chunk) || json_is_integer(chunk)) ||
        !json_is_string(json_object_get(r, "type")))
        return quern__input_fail(in, (int64_t)i, err,
                                 "references[%zu] must be {\"chunk\": id, \"type\": text, "
                                 "\"confidence\": 0 to 1}",
                                 i);
    if (!json_is_number(confidence) || !(sure >= 0 && sure <= 1))
        return quern__input_fail(in, (int64_t)i, err,
                                 "references[%zu]: confidence must be a number from 0 to 1", i);
    return QUERN_OK;
}

/* The fields that come back with hits by themselves are what they must be, or texts (as all of CSV is). */
static int check_details(const quern__input *in, json_t *object, quern_error *err)
{
    static const char *const structured_fields[] = {"properties", "references"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *v = json_object_get(object, structured_fields[i]);
        bool right = i ? json_is_array(v) : json_is_object(v);
        if (!v || json_is_null(v) || json_is_string(v))
            continue;
        if (!right)
            return quern__input_fail(in, 0, err, "field %s must be a JSON %s", structured_fields[i],
                                     i ? "array" : "object");
        size_t n = json_dumpb(v, NULL, 0, JSON_COMPACT);
        if (n > QUERN__INPUT_DETAIL)
            return quern__input_fail(in, (int64_t)n, err, "field %s has %zu bytes, at most %d",
                                     structured_fields[i], n, QUERN__INPUT_DETAIL);
    }
    const json_t *list = json_object_get(object, "references");
    for (size_t i = 0; i < json_array_size(list); i++) {
        int rc = check_reference(in, json_array_get(list, i), i, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return QUERN_OK;
}

/* Is the field the document's id, its text or part of it, or one that comes back with hits by itself? Of a list or an
 * object the text has only what the template picks out. */
static bool is_used(const quern__shape *shape, const json_t *object, const char *name)
{
    static const char *const own[] = {"text", "page", "section", "properties", "references"};
    if (strcmp(name, shape->id_field ? shape->id_field : "id") == 0)
        return true;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(name, own[i]) == 0)
            return true;
    for (size_t i = 0; i < shape->n_made_of; i++)
        if (strcmp(name, shape->made_of[i]) == 0)
            return true;
    if (!shape->template)
        return shape->text_field ? strcmp(name, shape->text_field) == 0
                                 : strcmp(name, usual_text(object)) == 0;
    for (size_t i = 0; i < quern__template_count(shape->template); i++)
        if (strcmp(name, quern__template_column(shape->template, i)) == 0)
            return shape->no_text || !quern__template_takes_json(shape->template, i);
    return false;
}

/* What is not used otherwise becomes properties, beside those that are given: they come back with hits. */
static int gather_properties(const quern__input *in, const quern__shape *shape, json_t *object,
                             quern_error *err)
{
    const json_t *given = json_object_get(object, "properties");
    const char *name;
    json_t *value;
    if (given && !json_is_object(given) && !json_is_null(given))
        return QUERN_OK; /* a text, as all of CSV is: it stays what it is */
    json_t *all = json_object();
    int bad = all ? 0 : -1;
    json_object_foreach(object, name, value)
    {
        if (!bad && !is_used(shape, object, name))
            bad = json_object_set(all, name, value);
    }
    json_object_foreach((json_t *)(uintptr_t)given, name, value)
    {
        bad = bad ? bad : json_object_set(all, name, value);
    }
    size_t n = bad ? 0 : json_dumpb(all, NULL, 0, JSON_COMPACT);
    int rc = QUERN_OK;
    if (bad)
        rc = quern__fail_memory(err, 0);
    else if (n > QUERN__INPUT_DETAIL)
        rc = quern__input_fail(in, (int64_t)n, err,
                               "the fields beside its text make properties of %zu bytes, at most "
                               "%d; leave some out",
                               n, QUERN__INPUT_DETAIL);
    else if (json_object_size(all) && json_object_set(object, "properties", all))
        rc = quern__fail_memory(err, n);
    json_decref(all);
    return rc;
}

int quern__shape_record(const quern__input *in, const quern__shape *shape, json_t *object,
                        quern__buf *id, quern__buf *fields, size_t *text_bytes, quern_error *err)
{
    quern__buf text;
    quern__buf_init(&text, shape->max_bytes + 1);
    quern_error local = {0};
    int rc = find_id(in, shape, object, id, &local);
    if (rc == QUERN_OK)
        rc = check_details(in, object, &local);
    if (rc == QUERN_OK)
        rc = shape->template ? render_text(in, shape, object, &text, &local)
                             : field_text(in, shape, object, &text, &local);
    if (text.failed || text.len > shape->max_bytes) /* memory, or the buffer's ceiling */
        rc = quern__fail(&local, text.failed ? QUERN_ENOMEM : QUERN_EFORMAT, 0,
                         "%s:%llu: the document's text is over %zu bytes%s", in->name,
                         (unsigned long long)in->line, shape->max_bytes,
                         text.failed ? ", or memory is out" : "");
    if (rc == QUERN_OK)
        rc = gather_properties(in, shape, object, &local);
    *text_bytes = text.len;
    json_t *value = rc == QUERN_OK ? json_stringn(text.data ? text.data : "", text.len) : NULL;
    if (rc == QUERN_OK && (!value || json_object_set_new(object, "text", value)))
        rc = quern__fail_memory(&local, text.len);
    if (rc == QUERN_OK)
        rc = write_fields(in, object, fields, &local);
    if (rc != QUERN_OK && err)
        *err = local;
    quern__buf_dispose(&text);
    return rc;
}

int quern__shape_text(quern_str text, quern__buf *fields, quern_error *err)
{
    quern__buf_clear(fields);
    quern__jsonw w;
    quern__jsonw_init(&w, fields);
    quern__jsonw_object(&w);
    quern__jsonw_put_str(&w, "text", text);
    quern__jsonw_end_object(&w);
    return quern__buf_ok(fields, "a document", err);
}
