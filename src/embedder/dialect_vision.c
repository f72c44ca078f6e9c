/*
 * dialect_vision.c — how models are asked that take pictures and videos with texts, all of them by URL. The same models take texts
 * alone, so whoever is embedded with one is found by a text through the same door.
 *
 * Voyage makes one vector of each input, however many parts that has. DashScope's qwen3-vl does so when it is asked to; of its
 * other models, and of Jina's, each part has a vector of its own, and quern takes the mean. A frame is a picture to all of them.
 *
 * Only what is known to be taken is sent: Jina's API takes no video by URL, and its CLIP models know neither tasks nor cutting.
 */
#include "embedder/dialect.h"

#include <string.h>

static bool begins(const char *s, const char *front)
{
    return strncmp(s, front, strlen(front)) == 0;
}

bool quern__dialect_takes(int dialect, int kind)
{
    return kind != QUERN_ASSET_VIDEO || dialect != QUERN__DIALECT_JINA_VISION;
}

bool quern__dialect_fuses(int dialect, const char *model)
{
    return dialect == QUERN__DIALECT_VOYAGE_VISION ||
           (dialect == QUERN__DIALECT_DASHSCOPE_VISION && begins(model, "qwen3-vl-embedding"));
}

/* ---- Voyage: {"content":[{"type":"text","text":…},{"type":"image_url","image_url":…}]} ---- */

static void put_piece(quern__jsonw *w, const char *type, quern_str value)
{
    quern__jsonw_object(w);
    quern__jsonw_put_cstr(w, "type", type);
    quern__jsonw_put_str(w, type, value);
    quern__jsonw_end_object(w);
}

static void open_content(quern__jsonw *w)
{
    quern__jsonw_object(w);
    quern__jsonw_key(w, "content");
    quern__jsonw_array(w);
}

static void close_content(quern__jsonw *w)
{
    quern__jsonw_end_array(w);
    quern__jsonw_end_object(w);
}

static void put_voyage(quern__jsonw *w, const quern__provider_question *q)
{
    quern__jsonw_key(w, "inputs");
    quern__jsonw_array(w);
    for (size_t i = 0; i < q->n + q->n_assets; i++) {
        const quern_asset *a = i < q->n ? NULL : &q->assets[i - q->n];
        if (!q->together || i == 0)
            open_content(w);
        if (a)
            put_piece(w, a->kind == QUERN_ASSET_VIDEO ? "video_url" : "image_url", a->url);
        else
            put_piece(w, "text", q->texts[i]);
        if (!q->together || i + 1 == q->n + q->n_assets)
            close_content(w);
    }
    quern__jsonw_end_array(w);
    quern__jsonw_put_cstr(w, "input_type", q->query ? "query" : "document");
    quern__jsonw_put_bool(w, "truncation", q->truncate);
    quern__dialect_put_dimensions(w, "output_dimension", q);
}

/* ---- Jina and DashScope: [{"text":…},{"image":…},{"video":…}] ---- */

static void put_parts(quern__jsonw *w, const char *key, const quern__provider_question *q)
{
    quern__jsonw_key(w, key);
    quern__jsonw_array(w);
    for (size_t i = 0; i < q->n + q->n_assets; i++) {
        const quern_asset *a = i < q->n ? NULL : &q->assets[i - q->n];
        quern__jsonw_object(w);
        if (a)
            quern__jsonw_put_str(w, a->kind == QUERN_ASSET_VIDEO ? "video" : "image", a->url);
        else
            quern__jsonw_put_str(w, "text", q->texts[i]);
        quern__jsonw_end_object(w);
    }
    quern__jsonw_end_array(w);
}

static void put_jina(quern__jsonw *w, const quern__provider_question *q)
{
    put_parts(w, "input", q);
    if (!begins(q->model, "jina-clip")) {
        quern__jsonw_put_cstr(w, "task", q->query ? "retrieval.query" : "retrieval.passage");
        quern__jsonw_put_bool(w, "truncate", q->truncate);
    }
    quern__dialect_put_dimensions(w, "dimensions", q);
    quern__jsonw_put_cstr(w, "embedding_type", q->base64 ? "base64" : "float");
}

static void put_dashscope(quern__jsonw *w, const quern__provider_question *q)
{
    quern__jsonw_key(w, "input");
    quern__jsonw_object(w);
    put_parts(w, "contents", q);
    quern__jsonw_end_object(w);
    if (!q->dimensions && !q->together)
        return;
    quern__jsonw_key(w, "parameters");
    quern__jsonw_object(w);
    quern__dialect_put_dimensions(w, "dimension", q);
    if (q->together)
        quern__jsonw_put_bool(w, "enable_fusion", true);
    quern__jsonw_end_object(w);
}

void quern__dialect_ask_vision(const quern__provider_question *q, quern__jsonw *w)
{
    if (q->dialect == QUERN__DIALECT_VOYAGE_VISION)
        put_voyage(w, q);
    else if (q->dialect == QUERN__DIALECT_JINA_VISION)
        put_jina(w, q);
    else
        put_dashscope(w, q);
}
