-- What fills did, the last hundred of each source.
CREATE TABLE quern_runs (
    id         INTEGER PRIMARY KEY,
    source     INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER NOT NULL,
    status     INTEGER NOT NULL, -- of quern/status.h
    processed  INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    stale      INTEGER NOT NULL,
    deleted    INTEGER NOT NULL,
    chunks     INTEGER NOT NULL,
    tokens     INTEGER NOT NULL,
    error      TEXT NOT NULL
) STRICT;
CREATE INDEX quern_runs_of ON quern_runs (source, id);
