/*
 * test_tokenizer.c — what the parity test cannot ask the reference: the cut, the hash, what a broken
 * or hostile file is told, threads, and every allocation failing once.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/os.h"
#include "base/pool.h"
#include "text/unicode_bert.h"
#include "tokenizer/tokenizer_draft.h"
#include "torture/torture.h"

#define ADDED                                                                                      \
    "{\"id\":1,\"content\":\"[UNK]\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"     \
    "\"normalized\":false,\"special\":true}"
#define NORMALIZER                                                                                 \
    "{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"              \
    "\"strip_accents\":null,\"lowercase\":true}"
#define POST                                                                                       \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\","            \
    "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":"       \
    "\"[SEP]\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{\"[CLS]\":{\"id\":\"[CLS]\","      \
    "\"ids\":[2],\"tokens\":[\"[CLS]\"]},\"[SEP]\":{\"id\":\"[SEP]\",\"ids\":[3],\"tokens\":"      \
    "[\"[SEP]\"]}}}"
#define VOCAB                                                                                      \
    "{\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"a\":4,\"b\":5,\"##b\":6,\"##c\":7,"        \
    "\"abc\":8,\"\\u00e9\":9,\"\\u302e\":10,\"##\\u302e\":11,\"##\\u1b44\":12}"
#define MODEL                                                                                      \
    "{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","        \
    "\"max_input_chars_per_word\":100,\"vocab\":" VOCAB "}"
static const char good[] =
    "{\"version\":\"1.0\",\"truncation\":{\"max_length\":4},\"padding\":null,\"added_tokens\":"
    "[" ADDED "],\"normalizer\":" NORMALIZER ",\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
    "\"post_processor\":" POST ",\"decoder\":{\"type\":\"WordPiece\"},\"model\":" MODEL "}";

/* `good` with the first `from` replaced; malloc'ed. */
static char *with(const char *from, const char *to)
{
    const char *at = strstr(good, from);
    assert_non_null(at);
    size_t size = strlen(good) + strlen(to) + 1;
    char *out = malloc(size);
    assert_non_null(out);
    snprintf(out, size, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    return out;
}

static quern__tokenizer *opened(const char *json)
{
    quern__tokenizer *t = NULL;
    quern_error err = {0};
    if (quern__tokenizer_from_json(&t, "tokenizer.json", quern_str_of(json), &err) != QUERN_OK)
        fail_msg("%s", err.msg);
    return t;
}

static void expect_ids(const quern__tokenizer *t, const char *text, uint32_t max, uint32_t full,
                       const int32_t *ids, uint32_t n)
{
    quern__tokens tokens;
    quern__tokens_init(&tokens);
    assert_int_equal(quern__tokenize(t, quern_str_of(text), max, &tokens, NULL), QUERN_OK);
    assert_int_equal(tokens.full, full);
    assert_int_equal(tokens.n, n);
    assert_memory_equal(tokens.ids, ids, n * sizeof *ids);
    quern__tokens_dispose(&tokens);
}
#define EXPECT(t, text, max, full, ...)                                                            \
    expect_ids(t, text, max, full, (const int32_t[]){__VA_ARGS__},                                 \
               sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void cut_keeps_the_closing_token(void **state)
{
    (void)state;
    quern__tokenizer *t = opened(good);
    EXPECT(t, "abc a ab", 0, 6, 2, 8, 4, 4, 6, 3);
    EXPECT(t, "abc a ab", 6, 6, 2, 8, 4, 4, 6, 3);
    EXPECT(t, "abc a ab", 5, 6, 2, 8, 4, 4, 3);
    EXPECT(t, "abc a ab", 3, 6, 2, 8, 3);
    EXPECT(t, "abc a ab", 2, 6, 2, 3);
    EXPECT(t, "abc a ab", 1, 6, 3);
    /* An unknown word is one token although its first piece was cut off or kept before. */
    EXPECT(t, "a abz", 4, 4, 2, 4, 1, 3);
    EXPECT(t, "a abz", 3, 4, 2, 4, 3);
    EXPECT(t, "", 0, 2, 2, 3);
    assert_int_equal(quern__tokenizer_specials(t), 2);
    quern__tokenizer_free(t);
}

static void tokens_say_where_they_come_from(void **state)
{
    (void)state;
    quern__tokenizer *t = opened(good);
    quern__tokens tokens;
    quern__tokens_init(&tokens);
    static const char text[] = "x A\xCC\x81\x62 [UNK]";
    assert_int_equal(quern__tokenize(t, quern_str_of(text), 0, &tokens, NULL), QUERN_OK);
    static const int32_t ids[] = {2, 1, 4, 6, 1, 3};
    static const uint32_t start[] = {0, 0, 2, 5, 7, 0}, end[] = {0, 1, 3, 6, 12, 0};
    static const uint8_t special[] = {1, 0, 0, 0, 0, 1};
    assert_int_equal(tokens.n, 6);
    assert_memory_equal(tokens.ids, ids, sizeof ids);
    assert_memory_equal(tokens.start, start, sizeof start);
    assert_memory_equal(tokens.end, end, sizeof end);
    assert_memory_equal(tokens.special, special, sizeof special);
    assert_int_equal(quern__tokenize_plain(t, quern_str_of(text), &tokens, NULL), QUERN_OK);
    assert_int_equal(tokens.n, 4);
    assert_int_equal(tokens.full, 4);
    assert_memory_equal(tokens.ids, ids + 1, 4 * sizeof *ids);
    quern_error err = {0};
    quern_str huge = {text, (size_t)UINT32_MAX};
    assert_int_equal(quern__tokenize(t, huge, 0, &tokens, &err), QUERN_ENOMEM);
    assert_non_null(strstr(err.msg, "4 GiB"));
    quern__tokens_dispose(&tokens);
    quern__tokenizer_free(t);
}

static void vocabulary_answers(void **state)
{
    (void)state;
    quern__tokenizer *t = opened(good);
    assert_int_equal(quern__tokenizer_vocab_size(t), 13);
    assert_string_equal(quern__tokenizer_text(t, 6), "##b");
    assert_string_equal(quern__tokenizer_text(t, 9), "\xC3\xA9");
    assert_null(quern__tokenizer_text(t, -1));
    assert_null(quern__tokenizer_text(t, 13));
    quern__tokenizer_free(t);
    char *gap = with("\"abc\":8", "\"abc\":800"); /* an id without a piece */
    t = opened(gap);
    assert_int_equal(quern__tokenizer_vocab_size(t), 801);
    assert_null(quern__tokenizer_text(t, 8));
    assert_null(quern__tokenizer_text(t, 799));
    quern__tokenizer_free(t);
    free(gap);
}

/* ---- the hash ---- */

static void hash_of(const char *json, char out[65])
{
    quern__tokenizer *t = opened(json);
    quern__tokenizer_hash(t, out);
    quern__tokenizer_free(t);
}

static void hash_covers_what_decides_ids(void **state)
{
    (void)state;
    static const char *const changes[][2] = {
        {"\"clean_text\":true", "\"clean_text\":false"},
        {"\"handle_chinese_chars\":true", "\"handle_chinese_chars\":false"},
        {"\"strip_accents\":null", "\"strip_accents\":false"},
        {"\"lowercase\":true", "\"lowercase\":false"},
        {"\"max_input_chars_per_word\":100", "\"max_input_chars_per_word\":99"},
        {"\"continuing_subword_prefix\":\"##\"", "\"continuing_subword_prefix\":\"#\""},
        {"\"##c\":7", "\"##d\":7"},
        {"\"a\":4,\"b\":5", "\"a\":5,\"b\":4"},
        {"\"unk_token\":\"[UNK]\"", "\"unk_token\":\"[PAD]\""},
        {"\"added_tokens\":[" ADDED "]", "\"added_tokens\":[]"},
        {"\"lstrip\":false", "\"lstrip\":true"},
        {POST, "null"},
        {"{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"[SEP]\",\"type_"
         "id\":0}}",
         "{\"SpecialToken\":{\"id\":\"[SEP]\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_"
         "id\":0}}"},
    };
    enum { N = sizeof changes / sizeof changes[0] };
    char hash[N + 1][65];
    hash_of(good, hash[N]);
    for (size_t i = 0; i < N; i++) {
        char *json = with(changes[i][0], changes[i][1]);
        hash_of(json, hash[i]);
        free(json);
    }
    for (size_t i = 0; i <= N; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(hash[i], hash[k]) == 0)
                fail_msg("changes %zu and %zu have one hash", i, k);
    static const char *const same[][2] = {
        {"\"strip_accents\":null", "\"strip_accents\":true"},
        {"\"truncation\":{\"max_length\":4}", "\"truncation\":null"},
        {"\"type\":\"WordPiece\",\"unk", "\"unk"},
        {"\"a\":4,\"b\":5", "\"b\":5,\"a\":4"},
        {POST, "{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",3],\"cls\":[\"[CLS]\",2]}"},
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        char *json = with(same[i][0], same[i][1]);
        hash_of(json, hash[0]);
        assert_string_equal(hash[0], hash[N]);
        free(json);
    }
}

/* ---- hostile files ---- */

static void refused(const char *json, size_t len, const char *says)
{
    quern__tokenizer *t = (quern__tokenizer *)&t;
    quern_error err = {0};
    int rc = quern__tokenizer_from_json(&t, "m/tokenizer.json", (quern_str){json, len}, &err);
    assert_null(t);
    if (rc != QUERN_EFORMAT || err.status != rc || !strstr(err.msg, says) ||
        !strstr(err.msg, "m/tokenizer.json: ") || !strstr(err.msg, "at byte") || err.detail < 0 ||
        (size_t)err.detail > len)
        fail_msg("wanted '%s', got %d '%s' (%lld)", says, rc, err.msg, (long long)err.detail);
}

static void json_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"\"version\":\"1.0\"", "\"version\":\"2.0\"", "version '2.0'"},
        {"\"version\":\"1.0\"", "\"vers\":\"1.0\"", "'vers'"},
        {"\"padding\":null", "\"version\":null", "'version' is there twice"},
        {"BertNormalizer", "NFKC", "'NFKC'"},
        {"BertPreTokenizer", "Metaspace", "without 'replacement'"},
        {"BertPreTokenizer", "Digits", "'Digits'"},
        {"\"BertPreTokenizer\"", "\"BertPreTokenizer\",\"x\":1", "not known"},
        {"{\"type\":\"BertPreTokenizer\"}", "null", "a pre_tokenizer other than"},
        {"\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},", "", "without 'pre_tokenizer'"},
        {"TemplateProcessing", "RobertaProcessing", "without 'sep'"},
        {"TemplateProcessing", "Processing", "'Processing'"},
        {"\"type\":\"WordPiece\",\"unk", "\"type\":\"BPE\",\"unk", "a BPE with"},
        {"\"lowercase\":true", "\"lowercase\":1", "at byte"},
        {",\"lowercase\":true", "", "without 'lowercase'"},
        {"\"clean_text\":true", "\"clean_texts\":true", "'clean_texts'"},
        {"\"unk_token\":\"[UNK]\"", "\"unk_token\":\"[unk]\"", "'[unk]' is not in the vocabulary"},
        {"\"unk_token\":\"[UNK]\",", "", "without 'unk_token'"},
        {"\"[UNK]\":1,", "", "'[UNK]' cannot be added (its id belongs"},
        {"\"[CLS]\":2,", "", "'[CLS]' is not in the vocabulary"},
        {"\"[SEP]\":3,", "", "'[SEP]' is not in the vocabulary"},
        {"\"ids\":[2]", "\"ids\":[4]", "'[CLS]' has another id"},
        {"\"ids\":[2]", "\"ids\":[2,3]", "not one id"},
        {"\"ids\":[2]", "\"ids\":[]", "not one id"},
        {"\"ids\":[2]", "\"ids\":[99999999999]", "not one id"},
        {"\"special_tokens\":{\"[CLS]\":{\"id\":\"[CLS]\"",
         "\"special_tokens\":{\"[CLS]\":{\"id\":\"x\"", "another's name"},
        {"\"Sequence\":{\"id\":\"A\"", "\"Sequence\":{\"id\":\"B\"", "as 'A'"},
        {"{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},", "", "without the text"},
        {"\"A\",\"type_id\":0", "\"A\",\"type_id\":1", "type_id"},
        {"{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":0}}", "{}", "an empty part"},
        {"\"special_tokens\":{", "\"sep\":[\"[SEP]\",3],\"special_tokens\":{", "another type"},
        {POST, "{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\"],\"cls\":[\"[CLS]\",2]}",
         "expected"},
        {POST, "{\"type\":\"BertProcessing\",\"sep\":[],\"cls\":[\"[CLS]\",2]}", "expected"},
        {POST, "{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",3,4],\"cls\":[\"[CLS]\",2]}",
         "at byte"},
        {POST, "{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",2],\"cls\":[\"[CLS]\",2]}",
         "another id"},
        {POST, "{\"type\":\"BertProcessing\",\"cls\":[\"[CLS]\",2]}", "without 'sep'"},
        {"\"a\":4", "\"a\":5", "its id belongs to another"},
        {"\"a\":4", "\"abc\":4", "it is there twice"},
        {"\"a\":4", "\"a\":2097152", "out of range"},
        {"\"a\":4", "\"a\":-4", "at byte"},
        {"\"a\":4", "\"a\":4.5", "at byte"},
        {"\"a\":4", "\"a\":\"4\"", "at byte"},
        {"\"a\":4", "\"a\\u0000\":4", "a NUL"},
        {"\"a\":4", "\"\xff\":4", "UTF-8"},
        {VOCAB, "{}", "'[UNK]'"},
        {VOCAB, "[]", "another's vocabulary"},
        {"\"max_input_chars_per_word\":100", "\"max_input_chars_per_word\":5000", "4096"},
        {"\"max_input_chars_per_word\":100", "\"max_input_chars_per_word\":-1", "at byte"},
        {"_prefix\":\"##\"", "_prefix\":\"#################\"", "16 bytes"},
        {"\"id\":1,\"content\"", "\"id\":4,\"content\"", "'[UNK]' has not the id"},
        {"\"id\":1,\"content\"", "\"content\"", "without id"},
        {"\"content\":\"[UNK]\",", "", "without content"},
        {"\"single_word\":false", "\"single_word\":true", "'[UNK]' is single_word"},
        {ADDED, "{\"id\":13,\"content\":\"new\",\"normalized\":true}", "'new' is normalized"},
        {ADDED, "{\"id\":13,\"content\":\"<a-b>\",\"normalized\":true}", "is normalized"},
        {ADDED, "{\"id\":13,\"content\":\"<>\",\"normalized\":true}", "is normalized"},
        {ADDED, ADDED "," ADDED, "'[UNK]' is there twice"},
        {ADDED, "{\"id\":13,\"content\":\" x\"}", "white space"},
        {ADDED, "{\"id\":13,\"content\":\"x\\u3000\"}", "white space"},
        {ADDED, "{\"id\":13,\"content\":\"\"}", "is empty"},
        {ADDED, "{\"id\":13,\"content\":\"\\ufffd\"}", "U+FFFD"},
        {ADDED, "{\"id\":14,\"content\":\"new\"}", "'new' has not the id"},
        {ADDED, "{\"id\":2097152,\"content\":\"new\"}", "out of range"},
        {ADDED, "{\"id\":13,\"content\":\"new\",\"x\":1}", "'x'"},
        {ADDED, "{\"id\":13,\"id\":13,\"content\":\"new\"}", "'id' is there twice"},
        {"\"decoder\":{", "\"decoder\":{,", "at byte"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *json = with(cases[i][0], cases[i][1]);
        refused(json, strlen(json), cases[i][2]);
        free(json);
    }
}

