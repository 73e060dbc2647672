"""The data that is dumped: narrow rows, mixed rows, texts with JSON, random blobs, odd types."""

import random

WORDS = """time order house water light paper river table winter music letter market window garden
bridge stone silver engine harbour forest mountain Straße Größe café naïve 注文 配送 東京 привет мир
😀 übermorgen Ελλάδα""".split()


def paragraphs(count, seed):
    """Texts of about 700 bytes as a statement's values; the same each time."""
    rng = random.Random(seed)
    for number in range(count):
        text = " ".join(rng.choice(WORDS) + rng.choice(["", "", ",", "."]) for _ in range(95))
        yield f"({number}, '{text}')"


TABLES = """
SET SESSION sql_log_bin = 0, unique_checks = 0, foreign_key_checks = 0, sql_mode = '', rand_seed1 = 1, rand_seed2 = 2;
SET NAMES utf8mb4;
CREATE DATABASE bench CHARACTER SET utf8mb4;
USE bench;
CREATE TABLE events (id BIGINT UNSIGNED PRIMARY KEY, ts DATETIME(3) NOT NULL, user INT UNSIGNED NOT NULL,
  amount DECIMAL(12,2) NOT NULL, path VARCHAR(80) CHARACTER SET ascii NOT NULL, ratio DOUBLE NOT NULL);
CREATE TABLE orders (id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, customer INT UNSIGNED NOT NULL,
  status ENUM('new','paid','sent','returned') NOT NULL, total DECIMAL(12,2) NOT NULL, placed DATETIME NOT NULL,
  mail VARCHAR(100) NOT NULL, flags SET('gift','express','abroad') NOT NULL, note VARCHAR(255) NULL, discount FLOAT NULL,
  KEY (customer), KEY (placed), KEY (mail), KEY (status, total));
CREATE TABLE docs (id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, title VARCHAR(100) NOT NULL, body MEDIUMTEXT NOT NULL,
  meta JSON NOT NULL, KEY (title));
CREATE TABLE blobs (id INT UNSIGNED PRIMARY KEY, sha BINARY(20) NOT NULL, content MEDIUMBLOB NOT NULL, UNIQUE (sha));
CREATE TABLE odd (a INT UNSIGNED, b BINARY(16), f FLOAT, d DOUBLE, bits BIT(12), y YEAR, t TIME(3), at TIMESTAMP(6) NULL,
  day DATE, e ENUM('x','','z'), s SET('p','q','r'), u VARCHAR(20) CHARACTER SET utf16, g POINT, n DECIMAL(30,10) NULL,
  twice INT UNSIGNED AS (a * 2) VIRTUAL, PRIMARY KEY (a, b));
CREATE TEMPORARY TABLE pool (id INT PRIMARY KEY, p TEXT) CHARACTER SET utf8mb4;
"""

ROWS = """
INSERT INTO events SELECT seq, '2026-01-01' + INTERVAL (seq * 4711 + FLOOR(RAND() * 4000)) * 1000 MICROSECOND,
  FLOOR(RAND() * 200000), ROUND(RAND() * 5000, 2),
  CONCAT('/', ELT(1 + FLOOR(RAND() * 5), 'shop', 'cart', 'item', 'search', 'account'), '/', FLOOR(RAND() * 40000), '/',
    ELT(1 + FLOOR(RAND() * 4), 'view', 'add', 'edit', 'image.jpg')), RAND() FROM seq_1_to_{events};
INSERT INTO orders SELECT NULL, FLOOR(RAND() * 90000), 1 + FLOOR(RAND() * 4), ROUND(RAND() * 900, 2),
  '2025-01-01' + INTERVAL FLOOR(RAND() * 60000000) SECOND,
  CONCAT(ELT(1 + FLOOR(RAND() * 6), 'anna', 'bo', 'carla', 'dmitri', 'emil', 'fatima'), '.', FLOOR(RAND() * 90000), '@mail',
    FLOOR(RAND() * 30), '.example'), FLOOR(RAND() * 8),
  IF(RAND() < 0.4, NULL, CONCAT('leave it at door ', FLOOR(RAND() * 400), ', it''s "fine"\\n', LEFT(UUID(), 13))),
  IF(RAND() < 0.5, NULL, RAND() * 10) FROM seq_1_to_{orders};
INSERT INTO docs SELECT NULL, CONCAT('Document ', seq, ' 注文'), CONCAT(a.p, '\\n', b.p, '\\n', c.p),
  JSON_OBJECT('id', seq, 'tags', JSON_ARRAY('red', 'größe', FLOOR(RAND() * 1000)), 'score', RAND())
  FROM seq_1_to_{docs} JOIN pool a ON a.id = (seq * 7) % 3000 JOIN pool b ON b.id = (seq * 13 + 5) % 3000
  JOIN pool c ON c.id = (seq * 31 + 11) % 3000;
INSERT INTO blobs SELECT seq, UNHEX(SHA1(seq)), CONCAT({random}) FROM seq_1_to_{blobs};
INSERT INTO odd (a, b, f, d, bits, y, t, at, day, e, s, u, g, n)
  SELECT seq, UNHEX(MD5(seq)), RAND() * 1e6, RAND() * 1e-3, FLOOR(RAND() * 4096), 1950 + seq % 150,
  SEC_TO_TIME(RAND() * 80000), '2026-03-01' + INTERVAL seq SECOND, '2000-01-01' + INTERVAL seq % 9000 DAY, 1 + seq % 3, seq % 8,
  CONCAT('ü', seq), POINT(RAND() * 90, RAND() * 180), IF(seq % 3, RAND() * 1e9, NULL) FROM seq_1_to_{odd};
CREATE VIEW latest AS SELECT id, total FROM orders ORDER BY placed DESC LIMIT 100;
DELIMITER ;;
CREATE PROCEDURE pay(IN which INT) BEGIN UPDATE orders SET status = 'paid' WHERE id = which; END;;
CREATE TRIGGER checked BEFORE INSERT ON orders FOR EACH ROW SET NEW.total = GREATEST(NEW.total, 0);;
DELIMITER ;
ANALYZE TABLE events, orders, docs, blobs, odd;
"""


def statements(scale):
    """What fills a server of MariaDB; with a scale of 1 about 1.2 GB of rows."""
    yield TABLES
    rows = list(paragraphs(3000, 1))
    for start in range(0, len(rows), 500):
        yield f"INSERT INTO pool VALUES {','.join(rows[start:start + 500])};\n"
    yield ROWS.format(
        events=max(10, int(5_500_000 * scale)), orders=max(10, int(1_200_000 * scale)), docs=max(10, int(120_000 * scale)),
        blobs=max(5, int(3_000 * scale)), odd=max(10, int(200_000 * scale)),
        random=", ".join(["RANDOM_BYTES(1024)"] * 40),
    )


def many(tables):
    """Many small tables with a few rows each."""
    yield "SET SESSION sql_log_bin = 0;\nDROP DATABASE IF EXISTS many;\nCREATE DATABASE many;\nUSE many;\n"
    for number in range(tables):
        yield (f"CREATE TABLE t{number:06} (id INT PRIMARY KEY, name VARCHAR(40), at DATETIME, KEY (name)) ENGINE=InnoDB;\n"
               f"INSERT INTO t{number:06} VALUES (1,'one {number}','2026-01-01'),(2,'two',NULL);\n")
