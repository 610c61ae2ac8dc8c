//! Assignments come and go while others ask for their share.

use std::sync::Arc;

use loom::thread;

use crate::{explore, memory::Memory};

const BUDGET: usize = 64 << 20;

pub(crate) fn budget_is_as_it_was() {
    explore(|| {
        let memory = Arc::new(Memory::new(BUDGET, BUDGET));
        memory.add_lanes(1);
        let whole = memory.batch_bytes();
        let sources = [(); 2].map(|()| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                memory.add_lanes(1);
                // This lane and the first one at least, and at most all three.
                let share = memory.batch_bytes();
                assert!((BUDGET / 12..=BUDGET / 8).contains(&share), "{share}");
                memory.remove_lanes(1);
            })
        });
        let share = memory.batch_bytes();
        assert!((BUDGET / 12..=BUDGET / 4).contains(&share), "{share}");
        for source in sources {
            source.join().unwrap();
        }
        assert_eq!(memory.batch_bytes(), whole);
    });
}
