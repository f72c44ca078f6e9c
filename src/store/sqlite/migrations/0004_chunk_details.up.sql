-- Where a chunk stands: the path of Markdown headings that was embedded with it, its page by form feeds (0: unknown).
-- Defaults only: no row is rewritten.
ALTER TABLE quern_chunks ADD COLUMN page INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quern_chunks ADD COLUMN heading TEXT NOT NULL DEFAULT '';
