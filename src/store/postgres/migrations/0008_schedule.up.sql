-- When scheduled scans last began, so that one that was missed is made up for.
CREATE TABLE @marks (
    name  text PRIMARY KEY,
    value bigint NOT NULL
);

-- What the embedder was used for, a day (of UTC) and source; longer than the log of fills goes back.
CREATE TABLE @usage (
    source    bigint NOT NULL,
    day       bigint NOT NULL, -- since 1970-01-01
    runs      bigint NOT NULL,
    processed bigint NOT NULL,
    failed    bigint NOT NULL,
    chunks    bigint NOT NULL,
    calls     bigint NOT NULL,
    tokens    bigint NOT NULL,
    PRIMARY KEY (source, day)
);
ALTER TABLE @runs ADD COLUMN calls bigint NOT NULL DEFAULT 0;

-- Which generation a task's document failed in, last.
ALTER TABLE @tasks ADD COLUMN generation bigint NOT NULL DEFAULT 0;
