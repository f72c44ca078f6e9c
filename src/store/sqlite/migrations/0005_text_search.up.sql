-- Documents that have words in the text index, for sources that are declared for text search. The index itself,
-- quern_text (FTS5), is made by the first save into it: its row `id` holds the words. id: generation << 40 | a number.
CREATE TABLE quern_texts (
    id         INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL,
    key        TEXT NOT NULL,
    revision   TEXT NOT NULL, -- of the stamp that the words were saved with
    UNIQUE (generation, key)
);
