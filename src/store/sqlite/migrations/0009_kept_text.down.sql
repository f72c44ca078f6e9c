DROP TABLE quern_kept;
