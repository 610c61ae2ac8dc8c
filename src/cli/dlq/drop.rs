//! `tidegate dlq drop`

use clap::Args;

use super::{Store, Which, Whose, counted, say};
use crate::error::{Error, ErrorKind};

#[derive(Debug, Args)]
pub(super) struct DropArgs {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    which: Which,
    /// All of the configuration's groups.
    #[arg(long)]
    all: bool,
    /// Only count them.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(arguments: &DropArgs) -> Result<(), Error> {
    if arguments.all != arguments.which.is_everything() {
        let message = match arguments.all {
            true => "--all and a filter contradict each other; leave one out",
            false => {
                "drop which? Give a filter (--topic, --partition, --offset, --target, --reason, \
                 --since), or --all"
            }
        };
        return Err(Error::new(ErrorKind::Usage, message));
    }
    let store = Store::open(&arguments.whose)?;
    let filter = arguments.which.filter(&store);
    if arguments.dry_run {
        let (_, count) = store.sink.list_dead_letters(&filter, 0)?;
        return say(&format!("would drop {} of {}\n", counted(count as u64), store.shown_groups()));
    }
    let count = store.sink.drop_dead_letters(&filter)?;
    say(&format!("dropped {} of {}\n", counted(count), store.shown_groups()))
}
