-- The table that the records of loadgen fit. Runs once, when the database is made.
--
-- No primary key: a second run of loadgen with the same seed writes the same orders again, and the
-- route appends.
CREATE TABLE orders_realtime (
    order_id    bigint         NOT NULL,
    customer_id bigint         NOT NULL,
    status      text           NOT NULL,
    amount      numeric(12, 2) NOT NULL,
    currency    text           NOT NULL,
    item_count  integer        NOT NULL,
    express     boolean        NOT NULL,
    created_at  timestamptz    NOT NULL,
    note        text
);
-- Orders come in the order of time, nearly: the views find the latest by it.
CREATE INDEX ON orders_realtime USING brin (created_at);
