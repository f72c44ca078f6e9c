-- Stamps that are asked for again, and since when a document has had vectors (0: as updated_ms); when a generation
-- was retired. Defaults only: no row is rewritten, however many there are.
ALTER TABLE quern_stamps ADD COLUMN redo INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quern_stamps ADD COLUMN created_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quern_generations ADD COLUMN retired_ms INTEGER NOT NULL DEFAULT 0;
