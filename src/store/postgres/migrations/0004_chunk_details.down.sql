DO $body$
DECLARE
    vectors regclass;
BEGIN
    FOR vectors IN SELECT to_regclass(format('%I.%I', current_schema(), '@vectors_' || id)) FROM @generations LOOP
        CONTINUE WHEN vectors IS NULL;
        EXECUTE format('ALTER TABLE %s DROP COLUMN heading, DROP COLUMN page', vectors);
    END LOOP;
END
$body$;
