ALTER TABLE quern_usage DROP COLUMN saved;
ALTER TABLE quern_usage DROP COLUMN cost;
ALTER TABLE quern_runs DROP COLUMN saved;
ALTER TABLE quern_runs DROP COLUMN cost;
