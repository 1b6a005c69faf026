-- What documents can be found by: folded texts, each with the document that it is a part of.
CREATE TABLE texts (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    document TEXT NOT NULL UNIQUE,
    -- The document that is found: the text's own, or the one that it is a part of.
    whole TEXT NOT NULL,
    owner TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX texts_wholes ON texts (whole, number);
CREATE INDEX texts_owners ON texts (owner);
-- Pieces of three letters, where the server has the extension and lets this user make it; without
-- it all of an owner's texts are read.
DO $$ BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX texts_trigrams ON texts USING GIN (text gin_trgm_ops);
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'searches have no index: %', SQLERRM;
END $$;
-- As SQLite's index has it.
CREATE VIEW searches AS SELECT number AS rowid, text FROM texts;
