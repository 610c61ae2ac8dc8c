//! Claims of lanes whose readers know no generations, as of files: whoever claims last has them.

use std::time::Duration;

use crate::{
    error::{Error, ErrorKind},
    lane::LaneKey,
    route::Context,
    sink::{Checkpoints, Claimant, Claimed, Found, WriteError},
    watchdog::Heart,
};

const PAUSE: Duration = Duration::from_secs(1);

/// Claims the lanes, and makes the checkpoints that are missing at the given offsets. An outage is
/// waited out.
///
/// # Errors
/// When the sink refuses, or the end is asked for.
pub(super) fn claim(
    checkpoints: &dyn Checkpoints,
    claimant: Claimant<'_>,
    lanes: &[(LaneKey, i64)],
    context: &Context,
    heart: &Heart,
) -> Result<Vec<Claimed>, Error> {
    loop {
        heart.beat();
        match try_claim(checkpoints, claimant, lanes) {
            Ok(claimed) => return Ok(claimed),
            Err(WriteError::Halt(error)) => return Err(error),
            Err(WriteError::Outage { message, .. }) => {
                tracing::warn!("cannot claim yet, still trying: {message}");
                if context.shutdown.sleep(PAUSE) {
                    return Err(Error::new(ErrorKind::Temporary, "stopped while claiming"));
                }
            }
        }
    }
}

fn try_claim(
    checkpoints: &dyn Checkpoints,
    claimant: Claimant<'_>,
    lanes: &[(LaneKey, i64)],
) -> Result<Vec<Claimed>, WriteError> {
    let keys: Vec<LaneKey> = lanes.iter().map(|(key, _)| key.clone()).collect();
    let mut found = checkpoints.claim(claimant, &keys)?;
    let pairs = lanes.iter().zip(&found);
    let missing: Vec<(LaneKey, i64)> = pairs
        .filter(|(_, found)| **found == Found::Missing)
        .map(|(lane, _)| lane.clone())
        .collect();
    if !missing.is_empty() {
        let made = checkpoints.create(claimant, &missing)?;
        let holes = found.iter_mut().filter(|found| **found == Found::Missing);
        holes.zip(made).for_each(|(hole, made)| *hole = made);
    }
    let claimed = |found| match found {
        Found::Claimed(claimed) => Ok(claimed),
        Found::Missing | Found::Outranked => {
            Err(WriteError::Halt(Error::software("a checkpoint was not returned")))
        }
    };
    found.into_iter().map(claimed).collect()
}
