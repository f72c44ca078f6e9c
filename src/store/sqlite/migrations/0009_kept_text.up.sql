-- Texts that were embedded, of sources that are declared to keep them. revision: of the stamp that they were saved with.
CREATE TABLE quern_kept (
    generation INTEGER NOT NULL,
    key        TEXT NOT NULL,
    revision   TEXT NOT NULL,
    body       TEXT NOT NULL,
    UNIQUE (generation, key)
) STRICT;
