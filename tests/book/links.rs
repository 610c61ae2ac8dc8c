//! Links inside the repository.

use std::{collections::BTreeSet, fs, path::Path};

use crate::pages::{Page, pages, root};

/// The name by which GitHub jumps to a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    let name: String = heading.trim().to_lowercase().chars().filter(kept).collect();
    name.replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let is_heading = |line: &&str| {
        is_code ^= line.trim_start().starts_with("```");
        !is_code && line.starts_with('#')
    };
    text.lines().filter(is_heading).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// The places that a page links to, but for other sites.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.contains(char::is_whitespace))
}

#[test]
fn every_link_leads_somewhere() {
    let others = ["ARCHITECTURE.md", "benches/RESULTS.md"].map(Page::read);
    let mut broken = Vec::new();
    let mut count = 0;
    for page in pages().iter().chain(&others) {
        for link in links(&page.text) {
            count += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let path = match file {
                "" => root().join(&page.path),
                file => root().join(page.path.parent().unwrap_or(Path::new(""))).join(file),
            };
            let leads = path.exists()
                && (place.is_empty() || {
                    let text = fs::read_to_string(&path).unwrap_or_default();
                    anchors(&text).contains(place)
                });
            if !leads {
                broken.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(count > 50, "only {count} links were found");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_table_of_contents_has_every_page() {
    let contents = Page::read("docs/README.md");
    let listed: BTreeSet<&str> = links(&contents.text).collect();
    for page in pages() {
        let Ok(path) = page.path.strip_prefix("docs") else { continue };
        let is_listed = path.parent() != Some(Path::new(""))
            || path.ends_with("README.md")
            || listed.contains(path.to_str().unwrap());
        assert!(is_listed, "docs/README.md does not list {}", path.display());
    }
}
