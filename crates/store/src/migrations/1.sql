-- Every object that the API keeps: stored chats, responses, conversations and their items, files,
-- uploads and their parts, batches and their lines. Lists go by (position, id).
CREATE TABLE documents (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    -- The document that this one is a part of, and is deleted with; '' for none.
    parent TEXT NOT NULL,
    -- Microseconds since 1970 at its making, or its place among its parent's parts.
    position BIGINT NOT NULL,
    state TEXT NOT NULL,
    -- Seconds since 1970.
    expires_at BIGINT,
    -- SHA-256 of the content on disk.
    blob TEXT,
    revision BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX documents_lists ON documents (kind, owner, parent, position, id);
CREATE INDEX documents_parts ON documents (parent, position) WHERE parent <> '';
CREATE INDEX documents_states ON documents (kind, state);
CREATE INDEX documents_expiry ON documents (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX documents_blobs ON documents (blob) WHERE blob IS NOT NULL;

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    -- The first characters, to tell keys apart.
    prefix TEXT NOT NULL,
    -- HMAC-SHA-256 of the whole key, in hexadecimal digits.
    hash TEXT NOT NULL UNIQUE,
    -- Seconds since 1970.
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
