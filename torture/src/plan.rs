//! From a seed to the faults, one step after the other.

use std::str::FromStr;

use crate::{chance::Chance, kind::Kind};

/// Faults that overlap; mostly there is one alone.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) faults: Vec<Planned>,
    /// Decides how long it is quiet before.
    pub(crate) chance: Chance,
}

#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) kind: Kind,
    /// Decides whom it strikes, when and for how long.
    pub(crate) chance: Chance,
}

/// So many faults of a kind, as `--plan` asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) kind: Kind,
    pub(crate) times: usize,
}

/// Deals the faults from a shuffled deck.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    chance: Chance,
    deck: Vec<Kind>,
    /// What is dealt again and again when the deck is at its end; nothing for a plan with an end.
    refill: Vec<Kind>,
}

impl Plan {
    /// Endless: every kind once before any comes again.
    pub(crate) fn endless(seed: u64, kinds: Vec<Kind>) -> Self {
        Self { chance: Chance::new(seed), deck: Vec::new(), refill: kinds }
    }

    pub(crate) fn exactly(seed: u64, orders: &[Order]) -> Self {
        let mut chance = Chance::new(seed);
        let mut deck: Vec<Kind> =
            orders.iter().flat_map(|order| vec![order.kind; order.times]).collect();
        chance.shuffle(&mut deck);
        Self { chance, deck, refill: Vec::new() }
    }

    /// The next one from the deck, the first that `fits`.
    fn deal(&mut self, fits: impl Fn(Kind) -> bool) -> Option<Planned> {
        let index = self.deck.iter().position(|kind| fits(*kind))?;
        Some(Planned { kind: self.deck.remove(index), chance: self.chance.fork() })
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.refill);
            self.chance.shuffle(&mut self.deck);
        }
        let mut faults = vec![self.deal(|_| true)?];
        while self.chance.is_one_in(3) {
            let taken: Vec<_> = faults.iter().map(|fault| fault.kind.place()).collect();
            let Some(next) = self.deal(|kind| !taken.contains(&kind.place())) else { break };
            faults.push(next);
        }
        Some(Step { faults, chance: self.chance.fork() })
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, times) = text.split_once('=').unwrap_or((text, "1"));
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = Kind::ALL.map(Kind::name).join(", ");
            format!("there is no fault '{name}'; there are {names}")
        })?;
        let times = times.parse().map_err(|_| format!("'{times}' is not a number of faults"))?;
        Ok(Self { kind, times })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(steps: &[Step]) -> Vec<Vec<Kind>> {
        steps.iter().map(|step| step.faults.iter().map(|fault| fault.kind).collect()).collect()
    }

    #[test]
    fn a_seed_decides_everything_and_another_one_otherwise() {
        let steps = |seed| {
            let steps: Vec<Step> = Plan::endless(seed, Kind::ALL.to_vec()).take(50).collect();
            let holds: Vec<u64> = steps
                .iter()
                .flat_map(|step| &step.faults)
                .map(|fault| fault.chance.clone().bits())
                .collect();
            (kinds(&steps), holds)
        };
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
    }

    #[test]
    fn every_kind_comes_once_before_any_comes_again_and_no_place_is_struck_twice_at_a_time() {
        let steps: Vec<Step> = Plan::endless(1, Kind::ALL.to_vec()).take(200).collect();
        let steps = kinds(&steps);
        for step in &steps {
            for (index, kind) in step.iter().enumerate() {
                assert!(
                    step[..index].iter().all(|other| other.place() != kind.place()),
                    "{step:?}"
                );
            }
        }
        assert!(steps.iter().any(|step| step.len() == 2));
        assert!(steps.iter().any(|step| step.len() == 3));
        let mut first: Vec<Kind> = steps.concat()[..Kind::ALL.len()].to_vec();
        first.sort();
        let mut all = Kind::ALL.to_vec();
        all.sort();
        assert_eq!(first, all);
    }

    #[test]
    fn a_plan_holds_as_many_faults_as_were_ordered() {
        let orders = ["kill=30", "commit"].map(|order| order.parse::<Order>().unwrap());
        let steps: Vec<Step> = Plan::exactly(3, &orders).collect();
        let dealt = kinds(&steps).concat();
        assert_eq!(dealt.iter().filter(|kind| **kind == Kind::Kill).count(), 30);
        assert_eq!(dealt.iter().filter(|kind| **kind == Kind::Commit).count(), 1);
        assert_eq!(dealt.len(), 31);
    }

    #[test]
    fn an_unknown_fault_is_answered_with_those_that_there_are() {
        let error = "flood=3".parse::<Order>().unwrap_err();
        assert!(error.contains("'flood'") && error.contains("failover"), "{error}");
        assert!("kill=many".parse::<Order>().unwrap_err().contains("'many'"));
    }
}