static void torn_json_is_refused(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof good - 1; len++) {
        char *part = malloc(len ? len : 1); /* of its own size, for the sanitizer */
        assert_non_null(part);
        memcpy(part, good, len);
        refused(part, len, "");
        free(part);
    }
    char *tail = with("}", "}"); /* a copy */
    tail[strlen(tail) - 1] = ' ';
    refused(tail, strlen(tail), "");
    free(tail);
}

static void too_many_are_refused(void **state)
{
    (void)state;
    size_t size = 200000, at = 0;
    char *list = malloc(size);
    assert_non_null(list);
    for (int i = 0; i <= QUERN__ADDED_MAX; i++)
        at += (size_t)snprintf(list + at, size - at, "%s{\"id\":%d,\"content\":\"<%d>\"}",
                               i ? "," : "", 13 + i, i);
    char *json = with(ADDED, list);
    refused(json, strlen(json), "one too many");
    free(json);
    at = 0;
    list[at++] = '"';
    memset(list + at, 'x', QUERN__VOCAB_MAX_PIECE + 1);
    at += QUERN__VOCAB_MAX_PIECE + 1;
    snprintf(list + at, size - at, "\":4");
    json = with("\"a\":4", list);
    refused(json, strlen(json), "longer than 1024");
    free(json);
    free(list);
}

