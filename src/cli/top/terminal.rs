//! The terminal while `tidegate top` has it: keys one by one, and a screen of its own.

use std::{
    io::{self, IsTerminal as _, Read as _, Write as _},
    thread,
};

use rustix::termios::{self, OptionalActions, Termios};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::error::Error;

/// To the other screen and back; without and with the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Overwrites the screen from its first line on, so that nothing flickers.
const HOME: &str = "\x1b[H";
const CLEAR_TO_END_OF_LINE: &str = "\x1b[K\r\n";
const CLEAR_BELOW: &str = "\x1b[J";
/// Where the terminal does not tell.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Gives the terminal back as it was when it is dropped.
pub(super) struct Terminal {
    /// The settings to be given back; none where the keys do not come from a terminal.
    before: Option<Termios>,
    /// Keeps the channel open where there are no keys.
    _sender: Option<UnboundedSender<u8>>,
}

impl Terminal {
    /// Takes the terminal; gives the keys that are pressed.
    pub(super) fn open() -> Result<(Self, UnboundedReceiver<u8>), Error> {
        let failed = |what, error| Error::software(format!("cannot {what} the terminal: {error}"));
        let (sender, keys) = unbounded_channel();
        let mut terminal = Self { before: None, _sender: None };
        if io::stdin().is_terminal() {
            let before = termios::tcgetattr(io::stdin())
                .map_err(|error| failed("read the settings of", error.into()))?;
            let mut raw = before.clone();
            raw.make_raw();
            termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)
                .map_err(|error| failed("read keys from", io::Error::from(error)))?;
            terminal.before = Some(before);
            // It ends with the process, or with its input.
            thread::spawn(move || {
                for key in io::stdin().lock().bytes().map_while(Result::ok) {
                    if sender.send(key).is_err() {
                        return;
                    }
                }
            });
        } else {
            terminal._sender = Some(sender);
        }
        write(ENTER)?;
        Ok((terminal, keys))
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        match termios::tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => USUAL_SIZE,
        }
    }

    /// Shows lines that fit.
    pub(super) fn show(&self, lines: &str) -> Result<(), Error> {
        let lines = lines.trim_end_matches('\n').replace('\n', CLEAR_TO_END_OF_LINE);
        write(&format!("{HOME}{lines}\x1b[K{CLEAR_BELOW}"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing helps if this fails.
        let _ = write(LEAVE);
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn write(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::unavailable(format!("cannot write to the terminal: {error}")))
}
