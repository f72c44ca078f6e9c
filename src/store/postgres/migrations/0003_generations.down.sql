ALTER TABLE @generations DROP COLUMN retired_ms;
ALTER TABLE @stamps DROP COLUMN redo, DROP COLUMN created_ms;
