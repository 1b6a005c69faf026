-- People who sign in. What one of them keeps has the id as its owner.
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    -- In small letters: two names that differ in case alone are one.
    name TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    -- As PHC strings are; none for those who come by another way.
    password TEXT,
    role TEXT NOT NULL,
    state TEXT NOT NULL,
    -- Issuer and subject of an identity elsewhere.
    subject TEXT UNIQUE,
    -- Seconds since 1970.
    created_at BIGINT NOT NULL,
    seen_at BIGINT,
    -- 1 for the very first: of two that are made at once, one is.
    is_first BIGINT UNIQUE
);

CREATE TABLE sessions (
    -- HMAC-SHA-256 of the token, in hexadecimal digits.
    hash TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_users ON sessions (user_id, used_at);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    -- Whose password it sets anew; none where it makes an account.
    user_id TEXT,
    made_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_by TEXT
);
