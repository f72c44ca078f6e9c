ALTER TABLE quern_sources DROP COLUMN rescued;
DROP TABLE quern_changes;
DROP TABLE quern_tasks;
