//! What the comparison showed.

use std::fmt;

use crate::facts::Facts;

/// One partition, or the whole topic where the table does not tell partitions apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    pub partition: Option<i32>,
    pub expected: Facts,
    pub found: Facts,
    /// Rows beyond the first of their record.
    pub duplicated: u64,
}

impl Comparison {
    /// Records that are neither a row nor a dead letter, at least.
    pub fn lost(&self) -> u64 {
        let distinct_rows = self.found.rows - self.duplicated;
        self.expected.rows.saturating_sub(distinct_rows)
            + self.expected.dead_letters.saturating_sub(self.found.dead_letters)
    }

    pub fn is_exact(&self) -> bool {
        self.found == self.expected && self.duplicated == 0
    }
}

/// Every comparison of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub table: String,
    pub comparisons: Vec<Comparison>,
}

impl Proof {
    /// Records that the ledgers say the broker has.
    pub fn produced(&self) -> u64 {
        self.sum(|c| c.expected.rows + c.expected.dead_letters)
    }

    /// Rows of the table.
    pub fn written(&self) -> u64 {
        self.sum(|c| c.found.rows)
    }

    pub fn dead_lettered(&self) -> u64 {
        self.sum(|c| c.found.dead_letters)
    }

    pub fn lost(&self) -> u64 {
        self.sum(Comparison::lost)
    }

    pub fn duplicated(&self) -> u64 {
        self.sum(|c| c.duplicated)
    }

    /// Whether all facts agree: not only are none lost and none doubled, they are the right ones.
    pub fn is_exact(&self) -> bool {
        !self.comparisons.is_empty() && self.comparisons.iter().all(Comparison::is_exact)
    }

    fn sum(&self, of: impl Fn(&Comparison) -> u64) -> u64 {
        self.comparisons.iter().map(of).sum()
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_dead_letters = self
            .comparisons
            .iter()
            .any(|comparison| comparison.expected.dead_letters + comparison.found.dead_letters > 0);
        let last = if with_dead_letters { "  dead letters" } else { "" };
        writeln!(
            f,
            "{:>9} {:>12} {:>18} {:>19} {:>12}{last}",
            "partition", "rows", "distinct order_id", "sum(amount)", "next offset"
        )?;
        for comparison in &self.comparisons {
            let name = comparison.partition.map_or_else(|| "all".to_owned(), |p| p.to_string());
            let verdict = if comparison.is_exact() { "ok" } else { "WRONG" };
            writeln!(f, "{name:>9} {}  {verdict}", line(&comparison.found, with_dead_letters))?;
            if !comparison.is_exact() {
                let expected = line(&comparison.expected, with_dead_letters);
                writeln!(f, "{:>9} {expected}  is what the ledger says", "")?;
            }
        }
        if self.comparisons.len() > 1 {
            let mut found = Facts::default();
            self.comparisons.iter().for_each(|comparison| found.add(&comparison.found));
            writeln!(f, "{:>9} {}", "all", line(&found, with_dead_letters))?;
        }
        Ok(())
    }
}

fn line(facts: &Facts, with_dead_letters: bool) -> String {
    let next_offset = facts.next_offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
    let dead_letters =
        if with_dead_letters { format!(" {:>13}", facts.dead_letters) } else { String::new() };
    format!(
        "{:>12} {:>18} {:>19} {next_offset:>12}{dead_letters}",
        facts.rows,
        facts.distinct_order_ids,
        // Its own Display knows no width.
        facts.amount_sum.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(rows: u64) -> Facts {
        Facts { rows, distinct_order_ids: rows, ..Facts::default() }
    }

    fn proof(expected: Facts, found: Facts, duplicated: u64) -> Proof {
        let comparison = Comparison { partition: Some(0), expected, found, duplicated };
        Proof { table: "orders".to_owned(), comparisons: vec![comparison] }
    }

    #[test]
    fn a_lost_and_a_doubled_record_do_not_hide_each_other() {
        let proof = proof(facts(100), facts(100), 1);
        assert_eq!((proof.lost(), proof.duplicated(), proof.is_exact()), (1, 1, false));
    }

    #[test]
    fn a_record_that_is_neither_row_nor_dead_letter_is_lost() {
        let expected = Facts { dead_letters: 3, ..facts(10) };
        let found = Facts { dead_letters: 2, ..facts(9) };
        let proof = proof(expected, found, 0);
        assert_eq!((proof.produced(), proof.written(), proof.lost()), (13, 9, 2));
        assert!(proof.to_string().contains("WRONG") && proof.to_string().contains("ledger"));
    }

    #[test]
    fn columns_stand_under_their_names() {
        let proof = proof(facts(7), facts(7), 0);
        let lines: Vec<String> = proof.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines[1].trim_end_matches("  ok").len(), lines[0].len(), "{proof}");
    }

    #[test]
    fn another_position_alone_is_not_exact() {
        let expected = Facts { next_offset: Some(10), ..facts(10) };
        let proof = proof(expected, Facts { next_offset: Some(9), ..facts(10) }, 0);
        assert_eq!((proof.lost(), proof.duplicated(), proof.is_exact()), (0, 0, false));
    }

    #[test]
    fn no_comparison_proves_nothing() {
        assert!(!Proof { table: "orders".to_owned(), comparisons: Vec::new() }.is_exact());
    }
}
