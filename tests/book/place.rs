//! Where commands are run: a folder that looks like the repository, and what they start in it.

use std::{
    env, fs,
    fs::File,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::pages::root;

/// No page takes as long, on whatever machine.
const LIMIT: Duration = Duration::from_secs(300);
const TAIL_LINES: usize = 60;

/// A folder with `target/release`, `examples` and a `make` that builds nothing.
pub(crate) struct Place {
    folder: TempDir,
    /// Waits for the end of this process, however it ends, and takes the stack away.
    guard: Child,
    /// Of the admin servers of two instances, in the place of 9187 and 9188.
    pub(crate) ports: [u16; 2],
    path: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let programs = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().unwrap();
        for program in ["stack", "loadgen"] {
            assert!(programs.join(program).is_file(), "{program} is not built; run `make build`");
        }
        fs::create_dir_all(here.join("target")).unwrap();
        symlink(programs, here.join("target/release")).unwrap();
        symlink(root().join("examples"), here.join("examples")).unwrap();
        let bin = here.join("bin");
        fs::create_dir(&bin).unwrap();
        // The recipes of the Makefile, without the build that they begin with.
        let makefile = root().join("Makefile");
        let make = format!(
            "#!/bin/sh\nPATH=${{PATH#*:}} exec make --file={} --old-file=build \"$@\"\n",
            makefile.display()
        );
        fs::write(bin.join("make"), make).unwrap();
        fs::set_permissions(bin.join("make"), fs::Permissions::from_mode(0o755)).unwrap();
        let guard = Command::new("sh")
            .args(["-c", "read -r _; exec target/release/stack down"])
            .current_dir(here)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let path = format!(
            "{}:{}:{}",
            bin.display(),
            programs.display(),
            env::var("PATH").unwrap_or_default()
        );
        let ports = [(); 2].map(|()| stack::free_port().unwrap());
        Self { folder, guard, ports, path }
    }

    /// Runs a script to its end; all that it says if it fails.
    pub(crate) fn run(&self, name: &str, script: &str) -> Result<(), String> {
        let path = self.folder.path().join(name);
        let output = path.with_extension("out");
        fs::write(&path, script).unwrap();
        let file = File::create(&output).unwrap();
        // In a session of its own, by which the script finds what it has left when its input ends.
        let mut shell = Command::new("setsid")
            .arg("bash")
            .arg(&path)
            .current_dir(self.folder.path())
            .env("PATH", &self.path)
            .env("TIDEGATE__ADMIN__LISTEN", format!("127.0.0.1:{}", self.ports[0]))
            .stdin(Stdio::piped())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let since = Instant::now();
        let status = loop {
            match shell.try_wait().unwrap() {
                Some(status) => break status.to_string(),
                None if since.elapsed() > LIMIT => {
                    drop(shell.stdin.take());
                    break format!("not ended within {LIMIT:?}; {}", shell.wait().unwrap());
                }
                None => thread::sleep(Duration::from_millis(20)),
            }
        };
        if status == "exit status: 0" { Ok(()) } else { Err(self.told(&status, &output)) }
    }

    /// The end of a script's output, and of what ran beside it.
    fn told(&self, status: &str, output: &Path) -> String {
        let logs = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let logs = logs.filter(|path| path.extension().is_some_and(|end| end == "log"));
        let tail = |path: PathBuf| {
            let text = fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
            format!("\n=== {}\n{tail}", path.display())
        };
        let told: String = [output.to_owned()].into_iter().chain(logs).map(tail).collect();
        format!("{status}{told}")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().ok();
    }
}
