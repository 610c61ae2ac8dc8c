//! What inputs are made from: seeds that mean something, and the tokens of their grammars.

pub(crate) const OBJECTS: &[&str] = &[
    "{}",
    r#"{"a":1,"b":"two","c":[3,{"d":null}]}"#,
    r#" { "a" : -0.5e+10 , "b" : "l\u00e9a \"q\" \\ \/ \b\f\n\r\t" , "a" : true } "#,
    r#"{"\u0061":"\ud83c\udf81","b":"ご","c":"\ud800","":0}"#,
    r#"{"a":"2026-01-31T23:59:59.123456Z","b":"2026-01-31","c":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}"#,
    r#"{"a":123456789012345678901234567890.5,"b":9223372036854775808,"c":1e400}"#,
    r#"{"order_id":1000001,"status":"paid","amount":12.50,"express":false,"note":null}"#,
    r#"{"a":[[[[[[]]]]]],"b":{"b":{"b":{"b":{}}}},"c":[1,2,3,"x",{"y":[]}]}"#,
    "{\"a\":1}\n{\"b\":2}\r\n\n{\"c\":3}",
    "[1,2,3]",
    "\"text\"",
    "12.5",
];

pub(crate) const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "null",
    "true",
    "false",
    "\"a\":",
    "\"b\":",
    "\"c\":",
    "\\u0000",
    "\\u0061",
    "\\ud83c\\udf81",
    "\\ud800",
    "\\udc00",
    "\\n",
    "\\x",
    "é",
    "🎁",
    "-0",
    "1e9",
    "0.1",
    "1e-400",
    "01",
    "-",
    ".5",
    "1.",
    "1e",
    "[[[[[[[[",
    "{\"a\":{\"a\":",
    "\u{feff}",
    "/**/",
    "NaN",
];

pub(crate) const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "-0.0",
    "7",
    "-1",
    "32767",
    "32768",
    "-32769",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "0.1",
    "12.50",
    "9999999999.994",
    "9999999999.995",
    "123456789012345678901234567890.123456789",
    "1e3",
    "1.0",
    "12.5e-1",
    "1e308",
    "1.8e308",
    "5e-324",
    "1e-400",
    "3.4028235e38",
    "1.17549435e-38",
    "1e131071",
    "1e131072",
    "1e-16383",
    "1e-16384",
    "1e99999999999999999999",
    "0e99999999999999999999",
    "99950",
    "0.00099950",
    "\"+7\"",
    "\"007\"",
    "\".5\"",
    "\"5.\"",
    "\"NaN\"",
    "\"Infinity\"",
    "\"-infinity\"",
    "\"1e5\"",
    "true",
    "false",
    "\"t\"",
    "\"false\"",
    "null",
];

pub(crate) const DIGITS: &[&str] = &[
    "0",
    "00000000",
    "9",
    "99999999",
    "1234567890123456",
    ".",
    "-",
    "+",
    "e",
    "E",
    "e-",
    "e+9",
    "e308",
    "e-324",
    "e131071",
    "e-16383",
    "5",
    "4",
    "49999",
    "50000",
    "\"",
    "nan",
    "infinity",
    "_",
    " ",
    "0x",
];

pub(crate) const TIMES: &[&str] = &[
    "\"2026-01-31\"",
    "\"2024-02-29\"",
    "\"1900-02-29\"",
    "\"0001-01-01\"",
    "\"0000-12-31\"",
    "\"9999-12-31\"",
    "\"294276-12-31\"",
    "\"294277-01-01\"",
    "\"5874897-12-31\"",
    "\"5874898-01-01\"",
    "\"2026-01-31T23:59:59.123456Z\"",
    "\"2026-01-31 23:59:59+07\"",
    "\"2026-01-31t12:00+0530\"",
    "\"2026-01-31T24:00:00-15:59\"",
    "\"2026-01-31T23:59:60.9999995z\"",
    "\"2026-06-30T00:00:00.000000000001+00:00\"",
    "\"infinity\"",
    "\"-Infinity\"",
    "1767225600",
    "1767225600123",
    "-1",
    "1.5",
    "1767225600.123456789",
    "\"1767225600123\"",
    "9223372036854775807",
    "-9223372036854775808",
    "9223371331200000000",
    "-211813488000000000",
    "1e18",
    "1e-9",
];

