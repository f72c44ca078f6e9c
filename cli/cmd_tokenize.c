/*
 * cmd_tokenize.c — what the model sees of each text, one line for each, never cut. Texts stream as in
 * embed; nothing is kept from one to the next.
 */
#include "cli.h"

static const char *const our_fields[] = {"index", "ids", "tokens", "offsets", NULL};

static void write_json(const quern_model *m, const text_item *item, const quern_tokens *t,
                       uint64_t index)
{
    put_object();
    put_members(item->members.ptr, item->members.len);
    put_key("index");
    put_whole(index);
    put_key("ids");
    put_array();
    for (size_t i = 0; i < t->n; i++)
        put_signed(t->ids[i]);
    put_end_array();
    put_key("tokens");
    put_array();
    for (size_t i = 0; i < t->n; i++)
        put_text(quern_model_token_text(m, t->ids[i]));
    put_end_array();
    put_key("offsets");
    put_array();
    for (size_t i = 0; i < t->n; i++) {
        put_array();
        put_whole(t->start[i]);
        put_whole(t->end[i]);
        put_end_array();
    }
    put_end_array();
    put_end_object();
    put_line();
}

static void write_text(const quern_model *m, const quern_tokens *t)
{
    for (size_t i = 0; i < t->n; i++) {
        const char *token = quern_model_token_text(m, t->ids[i]);
        out_text(i ? " " : "");
        out_text(token ? token : "?");
    }
    out_text("\n");
}

static int one(cli *c, const quern_model *m, const text_item *item, uint64_t index,
               quern_error *err)
{
    quern_tokens *t = NULL;
    int rc = quern_model_tokenize(m, item->text, &t, err);
    if (rc == QUERN_OK && c->json)
        write_json(m, item, t, index);
    else if (rc == QUERN_OK)
        write_text(m, t);
    quern_tokens_free(t);
    return rc;
}

int cmd_tokenize(cli *c, quern_error *err)
{
    quern_model *m = NULL;
    input *in = NULL;
    text_item item;
    uint64_t index = 0;
    int rc = open_model(c, &m, err), got = 0;
    if (rc == QUERN_OK)
        rc = input_open(&in, c, our_fields, err);
    while (rc == QUERN_OK && !out_broken() && (got = input_next(in, &item, err)) == 1) {
        rc = quern_cancel_raised(c->cancel) ? fail(err, QUERN_ECANCELLED, "interrupted")
                                            : one(c, m, &item, index++, err);
        text_item_free(&item);
        if (!input_ready(in))
            out_flush();
    }
    if (rc == QUERN_OK && got < 0)
        rc = got;
    input_free(in);
    quern_model_free(m);
    return rc;
}
