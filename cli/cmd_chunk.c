/*
 * cmd_chunk.c — how fill would cut each text. Texts stream as in embed, one result for each; nothing is kept from one
 * to the next.
 */
#include "cli.h"

static const char *const our_fields[] = {"index", "chunks", "truncated", "dropped_bytes", NULL};

typedef struct work {
    quern_embedder *e;
    quern_chunk_options opt;
} work;

static void write_json(const text_item *item, const quern_text_chunks *chunks, uint64_t index)
{
    const quern_text_chunk *p;
    put_object();
    put_members(item->members.ptr, item->members.len);
    put_key("index");
    put_whole(index);
    put_key("chunks");
    put_array();
    for (size_t i = 0; (p = quern_text_chunks_at(chunks, i)); i++) {
        put_object();
        put_key("chunk");
        put_whole(i);
        put_key("start");
        put_whole(p->start);
        put_key("end");
        put_whole(p->end);
        put_key("char_start");
        put_whole(p->char_start);
        put_key("char_end");
        put_whole(p->char_end);
        put_key("tokens");
        put_whole(p->tokens);
        if (p->page) {
            put_key("page");
            put_whole(p->page);
        }
        if (p->heading.len) {
            put_key("heading");
            put_string(p->heading);
        }
        put_key("text");
        put_string(p->text);
        put_end_object();
    }
    put_end_array();
    put_key("truncated");
    put_bool(quern_text_chunks_dropped(chunks) > 0);
    put_key("dropped_bytes");
    put_whole(quern_text_chunks_dropped(chunks));
    put_end_object();
    put_line();
}

/* A line for each chunk, so line ends inside it become blanks. */
static void write_slice(quern_str s)
{
    size_t from = 0;
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] >= 0x20)
            continue;
        out_bytes(s.ptr + from, i - from);
        out_bytes(" ", 1);
        from = i + 1;
    }
    out_bytes(s.ptr + from, s.len - from);
    out_text("\n");
}

static void write_text(const quern_text_chunks *chunks, uint64_t index)
{
    const quern_text_chunk *p;
    for (size_t i = 0; (p = quern_text_chunks_at(chunks, i)); i++) {
        out_printf("%llu.%zu  bytes %llu-%llu", (unsigned long long)index, i,
                   (unsigned long long)p->start, (unsigned long long)p->end);
        if (p->tokens)
            out_printf("  %u tokens", p->tokens);
        if (p->page)
            out_printf("  page %u", p->page);
        if (p->heading.len)
            out_printf("  [%.*s]", (int)p->heading.len, p->heading.ptr);
        out_text("  ");
        write_slice(p->text);
    }
    if (quern_text_chunks_dropped(chunks))
        out_printf("%llu     %llu bytes dropped\n", (unsigned long long)index,
                   (unsigned long long)quern_text_chunks_dropped(chunks));
}

static int one(const cli *c, const work *w, const text_item *item, uint64_t index, quern_error *err)
{
    quern_text_chunks *chunks = NULL;
    int rc = quern_chunk_text(&chunks, w->e, item->text, &w->opt, err);
    if (rc == QUERN_OK && c->json)
        write_json(item, chunks, index);
    else if (rc == QUERN_OK)
        write_text(chunks, index);
    quern_text_chunks_free(chunks);
    return rc;
}

/* Of the embedder only its tokenizer is used: one thread will do. */
static int prepare(cli *c, work *w, quern_error *err)
{
    QUERN_INIT(&w->opt);
    w->opt.max_chunks = (uint32_t)quern_config_count(c->config, "max-chunks");
    if (quern_config_is_set(c->config, "overlap"))
        w->opt.overlap = (uint32_t)quern_config_count(c->config, "overlap");
    w->opt.headings = quern_config_flag(c->config, "headings");
    w->opt.prepare = quern_config_text(c->config, "prepare");
    quern_embedder_options opt;
    QUERN_INIT(&opt);
    opt.threads = 1;
    quern_model *model = NULL;
    int rc = open_model(c, &model, err);
    if (rc == QUERN_OK)
        rc = quern_embedder_from_model(&w->e, model, &opt, err);
    quern_model_free(model);
    return rc;
}

int cmd_chunk(cli *c, quern_error *err)
{
    work w = {0};
    input *in = NULL;
    text_item item;
    uint64_t index = 0;
    int rc = prepare(c, &w, err), got = 0;
    if (rc == QUERN_OK)
        rc = input_open(&in, c, our_fields, err);
    while (rc == QUERN_OK && !out_broken() && (got = input_next(in, &item, err)) == 1) {
        rc = quern_cancel_raised(c->cancel) ? fail(err, QUERN_ECANCELLED, "interrupted")
                                            : one(c, &w, &item, index++, err);
        text_item_free(&item);
        if (!input_ready(in))
            out_flush();
    }
    if (rc == QUERN_OK && got < 0)
        rc = got;
    input_free(in);
    quern_embedder_free(w.e);
    return rc;
}
