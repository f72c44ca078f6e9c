-- Of a run's chunks and tokens, those that a cache had, so that nothing was paid for them.
ALTER TABLE @runs ADD COLUMN cached bigint NOT NULL DEFAULT 0;
ALTER TABLE @runs ADD COLUMN cached_tokens bigint NOT NULL DEFAULT 0;
ALTER TABLE @usage ADD COLUMN cached bigint NOT NULL DEFAULT 0;
ALTER TABLE @usage ADD COLUMN cached_tokens bigint NOT NULL DEFAULT 0;
