//! Keys that are listed are the keys that there are, and the documentation shows them.

use std::{env, fs, path::Path};

use super::{
    super::{
        keys::{Key, REQUIRED, SECTIONS, Section},
        source::OWNED,
    },
    environment,
};
use crate::config::{Config, error::Problem};

/// Between them, each key can stand in one of these.
const BASES: [&str; 5] = [
    "[sources.shop]\nkind = 'kafka'\nbrokers = 'a:1'\n\
     [sinks.serving]\nkind = 'postgres'\nurl = 'postgres://h/d'\n\
     [registries.main]\nurl = 'http://r'\n\
     [[routes]]\nsource = 'shop'\ntopics = ['orders']\nformat = { kind = 'avro', registry = 'main' }\n\
     [[routes.to]]\nsink = 'serving'\ntable = 'orders'\nwrite = 'mirror'\n\
     partitions = { by = 'day', retention = '30d' }\n",
    "[sources.shop]\nkind = 'kafka'\nbrokers = 'a:1'\n\
     [sinks.serving]\nkind = 'postgres'\nurl = 'postgres://h/d'\n\
     [[routes]]\nsource = 'shop'\ntopics = ['orders']\n\
     to = [{ sink = 'serving', table = 'orders' }]\n\
     [[rollups]]\nname = 'orders'\nsink = 'serving'\ntable = 'orders'\ntime_column = 'at'\n\
     bucket = 'day'\ntime_zone = 'UTC'\naggregates = { n = 'count(*)' }\n\
     batch_table = 'b'\nview = 'v'\n",
    "[sources.shop]\nkind = 'kafka'\nbrokers = 'a:1'\n\
     [sinks.serving]\nkind = 'postgres'\nurl = 'postgres://h/d'\n\
     [[routes]]\nsource = 'shop'\ntopics = ['orders']\n\
     format = { kind = 'csv', fields = ['id'] }\n\
     to = [{ sink = 'serving', table = 'orders', on_unknown_field = 'overflow', overflow = 'o' }]\n",
    "[sources.shop]\nkind = 'kafka'\nbrokers = 'a:1'\n\
     [sinks.serving]\nkind = 'postgres'\nurl = 'postgres://h/d'\n\
     [[routes]]\nsource = 'shop'\ntopics = ['orders']\n\
     to = [{ sink = 'serving', table = 'orders', on_unknown_field = 'add_column' }]\n",
    "[sources.shop]\nkind = 'ndjson'\npath = 'a'\n[sinks.serving]\nkind = 'ndjson'\npath = 'b'\n\
     [[routes]]\nsource = 'shop'\nto = [{ sink = 'serving' }]\n",
];

/// The path of a key as it stands in [`BASES`].
fn path_in_bases(section: &Section, key: &Key) -> String {
    let path = match section.path {
        "" => key.name.to_owned(),
        path => format!("{path}.{}", key.name),
    };
    path.replace("sources.<name>", "sources.shop")
        .replace("sinks.<name>", "sinks.serving")
        .replace("registries.<name>", "registries.main")
        .replace("<property>", "debug")
        .replace("<column>", "total")
        .replace("[]", "[0]")
}

/// The base, with flags; what is wrong with it, if so.
fn parse(base: &str, flags: &[String]) -> Result<Config, Vec<Problem>> {
    Config::parse(base, "tidegate.toml", flags, &environment(&[])).map_err(|error| error.problems)
}

/// The messages about `path` when it has this value, one of each base where there is one.
fn messages(path: &str, value: &str) -> Vec<String> {
    let flags = [format!("{path}={value}")];
    let of_it = |base: &&str| {
        let problems = parse(base, &flags).err()?;
        problems.into_iter().find(|problem| problem.key == path).map(|problem| problem.message)
    };
    BASES.iter().filter_map(of_it).collect()
}

/// What the reader says that it expects of a key.
fn takes(path: &str) -> String {
    let found = ["array", "table"].map(|kind| (kind, if kind == "array" { "[]" } else { "{}" }));
    for (kind, value) in found {
        for message in messages(path, value) {
            let expected = message.strip_prefix("expected ");
            let end = format!(", found an {kind}").replace("an table", "a table");
            if let Some(expected) = expected.and_then(|text| text.strip_suffix(&end)) {
                let string = expected.strip_prefix("a string (").and_then(|t| t.strip_suffix(')'));
                return string.unwrap_or(expected).to_owned();
            }
        }
    }
    panic!("{path} is listed, but no table has it: {:?}", messages(path, "[]"));
}

