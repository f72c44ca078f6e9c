DROP TABLE @assets;
