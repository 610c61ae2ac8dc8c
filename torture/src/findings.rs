//! What went wrong: anything in here fails the run.

use std::sync::{Mutex, PoisonError};

/// Shared by all threads of the run. Each finding is told at once.
#[derive(Debug, Default)]
pub(crate) struct Findings(Mutex<Vec<String>>);

impl Findings {
    pub(crate) fn add(&self, finding: impl Into<String>) {
        let finding = finding.into();
        eprintln!("torture: FOUND: {finding}");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }
}
