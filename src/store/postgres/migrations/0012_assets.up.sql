-- What was seen for a chunk's vector: a picture, a frame, a video, or a text with some of them (docs/sources.md). Beside the
-- stamps and not with the vectors: those may lie on other servers, and few chunks have one.
CREATE TABLE @assets (
    generation bigint NOT NULL,
    document   text COLLATE "C" NOT NULL, -- key of its stamp
    piece      bigint NOT NULL,           -- number of the chunk
    asset      text NOT NULL,
    PRIMARY KEY (generation, document, piece)
);
