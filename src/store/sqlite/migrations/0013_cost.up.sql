-- What a run has cost and what a cache saved it, in billionths of a dollar, where a price was known.
ALTER TABLE quern_runs ADD COLUMN cost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quern_runs ADD COLUMN saved INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quern_usage ADD COLUMN cost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quern_usage ADD COLUMN saved INTEGER NOT NULL DEFAULT 0;
