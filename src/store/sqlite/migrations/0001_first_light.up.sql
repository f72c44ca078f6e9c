-- quern's tables, first shape. `source` and `generation` are ids of the tables of that name; times are Unix
-- milliseconds; `key` is the canonical JSON of a row's key.

CREATE TABLE quern_meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO quern_meta VALUES ('next_generation', 1); -- ids are never used twice

CREATE TABLE quern_sources (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    spec    TEXT NOT NULL,              -- JSON: table, query, keys, text, revision, where, meta
    dropped INTEGER NOT NULL DEFAULT 0  -- being removed; its rows go in slices
) STRICT;

CREATE TABLE quern_generations (
    id               INTEGER PRIMARY KEY,
    source           INTEGER NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('building', 'active', 'retired')),
    fingerprint      TEXT NOT NULL,
    fingerprint_json TEXT NOT NULL,
    model            TEXT NOT NULL,
    vector_type      TEXT NOT NULL CHECK (vector_type IN ('f16', 'f32')),
    dimensions       INTEGER NOT NULL CHECK (dimensions > 0),
    created_ms       INTEGER NOT NULL,
    activated_ms     INTEGER NOT NULL DEFAULT 0,
    next_vector      INTEGER NOT NULL DEFAULT 0,
    chunks           INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX quern_one_active ON quern_generations (source) WHERE state = 'active';
CREATE UNIQUE INDEX quern_one_building ON quern_generations (source) WHERE state = 'building';

-- A document is done when it has a current stamp.
CREATE TABLE quern_stamps (
    generation    INTEGER NOT NULL,
    key           TEXT NOT NULL,
    outcome       INTEGER NOT NULL CHECK (outcome IN (1, 2, 3)), -- ok, empty, failed
    revision      TEXT NOT NULL,
    reason        TEXT NOT NULL,
    chunks        INTEGER NOT NULL,
    dropped_bytes INTEGER NOT NULL,
    updated_ms    INTEGER NOT NULL,
    PRIMARY KEY (generation, key)
) STRICT, WITHOUT ROWID;

-- id = generation << 40 | running number, in both tables: a generation's vectors lie side by side, and
-- a scan touches nothing else.
CREATE TABLE quern_vectors (
    id   INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;
CREATE TABLE quern_chunks (
    id         INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL,
    key        TEXT NOT NULL,
    chunk      INTEGER NOT NULL,
    byte_start INTEGER NOT NULL,
    byte_end   INTEGER NOT NULL,
    char_start INTEGER NOT NULL,
    char_end   INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX quern_chunks_of ON quern_chunks (generation, key, chunk);

-- What `quern add` brought in.
CREATE TABLE quern_documents (
    doc        INTEGER PRIMARY KEY,
    source     INTEGER NOT NULL,
    id         TEXT NOT NULL,
    fields     TEXT NOT NULL, -- JSON object
    origin     TEXT NOT NULL, -- path of the input, or '-'
    updated_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX quern_documents_of ON quern_documents (source, id);

-- Documents on their way in: whole batches are checked before anything shows.
CREATE TABLE quern_batches (
    id     INTEGER PRIMARY KEY,
    source INTEGER NOT NULL,
    phase  INTEGER NOT NULL DEFAULT 0,
    place  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE quern_staging (
    row    INTEGER PRIMARY KEY,
    batch  INTEGER NOT NULL,
    id     TEXT NOT NULL,
    fields TEXT NOT NULL,
    origin TEXT NOT NULL,
    line   INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX quern_staging_of ON quern_staging (batch, id);
CREATE INDEX quern_staging_from ON quern_staging (batch, origin);

-- Who holds a lock; the lock itself is the kernel's, on a file beside the database.
CREATE TABLE quern_locks (
    name       TEXT PRIMARY KEY,
    host       TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    started_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
