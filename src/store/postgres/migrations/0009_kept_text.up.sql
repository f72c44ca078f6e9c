-- Texts that were embedded, of sources that are declared to keep them. revision: of the stamp that they were saved with.
CREATE TABLE @kept (
    generation bigint NOT NULL,
    key        text COLLATE "C" NOT NULL,
    revision   text NOT NULL,
    body       text NOT NULL,
    PRIMARY KEY (generation, key)
);