/* ---- vocab.txt ---- */

static const char lines[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n##b\n##c\nabc\n\xC3\xA9\n\xE3\x80\xAE\n"
    "##\xE3\x80\xAE\n##\xE1\xAD\x84\n";

static int from_vocab(quern__tokenizer **t, const char *vocab, const char *config, const char *map,
                      quern_error *err)
{
    quern__tokenizer_files files = {
        "vocab.txt",         "tokenizer_config.json", "special_tokens_map.json",
        quern_str_of(vocab), quern_str_of(config),    quern_str_of(map)};
    return quern__tokenizer_from_vocab(t, &files, err);
}

static void vocab_is_the_same_tokenizer(void **state)
{
    (void)state;
    static const char *const configs[] = {
        "{}",
        "{\"do_lower_case\":true,\"strip_accents\":null,\"never_split\":[],\"other\":{\"x\":[1]}}",
        ("{\"unk_token\":{\"content\":\"[UNK]\",\"lstrip\":false},\"tokenizer_class\":"
         "\"BertTokenizer\"}"),
        "{\"added_tokens_decoder\":{\"1\":{\"content\":\"[UNK]\"},\"3\":{\"content\":\"[SEP]\"}}}",
        "{\"additional_special_tokens\":[\"[PAD]\"]}",
    };
    static const char added[] =
        "\"added_tokens\":[{\"id\":0,\"content\":\"[PAD]\"},{\"id\":1,\"content\":\"[UNK]\"},"
        "{\"id\":2,\"content\":\"[CLS]\"},{\"id\":3,\"content\":\"[SEP]\"}]";
    char *json = with("\"added_tokens\":[" ADDED "]", added);
    char expected[65], hash[65];
    hash_of(json, expected);
    free(json);
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++)
        for (int crlf = 0; crlf < 2; crlf++) {
            quern__tokenizer *t;
            quern_error err = {0};
            char vocab[2 * sizeof lines], *to = vocab;
            for (const char *p = lines; *p; p++) {
                if (*p == '\n' && crlf)
                    *to++ = '\r';
                *to++ = *p;
            }
            *to = 0;
            if (from_vocab(&t, vocab, configs[i], i ? "{\"sep_token\":\"[SEP]\"}" : "", &err) !=
                QUERN_OK)
                fail_msg("%zu: %s", i, err.msg);
            quern__tokenizer_hash(t, hash);
            assert_string_equal(hash, expected);
            quern__tokenizer_free(t);
        }
}

