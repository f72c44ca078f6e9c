DROP TABLE @texts;
