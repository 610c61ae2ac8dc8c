//! Faults of one broker of three.

use super::Scene;
use crate::{error::Error, kind::Kind, plan::Planned};

pub(super) fn inject(fault: &mut Planned, scene: Scene<'_>) -> Result<(), Error> {
    let chance = &mut fault.chance;
    let brokers = scene.servers.kafka.brokers();
    let broker = &brokers[chance.below(brokers.len())];
    if fault.kind == Kind::Freeze {
        broker.suspend()?;
        // The controllers give its partitions to others after 3 s; or not, if it is back by then.
        chance.pass(1_000, 8_000);
        return Ok(broker.resume()?);
    }
    broker.kill()?;
    chance.pass(0, 5_000);
    Ok(broker.start()?)
}