static void vocab_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const cases[][4] = {
        {"[UNK]\n[CLS]\n", "{}", "", "vocab.txt: sep_token '[SEP]'"},
        {"", "{}", "", "vocab.txt: unk_token '[UNK]'"},
        {"[UNK]\n[CLS]\n[SEP]\na\na\n", "{}", "",
         "piece 'a' (id 4): it is there twice, at byte 20"},
        {"[UNK]\n[CLS]\n[SEP]\na\rb\n", "{}", "", "carriage return"},
        {"[UNK]\n\xC3\n", "{}", "", "invalid UTF-8 at byte 6"},
        {lines, "{\"unk_token\":\"<unk>\"}", "", "tokenizer_config.json: unk_token '<unk>'"},
        {lines, "{\"mask_token\":\"[MASK]\"}", "", "mask_token '[MASK]' is not in the vocabulary"},
        {lines, "{\"unk_token\":\"[UNK]\"}", "{\"unk_token\":\"a\"}",
         "special_tokens_map.json: unk_token is not"},
        {lines, "{\"tokenizer_class\":\"RobertaTokenizer\"}", "", "'RobertaTokenizer'"},
        {lines, "{\"do_basic_tokenize\":false}", "", "do_basic_tokenize"},
        {lines, "{\"never_split\":[\"x\"]}", "", "never_split"},
        {lines, "{\"do_lower_case\":\"yes\"}", "", "tokenizer_config.json: "},
        {lines, "{\"do_lower_case\":true,\"do_lower_case\":false}", "",
         "'do_lower_case' is there twice"},
        {lines, "{\"added_tokens_decoder\":{\"2\":{\"content\":\"[UNK]\"}}}", "",
         "'[UNK]' has not the id"},
        {lines, "{\"added_tokens_decoder\":{\"x\":{\"content\":\"[UNK]\"}}}", "", "what is no id"},
        {lines, "{\"added_tokens_decoder\":{\"20\":{\"content\":\"new\"}}}", "",
         "'new' has not the id"},
        {lines, "{\"additional_special_tokens\":[\" \"]}", "", "white space"},
        {lines, "{", "", "tokenizer_config.json: "},
        {lines, "{}", "[]", "special_tokens_map.json: "},
        {lines, "{} x", "", "tokenizer_config.json: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quern__tokenizer *t = (quern__tokenizer *)&t;
        quern_error err = {0};
        int rc = from_vocab(&t, cases[i][0], cases[i][1], cases[i][2], &err);
        assert_null(t);
        if (rc != QUERN_EFORMAT || !strstr(err.msg, cases[i][3]) || !strstr(err.msg, "at byte"))
            fail_msg("%zu: wanted '%s', got %d '%s'", i, cases[i][3], rc, err.msg);
    }
}

