-- What was seen for a chunk's vector: a picture, a frame, a video, or a text with some of them (docs/sources.md). Empty: its
-- text alone. A default only: no row is rewritten.
ALTER TABLE quern_chunks ADD COLUMN asset TEXT NOT NULL DEFAULT '';
