//! Every command of the documentation, run.

use std::{env, fmt::Write as _, time::Instant};

use crate::{
    pages::{Block, Page, pages},
    place::Place,
};

/// Why a block is not run.
pub(crate) const REASONS: [(&str, &str); 5] = [
    ("minutes", "takes minutes; `make test` has a short form of it"),
    ("compiles", "compiles; `cargo test` does so with all examples"),
    ("kafka", "Kafka's own scripts, which are not among the jars that the stack runs"),
    ("docker", "needs Docker; scripts/check-compose.sh looks at the file"),
    ("deploy", "needs a machine or a cluster that is deployed to"),
];

/// What is written where a record is meant, and any dead letter's place stands for it.
const ANY_LETTER: &str = "orders 3 12345";

/// What a page takes for granted: see docs/README.md.
const PRELUDE: &str = r#"set -eu
exec 3<&0 </dev/null
(cat <&3 >/dev/null; pkill -KILL -s 0) &
watcher=$!
set -m
terminals=()
step() { printf -- '\n--- %s\n' "$1" >&2; }
wait_until() {
    local since=$SECONDS
    until eval "$1" >/dev/null 2>&1; do
        if [ $((SECONDS - since)) -ge 120 ]; then echo "not within 120 s: $1" >&2; return 1; fi
        sleep 0.1
    done
}
interrupt() {
    local terminal failed=0
    for terminal in "${terminals[@]}"; do kill -INT -- "-$terminal" 2>/dev/null || true; done
    for terminal in "${terminals[@]}"; do wait "$terminal" || failed=$?; done
    terminals=()
    return $failed
}
trap 'interrupt || true; kill $watcher' EXIT
any_letter() {
    psql "$DATABASE_URL" -AtF ' ' -c 'SELECT topic, partition, "offset" FROM tidegate.dead_letters LIMIT 1'
}
running() {
    tidegate run >running.log 2>&1 &
    terminals+=($!)
    loadgen --brokers $KAFKA_BROKERS --count 1000 --poison 0.05 --quiet
    wait_until 'any_letter | grep orders'
}
fill() { running; interrupt; }
step 'make up'
make up >/dev/null
set -a; . .stack/env; set +a
cp examples/orders.toml tidegate.toml
"#;

/// The runbooks are read while tidegate runs, and run in one shell.
const RUNBOOKS: &str = "docs/runbooks";

/// The shell's script of pages; `None` if there is nothing to run in them.
fn script(name: &str, pages: &[Page], ports: &[u16; 2]) -> Option<String> {
    let mut script = PRELUDE.to_owned();
    if name == RUNBOOKS {
        script.push_str("running\n");
    }
    let mut is_empty = true;
    let blocks = pages.iter().flat_map(|page| page.blocks().into_iter().map(move |b| (page, b)));
    for (page, block) in blocks {
        let Block { line, language, mark, text } = &block;
        let page = page.path.display();
        let [first, second] = ports.map(|port| port.to_string());
        let text = text.replace("9187", &first).replace("9188", &second);
        let text = match text.contains(ANY_LETTER) {
            true => format!("letter=$(any_letter)\n{}", text.replace(ANY_LETTER, "$letter")),
            false => text,
        };
        let body = match (language.as_str(), mark.as_str()) {
            ("sh", "") => text,
            ("sh", "background") => {
                let starts = text.contains("tidegate run");
                let port = if text.contains(&second) { second } else { first };
                let ready = format!("wait_until 'curl -sf 127.0.0.1:{port}/livez'\n");
                let ready = if starts { ready.as_str() } else { "" };
                format!("{{ trap : INT\n{text}}} >{line}.log 2>&1 &\nterminals+=($!)\n{ready}")
            }
            ("wait", _) => format!("wait_until '{}'\n", text.trim_end().replace('\'', r"'\''")),
            ("sql", "") => format!(
                "psql \"$DATABASE_URL\" -v ON_ERROR_STOP=1 <<'END'\nBEGIN;\n{text}ROLLBACK;\nEND\n"
            ),
            _ => continue,
        };
        is_empty = false;
        writeln!(script, "step '{page}:{line}'\n{body}").unwrap();
    }
    script.push_str("step 'Ctrl-C'\ninterrupt\n");
    (!is_empty).then_some(script)
}

/// The pages that share a shell, and its name.
fn shells() -> Vec<(String, Vec<Page>)> {
    let mut shells: Vec<(String, Vec<Page>)> = Vec::new();
    for page in pages() {
        let path = page.path.to_str().unwrap();
        let name = if path.starts_with(RUNBOOKS) { RUNBOOKS } else { path }.to_owned();
        match shells.last_mut().filter(|(last, _)| *last == name) {
            Some((_, pages)) => pages.push(page),
            None => shells.push((name, vec![page])),
        }
    }
    shells
}

/// `PAGE=start` runs one page alone.
#[test]
fn every_command_works() {
    let wanted = env::var("PAGE").unwrap_or_default();
    let place = Place::new();
    let mut count = 0;
    for (name, pages) in shells() {
        let script = script(&name, &pages, &place.ports).filter(|_| name.contains(&wanted));
        let Some(script) = script else { continue };
        let since = Instant::now();
        if let Err(told) = place.run(&format!("{}.sh", name.replace('/', "-")), &script) {
            panic!("{name}: {told}");
        }
        println!("{name}: {:.1} s", since.elapsed().as_secs_f64());
        count += 1;
    }
    assert!(count > 0, "no page is like PAGE={wanted}");
}

#[test]
fn what_is_not_run_says_why() {
    let mut reasons = Vec::new();
    for page in pages() {
        for Block { line, language, mark, text } in page.blocks() {
            let place = format!("{}:{line}", page.path.display());
            if !["sh", "sql"].contains(&language.as_str()) {
                let is_shell = ["bash", "shell", "console"].contains(&language.as_str());
                assert!(!is_shell, "{place}: a block of commands begins with ```sh");
                continue;
            }
            let Some(reason) = mark.strip_prefix("no-run=") else {
                let is_known = mark.is_empty() || (language == "sh" && mark == "background");
                assert!(is_known, "{place}: `{mark}` is neither background nor no-run=REASON");
                continue;
            };
            let known = REASONS.iter().find(|(known, _)| *known == reason);
            let (_, meaning) = known.unwrap_or_else(|| panic!("{place}: {reason} is no reason"));
            println!("{place}: {meaning}: {}", text.lines().next().unwrap_or_default());
            reasons.push(reason.to_owned());
        }
    }
    for (reason, _) in REASONS {
        assert!(reasons.iter().any(|used| used == reason), "nothing is marked no-run={reason}");
    }
}
