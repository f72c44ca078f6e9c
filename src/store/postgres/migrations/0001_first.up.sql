-- quern's tables in PostgreSQL, first shape; run with the search path set to their schema. What becomes of the sign
-- in front of each name is told in postgres_names.c. `source` and `generation` are ids of the tables of that name; times are Unix milliseconds; `key` is the canonical JSON of a
-- row's key. Text that is looked up is compared by its bytes ("C"): quick, and no locale's upgrade moves it.

CREATE TABLE @sources (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    text COLLATE "C" NOT NULL UNIQUE,
    spec    text NOT NULL,                  -- JSON: table, query, keys, text, revision, where, meta
    dropped boolean NOT NULL DEFAULT false  -- being removed; its rows go in slices
);

-- Ids are never used twice: an identity counts on. Vectors and chunks of one are in its table vectors_<id>:
--   id bigint (generation << 40 | a number of the table's sequence), key, chunk, byte_start, byte_end,
--   char_start, char_end, embedding (halfvec, vector or bytea: `storage`).
CREATE TABLE @generations (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source           bigint NOT NULL,
    state            text COLLATE "C" NOT NULL CHECK (state IN ('building', 'active', 'retired')),
    fingerprint      text NOT NULL,
    fingerprint_json text NOT NULL,
    model            text NOT NULL,
    vector_type      text COLLATE "C" NOT NULL CHECK (vector_type IN ('f16', 'f32')),
    storage          text COLLATE "C" NOT NULL CHECK (storage IN ('bytea', 'halfvec', 'vector')),
    dimensions       bigint NOT NULL CHECK (dimensions > 0),
    created_ms       bigint NOT NULL,
    activated_ms     bigint NOT NULL DEFAULT 0,
    chunks           bigint NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX @one_active ON @generations (source) WHERE state = 'active';
CREATE UNIQUE INDEX @one_building ON @generations (source) WHERE state = 'building';

-- A document is done when it has a current stamp.
CREATE TABLE @stamps (
    generation    bigint NOT NULL,
    key           text COLLATE "C" NOT NULL,
    outcome       smallint NOT NULL CHECK (outcome IN (1, 2, 3)), -- ok, empty, failed
    revision      text NOT NULL,
    reason        text NOT NULL,
    chunks        bigint NOT NULL,
    dropped_bytes bigint NOT NULL,
    updated_ms    bigint NOT NULL,
    PRIMARY KEY (generation, key)
);

-- What `quern add` brought in.
CREATE TABLE @documents (
    doc        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source     bigint NOT NULL,
    id         text COLLATE "C" NOT NULL,
    fields     text NOT NULL,                  -- JSON object
    origin     text COLLATE "C" NOT NULL,      -- path of the input, or '-'
    updated_ms bigint NOT NULL
);
CREATE UNIQUE INDEX @documents_of ON @documents (source, id);

-- Documents on their way in: whole batches are checked before anything shows.
CREATE TABLE @batches (
    id     bigint PRIMARY KEY,
    source bigint NOT NULL,
    phase  bigint NOT NULL DEFAULT 0,
    place  bigint NOT NULL DEFAULT 0
);
CREATE TABLE @staging (
    "row"  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch  bigint NOT NULL,
    id     text COLLATE "C" NOT NULL,
    fields text NOT NULL,
    origin text COLLATE "C" NOT NULL,
    line   bigint NOT NULL
);
CREATE UNIQUE INDEX @staging_of ON @staging (batch, id);
CREATE INDEX @staging_from ON @staging (batch, md5(origin)); -- a path may be longer than an index entry

-- Who holds a lock; the lock itself is the server's, and goes with its holder's connection.
CREATE TABLE @locks (
    name       text COLLATE "C" PRIMARY KEY,
    host       text NOT NULL,
    pid        bigint NOT NULL,
    started_ms bigint NOT NULL
);
