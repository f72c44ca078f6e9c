ALTER TABLE @documents DROP COLUMN digest;
ALTER TABLE @documents DROP COLUMN revision;
