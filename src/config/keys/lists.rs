//! The keys of each section.

use super::{Key, REQUIRED};

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, default, meaning }
}

pub(super) const SOURCE: &[Key] = &[
    key("kind", REQUIRED, "a Kafka cluster, or a file of JSON lines"),
    key("brokers", REQUIRED, "kafka: where the cluster is"),
    key("group", "`tidegate-<name>`, with the source's name", "kafka: the consumer group"),
    key("start", "`\"earliest\"`", "kafka: where a group without a position begins"),
    key("commit_interval", "`\"1s\"`", "kafka: how often offsets are committed to Kafka"),
    key(
        "properties.<property>",
        "librdkafka's",
        "kafka: librdkafka's properties (`security.protocol`, `sasl.*`, `ssl.*`, `isolation.level`, \
         `session.timeout.ms`...), but those that [tidegate owns](#properties-of-the-kafka-client)",
    ),
    key("path", REQUIRED, "ndjson: relative to the configuration file"),
];

pub(super) const SINK: &[Key] = &[
    key(
        "kind",
        REQUIRED,
        "a database; a file of JSON lines; nothing, to measure what comes before it; \
         [a function of yours](library.md)",
    ),
    key(
        "url",
        REQUIRED,
        "postgres: `?sslmode=` may be `disable`, `prefer` (default) or `require`. Of several \
         `host:port,host:port` the one that takes writes is used, also after a fail-over",
    ),
    key(
        "writers",
        "`6`",
        "postgres: connections that write at a time (four more are for claims, audit, catalog and \
         rollups)",
    ),
    key(
        "ca_file",
        "none",
        "postgres: certificates that the server's must lead to. With it, TLS is required and the name \
         is verified, unless the URL says `sslmode=disable`",
    ),
    key("path", REQUIRED, "ndjson: appended to; relative to the configuration file"),
];

pub(super) const REGISTRY: &[Key] = &[
    key(
        "url",
        REQUIRED,
        "a schema registry that speaks Confluent's protocol; `http://` or `https://`",
    ),
    key("user", "none", "basic authentication, with `password`"),
    key("password", "none", "basic authentication, with `user`"),
    key("token", "none", "bearer authentication"),
    key("ca_file", "required with `https://`", "certificates that the server's must lead to"),
];

pub(super) const ROUTE: &[Key] = &[
    key("name", "`<source>-<n>`, counted from 1", "for logs, metrics and commands"),
    key("source", REQUIRED, "where from"),
    key(
        "topics",
        "required with a kafka source",
        "names, or patterns that begin with `^`, see [Several topics](#several-topics); each topic of a \
         source in one route",
    ),
    key(
        "format",
        "`\"json\"`",
        "how payloads are read, see [Formats](#formats); a name is short for a table with that `kind` \
         alone",
    ),
    key("format.kind", REQUIRED, "the same, beside the keys below"),
    key("format.registry", "the only one", "avro, protobuf: the registry that has the schemas"),
    key("format.fields", REQUIRED, "csv: the names of the cells, in order"),
    key("format.delimiter", "`\",\"`", "csv: what stands between cells"),
    key("format.quote", "`\"\\\"\"`", "csv: what stands around a cell that holds a delimiter"),
    key("format.null", "`\"\"`", "csv: the cell, without quotes, that is NULL"),
    key(
        "format.ragged",
        "`false`",
        "csv: whether a line may have fewer cells than fields (the missing are absent) or more (left \
         out)",
    ),
    key(
        "max_record_bytes",
        "`\"1MiB\"`",
        "a larger record is a dead letter; not more than `batch.bytes`",
    ),
    key(
        "max_dead_letter_percent",
        "`50`",
        "a target halts when more of 1,000 records or more become dead letters; `100` means never",
    ),
    key("to", REQUIRED, "the targets, see below"),
];

pub(super) const TARGET: &[Key] = &[
    key("sink", REQUIRED, "where to"),
    key(
        "table",
        "required with a postgres sink",
        "in `public` if no schema is named; case matters; quote a part that holds a dot; `{topic}` stands \
         for the [topic's name](#several-topics)",
    ),
    key("write", "`\"append\"`", "see [Write modes](tables.md#write-modes)"),
    key("key", "the primary key", "upsert, mirror: what tells one row from another"),
    key("version", "none", "upsert, mirror: which of two rows of a key is newer"),
    key("soft_delete", "none", "mirror: marks a deleted row, which stays"),
    key(
        "on_tombstone",
        "`\"dead_letter\"`",
        "append, upsert: what becomes of a record that deletes",
    ),
    key(
        "delivery",
        "`\"exactly-once\"`",
        "see [Guarantees](delivery.md#guarantees); other sinks than postgres have `at-least-once` alone",
    ),
    key(
        "on_missing_table",
        "`\"fail\"`",
        "`create`: the table is made from what up to 1,000 records show, in any format; waits for a \
         first one",
    ),
    key(
        "on_unknown_field",
        "`\"ignore\"`",
        "what becomes of a field that no column takes, see \
         [Tables that change](tables.md#tables-that-change)",
    ),
    key(
        "overflow",
        "required with `overflow`",
        "the column that takes the unknown fields, as `{ rest = true }` does",
    ),
    key("max_added_columns", "`100`", "columns that one process adds to the table at most"),
    key(
        "on_out_of_range",
        "`\"dead_letter\"`",
        "a value that a wider type would hold: a dead letter, or the column becomes as wide",
    ),
    key(
        "partitions",
        "none",
        "partitions that are made and removed, see \
         [Partitions by time](tables.md#partitions-by-time)",
    ),
    key(
        "dead_letters.topic",
        "the table `tidegate.dead_letters`",
        "kafka sources: a topic for [dead letters](delivery.md#in-a-topic), not one that the route reads",
    ),
    key(
        "on_nul",
        "`\"dead_letter\"`",
        "what becomes of U+0000 in texts and `jsonb`, which cannot hold it: the record is a dead letter, \
         or the character is left out, or U+FFFD takes its place",
    ),
    key(
        "match",
        "`\"exact\"`",
        "how a column finds the field of its name; `loose`: whatever the case of letters, with or without \
         `_` and `-` (`orderId` feeds `order_id`)",
    ),
    key(
        "where",
        "all records",
        "the records that the target wants, in [CEL](https://cel.dev), see [Which records](#which-records)",
    ),
    key(
        "columns.<column>",
        "the field of the same name",
        "what feeds a column, see [What feeds a column](#what-feeds-a-column)",
    ),
];

