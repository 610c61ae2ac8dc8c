//! Ctrl-C and its kin: the first one ends the demo in order, the second one at once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use crate::error::Error;

pub(crate) struct Interrupt {
    stop: Arc<AtomicBool>,
    exit_code: Arc<AtomicUsize>,
}

impl Interrupt {
    pub(crate) fn listen() -> Result<Self, Error> {
        let interrupt = Self { stop: Arc::default(), exit_code: Arc::default() };
        interrupt
            .register()
            .map_err(|source| Error::System { action: "listen to signals", source })?;
        Ok(interrupt)
    }

    fn register(&self) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let exit_code = 128 + signal;
            // Registered first, so that it does not yet see what the same signal sets next. What
            // is still running then is up to the keepers.
            flag::register_conditional_shutdown(signal, exit_code, Arc::clone(&self.stop))?;
            flag::register_usize(signal, Arc::clone(&self.exit_code), exit_code as usize)?;
            flag::register(signal, Arc::clone(&self.stop))?;
        }
        Ok(())
    }

    /// # Errors
    /// When a signal has come.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.stop.load(Relaxed) {
            return Err(Error::Interrupted { exit_code: self.exit_code.load(Relaxed) as u8 });
        }
        Ok(())
    }
}
