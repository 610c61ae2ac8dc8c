//! The names of the fields that are asked for, and how a key finds its one.

use super::words::{Pattern, find_break};

/// No field, in the tables of [`Fields`].
const NONE: u32 = u32::MAX;

/// Field names with two ways to one: by the field that came before it in the last record (records
/// of one topic have their fields in the same order, mostly), and by a hash.
#[derive(Debug)]
pub(super) struct Fields {
    names: Vec<Vec<u8>>,
    /// Each name with the quote that closes it and the colon: what mostly follows the opening one.
    patterns: Vec<Pattern>,
    /// At `field + 1`, the field that followed it last; at 0, the field that came first.
    followers: Vec<u32>,
    /// Open addressing, a power of two, at most half full.
    slots: Vec<u32>,
}

impl Fields {
    pub(super) fn new(names: &[String]) -> Self {
        let mut fields = Self {
            names: names.iter().map(|name| name.clone().into_bytes()).collect(),
            patterns: names
                .iter()
                .map(|name| Pattern::new(&[name.as_bytes(), b"\":"].concat()))
                .collect(),
            followers: vec![NONE; names.len() + 1],
            slots: vec![NONE; (2 * names.len() + 1).next_power_of_two()],
        };
        for (field, name) in names.iter().enumerate() {
            let slot = fields.slot(name.as_bytes());
            if let Some(slot) = fields.slots.get_mut(slot) {
                *slot = field as u32;
            }
        }
        fields
    }

    /// The field that followed `previous` last time (`None`: that came first), with its key and the
    /// colon as they stand after the opening quote.
    #[inline]
    pub(super) fn follower(&self, previous: Option<usize>) -> Option<(usize, &Pattern)> {
        let field = *self.followers.get(previous.map_or(0, |field| field + 1))? as usize;
        Some((field, self.patterns.get(field)?))
    }

    /// Notes that `field` followed `previous`.
    pub(super) fn learn(&mut self, previous: Option<usize>, field: usize) {
        // The text of a key is only compared as it stands where it needs no escapes.
        let plain = |name: &Vec<u8>| find_break(name, 0, &mut 0) == name.len();
        if !self.names.get(field).is_some_and(plain) {
            return;
        }
        if let Some(follower) = self.followers.get_mut(previous.map_or(0, |field| field + 1)) {
            *follower = field as u32;
        }
    }

    /// The field called `name`.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        let field = *self.slots.get(self.slot(name))?;
        (field != NONE).then_some(field as usize)
    }

    /// The slot that `name` has, or that is free for it.
    fn slot(&self, name: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let byte = |at: usize| usize::from(name.get(at).copied().unwrap_or(0));
        // Names of one table differ in length, in the middle, or at the end (`_id`, `_at`).
        let sum = name.len() + 31 * byte(0) + 7 * byte(name.len() / 2);
        let mut slot = (sum + 131 * byte(name.len().wrapping_sub(3))) & mask;
        while let Some(taken) = self.slots.get(slot).and_then(|&f| self.names.get(f as usize)) {
            if taken == name {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }
}
