-- Stamps come back from the shards, all of which have to answer. One that its shard has lost is none.
-- Their tables there stay, until the next apply or purge: a shard would commit that before the store does.
DO $body$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT id FROM @generations WHERE beside ORDER BY id FOR UPDATE LOOP
        EXECUTE format('CREATE TEMPORARY TABLE back ON COMMIT DROP AS SELECT key, save, revision, reason,'
            ' dropped_bytes FROM @stamps_%s_all', one.id);
        EXECUTE 'CREATE INDEX ON back (key)';
        EXECUTE 'ANALYZE back';
        EXECUTE format('DELETE FROM @stamps AS m WHERE m.generation = %s AND NOT EXISTS (SELECT 1 FROM'
            ' pg_temp.back AS b WHERE b.key = m.key AND b.save = m.save)', one.id);
        EXECUTE format('UPDATE @stamps AS m SET revision = coalesce(nullif(m.revision, ''''), b.revision), reason = b.reason, dropped_bytes ='
            ' b.dropped_bytes FROM pg_temp.back AS b WHERE m.generation = %s AND b.key = m.key'
            ' AND b.save = m.save', one.id);
        EXECUTE 'DROP TABLE pg_temp.back';
        EXECUTE format('DROP TABLE @stamps_%s_all', one.id);
    END LOOP;
END
$body$;
ALTER TABLE @generations DROP COLUMN beside;
