DROP TABLE @runs;
