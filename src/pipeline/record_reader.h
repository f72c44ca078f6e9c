/*
 * record_reader.h — records out of a stream of bytes from a stranger: JSON Lines and CSV. Memory is bounded by the longest
 * record allowed; every fault names the input, its line and the byte.
 */
#ifndef QUERN_PIPELINE_RECORD_READER_H
#define QUERN_PIPELINE_RECORD_READER_H

#include <jansson.h>

#include "base/buf.h"
#include "base/error.h"
#include "text/template.h"

enum {
    QUERN__INPUT_DEPTH = 32,         /* of a JSON record */
    QUERN__INPUT_VALUES = 100000,    /* in one */
    QUERN__INPUT_COLUMNS = 4096,     /* of a CSV file */
    QUERN__INPUT_ID = 4096,          /* bytes of an id */
    QUERN__INPUT_DETAIL = 64 * 1024, /* bytes of `properties` and of `references` */
    QUERN__INPUT_SLACK = 1 << 20     /* of a record beside its text */
};

/* Up to n bytes into buf; *got = 0 at the end. */
typedef int (*quern__input_fn)(void *ud, void *buf, size_t n, size_t *got, quern_error *err);

typedef struct quern__input {
    const char *name; /* in errors */
    quern__input_fn read;
    void *ud;
    size_t max_record;
    char *block;
    size_t at, have;
    bool end;
    uint64_t line;  /* of the record at hand, from 1 */
    uint64_t next;  /* line at the reading place */
    uint64_t bytes; /* read so far */
    quern__buf record;
    /* CSV */
    size_t *field_ends; /* in record, cap_fields of them */
    size_t n_fields, cap_fields;
    json_t *header; /* array of names */
} quern__input;

int quern__input_init(quern__input *in, const char *name, quern__input_fn read, void *ud,
                      size_t max_record, quern_error *err);
void quern__input_dispose(quern__input *in);
/* More bytes into the block; in->end at the end. For the readers. */
int quern__input_more(quern__input *in, quern_error *err);
/* EFORMAT "NAME:LINE: …". */
int quern__input_fail(const quern__input *in, int64_t detail, quern_error *err, const char *fmt,
                      ...) QUERN_PRINTF(4, 5);

/* The next record, as an object that the caller json_decref's; NULL at the end. */
int quern__jsonl_next(quern__input *in, json_t **object, quern_error *err);
int quern__csv_next(quern__input *in, json_t **object, quern_error *err);

/* ---- from a record to a document (input_record.c) ---- */
typedef struct quern__shape {
    const char *id_field;            /* NULL: "id" where there is one */
    const char *text_field;          /* NULL: "text", "body" or "content" */
    const quern__template *template; /* in place of text_field */
    bool *seen;       /* per column of the template: set once a record has it; NULL */
    size_t max_bytes; /* of the text */
    bool no_text;     /* it will not be kept: nothing that it is made of becomes a property */
    const char *const
        *made_of; /* [n_made_of] fields that the source reads besides, which become none either */
    size_t n_made_of;
} quern__shape;

/* Sets id (empty: derive one) and fields, canonical JSON of all fields with "text" among them, and "properties" with
 * copies of those that have no use of their own. Takes nothing away from the object, but sets these in it. The buffers are cleared first. */
int quern__shape_record(const quern__input *in, const quern__shape *shape, json_t *object,
                        quern__buf *id, quern__buf *fields, size_t *text_bytes, quern_error *err);
/* Canonical JSON of {"text": text}. */
int quern__shape_text(quern_str text, quern__buf *fields, quern_error *err);

#endif
