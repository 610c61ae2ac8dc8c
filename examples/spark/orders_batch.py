#!/usr/bin/env python3
"""Fills orders_batch_summary from the history of the topic, by Spark, and moves the rollup's boundary.

    spark-submit --packages ... orders_batch.py --config orders.toml --to 2026-11-01

Three steps. `tidegate rollup close` makes every later change of a bucket below the end known to the view. Then
the topic is read, up to what it holds by then, and summed by day and status; the days go into the batch table in one
transaction, so that the job may be killed and run again. `tidegate rollup advance` lets the view show them.

Addresses come from the environment, as for examples/orders.toml: KAFKA_BROKERS and DATABASE_URL.
"""

import argparse
import os
import subprocess
from urllib.parse import unquote, urlsplit

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

SCHEMA = "status string, amount decimal(12,2), created_at timestamp"

# A day of Spark's becomes an instant by Postgres' own rules, which are those of the view.
REPLACE = """
DELETE FROM orders_batch_summary b USING tidegate.rollups r
 WHERE r.name = '{name}' AND b.bucket >= r.boundary AND b.bucket < r.closing;
INSERT INTO orders_batch_summary (bucket, status, orders, revenue)
SELECT date_trunc('day', i.day::timestamp AT TIME ZONE r.time_zone, r.time_zone), i.status, i.orders, i.revenue
  FROM orders_batch_incoming i JOIN tidegate.rollups r ON r.name = '{name}'
 WHERE date_trunc('day', i.day::timestamp AT TIME ZONE r.time_zone, r.time_zone) >= r.boundary
   AND date_trunc('day', i.day::timestamp AT TIME ZONE r.time_zone, r.time_zone) < r.closing;
DROP TABLE orders_batch_incoming;
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="examples/orders.toml", help="tidegate's configuration")
    parser.add_argument("--tidegate", default="tidegate", help="the program")
    parser.add_argument("--rollup", default="orders", help="its name in the configuration")
    parser.add_argument("--topic", default="orders")
    parser.add_argument("--to", required=True, help="only days that end before this time")
    return parser.parse_args()


def rollup(args, action):
    command = [args.tidegate, "rollup", action, args.rollup, "--to", args.to, "--config", args.config]
    subprocess.run(command, check=True)


def jdbc(url):
    """The parts of a postgres:// URL as Spark wants them."""
    parts = urlsplit(url)
    place = f"jdbc:postgresql://{parts.hostname}:{parts.port or 5432}{parts.path}"
    return {
        "url": place,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "driver": "org.postgresql.Driver",
    }


def summary(spark, brokers, topic):
    """Orders by day and status, without the removed, over all that the topic holds."""
    records = (
        spark.read.format("kafka")
        .option("kafka.bootstrap.servers", brokers)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("endingOffsets", "latest")
        .load()
    )
    order = f.from_json(f.col("value").cast("string"), SCHEMA)
    orders = records.select(order.alias("o")).select("o.*")
    return (
        orders.where("status <> 'removed' AND created_at IS NOT NULL")
        .groupBy(f.to_date("created_at").alias("day"), "status")
        .agg(f.count("*").alias("orders"), f.sum("amount").alias("revenue"))
    )


def replace(spark, options, name):
    """One transaction: the days of an earlier run that did not get to its end go."""
    jvm = spark.sparkContext._jvm
    properties = jvm.java.util.Properties()
    properties.setProperty("user", options["user"])
    properties.setProperty("password", options["password"])
    connection = jvm.org.postgresql.Driver().connect(options["url"], properties)
    try:
        connection.setAutoCommit(False)
        connection.createStatement().execute(REPLACE.format(name=name))
        connection.commit()
    finally:
        connection.close()


def main():
    args = arguments()
    options = jdbc(os.environ["DATABASE_URL"])
    spark = SparkSession.builder.appName("orders-batch").getOrCreate()
    rollup(args, "close")
    zone = f"(SELECT time_zone FROM tidegate.rollups WHERE name = '{args.rollup}') z"
    zone = spark.read.format("jdbc").options(**options).option("dbtable", zone).load().first()[0]
    spark.conf.set("spark.sql.session.timeZone", zone)
    days = summary(spark, os.environ["KAFKA_BROKERS"], args.topic)
    days.write.format("jdbc").options(**options).option("dbtable", "orders_batch_incoming").mode(
        "overwrite"
    ).save()
    replace(spark, options, args.rollup)
    rollup(args, "advance")
    spark.stop()


if __name__ == "__main__":
    main()
