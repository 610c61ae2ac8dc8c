//! What `tidegate check` has found, and how it is shown.

use serde_json::json;

use crate::{
    cli::printable,
    error::{Error, ErrorKind},
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    /// Worth knowing.
    Hint,
    /// It will run, and may hurt.
    Warn,
    /// It will not run; the kind is that of the end.
    Fail(ErrorKind),
}

impl Status {
    fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Hint => "hint",
            Self::Warn => "warn",
            Self::Fail(_) => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) status: Status,
    /// `config`, `kafka`, `postgres`, `table`, `positions`, `records` or `files`.
    pub(super) area: &'static str,
    /// The thing.
    pub(super) what: String,
    pub(super) finding: String,
    /// The way out.
    pub(super) advice: Option<String>,
}

/// Whose findings they are.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) area: &'static str,
    pub(super) what: String,
}

impl Subject {
    pub(super) fn new(area: &'static str, what: impl Into<String>) -> Self {
        Self { area, what: what.into() }
    }

    fn finding(&self, status: Status, finding: impl Into<String>) -> Finding {
        let (area, what) = (self.area, self.what.clone());
        Finding { status, area, what, finding: finding.into(), advice: None }
    }

    pub(super) fn ok(&self, finding: impl Into<String>) -> Finding {
        self.finding(Status::Ok, finding)
    }

    pub(super) fn hint(&self, finding: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { advice: Some(advice.into()), ..self.finding(Status::Hint, finding) }
    }

    pub(super) fn warn(&self, finding: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { advice: Some(advice.into()), ..self.finding(Status::Warn, finding) }
    }

    pub(super) fn fail(
        &self,
        kind: ErrorKind,
        finding: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { advice: Some(advice.into()), ..self.finding(Status::Fail(kind), finding) }
    }

    /// An error as it would end `run`: it says the way out itself.
    pub(super) fn error(&self, error: &Error) -> Finding {
        self.finding(Status::Fail(error.kind), error.message.clone())
    }
}

/// The first failure is the error.
pub(super) fn verdict(findings: &[Finding]) -> Result<(), Error> {
    let kinds = findings.iter().filter_map(|finding| match finding.status {
        Status::Fail(kind) => Some(kind),
        _ => None,
    });
    let kinds: Vec<ErrorKind> = kinds.collect();
    match kinds.first() {
        None => Ok(()),
        Some(&first) => Err(Error::new(first, format!("{} of the checks failed", kinds.len()))),
    }
}

/// An array of objects.
pub(super) fn json(findings: &[Finding]) -> String {
    let object = |finding: &Finding| {
        let Finding { status, area, what, finding, advice } = finding;
        json!({
            "status": status.text().to_lowercase(), "area": area, "what": what,
            "finding": finding, "advice": advice,
        })
    };
    let objects: Vec<_> = findings.iter().map(object).collect();
    format!("{:#}\n", serde_json::Value::from(objects))
}

/// A line for each, and one for its way out; at the end how many there are of each kind.
pub(super) fn table(findings: &[Finding]) -> String {
    let shown: Vec<String> = findings.iter().map(|finding| printable(&finding.what)).collect();
    let width = shown.iter().map(|what| what.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (finding, what) in findings.iter().zip(&shown) {
        let Finding { status, finding, advice, .. } = finding;
        let mut lines = finding.lines().map(printable);
        let first = lines.next().unwrap_or_default();
        text.push_str(&format!("{:<5} {what:<width$}  {first}\n", status.text()));
        lines.for_each(|line| text.push_str(&format!("        {line}\n")));
        if let Some(advice) = advice {
            text.push_str(&format!("      -> {}\n", printable(advice)));
        }
    }
    let count = |status: &&str| findings.iter().filter(|f| f.status.text() == *status).count();
    let counts =
        ["ok", "hint", "warn", "FAIL"].map(|status| format!("{} {status}", count(&status)));
    text.push_str(&format!("{}\n", counts.join(", ")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> [Finding; 3] {
        let subject = Subject::new("kafka", "source shop");
        let table = Subject::new("table", "public.t");
        [
            subject.ok("3 brokers"),
            table.warn("row 1\nrow 2", "do\u{1b}this"),
            subject.fail(ErrorKind::Data, "gone", "set it"),
        ]
    }

    #[test]
    fn a_table_has_every_finding_with_its_way_out() {
        let expected = "\
ok    source shop  3 brokers
warn  public.t     row 1
        row 2
      -> do\\u{1b}this
FAIL  source shop  gone
      -> set it
1 ok, 0 hint, 1 warn, 1 FAIL
";
        assert_eq!(table(&findings()), expected);
    }

    #[test]
    fn the_first_failure_is_the_exit_code_and_warnings_are_none() {
        assert_eq!(verdict(&findings()[..2]), Ok(()));
        let error = verdict(&findings()).unwrap_err();
        assert_eq!((error.kind, &*error.message), (ErrorKind::Data, "1 of the checks failed"));
    }

    #[test]
    fn json_has_the_same() {
        let read: serde_json::Value = serde_json::from_str(&json(&findings())).unwrap();
        let expected = json!({"status": "fail", "area": "kafka", "what": "source shop",
            "finding": "gone", "advice": "set it"});
        assert_eq!(read[2], expected);
        assert_eq!(read[0]["advice"], serde_json::Value::Null);
    }
}
