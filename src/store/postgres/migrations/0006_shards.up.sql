-- Vectors on other servers. A row of `shards` is a foreign server quern_shard_<id> (its name has a mark
-- of the schema's where that is not `quern`); the table vectors_<id> of a
-- generation with shards > 0 is a view: those rows of the hash-partitioned vectors_<id>_all whose number `save` is
-- that of their key's stamp (why: postgres_shard.c). Its partitions vectors_<id>_p<n> are foreign tables.

CREATE TABLE @shards (
    id       bigint PRIMARY KEY,
    place    text NOT NULL,                 -- host:port/database
    used     boolean NOT NULL DEFAULT true, -- by generations that are made from now on
    added_ms bigint NOT NULL
);

-- Which store this is: a shard holds the vectors of one.
CREATE TABLE @shard_home (token uuid NOT NULL DEFAULT gen_random_uuid());
INSERT INTO @shard_home DEFAULT VALUES;

ALTER TABLE @stamps ADD COLUMN save bigint NOT NULL DEFAULT 0;
ALTER TABLE @generations ADD COLUMN shards integer NOT NULL DEFAULT 0;
