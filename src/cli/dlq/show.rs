//! `tidegate dlq show`

use clap::Args;

use super::{Store, Whose, bytes, printable, say};
use crate::{
    error::{Error, ErrorKind},
    headers::{self, KeptHeaders},
    record::Headers as _,
    sink::postgres::dead_letters::{Filter, Stored},
};

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    topic: String,
    partition: i32,
    offset: i64,
    #[command(flatten)]
    whose: Whose,
}

pub(super) fn run(arguments: &ShowArgs) -> Result<(), Error> {
    let ShowArgs { topic, partition, offset, whose } = arguments;
    let store = Store::open(whose)?;
    let filter = Filter {
        groups: store.groups.clone(),
        topic: Some(topic.clone()),
        partition: Some(*partition),
        offset: Some(*offset),
        ..Filter::default()
    };
    let letters = store.sink.show_dead_letters(&filter)?;
    if letters.is_empty() {
        return Err(Error::new(
            ErrorKind::Data,
            format!(
                "sink {} has no dead letter {topic} {partition} {offset} of {}; `tidegate dlq ls` \
                 lists what is there",
                store.sink_name,
                store.shown_groups()
            ),
        ));
    }
    let shown: Vec<String> = letters.iter().map(describe).collect();
    say(&shown.join("\n"))
}

fn describe(letter: &Stored) -> String {
    let entry = &letter.entry;
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let timestamp = letter.timestamp_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let mut lines = vec![
        ("record", format!("{} {} {}", entry.topic, entry.partition, entry.offset)),
        ("target", entry.target.clone()),
        ("group", format!("{} (cluster {})", entry.group, letter.cluster_id)),
        ("since", entry.created_at.clone()),
        ("timestamp", timestamp.map_or_else(|| "-".to_owned(), |time| time.to_string())),
        ("reason", entry.reason.clone()),
        ("column", or_none(&entry.column)),
        ("message", entry.message.clone()),
        ("sqlstate", or_none(&entry.sqlstate)),
    ];
    lines.extend(header_lines(letter).into_iter().map(|line| ("header", line)));
    lines.push(("key", bytes(letter.key.as_deref())));
    lines.push(("value", bytes(letter.value.as_deref())));
    let lines = lines.iter().map(|(name, text)| format!("{name:<10} {}\n", printable(text)));
    lines.collect()
}

fn header_lines(letter: &Stored) -> Vec<String> {
    let Some(text) = &letter.headers else { return Vec::new() };
    let mut kept = Vec::new();
    let list = serde_json::from_str(text).unwrap_or_default();
    if !headers::keep_json(&list, &mut kept) {
        return vec![text.clone()];
    }
    let mut lines = Vec::new();
    KeptHeaders::new(&kept).for_each(&mut |name, value| {
        lines.push(format!("{name}: {}", bytes(value)));
    });
    lines
}
