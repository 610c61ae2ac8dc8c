//! Whether each lane can go on from where it stands.

use std::collections::BTreeMap;

use super::findings::{Finding, Subject};
use crate::{
    cli::positions::{Standing, lane_name, standing},
    config::{Delivery, Route, Target},
    error::{Error, ErrorKind},
    sink::postgres::StoredPosition,
    source::kafka::{Inspector, Place, TopicFacts},
};

/// The way out of a position that is not there any more.
const ADVICE: &str = "stop every tidegate of the group, then set the position: \"Positions\" in docs/delivery.md \
                      tells how";

/// The lanes of one target.
pub(super) struct Lanes<'a> {
    pub(super) route: &'a Route,
    pub(super) target: &'a Target,
    pub(super) places: &'a [Place],
    /// The checkpoints of the group in the target's database.
    pub(super) stored: &'a [StoredPosition],
    pub(super) facts: Option<&'a BTreeMap<String, TopicFacts>>,
}

/// One finding for each lane that cannot go on, and one for all that can.
pub(super) fn lanes(lanes: &Lanes<'_>) -> Vec<Finding> {
    let Lanes { route, target, places, stored, .. } = lanes;
    let name = lane_name(target);
    let subject = Subject::new("positions", format!("routes.{} to {name}", route.name));
    let mut findings = Vec::new();
    let (mut behind, mut new, mut ahead, mut sound) = (0, 0, 0, 0);
    for place in places.iter().filter(|place| route.topics.iter().any(|t| **t == *place.topic)) {
        let standing = standing(target, place, stored);
        match check(lanes, place, &standing) {
            Err(finding) => findings.push(finding),
            Ok(()) => sound += 1,
        }
        behind += (place.high - standing.offset().max(place.low)).max(0);
        if !matches!(standing, Standing::Checkpoint(_)) && target.delivery == Delivery::ExactlyOnce
        {
            new += 1;
        }
        if let (Standing::Checkpoint(checkpoint), Some(committed)) = (&standing, place.committed)
            && committed > checkpoint.next_offset
        {
            ahead += 1;
        }
    }
    if ahead > 0 {
        findings.push(subject.hint(
            format!("in {ahead} partitions the group's committed offset is ahead of the checkpoint"),
            "the checkpoint decides: what lies between is read again. Another program commits with this group, \
             the offsets were reset, or the database went back in time",
        ));
    }
    if sound > 0 {
        let mut text = format!("{sound} partitions, {behind} records behind");
        if new > 0 {
            text.push_str(&format!("; {new} have no checkpoint yet"));
        }
        findings.push(subject.ok(text));
    }
    findings
}

fn check(lanes: &Lanes<'_>, place: &Place, standing: &Standing<'_>) -> Result<(), Finding> {
    let Lanes { target, facts, .. } = lanes;
    let Place { topic, partition, .. } = place;
    let subject =
        Subject::new("positions", format!("{topic}[{partition}] to {}", lane_name(target)));
    let failed = |error: Error| subject.fail(error.kind, error.message, ADVICE);
    let id = facts.and_then(|facts| facts.get(&**topic)?.id.as_ref());
    match standing {
        Standing::Checkpoint(stored) => {
            let ids = [stored.topic_id.as_ref(), id];
            Inspector::check_position(place, stored.next_offset, ids, "its checkpoint")
                .map_err(failed)?;
            if stored.replaced.as_ref() == Some(&target.mapping()) {
                return Err(subject.fail(
                    ErrorKind::Config,
                    "the table was replaced by a replay with another mapping than this configuration's",
                    "deploy the configuration that the replay was made with",
                ));
            }
            Ok(())
        }
        Standing::Committed(offset) => {
            let what = "the group's committed offset";
            Inspector::check_position(place, *offset, [None, None], what).map_err(failed)
        }
        Standing::Begins(_) => Ok(()),
    }
}
