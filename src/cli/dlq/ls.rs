//! `tidegate dlq ls`

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Store, Which, Whose, counted, say, table};
use crate::{
    error::Error,
    sink::postgres::dead_letters::{Entry, Sum},
};

/// Longer messages are cut; `show` and `--json` have all of them.
const MESSAGE_CHARS: usize = 100;

#[derive(Debug, Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    which: Which,
    /// Show at most so many.
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: u32,
    /// Count them by this, in place of a list.
    #[arg(long, value_enum, conflicts_with = "limit")]
    by: Option<By>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// By reason, target and column.
    Reason,
    /// By topic and partition.
    Topic,
    /// By target.
    Target,
}

impl By {
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Reason => &["reason", "target", "column_name"],
            Self::Topic => &["topic", "partition::text"],
            Self::Target => &["target"],
        }
    }
}

pub(super) fn run(arguments: &LsArgs) -> Result<(), Error> {
    let store = Store::open(&arguments.whose)?;
    let filter = arguments.which.filter(&store);
    if let Some(by) = arguments.by {
        let sums = store.sink.sum_dead_letters(&filter, by.columns())?;
        return show_sums(&store, by, &sums, arguments.json);
    }
    let (entries, total) = store.sink.list_dead_letters(&filter, i64::from(arguments.limit))?;
    let mut text = String::new();
    if arguments.json {
        entries.iter().for_each(|entry| text.push_str(&format!("{}\n", json_of(entry))));
        return say(&text);
    }
    if !entries.is_empty() {
        let head =
            ["SINCE", "TOPIC", "PARTITION", "OFFSET", "TARGET", "REASON", "COLUMN", "MESSAGE"];
        text = table(&head, entries.iter().map(cells));
    }
    text.push_str(&end(&store, entries.len() as u64, total as u64));
    say(&text)
}

fn end(store: &Store, shown: u64, total: u64) -> String {
    let groups = store.shown_groups();
    if shown < total {
        format!("{shown} of {} of {groups}; --limit shows more\n", counted(total))
    } else {
        format!("{} of {groups}\n", counted(total))
    }
}

fn json_of(entry: &Entry) -> serde_json::Value {
    json!({
        "group": entry.group, "topic": entry.topic, "partition": entry.partition,
        "offset": entry.offset, "target": entry.target, "reason": entry.reason,
        "column": entry.column, "message": entry.message, "sqlstate": entry.sqlstate,
        "created_at": entry.created_at, "bytes": entry.bytes,
    })
}

fn cells(entry: &Entry) -> [String; 8] {
    let mut message: String = entry.message.chars().take(MESSAGE_CHARS).collect();
    if message.len() < entry.message.len() {
        message.push('…');
    }
    [
        entry.created_at.clone(),
        entry.topic.clone(),
        entry.partition.to_string(),
        entry.offset.to_string(),
        entry.target.clone(),
        entry.reason.clone(),
        entry.column.clone().unwrap_or_else(|| "-".to_owned()),
        message,
    ]
}

fn show_sums(store: &Store, by: By, sums: &[Sum], json: bool) -> Result<(), Error> {
    let names: Vec<&str> =
        by.columns().iter().map(|column| column.trim_end_matches("::text")).collect();
    let mut text = String::new();
    if json {
        for sum in sums {
            let mut line = json!({"count": sum.count, "first": sum.span[0], "last": sum.span[1]});
            for (name, value) in names.iter().zip(&sum.names) {
                line[*name] = json!(value);
            }
            text.push_str(&format!("{line}\n"));
        }
        return say(&text);
    }
    if !sums.is_empty() {
        let mut head = vec!["COUNT".to_owned(), "FIRST".to_owned(), "LAST".to_owned()];
        head.extend(names.iter().map(|name| name.trim_end_matches("_name").to_uppercase()));
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        let row = |sum: &Sum| {
            let mut row = vec![sum.count.to_string(), sum.span[0].clone(), sum.span[1].clone()];
            row.extend(sum.names.iter().cloned());
            row
        };
        text = table(&head, sums.iter().map(row));
    }
    let total: i64 = sums.iter().map(|sum| sum.count).sum();
    text.push_str(&end(store, total as u64, total as u64));
    say(&text)
}
