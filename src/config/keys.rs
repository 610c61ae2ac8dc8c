//! Every key that there is, its default, and what it means.
//!
//! An error says by this where a misplaced key belongs, and `make docs` makes the tables of the
//! documentation of it. What a key takes is not here: that is what its reader says it expected.

mod lists;

#[cfg(test)]
use std::sync::LazyLock;

/// A table of the file and its keys.
pub(super) struct Section {
    /// Its dotted path; `<name>` is chosen by the user, `[]` is an element of a list.
    pub(super) path: &'static str,
    pub(super) keys: &'static [Key],
}

/// A key of a section; a dot in the name leads into a table of that section.
#[cfg_attr(not(test), expect(dead_code, reason = "the documentation is made of it by a test"))]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// A value in backquotes, [`REQUIRED`], or words.
    pub(super) default: &'static str,
    pub(super) meaning: &'static str,
}

/// The default of a key that must be there.
pub(super) const REQUIRED: &str = "required";

/// All of them, in the order of the documentation.
pub(super) const SECTIONS: [Section; 9] = [
    Section { path: "sources.<name>", keys: lists::SOURCE },
    Section { path: "sinks.<name>", keys: lists::SINK },
    Section { path: "registries.<name>", keys: lists::REGISTRY },
    Section { path: "routes[]", keys: lists::ROUTE },
    Section { path: "routes[].to[]", keys: lists::TARGET },
    Section { path: "routes[].to[].columns.<column>", keys: lists::COLUMN },
    Section { path: "routes[].to[].partitions", keys: lists::PARTITIONS },
    Section { path: "rollups[]", keys: lists::ROLLUP },
    Section { path: "", keys: lists::SETTINGS },
];

/// The paths of all keys.
fn paths() -> impl Iterator<Item = String> {
    SECTIONS.iter().flat_map(|section| {
        section.keys.iter().map(|key| match section.path {
            "" => key.name.to_owned(),
            path => format!("{path}.{}", key.name),
        })
    })
}

/// The tables that have a key of this name, unless the one at `path` is among them: there it is a key
/// of another kind.
pub(super) fn homes(name: &str, path: &str) -> Vec<String> {
    let here = segments(path);
    let is_it = |path: String| {
        let (home, key) = path.rsplit_once('.')?;
        (key == name).then(|| home.to_owned())
    };
    let homes: Vec<String> = paths().filter_map(is_it).collect();
    if homes.iter().any(|home| matches(&segments(home), &here)) { Vec::new() } else { homes }
}

/// Whether a key of this path, or a table that keys are in, is listed.
#[cfg(test)]
pub(super) fn is_listed(path: &str) -> bool {
    static LISTED: LazyLock<Vec<Vec<String>>> =
        LazyLock::new(|| paths().map(|path| segments(&path)).collect());
    let path = segments(path);
    let is_it =
        |listed: &Vec<String>| listed.len() >= path.len() && matches(&listed[..path.len()], &path);
    LISTED.iter().any(is_it)
}

fn matches(listed: &[String], path: &[String]) -> bool {
    let alike = |(listed, name): (&String, &String)| listed.starts_with('<') || listed == name;
    listed.len() == path.len() && listed.iter().zip(path).all(alike)
}

/// The parts of a dotted path; a list and its elements are one: `routes`, `routes[]`, `routes[2]`.
fn segments(path: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let (mut is_quoted, mut is_index) = (false, false);
    for character in path.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => segments.push(String::new()),
            '[' if !is_quoted => is_index = true,
            ']' if is_index => is_index = false,
            _ if is_index => {}
            _ => segments.last_mut().into_iter().for_each(|segment| segment.push(character)),
        }
    }
    segments
}
