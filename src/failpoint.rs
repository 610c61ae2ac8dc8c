//! Named points of the delivery at which a test lets the process die, freeze, panic or hang.
//!
//! Compiled in with the feature `failpoints` alone; without it, a point is nothing at all.
//! `TIDEGATE_FAILPOINT=copy.done=abort@3` acts at the third passage of the point `copy.done`.

/// A point that a test may choose.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::pass($name);
    };
}

pub(crate) use failpoint;

/// The environment variable that chooses a point: `name=action@passage`.
#[cfg(feature = "failpoints")]
const VARIABLE: &str = "TIDEGATE_FAILPOINT";

#[cfg(feature = "failpoints")]
struct Chosen {
    name: String,
    action: String,
    left: std::sync::atomic::AtomicI64,
}

/// The process passes a point.
#[cfg(feature = "failpoints")]
pub(crate) fn pass(name: &str) {
    use std::sync::{LazyLock, atomic::Ordering::SeqCst};
    static CHOSEN: LazyLock<Option<Chosen>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, rest) = text.split_once('=')?;
        let (action, passage) = rest.split_once('@').unwrap_or((rest, "1"));
        let left = passage.parse().ok()?;
        let (name, action) = (name.to_owned(), action.to_owned());
        Some(Chosen { name, action, left: std::sync::atomic::AtomicI64::new(left) })
    });
    let Some(chosen) = CHOSEN.as_ref().filter(|chosen| chosen.name == name) else { return };
    if chosen.left.fetch_sub(1, SeqCst) != 1 {
        return;
    }
    tracing::warn!("failpoint {name}: {}", chosen.action);
    match chosen.action.as_str() {
        "abort" => std::process::abort(),
        "panic" => panic!("failpoint {name}"),
        // Stopped by itself: whoever watches sees it and wakes it up.
        "stop" => {
            let pid = std::process::id().to_string();
            let _ = std::process::Command::new("kill").args(["-STOP", &pid]).status();
        }
        "hang" => loop {
            std::thread::park();
        },
        action => panic!("failpoint {name}: no action is called {action}"),
    }
}
