-- The shop's tables in PostgreSQL.
CREATE TABLE IF NOT EXISTS product (
    id      BIGINT PRIMARY KEY,
    slug    TEXT NOT NULL UNIQUE,
    name    TEXT NOT NULL,
    price   BIGINT NOT NULL CHECK (price >= 0),
    summary TEXT NOT NULL,
    story   TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS feedback (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product   BIGINT REFERENCES product (id),
    name      TEXT NOT NULL,
    rating    BIGINT NOT NULL CHECK (rating BETWEEN 1 AND 5),
    message   TEXT NOT NULL,
    at        TEXT NOT NULL,
    reference TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS feedback_by_product ON feedback (product, id);
