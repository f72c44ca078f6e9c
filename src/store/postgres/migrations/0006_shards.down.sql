DO $body$
DECLARE
    shard record;
BEGIN
    IF EXISTS (SELECT 1 FROM @generations WHERE shards > 0) THEN
        RAISE EXCEPTION 'there are generations on shards; purge them first';
    END IF;
    FOR shard IN SELECT id FROM @shards LOOP
        EXECUTE format('DROP SERVER IF EXISTS @@_shard_%s CASCADE', shard.id);
    END LOOP;
END
$body$;
ALTER TABLE @generations DROP COLUMN shards;
ALTER TABLE @stamps DROP COLUMN save;
DROP TABLE @shard_home;
DROP TABLE @shards;