pub(super) const COLUMN: &[Key] = &[
    key("field", "the column's name", "that top-level field"),
    key(
        "pointer",
        "none",
        "the value at that JSON pointer (RFC 6901; `/items/0/sku` leads into arrays)",
    ),
    key(
        "metadata",
        "none",
        "a fact about the record; `headers` is a JSON object, `payload` the whole of it",
    ),
    key("constant", "none", "the same for every row"),
    key(
        "rest",
        "none",
        "an object (jsonb, json or text) of the top-level fields that feed no other column, as they \
         stand; nothing if there are none",
    ),
    key("skip", "none", "nothing: Postgres applies the column's default"),
    key(
        "epoch",
        "none",
        "what a number means in a date or time column (in an `interval` it is a duration, in a `time` it \
         counts from midnight)",
    ),
    key(
        "zone",
        "none",
        "what clock a `timestamptz` without a zone was read from (a time that this clock skipped or \
         showed twice is a dead letter)",
    ),
    key("default", "none", "stands in where the record has no value or null"),
];

pub(super) const PARTITIONS: &[Key] = &[
    key("by", REQUIRED, "how much time a partition holds, in UTC; weeks begin on Monday"),
    key(
        "column",
        "the table's partition key",
        "required where `on_missing_table = \"create\"` makes the table",
    ),
    key("ahead", "`3`", "so many partitions are there before their time comes"),
    key("behind", "`retention`, or `30d`", "a row may be so old and still get a partition"),
    key(
        "retention",
        "none",
        "older partitions are detached, without locking the table (with a default partition: under a \
         short lock)",
    ),
    key("expired", "`\"detach\"`", "`drop`: what was detached is dropped as well"),
];

pub(super) const ROLLUP: &[Key] = &[
    key("name", REQUIRED, "for commands, and the names of triggers"),
    key("sink", REQUIRED, "where the detailed rows are"),
    key("table", REQUIRED, "the detailed rows"),
    key(
        "time_column",
        REQUIRED,
        "a `timestamptz`, best with an index that begins with it (btree, or BRIN where rows come in the \
         order of time)",
    ),
    key("bucket", REQUIRED, "as `date_trunc` has it; weeks begin on Monday"),
    key("time_zone", "required from `day` on, else `UTC`", "whose days they are"),
    key("group_by", "`[]`", "each combination of their values is a group"),
    key("filter", "all rows", "a condition on a row alone, without `now()` and the like"),
    key("aggregates", REQUIRED, "any aggregates: each bucket comes wholly from one side"),
    key(
        "batch_table",
        REQUIRED,
        "made by `create`; columns: `bucket`, those of `group_by`, the aggregates by name",
    ),
    key("view", REQUIRED, "made by `create`; the same columns"),
    key(
        "delay",
        "`\"5m\"`",
        "how far finished buckets stay behind the present. Producers' clocks run ahead, and what is not \
         finished costs no bookkeeping",
    ),
    key(
        "every",
        "never",
        "how often `tidegate run` refreshes it: one instance at a time, whichever comes first",
    ),
    key(
        "retention",
        "for ever",
        "a refresh deletes detailed rows that are older, once every rollup of the table has finished \
         them. Not of a partitioned table, whose partitions expire",
    ),
    key(
        "watch_inserts",
        "`false`",
        "whether a trigger also sees what others insert; it costs a COPY 3 to 9 %",
    ),
    key(
        "late",
        "`\"dead_letter\"`",
        "what becomes of a row whose detailed rows are gone: see *Retention* below",
    ),
];

pub(super) const SETTINGS: &[Key] = &[
    key("batch.rows", "`20000`", "a batch closes at so many records,"),
    key(
        "batch.bytes",
        "`\"4MiB\"`",
        "or so many bytes (less with many lanes: `tidegate_batch_max_bytes`); at most half of \
         `memory.budget`,",
    ),
    key(
        "batch.age",
        "adapts",
        "or so long after its first record; by default three times as long as its lane's last batch took \
         to become durable, from 10 to 100 ms",
    ),
    key(
        "memory.budget",
        "`\"128MiB\"`",
        "for what is fetched and all batches together; \
         [Sizes](performance.md#sizes) says how it is shared out",
    ),
    key("admin.listen", "`\"127.0.0.1:9187\"`", "HTTP"),
    key(
        "shutdown.drain",
        "`\"10s\"`",
        "how long work in flight may take at a stop or a revocation",
    ),
    key(
        "tracing.otlp",
        "nothing is told",
        "a collector that takes OTLP over HTTP: write sets are told to it as \
         [traces](operations.md#traces)",
    ),
    key(
        "tracing.sample",
        "`0.01`",
        "share of write sets that are told; those that were tried again or lost are told in any case",
    ),
    key("log.format", "`\"auto\"`", "`auto`: human on a terminal, else JSON; on standard error"),
    key("log.level", "`\"info\"`", "the least that is shown"),
];
