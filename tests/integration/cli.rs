//! The commands besides `run`, and starts that never get there.

use std::{process::Stdio, time::Duration};

use crate::support::{
    Exit, Message, Tidegate, World, eventually, fragile_postgres, load, orders_profile, produce,
};

fn command(world: &World, arguments: &[&str]) -> Exit {
    Tidegate::spawn(world.folder.path(), arguments, Stdio::null()).wait()
}

#[test]
fn check_shows_every_problem_at_once_and_changes_nothing() {
    let world = World::new("cli-check", 3);
    world.write_config(&world.orders_config());
    let exit = command(&world, &["check"]);
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.log);
    assert!(exit.stdout.contains("cli-check (3 partitions)"), "{}", exit.stdout);
    assert!(exit.stdout.contains("public.orders, 11 columns fed"), "{}", exit.stdout);
    assert_eq!(world.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'tidegate'"), 0);

    let wrong = world.orders_config().replace("[\"cli-check\"]", "[\"cli-cheque\"]");
    world.write_config(&wrong.replace("table = \"orders\"", "table = \"ordres\""));
    let exit = command(&world, &["check"]);
    assert_eq!(exit.code, Some(78), "{}{}", exit.stdout, exit.log);
    for text in ["no topic `cli-cheque`", "no table \"ordres\"", "Did you mean `orders`?"] {
        assert!(exit.stdout.contains(text), "'{text}' is not in {}", exit.stdout);
    }
    assert!(exit.log.contains("2 of the checks failed"), "{}", exit.log);
}

#[test]
fn a_configuration_that_is_wrong_ends_with_all_that_is_wrong() {
    let world = World::bare("cli-config", 1);
    world
        .write_config("[sources.a]\nkind = \"kafka\"\nbroker = \"x\"\n[sinks.b]\nkind = \"nul\"\n");
    let exit = command(&world, &["run"]);
    assert_eq!(exit.code, Some(78), "{}", exit.log);
    for text in ["tidegate.toml", "broker", "brokers", "`null`", "no route"] {
        assert!(exit.log.contains(text), "'{text}' is not in {}", exit.log);
    }
    let exit = command(&world, &["run", "--config", "nowhere.toml"]);
    assert_eq!(exit.code, Some(78), "{}", exit.log);
    assert!(exit.log.contains("nowhere.toml"), "{}", exit.log);
    assert_eq!(command(&world, &["fly"]).code, Some(64));
    assert_eq!(command(&world, &["--version"]).code, Some(0));
}

#[test]
fn what_init_prints_runs_as_it_is() {
    let world = World::bare("cli-init", 2);
    let ledger = load(&world, orders_profile(41), 2_000);
    let init = ["init", "--brokers", &world.brokers, "--topic", "cli-init"];
    let exit = command(&world, &init);
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.stdout.contains("amount\" numeric"), "{}", exit.stdout);
    let url = format!("sinks.postgres.url={}", world.url);
    // The variable that it names is not set here.
    let config = exit.stdout.replace("${env:DATABASE_URL}", &world.url);
    let tidegate = world.run(&config, &["admin.listen=127.0.0.1:0", &url]);
    world.await_checkpoints(&ledger, "postgres.public.cli_init");
    tidegate.stop();
    let dead = world.number("SELECT count(*) FROM tidegate.dead_letters");
    assert_eq!(world.number("SELECT count(*) FROM cli_init") + dead, ledger.produced as i64);
    // Without the types of a table, fewer kinds of poison are refused.
    assert!(dead >= ledger.totals.tombstones as i64);

    let ddl = command(&world, &[&init[..], &["--ddl", "--table", "made"]].concat());
    world.sql.execute(&ddl.stdout).unwrap();
    assert_eq!(world.number("SELECT count(*) FROM made"), 0);
    let exit = command(&world, &["init", "--brokers", &world.brokers, "--topic", "cli-unit"]);
    assert_eq!(exit.code, Some(78), "{}", exit.log);
    assert!(exit.log.contains("Did you mean `cli-init`?"), "{}", exit.log);
}

