//! Assignments come and go while others ask for their share.

use std::sync::Arc;

use loom::thread;

use crate::{explore, memory::Memory};

const BUDGET: usize = 64 << 20;
/// Of it, for the batches of so many lanes: two each.
const fn share(lanes: usize) -> usize {
    BUDGET / 10 * 4 / (2 * lanes)
}

pub(crate) fn budget_is_as_it_was() {
    explore(|| {
        let memory = Arc::new(Memory::new(BUDGET, BUDGET));
        // Nothing is free: each has an equal share.
        let mut held = memory.hold();
        held.resize(BUDGET);
        memory.add_lanes(1);
        let whole = memory.batch_bytes();
        let sources = [(); 2].map(|()| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                memory.add_lanes(1);
                // This lane and the first one at least, and at most all three.
                let found = memory.batch_bytes();
                assert!((share(3)..=share(2) + 1).contains(&found), "{found}");
                memory.remove_lanes(1);
            })
        });
        let found = memory.batch_bytes();
        assert!((share(3)..=share(1) + 1).contains(&found), "{found}");
        for source in sources {
            source.join().unwrap();
        }
        assert_eq!(memory.batch_bytes(), whole);
    });
}
