-- Hints at work: one row for each (source, key). A task can be claimed when it is ready and due_ms has passed; a
-- claimed one has a lease and is due when that ends, so an expired lease is claimed again without anybody's help.
-- due_ms counts from set_ms: when the clock was set back, set_ms lies ahead, and due_ms is moved with it.

CREATE TABLE quern_tasks (
    id         INTEGER PRIMARY KEY,
    source     INTEGER NOT NULL,
    key        TEXT NOT NULL,
    reason     TEXT NOT NULL,
    state      INTEGER NOT NULL DEFAULT 0 CHECK (state IN (0, 2)), -- ready, dead
    attempts   INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL,
    due_ms     INTEGER NOT NULL,
    set_ms     INTEGER NOT NULL,
    lease      INTEGER NOT NULL DEFAULT 0, -- token of its holder
    again      INTEGER NOT NULL DEFAULT 0, -- put while leased: runs once more
    error      TEXT NOT NULL DEFAULT '',
    failed_ms  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX quern_tasks_of ON quern_tasks (source, key);
CREATE INDEX quern_tasks_due ON quern_tasks (due_ms, id) WHERE state = 0;
CREATE INDEX quern_tasks_lease ON quern_tasks (lease) WHERE lease <> 0;
CREATE INDEX quern_tasks_set ON quern_tasks (set_ms);

-- Keys that triggers on a live source's table have seen change, on their way into quern_tasks. `key`: the key's columns
-- as quote() spells them, with commas between; a trigger uses nothing that the user's own SQLite might lack.
CREATE TABLE quern_changes (
    id     INTEGER PRIMARY KEY,
    source INTEGER NOT NULL,
    key    TEXT NOT NULL
) STRICT;

-- Claims that took over an expired lease.
ALTER TABLE quern_sources ADD COLUMN rescued INTEGER NOT NULL DEFAULT 0;