#[test]
fn healthcheck_tells_ready_from_degraded_and_from_gone() {
    let postgres = fragile_postgres();
    let world = World::on_fragile(&postgres, "cli-health", 1);
    let mut tidegate = world.run_orders(&[]);
    tidegate.await_ready();
    let address = tidegate.address();
    let ask =
        |more: &[&str]| command(&world, &[&["healthcheck", "--address", &address], more].concat());
    assert_eq!(ask(&[]).code, Some(0));
    postgres.stop(stack::StopMode::Fast).unwrap();
    produce(&world, &[Message::json(r#"{"order_id":1,"amount":1}"#)]);
    eventually("degraded", || {
        let exit = ask(&[]);
        let degraded = exit.code == Some(69) && exit.log.contains("degraded: sink serving is away");
        if degraded { Ok(()) } else { Err(format!("{exit:?}")) }
    });
    assert_eq!(ask(&["--live"]).code, Some(0));
    postgres.start_again().unwrap();
    eventually("ready", || match ask(&[]).code {
        Some(0) => Ok(()),
        code => Err(format!("{code:?}")),
    });
    tidegate.stop();
    let exit = ask(&[]);
    assert_eq!(exit.code, Some(69));
    assert!(exit.log.contains(&address), "{}", exit.log);
}

#[test]
fn sigterm_ends_a_start_that_waits_for_the_database() {
    let postgres = fragile_postgres();
    let world = World::on_fragile(&postgres, "cli-start-postgres", 1);
    postgres.stop(stack::StopMode::Fast).unwrap();
    let mut tidegate = world.run_orders(&[]);
    tidegate.await_log("waiting for the database");
    let exit = tidegate.terminate();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.took < Duration::from_secs(3), "{:?}", exit.took);
    postgres.start_again().unwrap();

    // Frozen, it takes connections and answers nothing.
    postgres.suspend().unwrap();
    let mut tidegate = world.run_orders(&[]);
    tidegate.address();
    let exit = tidegate.terminate();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.took < Duration::from_secs(15), "{:?}", exit.took);
    postgres.resume().unwrap();
}

#[test]
fn sigterm_ends_a_start_that_waits_for_a_first_record_or_a_broker() {
    let world = World::bare("cli-start-record", 1);
    let config = world
        .orders_config()
        .replace("table = \"orders\"", "table = \"orders\"\non_missing_table = \"create\"");
    let mut tidegate = world.run(&config, &[]);
    tidegate.await_log("waiting for a first record");
    let exit = tidegate.terminate();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.took < Duration::from_secs(3), "{:?}", exit.took);

    let mut tidegate = world.run(&config.replace(&world.brokers, "127.0.0.1:9"), &[]);
    tidegate.await_log("still trying");
    let exit = tidegate.terminate();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.took < Duration::from_secs(8), "{:?}", exit.took);
}

#[test]
fn bash_completes_commands_and_options() {
    let world = World::bare("cli-completion", 1);
    let script = command(&world, &["completions", "bash"]);
    assert_eq!(script.code, Some(0), "{}", script.log);
    std::fs::write(world.folder.path().join("tidegate.bash"), script.stdout).unwrap();
    let complete = |words: &str| {
        // What bash does when tab is pressed behind the last of the words.
        let ask = format!(
            "source tidegate.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             \"$(complete -p tidegate | grep -o '_tidegate')\" tidegate \"${{COMP_WORDS[-1]}}\" \
             \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let bash = std::process::Command::new("bash")
            .args(["--norc", "-c", &ask])
            .current_dir(world.folder.path())
            .output()
            .unwrap();
        assert!(bash.status.success(), "{bash:?}");
        String::from_utf8(bash.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("tidegate che"), "check");
    assert_eq!(complete("tidegate lag --fail"), "--fail-if-growing");
    assert_eq!(complete("tidegate dlq re"), "replay");
    assert_eq!(complete("tidegate completions fi"), "fish");
    for shell in ["zsh", "fish"] {
        let script = command(&world, &["completions", shell]);
        assert!(script.stdout.contains("fail-if-growing"), "{shell}");
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let world = World::bare("cli-man", 1);
    let exit = command(&world, &["man", "--out", "pages"]);
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    let page = |name: &str| {
        let path = world.folder.path().join("pages").join(format!("{name}.1"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let main = page("tidegate");
    let help = command(&world, &["--help"]).stdout;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands: Vec<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert!(commands.len() > 12, "{commands:?}");
    for name in commands {
        // In roff a hyphen is escaped.
        assert!(main.contains(&format!("tidegate\\-{name}")), "{name} is not in {main}");
        assert!(page(&format!("tidegate-{name}")).contains(".SH SYNOPSIS"), "{name}");
    }
    assert!(page("tidegate-dlq-replay").contains("tidegate\\-dlq\\-replay"));
    assert!(page("tidegate-lag").contains("fail\\-if\\-growing"));
}
