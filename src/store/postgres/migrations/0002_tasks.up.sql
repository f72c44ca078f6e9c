-- Hints at work: one row for each (source, key). A task can be claimed when it is ready and due_ms has passed; a
-- claimed one has a lease and is due when that ends, so an expired lease is claimed again without anybody's help.
-- Times are the server's. due_ms counts from set_ms: when the clock was set back, set_ms lies ahead, and due_ms is
-- moved with it.

CREATE TABLE @tasks (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source     bigint NOT NULL,
    key        text COLLATE "C" NOT NULL,
    reason     text NOT NULL,
    state      smallint NOT NULL DEFAULT 0 CHECK (state IN (0, 2)), -- ready, dead
    attempts   bigint NOT NULL DEFAULT 0,
    created_ms bigint NOT NULL,
    due_ms     bigint NOT NULL,
    set_ms     bigint NOT NULL,
    lease      bigint NOT NULL DEFAULT 0,      -- token of its holder
    again      boolean NOT NULL DEFAULT false, -- put while leased: runs once more
    error      text NOT NULL DEFAULT '',
    failed_ms  bigint NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX @tasks_of ON @tasks (source, key);
CREATE INDEX @tasks_due ON @tasks (due_ms, id) WHERE state = 0;
CREATE INDEX @tasks_lease ON @tasks (lease) WHERE lease <> 0;
CREATE INDEX @tasks_set ON @tasks (set_ms);

-- Keys that triggers on a live source's table have seen change, on their way into tasks: the key's columns as text.
CREATE TABLE @changes (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source bigint NOT NULL,
    key    text[] NOT NULL
);

-- Claims that took over an expired lease.
ALTER TABLE @sources ADD COLUMN rescued bigint NOT NULL DEFAULT 0;
