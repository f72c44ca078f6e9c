ALTER TABLE quern_generations DROP COLUMN retired_ms;
ALTER TABLE quern_stamps DROP COLUMN created_ms;
ALTER TABLE quern_stamps DROP COLUMN redo;
