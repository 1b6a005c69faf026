-- What documents can be found by: folded texts, each with the document that it is a part of.
CREATE TABLE texts (
    number INTEGER PRIMARY KEY,
    document TEXT NOT NULL UNIQUE,
    -- The document that is found: the text's own, or the one that it is a part of.
    whole TEXT NOT NULL,
    owner TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX texts_wholes ON texts (whole, number);
CREATE INDEX texts_owners ON texts (owner);
-- Pieces of three letters: words without spaces between them are found too, and by LIKE.
CREATE VIRTUAL TABLE searches USING fts5 (
    text, content = 'texts', content_rowid = 'number', tokenize = 'trigram', detail = 'none'
);
-- What is deleted is overwritten here as well.
INSERT INTO searches (searches, rank) VALUES ('secure-delete', 1);
CREATE TRIGGER texts_added AFTER INSERT ON texts BEGIN
    INSERT INTO searches (rowid, text) VALUES (new.number, new.text);
END;
CREATE TRIGGER texts_deleted AFTER DELETE ON texts BEGIN
    INSERT INTO searches (searches, rowid, text) VALUES ('delete', old.number, old.text);
END;
