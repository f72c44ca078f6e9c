/* record_reader.c — the block reader under the record readers; see record_reader.h. */
#include "pipeline/record_reader.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"

enum { BLOCK = 64 * 1024 };

int quern__input_init(quern__input *in, const char *name, quern__input_fn read, void *ud,
                      size_t max_record, quern_error *err)
{
    memset(in, 0, sizeof *in);
    in->name = name;
    in->read = read;
    in->ud = ud;
    in->max_record = max_record;
    in->next = 1;
    quern__buf_init(&in->record, max_record + 1);
    in->block = quern__alloc(BLOCK);
    return in->block ? QUERN_OK : quern__fail_memory(err, BLOCK);
}

void quern__input_dispose(quern__input *in)
{
    quern__free(in->block);
    quern__free(in->field_ends);
    quern__buf_dispose(&in->record);
    json_decref(in->header);
    memset(in, 0, sizeof *in);
}

int quern__input_more(quern__input *in, quern_error *err)
{
    in->at = 0;
    in->have = 0;
    if (in->end)
        return QUERN_OK;
    bool first = in->bytes == 0;
    do { /* the first block is at least as long as a byte order mark */
        size_t got = 0;
        int rc = in->read(in->ud, in->block + in->have, BLOCK - in->have, &got, err);
        if (rc != QUERN_OK)
            return rc;
        in->have += got;
        in->bytes += got;
        in->end = got == 0;
    } while (first && !in->end && in->have < 3);
    if (first && in->have >= 3 && memcmp(in->block, "\xEF\xBB\xBF", 3) == 0)
        in->at = 3;
    if (in->have > in->at)
        in->end = false; /* there is something to read before the end is */
    return QUERN_OK;
}

int quern__input_fail(const quern__input *in, int64_t detail, quern_error *err, const char *fmt,
                      ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return quern__fail(err, QUERN_EFORMAT, detail, "%s:%" PRIu64 ": %s", in->name, in->line, text);
}
