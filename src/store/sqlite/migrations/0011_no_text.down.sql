ALTER TABLE quern_documents DROP COLUMN digest;
ALTER TABLE quern_documents DROP COLUMN revision;
