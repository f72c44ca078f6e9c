ALTER TABLE @tasks DROP COLUMN generation;
ALTER TABLE @runs DROP COLUMN calls;
DROP TABLE @usage;
DROP TABLE @marks;
