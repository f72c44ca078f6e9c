ALTER TABLE quern_chunks DROP COLUMN heading;
ALTER TABLE quern_chunks DROP COLUMN page;
