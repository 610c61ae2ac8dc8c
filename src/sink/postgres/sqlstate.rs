//! What an error of Postgres means for the rows: the one place where SQLSTATEs are classified.

use tokio_postgres::error::DbError;

use crate::error::{Error, ErrorKind};

/// The three kinds of trouble; each has one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Postgres cannot take any row now: try again, for ever, and dead-letter nothing.
    Outage,
    /// One row is at fault: take it out, write the rest.
    Row,
    /// What was configured does not fit this database: stop loudly.
    Config,
    /// As `Config`, for rights and credentials.
    Permission,
}

/// An error of one step, reduced to what decides the answer.
#[derive(Clone, Debug)]
pub struct PgError {
    /// The answer.
    pub fault: Fault,
    /// SQLSTATE, or `io`, `timeout`, `tls`.
    pub code: String,
    /// What Postgres said, without row data.
    pub message: String,
    /// The line of the COPY, from 1, if the error came from one.
    pub copy_line: Option<usize>,
}

/// Classifies a SQLSTATE (5 characters).
pub fn classify(code: &str) -> Fault {
    let class = code.get(..2).unwrap_or_default();
    match (class, code) {
        (_, "42501") => Fault::Permission,
        // Bytes that do not read as the column's type (COPY's BinaryReadAttribute): the type was
        // changed, which concerns every row.
        (_, "22P03" | "22P04") => Fault::Config,
        // A sequence has no values left, for any row.
        (_, "2200H") => Fault::Config,
        // Statement too complex, too many columns, stack depth: this row is too deep or too large.
        ("22" | "23" | "21" | "44" | "54" | "P0", _) => Fault::Row,
        ("28", _) => Fault::Permission,
        // 08 connection, 25 transaction state (25006 read-only after a fail-over), 40 rollback,
        // 53 resources, 55 object in use, 57 operator, 58 system, XX internal.
        ("08" | "25" | "40" | "53" | "55" | "57" | "58" | "XX", _) => Fault::Outage,
        // Classes that begin with 5 to 9 or I to Z are left to implementations: what is not one of
        // Postgres' own is raised by somebody's trigger, about a row.
        _ if code.starts_with(|c: char| matches!(c, '5'..='9' | 'I'..='Z')) => Fault::Row,
        _ => Fault::Config,
    }
}

impl PgError {
    /// From the driver.
    pub fn from_driver(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => Self::from_database(db),
            None => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                let message = match cause {
                    Some(cause) => format!("{error}: {cause}"),
                    None => error.to_string(),
                };
                Self::outage("io", message)
            }
        }
    }

    fn from_database(db: &DbError) -> Self {
        let code = db.code().code().to_owned();
        // DETAIL may hold the values of the row; constraint and column names do not.
        let mut message = db.message().to_owned();
        for (what, name) in [("constraint", db.constraint()), ("column", db.column())] {
            if let Some(name) = name.filter(|name| !message.contains(*name)) {
                message.push_str(&format!(" ({what} {name})"));
            }
        }
        let copy_line = db.where_().and_then(copy_line);
        let fault = match classify(&code) {
            // Inside COPY this is a value with fewer bytes than its type reads (pq_copymsgbytes);
            // elsewhere it may be a pooler that has lost its server.
            Fault::Outage if code == "08P01" && copy_line.is_some() => Fault::Config,
            fault => fault,
        };
        Self { fault, code, message, copy_line }
    }

    /// As the end of a command; `sink` is the name of the sink.
    pub fn to_error(&self, sink: &str) -> Error {
        let text = format!("sink {sink}: {} (SQLSTATE {})", self.message, self.code);
        match self.fault {
            Fault::Outage => Error::unavailable(text),
            Fault::Permission => Error::new(ErrorKind::Permission, text),
            Fault::Row | Fault::Config => Error::config(text),
        }
    }

    /// An outage that no SQLSTATE tells.
    pub fn outage(code: &str, message: impl Into<String>) -> Self {
        Self {
            fault: Fault::Outage,
            code: code.to_owned(),
            message: message.into(),
            copy_line: None,
        }
    }
}

/// The line in an error's context, `COPY t, line 3, column c: …` (CopyFromErrorCallback in
/// Postgres' copyfrom.c; in binary format a line is a tuple). Other frames may stand before it,
/// and the table's name may hold anything but a newline.
pub fn copy_line(context: &str) -> Option<usize> {
    let frame = context.lines().find(|line| line.starts_with("COPY "))?;
    let digits = frame.split(", line ").skip(1).find_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    })?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_that_the_reference_names_has_its_answer() {
        let cases = [
            (
                "08006 08P01 57P01 57P02 57P03 57014 25006 58030 53100 53200 53300 53400 55P03 55006 40001 40P01 25P02 25P03 XX000",
                Fault::Outage,
            ),
            (
                "22001 22003 22P02 22P05 22021 P0002 Z0001 23502 23503 23505 23514 23P01 21000 54000 54001 54011 P0001 44000",
                Fault::Row,
            ),
            ("42703 42P01 42804 42704 3F000 3D000 0A000 22P03 22P04 2200H", Fault::Config),
            ("42501 28000 28P01", Fault::Permission),
        ];
        for (codes, fault) in cases {
            for code in codes.split(' ') {
                assert_eq!(classify(code), fault, "{code}");
            }
        }
    }

    #[test]
    fn the_line_is_read_from_the_context() {
        assert_eq!(copy_line("COPY orders, line 17, column amount"), Some(17));
        assert_eq!(copy_line("COPY orders, line 2"), Some(2));
        assert_eq!(copy_line("COPY a, line x, line 5, column b"), Some(5));
        let nested = "PL/pgSQL function f() line 4 at RAISE\nCOPY orders, line 9";
        assert_eq!(copy_line(nested), Some(9));
        assert_eq!(copy_line("SQL statement \"SELECT 1\""), None);
    }
}
