//! The members of one group, and what each of them has.

use super::{tidegate::Tidegate, wait::eventually};

/// Waits until the members own all partitions between them, and so many of them none; gives how many
/// each of them owns.
pub(crate) fn await_owned(members: &mut [&mut Tidegate], partitions: i32, idle: usize) -> Vec<i32> {
    eventually(&format!("all {partitions} partitions owned, {idle} members idle"), || {
        let owned: Vec<i32> = members.iter_mut().map(|member| member.owned()).collect();
        let resting = owned.iter().filter(|count| **count == 0).count();
        if owned.iter().sum::<i32>() == partitions && resting == idle {
            Ok(owned)
        } else {
            Err(format!("{owned:?}"))
        }
    })
}

/// Waits until a tidegate has taken in so many records, and all of them have found their fate.
pub(crate) fn await_settled(tidegate: &mut Tidegate, records: u64) {
    eventually("every record's fate", || {
        let counts = tidegate.assert_conservation();
        if counts.consumed == records { Ok(()) } else { Err(format!("{counts:?}")) }
    });
}
