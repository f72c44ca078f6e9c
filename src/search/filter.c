/* filter.c — see filter.h. A filter is a flat list of conditions, a column each, that must all hold. */
#include "search/filter.h"

#include <math.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/json.h"

enum {
    TERMS = QUERN__FILTER_TERMS,
    VALUES = 10000,
    JSON_BYTES = 1 << 20,
    ARENA_BYTES = 4 << 20,
    INCOMPARABLE = 2
};

typedef enum operation { ONE_OF, NONE_OF, AT_LEAST, ABOVE, AT_MOST, BELOW } operation;

typedef struct term {
    const char *column;
    operation op;
    quern_value *values; /* one, but for ONE_OF */
    size_t n;
} term;

struct quern__filter {
    quern__arena arena;
    term terms[TERMS];
    size_t n, values;
};

static const struct {
    const char *name;
    operation op;
} operations[] = {{"eq", ONE_OF}, {"in", ONE_OF},   {"ne", NONE_OF}, {"gte", AT_LEAST},
                  {"gt", ABOVE},  {"lte", AT_MOST}, {"lt", BELOW}};

/* ---- reading ---- */

static int read_number(quern__json *j, quern_value *v, quern_error *err)
{
    size_t at = j->at;
    v->type = QUERN_VALUE_INT;
    if (quern__json_i64(j, &v->integer, NULL) == QUERN_OK)
        return QUERN_OK;
    j->at = at;
    v->type = QUERN_VALUE_REAL;
    return quern__json_double(j, &v->real, err);
}

static int read_value(quern__filter *f, quern__json *j, quern_value *v, quern_error *err)
{
    bool yes = false;
    int rc = QUERN_OK;
    memset(v, 0, sizeof *v);
    switch (quern__json_peek(j)) {
    case QUERN__JSON_NULL:
        v->type = QUERN_VALUE_NULL;
        return quern__json_null(j, err);
    case QUERN__JSON_BOOL:
        v->type = QUERN_VALUE_INT;
        rc = quern__json_bool(j, &yes, err);
        v->integer = yes;
        return rc;
    case QUERN__JSON_NUMBER:
        return read_number(j, v, err);
    case QUERN__JSON_STRING: {
        quern_str s = {0};
        rc = quern__json_string(j, &s, err);
        if (rc)
            return rc;
        v->type = QUERN_VALUE_TEXT;
        v->bytes.ptr = quern__arena_copy(&f->arena, s.ptr ? s.ptr : "", s.len);
        v->bytes.len = s.len;
        return v->bytes.ptr ? QUERN_OK : quern__fail_memory(err, s.len);
    }
    default:
        return quern__json_fail(j, err, "a value is a string, a number, true, false or null");
    }
}

static term *add_term(quern__filter *f, quern__json *j, const char *column, operation op,
                      quern_error *err)
{
    if (f->n == TERMS) {
        quern__json_fail(j, err, "more than %d conditions", TERMS);
        return NULL;
    }
    term *t = &f->terms[f->n++];
    *t = (term){.column = column, .op = op};
    return t;
}

static int read_one(quern__filter *f, quern__json *j, const char *column, operation op,
                    quern_error *err)
{
    term *t = add_term(f, j, column, op, err);
    if (!t)
        return QUERN_EFORMAT;
    t->values = quern__arena_alloc(&f->arena, sizeof *t->values);
    if (!t->values)
        return quern__fail_memory(err, sizeof *t->values);
    t->n = 1;
    int rc = read_value(f, j, t->values, err);
    if (!rc && op != ONE_OF && op != NONE_OF && t->values->type == QUERN_VALUE_NULL)
        rc = quern__json_fail(j, err, "null has no place in a range");
    return rc;
}

