-- Stamps of a generation on shards lie there too, in stamps_<id>_all (why: postgres_shard_stamps.c); its lines in `stamps`
-- keep what the store's own server has to know: save, outcome, chunks, redo and the times. Generations that are there
-- stay as they are until `quern shard apply` moves theirs.
ALTER TABLE @generations ADD COLUMN beside boolean NOT NULL DEFAULT false;
