"""The plain consumer that many start with: a row, a statement and a commit for each record, with the
client's automatic commits of offsets."""

import json
import os

import psycopg2
from kafka import KafkaConsumer

INSERT = """
    INSERT INTO orders (order_id, customer_id, status, amount, currency, item_count, express, created_at, note)
    VALUES (%(order_id)s, %(customer_id)s, %(status)s, %(amount)s, %(currency)s, %(item_count)s, %(express)s,
            %(created_at)s, %(note)s)
"""

connection = psycopg2.connect(os.environ["DATABASE_URL"])
cursor = connection.cursor()
consumer = KafkaConsumer(
    "orders",
    bootstrap_servers=os.environ["KAFKA_BROKERS"],
    group_id=os.environ["KAFKA_GROUP"],
    auto_offset_reset="earliest",
    enable_auto_commit=True,
    value_deserializer=json.loads,
)
for message in consumer:
    cursor.execute(INSERT, message.value)
    connection.commit()
