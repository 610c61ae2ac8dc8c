//! Every configuration of the documentation, read; and the program, compared.

use std::fs;

use tidegate::config::{Config, Environment};

use crate::pages::{pages, root};

const ENDS: &str = "[sources.shop]\nkind = \"kafka\"\nbrokers = \"localhost:9092\"\n\
    [sinks.serving]\nkind = \"postgres\"\nurl = \"postgres://localhost/shop\"\n\n";
const ROUTE: &str = "[[routes]]\nsource = \"shop\"\n";
const TOPICS: &str = "topics = [\"orders\"]\n";
const TARGET: &str = "[[routes.to]]\nsink = \"serving\"\ntable = \"orders\"\n";

/// A piece of a configuration, and what goes around it: whichever fits.
fn wholes(piece: &str) -> [String; 5] {
    let route = format!("{ENDS}{ROUTE}");
    [
        piece.to_owned(),
        format!("{ENDS}{piece}"),
        format!("{route}{piece}"),
        format!("{route}{TOPICS}{piece}"),
        format!("{route}{TOPICS}{TARGET}{piece}"),
    ]
}

/// An environment that has all that `text` asks it for.
fn environment(text: &str) -> Environment {
    let names = text.split("${env:").skip(1).filter_map(|rest| rest.split(['}', ':']).next());
    names.map(|name| (name, "postgres://localhost/shop")).collect()
}

#[test]
fn every_configuration_loads() {
    let mut count = 0;
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.language == "toml") {
            let problems = wholes(&block.text).map(|text| {
                let read = Config::parse(&text, "tidegate.toml", &[], &environment(&text));
                read.err().map(|error| error.to_string())
            });
            let loads = problems.iter().any(Option::is_none);
            let (page, line) = (page.path.display(), block.line);
            assert!(loads, "{page}:{line} does not load: {problems:#?}");
            count += 1;
        }
    }
    assert!(count > 5, "only {count} configurations were found");
}

#[test]
fn every_program_is_a_part_of_the_example() {
    let example = fs::read_to_string(root().join("examples/handler.rs")).unwrap();
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    let example = lines(&example);
    let mut count = 0;
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.language == "rust") {
            for line in lines(&block.text) {
                let code = line.split("//").next().unwrap_or_default().trim();
                let is_there = example.iter().any(|other| other.starts_with(code));
                assert!(is_there, "examples/handler.rs has no `{line}`");
            }
            count += 1;
        }
    }
    assert!(count > 0, "no program was found");
}
