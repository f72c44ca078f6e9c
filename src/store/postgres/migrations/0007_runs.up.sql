-- What fills did, the last hundred of each source.
CREATE TABLE @runs (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source     bigint NOT NULL,
    generation bigint NOT NULL,
    started_ms bigint NOT NULL,
    ended_ms   bigint NOT NULL,
    status     bigint NOT NULL, -- of quern/status.h
    processed  bigint NOT NULL,
    failed     bigint NOT NULL,
    stale      bigint NOT NULL,
    deleted    bigint NOT NULL,
    chunks     bigint NOT NULL,
    tokens     bigint NOT NULL,
    error      text NOT NULL
);
CREATE INDEX @runs_of ON @runs (source, id);
