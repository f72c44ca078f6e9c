ALTER TABLE quern_usage DROP COLUMN cached_tokens;
ALTER TABLE quern_usage DROP COLUMN cached;
ALTER TABLE quern_runs DROP COLUMN cached_tokens;
ALTER TABLE quern_runs DROP COLUMN cached;
