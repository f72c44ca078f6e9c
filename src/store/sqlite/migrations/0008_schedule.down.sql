ALTER TABLE quern_tasks DROP COLUMN generation;
ALTER TABLE quern_runs DROP COLUMN calls;
DROP TABLE quern_usage;
DROP TABLE quern_marks;
