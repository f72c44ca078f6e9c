-- Words of documents whose sources are declared for text search. revision: of the stamp that they were saved with.
CREATE TABLE @texts (
    generation bigint NOT NULL,
    key        text COLLATE "C" NOT NULL,
    revision   text NOT NULL,
    words      tsvector NOT NULL,
    PRIMARY KEY (generation, key)
);
CREATE INDEX @texts_words ON @texts USING gin (words);
