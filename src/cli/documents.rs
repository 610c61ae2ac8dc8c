//! `tidegate completions`, `tidegate man`: what the command line says of itself.

use std::{fs, path::PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, say};
use crate::error::Error;

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// For which shell; bash: `source <(tidegate completions bash)`.
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The folder for them; made if it is not there.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

pub(super) fn complete(arguments: &CompletionsArgs) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "tidegate", &mut script);
    say(&String::from_utf8_lossy(&script))
}

pub(super) fn man(arguments: &ManArgs) -> Result<(), Error> {
    let out = &arguments.out;
    fs::create_dir_all(out)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), out))
        .map_err(|error| Error::config(format!("cannot write to {}: {error}", out.display())))?;
    say(&format!("man pages are in {0}: man -l {0}/tidegate.1\n", out.display()))
}
