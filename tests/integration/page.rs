//! The status page in a real browser.
//!
//! Leaves pictures of it in `target/screenshots`; `make screenshot` puts one of them into the docs.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{
    Browser, Message, Tab, World, await_settled, eventually, load, orders_profile, produce,
    start_load,
};

const PARTITIONS: i32 = 24;
/// Widths of windows, in pixels.
const DESK: u32 = 1180;
const PHONE: u32 = 360;
/// Before how many records of its partition each lane stands, over all lanes.
const DURABLE: &str = "[...document.querySelectorAll('#partition-rows td:last-child')]\
    .reduce((sum, cell) => sum + Number(cell.textContent), 0)";
const HIDDEN_COLUMNS: &str = "[...document.querySelectorAll('.spare')]\
    .every(cell => getComputedStyle(cell).display === 'none')";

const SLOW: &str = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
    $$ BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END $$; \
    CREATE TRIGGER slow AFTER INSERT ON orders EXECUTE FUNCTION wait()";

fn assert_fits(tab: &mut Tab<'_>, width: u32) {
    let widest = tab.number("document.documentElement.scrollWidth");
    assert!(widest <= f64::from(width), "{widest} pixels wide, on a screen of {width}");
}

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/screenshots/{name}.png"))
}

#[test]
fn the_page_shows_a_run_and_keeps_itself_up_to_date() {
    let world = World::new("page", PARTITIONS);
    let mut tidegate = world.run_orders(&[]);
    let first = load(&world, orders_profile(71), 3_000);
    await_settled(&mut tidegate, 3_000);
    let origin = format!("http://{}/", tidegate.address());
    let mut browser = Browser::start();
    let mut tab = browser.tab();
    tab.look(DESK, "light");
    tab.open(&origin);
    tab.await_text("#state", "running");
    tab.await_true(&format!("{DURABLE} === 3000"));
    assert_eq!(tab.number("document.querySelectorAll('.heat i').length"), f64::from(PARTITIONS));
    for text in ["page", "public.orders", "Partition threads", "Writers", "Queue"] {
        tab.await_text("#flow", text);
    }
    let letters = first.totals.tombstones + first.totals.poison_total;
    tab.await_text("#letters tfoot", &letters.to_string());

    // It goes on by itself: the document stays, and what was opened stays open.
    tab.value("window.mark = 1, document.querySelector('details').open = true");
    let running = start_load(&world, orders_profile(72), 20_000.0);
    tab.await_true(&format!("{DURABLE} > 3000 && window.mark === 1"));
    tab.await_true("document.querySelector('details').open");
    tab.await_true("Number.parseFloat(document.querySelector('.value').textContent) > 0");
    // Each COPY waits a little, so the writers cannot follow.
    world.sql.execute(SLOW).unwrap();
    tab.await_text("#flow .card.hot", "bottleneck");
    tab.await_text("#flow tr.hot", "COPY");
    assert_looks(&mut tab);
    world.sql.execute("DROP TRIGGER slow ON orders").unwrap();
    let ledger = running.finish();
    let all = (first.produced + ledger.produced) as f64;
    tab.await_true(&format!("{DURABLE} === {all}"));

    assert_eq!(tab.complaints(), Vec::<String>::new());
    let requests = tab.requests();
    assert!(requests.len() > 4, "{requests:?}");
    assert!(requests.iter().all(|url| url.starts_with(&origin)), "{requests:?}");

    without_scripts(&mut tab, &origin, || load(&world, orders_profile(73), 100).produced as f64);
    tab.order("Emulation.setScriptExecutionDisabled", json!({"value": false}));
    tab.open(&origin);
    tidegate.stop();
    tab.await_true("!document.querySelector('#stale').hidden");
    tab.await_text("#stale", "No answer for");
}

/// Both schemes, on a desk and on a phone.
fn assert_looks(tab: &mut Tab<'_>) {
    tab.value("document.querySelector('details').open = false");
    let ground = |tab: &mut Tab<'_>| tab.value("getComputedStyle(document.body).backgroundColor");
    let mut grounds = Vec::new();
    for scheme in ["dark", "light"] {
        for (device, width) in [("phone", PHONE), ("desk", DESK)] {
            tab.look(width, scheme);
            assert_fits(tab, width);
            tab.screenshot(&picture(&format!("{device}-{scheme}")));
            tab.value("document.querySelector('details').open = true");
            assert_fits(tab, width);
            assert_eq!(tab.value(HIDDEN_COLUMNS), json!(width == PHONE));
            tab.value("document.querySelector('details').open = false");
        }
        grounds.push(ground(tab));
    }
    assert_ne!(grounds[0], grounds[1]);
}

/// The figures are there at once, and again after a while. `more` is read meanwhile.
fn without_scripts(tab: &mut Tab<'_>, url: &str, more: impl Fn() -> f64) {
    tab.order("Emulation.setScriptExecutionDisabled", json!({"value": true}));
    tab.open(url);
    let before = tab.number(DURABLE);
    assert!(before > 3_000.0, "{before}");
    let expected = before + more();
    // The document is another one from moment to moment.
    eventually("a page that reloads itself", || {
        let ask = json!({"expression": DURABLE, "returnByValue": true});
        let answer = tab.order("Runtime.evaluate", ask);
        if answer["result"]["value"] == expected { Ok(()) } else { Err(answer.to_string()) }
    });
}

#[test]
fn names_and_messages_are_text_whatever_they_hold() {
    const TABLE: &str = "<script>owned=1</script>";
    const MESSAGE: &str = "<img src=x onerror=owned=1><script>owned=1</script>&amp;";
    let world = World::bare("page-hostile", 2);
    world
        .sql
        .execute(&format!(
            "CREATE TABLE \"{TABLE}\" (order_id bigint); \
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION '{MESSAGE}' USING ERRCODE = '53400'; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON \"{TABLE}\" EXECUTE FUNCTION refuse()"
        ))
        .unwrap();
    let to = format!("\"serving\"\ntable = \"{TABLE}\"\n");
    let route = world.route_config(&to);
    let config = format!("{}{}{route}", world.source_config(""), world.sink_config("serving"));
    let mut tidegate = world.run(&config, &[]);
    produce(&world, &[Message::json(r#"{"order_id":1}"#)]);
    let origin = format!("http://{}/", tidegate.address());
    let mut browser = Browser::start();
    let mut tab = browser.tab();
    tab.look(PHONE, "light");
    tab.open(&origin);
    tab.await_text("#obstacles", MESSAGE);
    tab.await_text("#state", "degraded");
    tab.await_text("#partitions h3", TABLE);
    tab.await_text("#flow", "away for");
    assert_fits(&mut tab, PHONE);
    // Also after the script has put it there.
    tab.value("document.querySelector('#obstacles').textContent = ''");
    tab.await_text("#obstacles", MESSAGE);
    assert_eq!(tab.value("typeof owned"), json!("undefined"));
    assert_eq!(tab.number("document.querySelectorAll('main img, main script').length"), 0.0);
    assert_eq!(tab.complaints(), Vec::<String>::new());
    assert!(tab.requests().iter().all(|url| url.starts_with(&origin)), "{:?}", tab.requests());
    tidegate.terminate();
}
