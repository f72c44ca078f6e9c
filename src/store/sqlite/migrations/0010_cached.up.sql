-- Of a run's chunks and tokens, those that a cache had, so that nothing was paid for them.
ALTER TABLE quern_runs ADD COLUMN cached INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quern_runs ADD COLUMN cached_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quern_usage ADD COLUMN cached INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quern_usage ADD COLUMN cached_tokens INTEGER NOT NULL DEFAULT 0;
