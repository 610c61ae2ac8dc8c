//! Faults of tidegate's own processes.

use super::Scene;
use crate::{error::Error, kind::Kind, plan::Planned};

pub(super) fn inject(fault: &mut Planned, scene: Scene<'_>) -> Result<(), Error> {
    let Scene { fleet, findings, .. } = scene;
    let chance = &mut fault.chance;
    let slot = chance.below(fleet.len());
    match fault.kind {
        Kind::Kill => fleet.kill(slot, findings),
        Kind::Term => fleet.terminate(slot, findings),
        Kind::Resize => {
            fleet.grow()?;
            chance.pass(1_000, 8_000);
            fleet.shrink(findings)
        }
        // A zombie: the session ends after 3 s, the group gives the partitions on, then it wakes up.
        _ => {
            let Some(instance) = fleet.instance(slot) else { return Ok(()) };
            match instance.program().suspend() {
                // It ended by itself a moment ago, and there is another one.
                Err(stack::Error::NotRunning { .. }) => return Ok(()),
                suspended => suspended?,
            }
            chance.pass(4_000, 9_000);
            Ok(instance.program().resume()?)
        }
    }
}
