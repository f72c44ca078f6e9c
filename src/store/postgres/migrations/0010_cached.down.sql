ALTER TABLE @usage DROP COLUMN cached_tokens;
ALTER TABLE @usage DROP COLUMN cached;
ALTER TABLE @runs DROP COLUMN cached_tokens;
ALTER TABLE @runs DROP COLUMN cached;
