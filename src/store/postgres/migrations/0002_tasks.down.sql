ALTER TABLE @sources DROP COLUMN rescued;
DO $$
DECLARE source bigint;
BEGIN
    FOR source IN SELECT id FROM @sources LOOP
        EXECUTE format('DROP FUNCTION IF EXISTS @live_%s() CASCADE', source);
    END LOOP;
END $$;
DROP TABLE @changes;
DROP TABLE @tasks;
