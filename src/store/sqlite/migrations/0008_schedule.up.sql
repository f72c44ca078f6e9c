-- When scheduled scans last began, so that one that was missed is made up for.
CREATE TABLE quern_marks (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What the embedder was used for, a day (of UTC) and source; longer than the log of fills goes back.
CREATE TABLE quern_usage (
    source    INTEGER NOT NULL,
    day       INTEGER NOT NULL, -- since 1970-01-01
    runs      INTEGER NOT NULL,
    processed INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    chunks    INTEGER NOT NULL,
    calls     INTEGER NOT NULL,
    tokens    INTEGER NOT NULL,
    PRIMARY KEY (source, day)
) STRICT, WITHOUT ROWID;
ALTER TABLE quern_runs ADD COLUMN calls INTEGER NOT NULL DEFAULT 0;

-- Which generation a task's document failed in, last.
ALTER TABLE quern_tasks ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
