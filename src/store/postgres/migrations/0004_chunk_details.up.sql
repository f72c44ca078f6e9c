-- Where a chunk stands: the path of Markdown headings that was embedded with it, its page by form feeds (0: unknown).
-- Every generation has a table of its own; defaults only: no row is rewritten.
DO $body$
DECLARE
    vectors regclass;
BEGIN
    FOR vectors IN SELECT to_regclass(format('%I.%I', current_schema(), '@vectors_' || id)) FROM @generations LOOP
        CONTINUE WHEN vectors IS NULL;
        EXECUTE format('ALTER TABLE %s ADD COLUMN page bigint NOT NULL DEFAULT 0,'
            ' ADD COLUMN heading text NOT NULL DEFAULT %L', vectors, '');
    END LOOP;
END
$body$;
