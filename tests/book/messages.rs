//! Messages that docs/troubleshooting.md explains.

use std::{fs, path::Path};

use crate::pages::{Page, root};

/// The texts of a source file as they are shown: one line each, `...` for what is filled in.
fn shown(source: &str) -> String {
    let mut joined = String::with_capacity(source.len());
    let mut pieces = source.split("\\\n");
    joined.push_str(pieces.next().unwrap_or_default());
    pieces.for_each(|piece| joined.push_str(piece.trim_start()));
    let joined = joined.replace("\\\"", "\"").replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut text = String::with_capacity(joined.len());
    let mut rest = joined.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        // A brace of the language, and not of a text, closes on another line.
        match after.split_once('}') {
            Some((name, after)) if !name.contains('\n') => {
                text.push_str("...");
                rest = after;
            }
            _ => rest = after,
        }
    }
    text.push_str(rest);
    text.replace('\u{1}', "{").replace('\u{2}', "}")
}

fn sources(folder: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            sources(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(shown(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The messages in the first cells of the page's tables.
fn explained(page: &Page) -> Vec<&str> {
    let cells = page.text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells.map(|cell| cell.trim().trim_matches('`').trim()).collect()
}

#[test]
fn every_message_that_is_explained_exists() {
    let mut texts = Vec::new();
    sources(&root().join("src"), &mut texts);
    let page = Page::read("docs/troubleshooting.md");
    let explained = explained(&page);
    assert!(explained.len() > 40, "only {} messages were found", explained.len());
    let invented: Vec<_> = explained
        .iter()
        .filter(|message| !texts.iter().any(|text| text.contains(**message)))
        .collect();
    assert!(invented.is_empty(), "no source has these: {invented:#?}");
}
