/*
 * fuzz_gguf.c — any bytes as a GGUF file, and as one that stands alone: its settings and vocabulary are refused with a message,
 * or are a config.json and a tokenizer.json that their readers answer, and tokens of the vocabulary.
 */
#include "format/gguf_texts.h"
#include "format/model_config.h"
#include "fuzz_weights.h"
#include "tokenizer/tokenizer.h"

static void tokens_of(const quern__tokenizer *t)
{
    static const char text[] = "a \xc3\x89[CLS]<mask> 12\n\xe4\xb8\xad\xe6\x96\x87 b";
    quern__tokens tokens;
    quern__tokens_init(&tokens);
    if (quern__tokenize(t, (quern_str){text, sizeof text - 1}, 16, &tokens, NULL) == QUERN_OK)
        for (uint32_t i = 0; i < tokens.n; i++)
            if (tokens.ids[i] < 0 || (uint32_t)tokens.ids[i] >= quern__tokenizer_vocab_size(t))
                abort();
    quern__tokens_dispose(&tokens);
}

static void texts_of(const quern__weights *w)
{
    quern__gguf_texts texts;
    quern__model_config config;
    quern__tokenizer *t = NULL;
    quern_error err;
    memset(&err, 0, sizeof err);
    int rc = quern__gguf_texts_read(&texts, w, &err);
    if (rc != QUERN_OK) {
        if (err.status != rc || !err.msg[0])
            abort();
        return;
    }
    quern__model_config_parse(&config, texts.config.data, texts.config.len, "fuzz", NULL);
    rc = quern__tokenizer_from_json(&t, "fuzz",
                                    (quern_str){texts.tokenizer.data, texts.tokenizer.len}, &err);
    if (rc == QUERN_OK)
        tokens_of(t);
    else if (t || err.status != rc || !err.msg[0])
        abort();
    quern__tokenizer_free(t);
    quern__gguf_texts_dispose(&texts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    quern__weights *w = NULL;
    if (quern__weights_parse(&w, QUERN__GGUF, data, size, "fuzz", NULL) == QUERN_OK)
        texts_of(w);
    quern__weights_free(w);
    return fuzz_weights(QUERN__GGUF, data, size);
}