static int read_list(quern__filter *f, quern__json *j, const char *column, quern_error *err)
{
    term *t = add_term(f, j, column, ONE_OF, err);
    size_t room = 0;
    int rc = t ? quern__json_enter_array(j, err) : QUERN_EFORMAT;
    while (!rc && (rc = quern__json_next_item(j, err)) == 1) {
        if (f->values++ == VALUES)
            return quern__json_fail(j, err, "more than %d values", VALUES);
        if (t->n == room) { /* the arena keeps the shorter ones: twice the list at most */
            room = room ? 2 * room : 8;
            quern_value *more = quern__arena_alloc(&f->arena, room * sizeof *more);
            if (!more)
                return quern__fail_memory(err, room * sizeof *more);
            if (t->n)
                memcpy(more, t->values, t->n * sizeof *more);
            t->values = more;
        }
        rc = read_value(f, j, &t->values[t->n++], err);
    }
    return rc;
}

static int read_operations(quern__filter *f, quern__json *j, const char *column, quern_error *err)
{
    quern_str name;
    int rc = quern__json_enter_object(j, err);
    while (!rc && (rc = quern__json_next_key(j, &name, err)) == 1) {
        size_t i = 0, n = sizeof operations / sizeof *operations;
        while (i < n && !quern__str_is(name, operations[i].name))
            i++;
        if (i == n)
            return quern__json_fail(j, err,
                                    "there is no comparison of that name; there are eq, ne, in, "
                                    "gte, gt, lte and lt");
        bool list = quern__str_is(name, "in");
        if (list && quern__json_peek(j) != QUERN__JSON_ARRAY)
            return quern__json_fail(j, err, "in takes a list");
        rc = list ? read_list(f, j, column, err) : read_one(f, j, column, operations[i].op, err);
    }
    return rc;
}

static int read_filter(quern__filter *f, quern__json *j, quern_error *err)
{
    quern_str name;
    if (quern__json_peek(j) != QUERN__JSON_OBJECT)
        return quern__json_fail(j, err, "an object is wanted, such as {\"lang\":\"en\"}");
    int rc = quern__json_enter_object(j, err);
    while (!rc && (rc = quern__json_next_key(j, &name, err)) == 1) {
        const char *column = quern__arena_copy(&f->arena, name.ptr ? name.ptr : "", name.len);
        if (!column)
            return quern__fail_memory(err, name.len);
        switch (quern__json_peek(j)) {
        case QUERN__JSON_ARRAY:
            rc = read_list(f, j, column, err);
            break;
        case QUERN__JSON_OBJECT:
            rc = read_operations(f, j, column, err);
            break;
        default:
            rc = read_one(f, j, column, ONE_OF, err);
        }
    }
    return rc ? rc : quern__json_end(j, err);
}

int quern__filter_parse(quern__filter **out, const char *json, quern_error *err)
{
    quern__json j;
    quern_error inner = {0};
    *out = NULL;
    if (strlen(json) > JSON_BYTES)
        return quern__fail(err, QUERN_EINVAL, 0, "filter: more than %d bytes", JSON_BYTES);
    quern__filter *f = quern__calloc(1, sizeof *f);
    if (!f)
        return quern__fail_memory(err, sizeof *f);
    quern__arena_init(&f->arena, ARENA_BYTES);
    quern__json_init(&j, json, strlen(json), "filter");
    int rc = read_filter(f, &j, &inner);
    quern__json_dispose(&j);
    if (rc == QUERN_OK) {
        *out = f;
        return QUERN_OK;
    }
    quern__filter_free(f);
    if (rc == QUERN_EFORMAT) /* what a user typed, not a file that is damaged */
        return quern__fail(err, QUERN_EINVAL, inner.detail, "%s", inner.msg);
    if (err)
        *err = inner;
    return rc;
}

void quern__filter_free(quern__filter *f)
{
    if (!f)
        return;
    quern__arena_dispose(&f->arena);
    quern__free(f);
}

size_t quern__filter_count(const quern__filter *f)
{
    return f ? f->n : 0;
}

const char *quern__filter_column(const quern__filter *f, size_t i)
{
    return f->terms[i].column;
}

/* ---- comparing ---- */

