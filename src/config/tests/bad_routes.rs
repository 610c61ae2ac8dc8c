use super::check;

#[test]
fn dead_letters_go_to_a_topic_that_can_take_them() {
    let piece = r#"dead_letters = { topic = "orders-dead" }"#;
    check(&[
        (
            piece,
            r#"dead_letters = "orders-dead""#,
            "tidegate.toml:36: routes[0].to[0].dead_letters: expected `{ topic = \"...\" }`; without \
             this key they go to the table, found `orders-dead`",
        ),
        (
            piece,
            "dead_letters = {}",
            "tidegate.toml:36: routes[0].to[0].dead_letters.topic: missing; expected a topic of the \
             source's cluster",
        ),
        (
            piece,
            r#"dead_letters = { topic = "^orders" }"#,
            "tidegate.toml:36: routes[0].to[0].dead_letters.topic: expected a topic's name: 1 to 249 \
             characters among a-z, A-Z, 0-9, `.`, `_` and `-`, found `^orders`",
        ),
        (
            piece,
            r#"dead_letters = { topic = "orders" }"#,
            "tidegate.toml:25: routes[0].to[0].dead_letters: this route reads `orders`; expected a \
             topic that it does not",
        ),
        (
            "sink = \"nowhere\"\n",
            "sink = \"serving\"\ntable = \"lines\"\ndead_letters = { topic = \"dead\" }\n",
            "tidegate.toml:44: routes[1].to[0].dead_letters: an ndjson source has no brokers; remove \
             it to use the table",
        ),
        (
            r#"sink = "archive""#,
            "sink = \"archive\"\ndead_letters = { topic = \"dead\" }",
            "tidegate.toml:44: routes[0].to[1].dead_letters: only a postgres sink has this key; \
             remove it",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_a_route_is_named() {
    check(&[
        (
            "[batch]\n",
            "[[routes]]\nsource = \"backlog\"\nto = [{ sink = \"nowhere\" }]\n[batch]\n",
            "tidegate.toml:49: routes[2].source: routes[1] reads all of `backlog` already; give it \
             another target under `to` there",
        ),
        (
            "source = \"shop\"",
            "source = \"shop\"\nname = \"backlog-1\"",
            "tidegate.toml:45: routes[1].name: routes[0] is named `backlog-1`, too; give one of the \
             two another `name`",
        ),
        (
            r#"source = "shop""#,
            r#"source = "shp""#,
            "tidegate.toml:26: routes[0].source: no source is named `shp`; did you mean \
             `shop`?",
        ),
        (
            r#"source = "backlog""#,
            "source = \"backlog\"\nname = \"shop-1\"",
            "tidegate.toml:46: routes[1].name: routes[0] has this name, too; give one of \
             the two another `name`",
        ),
        (
            r#"source = "backlog""#,
            "source = \"backlog\"\nname = \"Night run\"",
            "tidegate.toml:46: routes[1].name: expected a name of 1 to 63 characters among \
             a-z, 0-9, `_` and `-`, found `Night run`",
        ),
        (
            r#"format = "json""#,
            r#"format = "jsn""#,
            "tidegate.toml:28: routes[0].format: expected one of `json`, `debezium`, `avro`, `protobuf`, \
             `csv`, `raw`, found `jsn`; did you mean `json`?",
        ),
        (
            r#"max_record_bytes = "1MiB""#,
            r#"max_record_bytes = "8MiB""#,
            "tidegate.toml:29: routes[0].max_record_bytes: a record of 8MiB does not fit \
             into batch.bytes (4MiB); lower max_record_bytes or raise batch.bytes",
        ),
        (
            r#"max_record_bytes = "1MiB""#,
            "max_dead_letter_percent = 101",
            "tidegate.toml:29: routes[0].max_dead_letter_percent: expected an integer from 1 to \
             100, found the integer 101",
        ),
        (
            r#"max_record_bytes = "1MiB""#,
            r#"max_record_size = "1MiB""#,
            "tidegate.toml:29: routes[0].max_record_size: unknown key; did you mean \
             `max_record_bytes`?",
        ),
        (
            r#"bytes = "4MiB""#,
            r#"bytes = "512KiB""#,
            "tidegate.toml:29: routes[0].max_record_bytes: a record of 1MiB does not fit \
             into batch.bytes (512KiB); lower max_record_bytes or raise batch.bytes\n\
             tidegate.toml:44: routes[1].max_record_bytes: a record of 1MiB (the default) \
             does not fit into batch.bytes (512KiB); lower max_record_bytes or raise \
             batch.bytes",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_a_target_is_named() {
    check(&[
        (
            "topics = [\"orders\"]\n",
            "",
            "tidegate.toml:25: routes[0].topics: missing; expected a list of topics such \
             as [\"orders\"]",
        ),
        (
            r#"topics = ["orders"]"#,
            r#"topics = "orders""#,
            "tidegate.toml:27: routes[0].topics: expected a list of topics such as \
             [\"orders\"], found `orders`",
        ),
        (
            r#"topics = ["orders"]"#,
            "topics = []",
            "tidegate.toml:27: routes[0].topics: the list is empty; expected at least one \
             topic",
        ),
        (
            r#"topics = ["orders"]"#,
            r#"topics = ["orders", ""]"#,
            "tidegate.toml:27: routes[0].topics[1]: expected a topic's name (1 to 249 \
             characters among a-z, A-Z, 0-9, `.`, `_` and `-`) or a pattern that begins with `^`, found an \
             empty string",
        ),
        (
            r#"topics = ["orders"]"#,
            r#"topics = ["orders.*"]"#,
            "tidegate.toml:27: routes[0].topics[0]: expected a topic's name (1 to 249 \
             characters among a-z, A-Z, 0-9, `.`, `_` and `-`) or a pattern that begins with `^`, \
             found `orders.*`",
        ),
        (
            r#"topics = ["orders"]"#,
            r#"topics = ["^orders("]"#,
            "tidegate.toml:27: routes[0].topics[0]: not a regular expression: regex parse error:\n    \
             ^orders(\n           ^\nerror: unclosed group",
        ),
        (
            r#"topics = ["orders"]"#,
            "topics = [\"orders\",\n\
 \"orders\"]",
            "tidegate.toml:28: routes[0].topics[1]: the topic is listed twice; remove one",
        ),
        (
            r#"source = "backlog""#,
            "source = \"backlog\"\ntopics = [\"orders\"]",
            "tidegate.toml:46: routes[1].topics: only a kafka source has topics; remove it \
             (the topic is `backlog`)",
        ),
        (
            r#"source = "backlog""#,
            "source = \"shop\"\ntopics = [\"orders\"]",
            "tidegate.toml:46: routes[1].topics[0]: routes[0] reads this topic of `shop` \
             already; give it another target under `to` there",
        ),
        (
            r#"sink = "serving""#,
            r#"sink = "servng""#,
            "tidegate.toml:31: routes[0].to[0].sink: no sink is named `servng`; did you \
             mean `serving`?",
        ),
        (
            "table = \"orders_realtime\"\n",
            "",
            "tidegate.toml:30: routes[0].to[0].table: missing; expected `table` or \
             `schema.table`",
        ),
        (
            r#"table = "orders_realtime""#,
            r#"table = "a.b.c""#,
            "tidegate.toml:32: routes[0].to[0].table: expected `table` or `schema.table`, \
             found `a.b.c`",
        ),
        (
            r#"sink = "archive""#,
            "sink = \"archive\"\ntable = \"orders\"",
            "tidegate.toml:44: routes[0].to[1].table: only a postgres sink has this key; \
             remove it",
        ),
        (
            r#"sink = "archive""#,
            "sink = \"archive\"\ndelivery = \"exactly-once\"",
            "tidegate.toml:44: routes[0].to[1].delivery: only a postgres sink can be \
             `exactly-once`; write `at-least-once`",
        ),
        (
            r#"sink = "archive""#,
            "sink = \"serving\"\ntable = \"orders_realtime\"",
            "tidegate.toml:42: routes[0].to[1]: routes[0].to[0] writes to the same table \
             of the same sink; remove one",
        ),
        (
            r#"sink = "nowhere""#,
            "sink = \"nowhere\"\n[[routes.to]]\nsink = \"nowhere\"",
            "tidegate.toml:48: routes[1].to[1]: routes[1].to[0] writes to the same sink; \
             remove one",
        ),
        (
            "[[routes.to]]\nsink = \"nowhere\"\n",
            "",
            "tidegate.toml:44: routes[1].to: missing; expected one [[routes.to]] or more",
        ),
        (
            r#"write = "append""#,
            r#"write = "upset""#,
            "tidegate.toml:33: routes[0].to[0].write: expected one of `append`, `upsert`, `mirror`, \
             found `upset`; did you mean `upsert`?",
        ),
        (
            r#"write = "append""#,
            r#"write = "apend""#,
            "tidegate.toml:33: routes[0].to[0].write: expected one of `append`, `upsert`, `mirror`, \
             found `apend`; did you mean `append`?",
        ),
        (
            r#"write = "append""#,
            "write = \"append\"\nkey = [\"id\"]",
            "tidegate.toml:34: routes[0].to[0].key: only `write = \"upsert\"` and `\"mirror\"` have \
             this key; remove it",
        ),
        (
            r#"write = "append""#,
            "write = \"upsert\"\nkey = [\"id\", \"id\"]",
            "tidegate.toml:34: routes[0].to[0].key[1]: `id` is in the list already; remove it",
        ),
        (
            r#"write = "append""#,
            "write = \"upsert\"\nkey = []",
            "tidegate.toml:34: routes[0].to[0].key: expected at least one column; without this key, \
             the primary key counts",
        ),
        (
            r#"write = "append""#,
            "write = \"upsert\"\nsoft_delete = \"gone\"",
            "tidegate.toml:34: routes[0].to[0].soft_delete: only `write = \"mirror\"` deletes; \
             remove it",
        ),
        (
            r#"write = "append""#,
            "write = \"mirror\"\nsoft_delete = \"total\"",
            "tidegate.toml:40: routes[0].to[0].columns.total: soft_delete marks deleted rows in this \
             column; nothing else can feed it",
        ),
        (
            r#"write = "append""#,
            "write = \"mirror\"\non_tombstone = \"ignore\"",
            "tidegate.toml:34: routes[0].to[0].on_tombstone: with `write = \"mirror\"` a tombstone \
             deletes; remove it",
        ),
        (
            r#"sink = "archive""#,
            "sink = \"archive\"\nversion = \"v\"",
            "tidegate.toml:44: routes[0].to[1].version: only a postgres sink has this key; remove it",
        ),
        (
            r#"delivery = "exactly-once""#,
            r#"delivery = "exactly_once""#,
            "tidegate.toml:34: routes[0].to[0].delivery: expected one of `exactly-once`, \
             `at-least-once`, found `exactly_once`; did you mean `exactly-once`?",
        ),
        (
            r#"on_missing_table = "fail""#,
            "on_missing_table = true",
            "tidegate.toml:35: routes[0].to[0].on_missing_table: expected a string (one of \
             `fail`, `create`), found the boolean true",
        ),
        (
            r#"{ metadata = "offset" }"#,
            r#"{ metadata = "ofset" }"#,
            "tidegate.toml:38: routes[0].to[0].columns.kafka_offset.metadata: expected one \
             of `topic`, `partition`, `offset`, `timestamp`, `key`, `headers`, `payload`, \
             found `ofset`; did you mean `offset`?",
        ),
        (
            r#"{ metadata = "offset" }"#,
            r#""offset""#,
            "tidegate.toml:38: routes[0].to[0].columns.kafka_offset: expected a table \
             such as `{ field = \"...\" }`, `{ metadata = \"...\" }` or `{ skip = true }`, found \
             `offset`",
        ),
        (
            r#"{ metadata = "offset" }"#,
            r#"{ metadata = "offset", skip = true }"#,
            "tidegate.toml:38: routes[0].to[0].columns.kafka_offset: expected only one of \
             `metadata` and `skip`",
        ),
        (
            r#"{ metadata = "offset" }"#,
            r#"{ metadata = "offset", epoch = "ms" }"#,
            "tidegate.toml:38: routes[0].to[0].columns.kafka_offset.epoch: only a `field` \
             or a `pointer` has `epoch`; remove it",
        ),
        (
            r#"{ metadata = "offset" }"#,
            "{}",
            "tidegate.toml:38: routes[0].to[0].columns.kafka_offset: expected one of \
             `field`, `pointer`, `metadata`, `constant`, `rest`, `skip`",
        ),
        (
            r#"{ metadata = "offset" }"#,
            r#"{ pointer = "address.city" }"#,
            "tidegate.toml:38: routes[0].to[0].columns.kafka_offset.pointer: expected a JSON \
             pointer such as \"/address/city\" (in a name, `~1` stands for a slash and `~0` for a \
             tilde), found `address.city`",
        ),
        (
            r#"{ metadata = "offset" }"#,
            r#"{ constant = [1] }"#,
            "tidegate.toml:38: routes[0].to[0].columns.kafka_offset.constant: expected a string, \
             a number or a boolean, found an array",
        ),
        (
            r#"epoch = "ms""#,
            r#"epoch = "min""#,
            "tidegate.toml:40: routes[0].to[0].columns.created_at.epoch: expected one of \
             `s`, `ms`, `us`, `ns`, found `min`",
        ),
        (
            r#"epoch = "ms""#,
            r#"zone = "Berlin""#,
            "tidegate.toml:40: routes[0].to[0].columns.created_at.zone: expected a time zone of \
             the IANA database such as \"Europe/Berlin\", found `Berlin`",
        ),
        (
            r#"epoch = "ms""#,
            r#"epok = "ms""#,
            "tidegate.toml:40: routes[0].to[0].columns.created_at.epok: unknown key; did \
             you mean `epoch`?",
        ),
        (
            "skip = true",
            "skip = false",
            "tidegate.toml:41: routes[0].to[0].columns.internal_note.skip: expected \
             `true`; without it, leave the key out",
        ),
        (
            "skip = true",
            "skip = 1",
            "tidegate.toml:41: routes[0].to[0].columns.internal_note.skip: expected `true` \
             or `false`, found the integer 1",
        ),
    ]);
}
