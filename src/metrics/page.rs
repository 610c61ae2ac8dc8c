//! Prometheus' text format.

use std::fmt::Write as _;

use super::ALL;

/// A page of series, by metric.
#[derive(Default)]
pub(super) struct Page(pub(super) String);

impl Page {
    /// The head of a metric, whose series follow.
    pub(super) fn head(&mut self, name: &str) {
        let Some(metric) = ALL.iter().find(|metric| metric.name == name) else { return };
        let _ = writeln!(self.0, "# HELP {name} {}\n# TYPE {name} {}", metric.help, metric.kind);
    }

    /// A metric with one series.
    pub(super) fn single(&mut self, name: &str, value: f64) {
        self.head(name);
        self.line(name, &[], value);
    }

    /// One series.
    pub(super) fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            self.0.push(if i == 0 { '{' } else { ',' });
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{label}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.line("x", &[("a", "q\"b\\c\nd")], 1.0);
        assert_eq!(page.0, "x{a=\"q\\\"b\\\\c\\nd\"} 1\n");
    }
}
