DROP TABLE quern_runs;
