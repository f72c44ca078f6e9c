ALTER TABLE sources DROP COLUMN rescued;
DO $$
DECLARE live text;
BEGIN
    FOR live IN SELECT p.oid::regprocedure FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = current_schema()::regnamespace AND p.proname ~ '^live_[0-9]+$' LOOP
        EXECUTE 'DROP FUNCTION ' || live || ' CASCADE';
    END LOOP;
END $$;
DROP TABLE changes;
DROP TABLE tasks;
