ALTER TABLE sources DROP COLUMN rescued;
DROP TABLE tasks;
