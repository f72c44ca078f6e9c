-- What a run has cost and what a cache saved it, in billionths of a dollar, where a price was known.
ALTER TABLE @runs ADD COLUMN cost bigint NOT NULL DEFAULT 0;
ALTER TABLE @runs ADD COLUMN saved bigint NOT NULL DEFAULT 0;
ALTER TABLE @usage ADD COLUMN cost bigint NOT NULL DEFAULT 0;
ALTER TABLE @usage ADD COLUMN saved bigint NOT NULL DEFAULT 0;
