-- What was used, in sums of a day: numbers alone, nothing of requests and answers.
CREATE TABLE usage_sums (
    -- Since 1970, in UTC.
    day BIGINT NOT NULL,
    owner TEXT NOT NULL,
    -- The API key's id; '' for sessions, and for what the server does by itself.
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    requests BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    generated_tokens BIGINT NOT NULL,
    PRIMARY KEY (day, owner, key_id, model)
);
CREATE INDEX usage_sums_owners ON usage_sums (owner, day);
