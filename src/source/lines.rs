//! Lines of a file or of standard input.

use std::io::{self, BufRead as _, BufReader, Read};

const BUFFER_BYTES: usize = 256 << 10;

/// Whole lines, many at a time: each block ends where a line ends, but perhaps the last one.
#[derive(Debug)]
pub struct Blocks<R> {
    reader: BufReader<R>,
    ended: bool,
    failure: Option<io::Error>,
}

impl<R: Read> Blocks<R> {
    /// The lines of `reader`.
    pub fn new(reader: R) -> Self {
        let reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        Self { reader, ended: false, failure: None }
    }
}

impl<R: Read> Iterator for Blocks<R> {
    type Item = io::Result<Vec<u8>>;

    /// Waits for a whole line at least.
    fn next(&mut self) -> Option<Self::Item> {
        let mut block = Vec::new();
        while !self.ended {
            match self.reader.read_until(b'\n', &mut block) {
                Ok(0) => self.ended = true,
                // What is there is handed on: a slow writer's lines must not wait for more, not even
                // for the rest of a line that has begun to come.
                Ok(_) if self.reader.buffer().contains(&b'\n') && block.len() < BUFFER_BYTES => {}
                Ok(_) => break,
                Err(error) => {
                    self.ended = true;
                    self.failure = Some(error);
                    // Half a line is no record.
                    block.truncate(block.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1));
                }
            }
        }
        match block.is_empty() {
            true => self.failure.take().map(Err),
            false => Some(Ok(block)),
        }
    }
}

/// The lines of a block, without their ends.
pub fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        text.strip_suffix(b"\r").unwrap_or(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its text, and then an error.
    struct Broken(&'static [u8]);

    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer) {
                Ok(0) => Err(io::Error::other("broken")),
                read => read,
            }
        }
    }

    #[test]
    fn a_line_that_was_not_read_to_its_end_is_no_line() {
        let mut blocks = Blocks::new(Broken(b"{\"a\":1}\n{\"a\":2"));
        assert_eq!(blocks.next().unwrap().unwrap(), b"{\"a\":1}\n");
        assert!(blocks.next().unwrap().is_err());
        assert!(blocks.next().is_none());
    }
}