static int sign(int less, int more)
{
    return more - less;
}

/* Exactly, though not every int64 is a double. */
static int compare_int_real(int64_t i, double d)
{
    if (d >= 9223372036854775808.0)
        return -1;
    if (d < -9223372036854775808.0)
        return 1;
    double whole = trunc(d);
    int64_t w = (int64_t)whole;
    return i != w ? sign(i<w, i> w) : sign(whole<d, whole> d);
}

static int compare_numbers(const quern_value *a, const quern_value *b)
{
    if (a->type == QUERN_VALUE_INT && b->type == QUERN_VALUE_INT)
        return sign(a->integer<b->integer, a->integer> b->integer);
    if ((a->type == QUERN_VALUE_REAL && isnan(a->real)) ||
        (b->type == QUERN_VALUE_REAL && isnan(b->real)))
        return INCOMPARABLE;
    if (a->type == QUERN_VALUE_INT)
        return compare_int_real(a->integer, b->real);
    if (b->type == QUERN_VALUE_INT)
        return -compare_int_real(b->integer, a->real);
    return sign(a->real<b->real, a->real> b->real);
}

/* "1.50" as a number; "true" and "false" as PostgreSQL spells booleans. */
static bool text_as_number(quern_str s, quern_value *out)
{
    quern__json j;
    bool yes = quern__str_is(s, "true"), ok = yes || quern__str_is(s, "false");
    *out = (quern_value){.type = QUERN_VALUE_INT, .integer = yes};
    if (ok || s.len == 0 || s.len > 400)
        return ok;
    quern__json_init(&j, s.ptr, s.len, "a number");
    if (quern__json_peek(&j) == QUERN__JSON_NUMBER)
        ok = read_number(&j, out, NULL) == QUERN_OK && quern__json_end(&j, NULL) == QUERN_OK;
    quern__json_dispose(&j);
    return ok;
}

static bool is_number(const quern_value *v)
{
    return v->type == QUERN_VALUE_INT || v->type == QUERN_VALUE_REAL;
}

/* The row's value against the filter's: -1, 0, 1 or INCOMPARABLE. */
static int compare(const quern_value *row, const quern_value *wanted)
{
    quern_value number;
    if (row->type == QUERN_VALUE_NULL || wanted->type == QUERN_VALUE_NULL)
        return row->type == wanted->type ? 0 : INCOMPARABLE;
    if (is_number(wanted)) {
        if (is_number(row))
            return compare_numbers(row, wanted);
        if (row->type == QUERN_VALUE_TEXT && text_as_number(row->bytes, &number))
            return compare_numbers(&number, wanted);
        return INCOMPARABLE;
    }
    if (row->type != QUERN_VALUE_TEXT)
        return INCOMPARABLE;
    size_t n = row->bytes.len < wanted->bytes.len ? row->bytes.len : wanted->bytes.len;
    int c = n ? memcmp(row->bytes.ptr, wanted->bytes.ptr, n) : 0;
    return c ? sign(c<0, c> 0)
             : sign(row->bytes.len<wanted->bytes.len, row->bytes.len> wanted->bytes.len);
}

static bool holds(const term *t, const quern_value *row)
{
    if (t->op == ONE_OF || t->op == NONE_OF) {
        bool found = false;
        for (size_t i = 0; i < t->n && !found; i++)
            found = compare(row, &t->values[i]) == 0;
        return t->op == ONE_OF ? found : !found && row->type != QUERN_VALUE_NULL;
    }
    int c = compare(row, &t->values[0]);
    switch (t->op) {
    case AT_LEAST:
        return c == 0 || c == 1;
    case ABOVE:
        return c == 1;
    case AT_MOST:
        return c == 0 || c == -1;
    default:
        return c == -1;
    }
}

bool quern__filter_matches(const quern__filter *f, const quern_value *const *columns)
{
    for (size_t i = 0; i < f->n; i++)
        if (!holds(&f->terms[i], columns[i]))
            return false;
    return true;
}