/* Pieces that all want one slot: each insertion would pass all before it. */
static void crowded_vocabulary_is_refused(void **state)
{
    (void)state;
    quern__vocab v;
    quern__vocab_init(&v);
    assert_int_equal(quern__vocab_reserve(&v, 1000, NULL), QUERN_OK);
    uint32_t added = 0;
    enum quern__vocab_added rc = QUERN__VOCAB_ADDED;
    for (uint32_t n = 0; rc == QUERN__VOCAB_ADDED && n < 1u << 24; n++) {
        char piece[9];
        uint64_t hash = 0;
        int len = snprintf(piece, sizeof piece, "%x", n);
        for (int i = 0; i < len; i++)
            hash = quern__vocab_step(hash, (uint8_t)piece[i]);
        if ((quern__vocab_tag(hash) & v.mask) == 0)
            rc = quern__vocab_add(&v, added++, quern_str_of(piece), true);
    }
    assert_int_equal(rc, QUERN__VOCAB_CROWDED);
    assert_int_equal(added, QUERN__VOCAB_MAX_PROBES + 2);
    quern__vocab_dispose(&v);
}

static void folders_say_what_is_missing(void **state)
{
    (void)state;
    char folder[64], path[96];
    quern__tokenizer *t;
    quern_error err = {0};
    snprintf(folder, sizeof folder, "test_tokenizer.%u", quern__os_pid());
    assert_int_equal(quern__make_dirs(folder, &err), QUERN_OK);
    assert_int_equal(quern__tokenizer_open(&t, folder, &err), QUERN_ENOTFOUND);
    assert_non_null(strstr(err.msg, "neither tokenizer.json nor vocab.txt"));
    snprintf(path, sizeof path, "%s/vocab.txt", folder);
    assert_int_equal(quern__write_file_atomic(path, lines, sizeof lines - 1, &err), QUERN_OK);
    assert_int_equal(quern__tokenizer_open(&t, folder, &err), QUERN_ENOTFOUND);
    assert_non_null(strstr(err.msg, "tokenizer_config.json: missing"));
    snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    static const char config[] = "{\"model_max_length\":512}",
                      none[] = "{\"model_max_length\":1e30}";
    assert_int_equal(quern__write_file_atomic(path, config, sizeof config - 1, &err), QUERN_OK);
    assert_int_equal(quern__tokenizer_open(&t, folder, &err), QUERN_OK);
    assert_int_equal(quern__tokenizer_model_max_length(t), 512);
    EXPECT(t, "abc", 0, 3, 2, 8, 3);
    quern__tokenizer_free(t);
    assert_int_equal(quern__write_file_atomic(path, none, sizeof none - 1, &err), QUERN_OK);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    assert_int_equal(quern__write_file_atomic(path, good, sizeof good - 1, &err), QUERN_OK);
    assert_int_equal(quern__tokenizer_open(&t, folder, &err), QUERN_OK);
    assert_int_equal(quern__tokenizer_model_max_length(t), 0);
    quern__tokenizer_free(t);
    assert_int_equal(quern__write_file_atomic(path, "", 0, &err), QUERN_OK);
    assert_int_equal(quern__tokenizer_open(&t, folder, &err), QUERN_EFORMAT);
    assert_null(t);
    assert_int_equal(quern__remove_tree(folder, &err), QUERN_OK);
}