pub(crate) const TIME: &[&str] = &[
    "-",
    ":",
    "T",
    "t",
    " ",
    "Z",
    "z",
    "+",
    ".",
    "00",
    "01",
    "12",
    "13",
    "23",
    "24",
    "29",
    "30",
    "31",
    "59",
    "60",
    "2026",
    "9999",
    "0000",
    "+23:59",
    "-00:00",
    "+24",
    ".999999",
    ".9999995",
    "infinity",
    "\"",
    "\"a\":",
    "\"b\":",
    "\\u002d",
    ",",
    "[UTC]",
    "2026-01-02T03:04:05Z",
    "2026-01-02",
    "BC",
];

pub(crate) const TEXTS: &[&str] = &[
    "\"\"",
    "\"a\"",
    "\"héllo\"",
    "\"ご飯\"",
    r#""l\u00e9a \"q\" \\ \n\t \ud83c\udf81""#,
    "\"abcde \"",
    "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"",
    "\"{A0EEBC999C0B4EF8BB6D6BB9BD380A11}\"",
    "\"AP9/\"",
    "\"AP8=\"",
    "\"AP8\"",
    "\"AA==\"",
    "\"_-_-\"",
    r#""\\x00ff""#,
    r#""\\xZZ""#,
    "\"\\u0000\"",
    "true",
    "12",
    "[1]",
    "{\"a\":1}",
    "name\nvalue\ntrace\nabc\ntrace\ndef",
    "",
];

pub(crate) const TEXT: &[&str] = &[
    "\"",
    "\\",
    "\\u0000",
    "\\u00e9",
    "\\ud83c\\udf81",
    "\\ud83c",
    "\\\\x",
    "00",
    "ff",
    "-",
    "{",
    "}",
    "=",
    "==",
    "AAAA",
    "é",
    "ご",
    "🎁",
    "\n",
    "\n\n",
    "\0",
    " ",
    "a0eebc99",
    "-9c0b-4ef8",
    "null",
];

pub(crate) const CONTEXTS: &[&str] = &[
    "COPY orders, line 17, column amount",
    "COPY orders, line 2",
    "PL/pgSQL function f() line 4 at RAISE\nCOPY orders, line 9",
    "SQL statement \"SELECT 1\"",
    "22P02",
    "23505",
    "42501",
    "Z0001",
    "08006",
];

pub(crate) const CONTEXT: &[&str] = &[
    "COPY ",
    ", line ",
    ", column ",
    "1",
    "99999999999999999999999",
    "\n",
    ",",
    "é",
    "22",
    "P0",
    "2200H",
    "0",
    ": ",
];

pub(crate) const FRAMES: &[&str] = &[
    "\0",
    "\0\0\0\0",
    "\0\x01",
    "\0\0\0\x01",
    "\0\0\0\x04",
    "\x01\0\0\0",
    "\x7f\x7f\x7f\x7f",
    "\0\0\0\0\0\0\0\0",
    "abcd",
];

pub(crate) const LINES: &[&str] = &["\n", "\r\n", "\n\n", "\r", "\n\r", "{}", "\"a\"", " "];

pub(crate) const CONFIGS: &[&str] = &[
    include_str!("../../examples/orders.toml"),
    include_str!("../../examples/handler.toml"),
    include_str!("../../deploy/compose/tidegate.toml"),
    r#"[sources.shop]
kind = "kafka"
brokers = "localhost:9092"
start = "2026-01-31T00:00:00Z"
commit_interval = "1s"
[sources.shop.properties]
"fetch.wait.max.ms" = "50"
security.protocol = "ssl"
sasl.password = "${env:PASSWORD}"
[sinks.serving]
kind = "postgres"
url = "${env:DATABASE_URL}"
writers = 4
[[routes]]
source = "shop"
topics = ["orders"]
max_record_bytes = "1MiB"
to = [{ sink = "serving", table = "shop.\"orders.new\"", columns = { a = { field = "b", epoch = "ms" } } }]
[batch]
rows = 20000
bytes = "4MiB"
age = "100ms"
[memory]
budget = "128MiB"
[admin]
listen = "127.0.0.1:9187"
[shutdown]
drain = "10s"
--set batch.rows=5
--set routes[0].to[0].sink=serving
TIDEGATE__LOG__LEVEL=debug
"#,
    "--set a.b.c=[1,{x=2}]\nTIDEGATE__SINKS__SERVING__URL=postgres://u:hunter2@h/d\n",
];

