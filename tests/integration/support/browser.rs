//! A real Chromium, told what to do by the DevTools protocol through a pair of pipes.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::wait::{LIMIT, eventually};

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/// A running browser without a window. Dropping it kills it.
pub(crate) struct Browser {
    child: Child,
    orders: ChildStdin,
    answers: Receiver<Value>,
    events: Vec<Value>,
    last_id: u64,
    _profile: TempDir,
}

/// One tab of it.
pub(crate) struct Tab<'a> {
    browser: &'a mut Browser,
    session: String,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let program = NAMES.into_iter().find_map(on_path);
        let program = program.expect("no Chromium on PATH; scripts/setup.sh installs it");
        let profile = tempfile::tempdir().unwrap();
        // It reads orders from file 3 and answers to file 4.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", "exec \"$@\" 3<&0 4>&1 </dev/null >&2", "sh"])
            .arg(program)
            .args(["--remote-debugging-pipe", "--headless=new", "--no-sandbox", "--disable-gpu"])
            .args([
                "--disable-dev-shm-usage",
                "--disable-extensions",
                "--no-first-run",
                "--hide-scrollbars",
            ])
            .args(["--disable-background-networking", "--disable-component-update"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (sender, answers) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
                message.clear();
            }
        });
        Self { child, orders, answers, events: Vec::new(), last_id: 0, _profile: profile }
    }

    /// A tab that has loaded nothing yet.
    pub(crate) fn tab(&mut self) -> Tab<'_> {
        let target = self.order(None, "Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.order(None, "Target.attachToTarget", attach);
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        let mut tab = Tab { browser: self, session };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.order(&format!("{domain}.enable"), json!({}));
        }
        tab
    }

    fn order(&mut self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut order = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = session {
            order["sessionId"] = session.into();
        }
        let order = [order.to_string().as_bytes(), b"\0"].concat();
        self.orders.write_all(&order).unwrap();
        loop {
            let answer = self.answers.recv_timeout(LIMIT);
            let mut answer = answer.unwrap_or_else(|error| panic!("{method}: {error}"));
            if answer["id"] == self.last_id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn on_path(name: &str) -> Option<std::path::PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

impl Tab<'_> {
    pub(crate) fn order(&mut self, method: &str, parameters: Value) -> Value {
        self.browser.order(Some(&self.session), method, parameters)
    }

    pub(crate) fn open(&mut self, url: &str) {
        let answer = self.order("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.await_true("document.readyState === 'complete'");
    }

    /// The value of an expression of JavaScript.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let ask = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.order("Runtime.evaluate", ask);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    pub(crate) fn text(&mut self, selector: &str) -> Option<String> {
        let found = self.value(&format!("document.querySelector(`{selector}`)?.innerText"));
        found.as_str().map(str::to_owned)
    }

    pub(crate) fn number(&mut self, expression: &str) -> f64 {
        self.value(expression).as_f64().unwrap_or_else(|| panic!("{expression} is no number"))
    }

    pub(crate) fn await_true(&mut self, expression: &str) {
        eventually(expression, || match self.value(expression) {
            Value::Bool(true) => Ok(()),
            other => Err(other.to_string()),
        });
    }

    pub(crate) fn await_text(&mut self, selector: &str, wanted: &str) {
        eventually(&format!("'{wanted}' in {selector}"), || match self.text(selector) {
            Some(text) if text.contains(wanted) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// The size of the window in CSS pixels, and the scheme that the reader prefers.
    pub(crate) fn look(&mut self, width: u32, scheme: &str) {
        let is_mobile = width < 600;
        let size =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": is_mobile});
        self.order("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.order("Emulation.setEmulatedMedia", json!({"features": scheme}));
    }

    /// The whole page as a PNG file.
    pub(crate) fn screenshot(&mut self, path: &Path) {
        let ask = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.order("Page.captureScreenshot", ask);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = answer["data"].as_str().unwrap();
        fs::write(path, base64(text)).unwrap();
    }

    /// What the browser found to complain of so far: errors, and whatever the policy forbade.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let is_complaint = |event: &&Value| {
            let level = &event["params"]["entry"]["level"];
            match event["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" => true,
                "Log.entryAdded" => level == "error" || level == "warning",
                _ => false,
            }
        };
        self.browser.events.iter().filter(is_complaint).map(ToString::to_string).collect()
    }

    /// Every address that was asked.
    pub(crate) fn requests(&self) -> Vec<String> {
        let url = |event: &Value| event["params"]["request"]["url"].as_str().map(str::to_owned);
        let asked = self.browser.events.iter();
        asked
            .filter(|event| event["method"] == "Network.requestWillBeSent")
            .filter_map(url)
            .collect()
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |digit: u8| digits.iter().position(|d| *d == digit);
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.as_bytes().chunks(4) {
        let values: Vec<usize> = chunk.iter().filter_map(|digit| value(*digit)).collect();
        let bits =
            values.iter().fold(0, |bits, value| bits << 6 | value) << (6 * (4 - values.len()));
        let whole = [bits >> 16, bits >> 8, bits].map(|byte| (byte & 255) as u8);
        bytes.extend(whole.into_iter().take(values.len() * 3 / 4));
    }
    bytes
}
