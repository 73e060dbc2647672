-- The shop's tables in MySQL and MariaDB.
CREATE TABLE IF NOT EXISTS product (
    id      BIGINT PRIMARY KEY,
    slug    VARCHAR(40) NOT NULL UNIQUE,
    name    VARCHAR(200) NOT NULL,
    price   BIGINT NOT NULL CHECK (price >= 0),
    summary VARCHAR(500) NOT NULL,
    story   VARCHAR(4000) NOT NULL
) CHARACTER SET utf8mb4;
CREATE TABLE IF NOT EXISTS feedback (
    id        BIGINT PRIMARY KEY AUTO_INCREMENT,
    product   BIGINT NULL,
    name      VARCHAR(200) NOT NULL,
    rating    BIGINT NOT NULL CHECK (rating BETWEEN 1 AND 5),
    message   VARCHAR(4000) NOT NULL,
    at        VARCHAR(40) NOT NULL,
    reference VARCHAR(200) NOT NULL,
    FOREIGN KEY (product) REFERENCES product (id),
    KEY feedback_by_product (product, id)
) CHARACTER SET utf8mb4;