pub(crate) const CONFIG: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "=",
    ".",
    ",",
    "\"",
    "'''",
    "\"\"\"",
    "{",
    "}",
    "#",
    "\n",
    "\\",
    "${",
    "}",
    "$${",
    "${env:DATABASE_URL}",
    "${env:PASSWORD:-x}",
    "${file:Cargo.toml}",
    "--set ",
    "TIDEGATE__",
    "__",
    "[0]",
    "[99999999999999999999]",
    "a.b.c.d.",
    "kind",
    "sources",
    "sinks",
    "routes",
    "properties",
    "null",
    "true",
    "-1",
    "1e400",
    "0x7f",
    "9223372036854775808",
    "18446744073709551616GiB",
    "4MiB",
    "99999999999h",
    "1979-05-27T07:32:00Z",
    "postgres://u:hunter2@h/d?x=%zz",
    "é",
];

/// Lines of CSV.
pub(crate) const ROWS: &[&str] = &[
    "1,two,3",
    "\"a\",\"say \"\"hi\"\"\",\"x\ny\"\r\n",
    "{\"k\":[1]},[],\"[1,{}]\"",
    ",,",
    "é;\"ご\";\\N",
];

pub(crate) const CELLS: &[&str] = &["\"", "\"\"", ",", ";", "\r\n", "\",\"", "[1]", "{}", "\\N"];

/// Events of Debezium, with a schema and without.
pub(crate) const EVENTS: &[&str] = &[
    r#"{"before":null,"after":{"id":1,"n":"12.5","d":20484},"source":{"lsn":7},"op":"c","ts_ms":1}"#,
    r#"{"before":{"id":1},"after":null,"op":"d"}"#,
    r#"{"ts_ms":1}"#,
    r#"{"schema":{"type":"struct","fields":[{"type":"struct","field":"after","fields":[
        {"type":"bytes","field":"n","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}},
        {"type":"int64","field":"d","name":"io.debezium.time.MicroTimestamp"},
        {"type":"string","field":"id","name":"io.debezium.data.Json"}]}]},
        "payload":{"after":{"id":"{\"a\":null}","n":"BNI=","d":1769860800123456},"op":"u"}}"#,
    r#"{"schema":{"fields":[{"field":"after","fields":[
        {"field":"n","items":{"name":"io.debezium.data.VariableScaleDecimal"}},
        {"field":"d","name":"io.debezium.data.Bits","parameters":{"length":"12"}},
        {"field":"id","name":"io.debezium.data.geometry.Point"}]}]},
        "payload":{"after":{"id":{"x":1.5,"y":-2},"n":[{"scale":-3,"value":"Dw=="}],"d":"qgE="},"op":"r"}}"#,
];

/// Schemas of Avro, and bytes of values.
pub(crate) const SCHEMAS: &[&str] = &[
    "\0\x02\x02\0\0\0\0\0\0",
    "\x02\0\0\0\0\0\0\0\x04\x06\x0c\0\x02\x02a\x02\x02b\0\x04\x01\x02\x02\x06",
    r#"{"type":"record","name":"a.R","fields":[{"name":"f","type":["null","R"]}]}"#,
    r#"{"type":"fixed","name":"F","size":12,"logicalType":"duration"}"#,
    r#"{"type":"array","items":{"type":"map","values":{"type":"int","logicalType":"date"}}}"#,
    r#"{"type":"enum","name":"E","symbols":["x","y"]}"#,
    "\"string\"",
];

pub(crate) const SCHEMA: &[&str] = &[
    "\"type\":",
    "\"record\"",
    "\"fields\":[",
    "\"null\"",
    "\"long\"",
    "\"bytes\"",
    "\"name\":",
    "\"logicalType\":",
    "\"decimal\"",
    "\"size\":",
    "\x02",
    "\x01",
    "\0",
];