/* ---- threads, memory ---- */

struct job {
    const quern__tokenizer *t;
    uint64_t sums[64];
};

static void tokenize_part(void *ud, uint32_t part, uint32_t worker)
{
    struct job *job = ud;
    quern__tokens tokens;
    (void)worker;
    quern__tokens_init(&tokens);
    uint64_t sum = 0;
    for (int round = 0; round < 50; round++) {
        quern__tokenize(
            job->t,
            quern_str_of(
                "abc a\xCC\x81\x62\xE3\x80\xAE\xE1\xAD\x84 \xE9\x98\xBF \xC3\x89 zzz [UNK]"),
            0, &tokens, NULL);
        for (uint32_t i = 0; i < tokens.n; i++)
            sum = sum * 31 + (uint64_t)tokens.ids[i] * 7 + tokens.start[i] + tokens.end[i];
    }
    quern__tokens_dispose(&tokens);
    job->sums[part] = sum;
}

static void threads_share_one(void **state)
{
    (void)state;
    struct job job = {.t = opened(good)};
    quern__pool *pool;
    assert_int_equal(quern__pool_new(&pool, 4, NULL), QUERN_OK);
    quern__pool_run(pool, 64, tokenize_part, &job);
    for (int i = 1; i < 64; i++)
        assert_true(job.sums[i] == job.sums[0]);
    quern__pool_free(pool);
    quern__tokenizer_free((quern__tokenizer *)job.t);
}

