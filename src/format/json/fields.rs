//! The names of the fields that are asked for, and how a key finds its one.

use super::words::Pattern;

/// No field, in the tables of [`Fields`].
const NONE: u32 = u32::MAX;
/// A longer name, or more white space, is not compared at once.
const GAP_MAX: usize = 128;

/// Field names with two ways to one: by what stood between the values before it and its own in the last
/// record (records of one topic have their fields in the same order, mostly), and by a hash.
#[derive(Debug)]
pub(super) struct Fields {
    names: Vec<Vec<u8>>,
    /// By [`Place`].
    followers: Vec<Follower>,
    /// Open addressing, a power of two, at most half full.
    slots: Vec<u32>,
}

/// Where in an object: behind which known field, and whether others have come since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

impl Place {
    /// Before everything, the brace included.
    pub(super) const START: Self = Self(0);

    /// Behind the value of a field; `None` is one that is not known.
    #[inline(always)]
    pub(super) fn behind(self, field: Option<usize>) -> Self {
        Self(field.map_or(self.0 | 1, |field| 2 * (field + 1)))
    }
}

/// The field that came next at a place, with all that stood before its value.
#[derive(Clone, Debug)]
struct Follower {
    field: u32,
    /// The field that came last where it was another one.
    other: u32,
    /// Where its name's opening quote is.
    quote: usize,
    gap: Pattern,
}

impl Fields {
    pub(super) fn new(names: &[String]) -> Self {
        let nothing = Follower { field: NONE, other: NONE, quote: 0, gap: Pattern::default() };
        let mut fields = Self {
            names: names.iter().map(|name| name.clone().into_bytes()).collect(),
            followers: vec![nothing; 2 * names.len() + 2],
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

    /// The field that came at `place` last time: its number, where its name's quote was, and the text up to
    /// its value.
    #[inline(always)]
    pub(super) fn follower(&self, place: Place) -> Option<(usize, usize, &Pattern)> {
        let follower = self.followers.get(place.0)?;
        Some((follower.field as usize, follower.quote, &follower.gap))
    }

    /// Notes that `field` came at `place`: `gap` is the text up to its value, with the quote of its name at
    /// `quote`. The same text will be the same field, whatever escapes it has. Learns it when it comes twice: where
    /// there is no order, there is nothing to learn.
    pub(super) fn learn(&mut self, place: Place, field: usize, quote: usize, gap: &[u8]) {
        if gap.len() > GAP_MAX {
            return;
        }
        let Some(follower) = self.followers.get_mut(place.0) else { return };
        if follower.other == field as u32 {
            (follower.field, follower.quote) = (field as u32, quote);
            follower.gap.set(gap);
        }
        follower.other = field as u32;
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
