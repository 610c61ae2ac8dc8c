//! Files: the configuration, and lines of records.

use std::io::{self, Read};

use tidegate::{
    config::{Config, Environment},
    source::lines::{Blocks, lines as lines_of},
};

use crate::Try;

/// Comes from the environment alone; no token holds it.
const SECRET: &str = "correct-horse";

/// An error says where it is, and no secret.
pub(crate) fn config() -> Try {
    Box::new(|input| {
        let text = String::from_utf8_lossy(input);
        let mut file = String::new();
        let mut flags = Vec::new();
        let mut variables = vec![
            ("DATABASE_URL".to_owned(), format!("postgres://app:{SECRET}@db.example:5433/shop")),
            ("PASSWORD".to_owned(), SECRET.to_owned()),
        ];
        for line in text.split_inclusive('\n') {
            if let Some(flag) = line.strip_prefix("--set ") {
                flags.push(flag.trim_end().to_owned());
            } else if line.starts_with("TIDEGATE__")
                && let Some((name, value)) = line.trim_end().split_once('=')
            {
                variables.push((name.to_owned(), value.to_owned()));
            } else {
                file.push_str(line);
            }
        }
        let environment: Environment = variables.into_iter().collect();
        if let Err(error) = Config::parse(&file, "fuzz.toml", &flags, &environment) {
            assert!(error.problem_count() > 0);
            let shown = error.to_string();
            assert!(!shown.contains(SECRET), "shows a secret: {shown}");
        }
    })
}

/// A reader that gives as little as it likes.
struct Drops<'a>(&'a [u8]);

impl Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let drop = 1 + self.0.first().map_or(0, |byte| usize::from(*byte) % 7);
        let (now, later) = self.0.split_at(drop.min(self.0.len()).min(buffer.len()));
        buffer[..now.len()].copy_from_slice(now);
        self.0 = later;
        Ok(now.len())
    }
}

/// Blocks end where lines end, whatever the reader gives, and nothing is lost or added.
pub(crate) fn lines() -> Try {
    Box::new(|input| {
        let blocks: Vec<Vec<u8>> = Blocks::new(Drops(input)).collect::<Result<_, _>>().unwrap();
        assert_eq!(blocks.concat(), input);
        let whole = blocks.len().saturating_sub(1);
        assert!(blocks[..whole].iter().all(|block| block.ends_with(b"\n")), "a torn line");
        let found: Vec<&[u8]> = blocks.iter().flat_map(|block| lines_of(block)).collect();
        let mut expected: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
        // Behind the last line break there is no line.
        expected.pop_if(|last| last.is_empty());
        let expected: Vec<&[u8]> =
            expected.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
        assert_eq!(found, expected);
    })
}
