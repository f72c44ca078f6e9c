DO $$
DECLARE generation bigint;
BEGIN
    FOR generation IN SELECT id FROM @generations LOOP
        EXECUTE format('DROP TABLE IF EXISTS @vectors_%s', generation);
    END LOOP;
END $$;
DROP TABLE @locks, @staging, @batches, @documents, @stamps, @generations, @sources;
