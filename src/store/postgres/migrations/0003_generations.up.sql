-- Stamps that are asked for again, and since when a document has had vectors (0: as updated_ms); when a generation
-- was retired. Defaults only: no row is rewritten, however many there are.
ALTER TABLE @stamps ADD COLUMN redo boolean NOT NULL DEFAULT false,
    ADD COLUMN created_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE @generations ADD COLUMN retired_ms bigint NOT NULL DEFAULT 0;
