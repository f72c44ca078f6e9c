-- Stamps come back from the shards, all of which have to answer. One that its shard has lost is none.
DO $body$
DECLARE
    one record;
    part record;
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
        FOR part IN SELECT substring(f.srvname FROM '[0-9]+$') AS server FROM pg_catalog.pg_foreign_table AS t
            JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = t.ftrelid
            JOIN pg_catalog.pg_foreign_server AS f ON f.oid = t.ftserver
            WHERE i.inhparent = CAST(format('@stamps_%s_all', one.id) AS regclass) LOOP
            EXECUTE format('INSERT INTO @shard_%s_orders (statement) VALUES (%L)', part.server,
                format('DROP TABLE IF EXISTS quern_shard.stamps_%s', one.id));
        END LOOP;
        EXECUTE format('DROP TABLE @stamps_%s_all', one.id);
    END LOOP;
END
$body$;
ALTER TABLE @generations DROP COLUMN beside;
