-- Bytes of the content on disk: what an owner keeps is a sum of these.
ALTER TABLE documents ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;
CREATE INDEX documents_bytes ON documents (owner, bytes) WHERE bytes > 0;
