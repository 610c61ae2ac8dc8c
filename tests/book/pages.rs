//! Pages, and the blocks in them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page of the documentation.
pub(crate) struct Page {
    /// Relative to the repository.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// What stands between two fences, or in a comment.
pub(crate) struct Block {
    /// Of the fence, from 1.
    pub(crate) line: usize,
    /// The first word behind the fence, or of the comment.
    pub(crate) language: String,
    /// What follows it.
    pub(crate) mark: String,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).expect(path);
        Self { path: path.into(), text }
    }

    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut lines = self.text.lines().enumerate();
        let mut blocks = Vec::new();
        while let Some((index, line)) = lines.next() {
            let start = line.trim_start();
            if let Some(info) = start.strip_prefix("```") {
                let indent = line.len() - start.len();
                let (language, mark) = info.split_once(' ').unwrap_or((info, ""));
                let mut text = String::new();
                let body = lines.by_ref().map(|(_, line)| line);
                for line in body.take_while(|line| line.trim() != "```") {
                    text.push_str(line.get(indent..).unwrap_or_default());
                    text.push('\n');
                }
                let (language, mark) = (language.to_owned(), mark.to_owned());
                blocks.push(Block { line: index + 1, language, mark, text });
            } else if let Some(comment) = comment(start) {
                blocks.push(Block { line: index + 1, ..comment });
            }
        }
        blocks
    }
}

/// A comment that is run: `<!-- sh: COMMAND -->`, `<!-- wait: COMMAND -->`.
fn comment(line: &str) -> Option<Block> {
    let (language, text) = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?.split_once(": ")?;
    let is_run = ["sh", "wait"].contains(&language);
    let (language, text) = (language.to_owned(), format!("{text}\n"));
    is_run.then_some(Block { line: 0, language, mark: String::new(), text })
}

/// The pages for people who use it, in the order in which they are read first.
pub(crate) fn pages() -> Vec<Page> {
    let mut paths = Vec::new();
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort_by_key(|path| (!path.ends_with("start.md"), path.clone()));
    let paths = ["README.md".into()].into_iter().chain(paths);
    paths.map(|path| Page::read(path.to_str().unwrap())).collect()
}