static int open_and_tokenize(void *ud, quern_error *err)
{
    quern__tokenizer *t;
    quern__tokens tokens;
    int rc = ud ? from_vocab(&t, lines, "{\"added_tokens_decoder\":{\"13\":{\"content\":\"new\"}}}",
                             "{}", err)
                : quern__tokenizer_from_json(&t, "tokenizer.json", quern_str_of(good), err);
    if (rc != QUERN_OK)
        return rc;
    quern__tokens_init(&tokens);
    static char text[2000]; /* a long run of marks, and more tokens than the first growth holds */
    char *to = text;
    for (int i = 0; i < 40; i++, to += 8)
        memcpy(to, "\xE3\x80\xAE\xE1\xAD\x84\xCC\x81", 8);
    for (int i = 0; i < 300; i++, to += 2)
        memcpy(to, " a", 2);
    rc = quern__tokenize(t, quern_str_of(text), 0, &tokens, err);
    quern__tokens_dispose(&tokens);
    quern__tokenizer_free(t);
    return rc;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static int vocab;
    assert_true(torture_run(open_and_tokenize, NULL) > 10);
    assert_true(torture_run(open_and_tokenize, &vocab) > 10);
}

/* Few rows of the table by hand; the parity test asks about all code points. */
static void table_spot_checks(void **state)
{
    (void)state;
    uint32_t out[QUERN__BERT_PARTS];
    assert_true(quern__bert_class(0) & QUERN__BERT_CONTROL);
    assert_true(quern__bert_class(0xFFFD) & QUERN__BERT_CONTROL);
    assert_false(quern__bert_class(0x10FFFF) & QUERN__BERT_SPACE);
    assert_true(quern__bert_class(0x3000) & QUERN__BERT_SPACE);
    assert_true(quern__bert_class(0x2B81F) & QUERN__BERT_CJK);
    assert_false(quern__bert_class(0x2B820) & QUERN__BERT_CJK); /* the reference's slip, kept */
    assert_true(quern__bert_class(0x2B920) & QUERN__BERT_CJK);
    assert_int_equal(quern__bert_strip(0xAC01, out), 3);
    assert_int_equal(quern__bert_strip(0xAC00, out), 2);
    assert_int_equal(quern__bert_lower(0x130, out), 2);
    assert_int_equal(quern__bert_lower(0x1C89, out), 1);
    assert_int_equal(out[0], 0x1C8A);
    assert_true(quern__bert_rank(0x323) < quern__bert_rank(0x301));
    assert_int_equal(quern__bert_rank('a'), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_keeps_the_closing_token),
        cmocka_unit_test(tokens_say_where_they_come_from),
        cmocka_unit_test(vocabulary_answers),
        cmocka_unit_test(hash_covers_what_decides_ids),
        cmocka_unit_test(json_is_refused_by_name),
        cmocka_unit_test(torn_json_is_refused),
        cmocka_unit_test(too_many_are_refused),
        cmocka_unit_test(vocab_is_the_same_tokenizer),
        cmocka_unit_test(vocab_is_refused_by_name),
        cmocka_unit_test(crowded_vocabulary_is_refused),
        cmocka_unit_test(folders_say_what_is_missing),
        cmocka_unit_test(threads_share_one),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(table_spot_checks),
    };
    torture_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
