-- Of documents whose text is not kept, once it has been removed (else NULL): the revision that it had, and the SHA-256 of
-- the fields that it was among, by which the same document is known again.
ALTER TABLE quern_documents ADD COLUMN revision TEXT;
ALTER TABLE quern_documents ADD COLUMN digest TEXT;
