DROP TABLE IF EXISTS quern_text;
DROP TABLE quern_texts;
