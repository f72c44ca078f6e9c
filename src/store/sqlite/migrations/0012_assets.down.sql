ALTER TABLE quern_chunks DROP COLUMN asset;
