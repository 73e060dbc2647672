-- The shop's tables in SQLite. Both the Rust shop and its Python twin run this file at every start.
CREATE TABLE IF NOT EXISTS product (
    id      INTEGER PRIMARY KEY,
    slug    TEXT NOT NULL UNIQUE,             -- names the drawing
    name    TEXT NOT NULL,
    price   INTEGER NOT NULL CHECK (price >= 0), -- cents
    summary TEXT NOT NULL,
    story   TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS feedback (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    product   INTEGER REFERENCES product (id),  -- null: about the shop as a whole
    name      TEXT NOT NULL,
    rating    INTEGER NOT NULL CHECK (rating BETWEEN 1 AND 5),
    message   TEXT NOT NULL,
    at        TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    reference TEXT NOT NULL                     -- the partner's record of it: there is none without
);
CREATE INDEX IF NOT EXISTS feedback_by_product ON feedback (product, id);
