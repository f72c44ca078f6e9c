DROP TABLE @kept;
