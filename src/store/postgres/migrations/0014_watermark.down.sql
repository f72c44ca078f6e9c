ALTER TABLE @generations DROP COLUMN watermark;