/// A base without what stands at a path.
fn without(base: &str, path: &str) -> String {
    let mut tree: toml::Table = base.parse().unwrap();
    let parts: Vec<&str> = path.split('.').collect();
    let (last, tables) = parts.split_last().unwrap();
    let mut table = Some(&mut tree);
    for part in tables {
        let (name, index) = part.strip_suffix("[0]").map_or((*part, None), |name| (name, Some(0)));
        table = table.and_then(|table| table.get_mut(name)).and_then(|value| match index {
            Some(index) => value.as_array_mut()?.get_mut(index)?.as_table_mut(),
            None => value.as_table_mut(),
        });
    }
    table.and_then(|table| table.remove(*last));
    toml::to_string(&tree).unwrap()
}

fn check_default(path: &str, key: &Key) {
    let bases = BASES.map(|base| without(base, path));
    if key.default == REQUIRED {
        let is_missing = |base: &String| {
            let problems = parse(base, &[]).err().unwrap_or_default();
            problems.iter().any(|p| p.key == path && p.message.starts_with("missing"))
        };
        assert!(bases.iter().any(is_missing), "{path} is not required");
    }
    let literal = key.default.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
    if let Some(literal) = literal.filter(|text| !text.contains('`')) {
        let flags = [format!("{path}={literal}")];
        let is_the_same = |base: &String| {
            let without = parse(base, &[]);
            without.is_ok() && parse(base, &flags) == without
        };
        assert!(bases.iter().any(is_the_same), "{literal} is not the default of {path}");
    }
}

/// The table of a section's keys, as the documentation has it.
fn table(section: &Section) -> String {
    let mut table = "\n| key | takes | default | meaning |\n|---|---|---|---|\n".to_owned();
    for key in section.keys {
        let path = path_in_bases(section, key);
        check_default(&path, key);
        let Key { name, default, meaning } = key;
        table += &format!("| `{name}` | {} | {default} | {meaning} |\n", takes(&path));
    }
    table + "\n"
}

/// The text between a comment and the one that ends it.
fn between<'a>(page: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(begin)?;
    rest.split_once(end).map(|(text, _)| text)
}

/// Compares what stands behind a comment on some page with what the code says, or renews it.
fn check_page(name: &str, made: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let (begin, end) = (format!("<!-- {name}: make docs -->\n"), format!("<!-- end of {name} -->"));
    let pages = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut with_it = pages.filter_map(|path| {
        let page = fs::read_to_string(&path).ok()?;
        page.contains(&begin).then_some((path, page))
    });
    let (path, page) = with_it.next().unwrap_or_else(|| panic!("no page has `{begin}`"));
    let written = between(&page, &begin, &end).unwrap();
    if env::var_os("RENEW_DOCS").is_some() {
        let (old, new) = (format!("{begin}{written}"), format!("{begin}{made}"));
        fs::write(&path, page.replacen(&old, &new, 1)).unwrap();
    } else {
        let page = path.display();
        assert_eq!(written, made, "{page} is not what the code says; `make docs` renews it");
    }
}

#[test]
fn the_documentation_has_every_key_as_it_is() {
    for section in &SECTIONS {
        let path = if section.path.is_empty() { "the rest" } else { section.path };
        check_page(&format!("keys of {path}"), &table(section));
    }
    let owned: Vec<String> = OWNED.iter().map(|(name, ..)| format!("`{name}`")).collect();
    check_page("owned properties", &format!("\n{}.\n\n", owned.join(", ")));
}

#[test]
fn a_key_that_belongs_elsewhere_is_told_where() {
    let base = BASES[1];
    for (flag, expected) in [
        ("routes[0].group=a", "unknown key; it belongs to `sources.<name>`"),
        ("sinks.serving.topics=a", "unknown key; it belongs to `routes[]`"),
        ("memory.rows=1", "unknown key; it belongs to `batch`"),
    ] {
        let problems = parse(base, &[flag.to_owned()]).unwrap_err();
        assert_eq!(problems[0].message, expected, "for {flag}");
    }
}
