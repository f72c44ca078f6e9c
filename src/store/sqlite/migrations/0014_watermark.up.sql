-- Key up to which a fill that was interrupted had found, or made, every row current: where the next one begins. NULL: at the
-- first row. It says nothing of the rows before it now, which are looked at all the same.
ALTER TABLE quern_generations ADD COLUMN watermark TEXT;
