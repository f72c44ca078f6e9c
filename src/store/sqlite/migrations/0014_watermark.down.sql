ALTER TABLE quern_generations DROP COLUMN watermark;
