//! A person's browser: Chromium without a window, driven over its DevTools protocol. What must never happen here: a browser
//! that outlives its test, a wait for time instead of what it is to bring.
//!
//! Text is typed and buttons are pressed as a person does it, by events of keyboard and mouse; scripts of the test only look.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member has Null there, and no panic")]

use crate::PATIENCE;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tungstenite::{Message, WebSocket};

/// What a page complains of: errors of scripts, refusals of its own policy, anything in the console.
const COMPLAINTS: [&str; 4] =
    ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Audits.issueAdded"];

/// A browser with one empty page, a profile of its own, and no way to anywhere but this machine.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    session: Value,
    sent: u64,
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one that asks for pages in this language.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(language: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new("/usr/bin/chromium")
            .args(["--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-extensions"])
            // Its own walls need rights that a container does not give; it sees nothing but what the test serves.
            .args(["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(["--remote-debugging-port=0", "about:blank"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let url = loop {
            let mut line = String::new();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "the browser ended at once");
            if let Some(url) = line.trim().strip_prefix("DevTools listening on ") {
                break url.to_owned();
            }
        };
        // What it says later is read, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        let address = url.split('/').nth(2).unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(url.as_str(), stream).unwrap();
        let mut browser =
            Self { child, socket, session: Value::Null, sent: 0, complaints: Vec::new(), _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", attach)["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call("Network.setExtraHTTPHeaders", json!({ "headers": { "Accept-Language": language } }));
        browser
    }

    /// Runs no scripts of pages from now on.
    ///
    /// # Panics
    /// If the browser is gone.
    pub fn without_scripts(&mut self) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    }

    /// Shows pages so wide, light or dark.
    ///
    /// # Panics
    /// If the browser is gone.
    pub fn looks(&mut self, width: u32, height: u32, scheme: &str) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": true });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Goes to a page and waits until all of it is there.
    ///
    /// # Panics
    /// If it does not come.
    pub fn open(&mut self, url: &str) {
        let gone = self.call("Page.navigate", json!({ "url": url }));
        assert!(gone["errorText"].is_null(), "{url}: {gone}");
        self.until(url, "document.readyState === 'complete'");
    }

    /// Types into a field.
    ///
    /// # Panics
    /// If there is none.
    pub fn type_into(&mut self, field: &str, text: &str) {
        self.look(&format!("document.querySelector({field:?}).focus()"));
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses the Enter key.
    ///
    /// # Panics
    /// If the browser is gone.
    pub fn press_enter(&mut self) {
        for kind in ["keyDown", "keyUp"] {
            let key =
                json!({ "type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r" });
            self.call("Input.dispatchKeyEvent", key);
        }
    }

    /// Clicks into the middle of an element.
    ///
    /// # Panics
    /// If there is none.
    pub fn click(&mut self, element: &str) {
        let at = self.look(&format!(
            "(() => {{ const it = document.querySelector({element:?}); it.scrollIntoView({{ block: 'center' }}); \
             const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let click = json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", click);
        }
    }

    /// What an expression comes to on the page.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn look(&mut self, expression: &str) -> Value {
        self.try_look(expression).unwrap_or_else(|why| panic!("{expression}: {why}"))
    }

    /// A text on the page.
    ///
    /// # Panics
    /// If the expression comes to anything else.
    #[track_caller]
    pub fn text(&mut self, expression: &str) -> String {
        self.look(expression).as_str().unwrap().to_owned()
    }

    /// Waits until a condition holds, on whatever page is there then.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn until(&mut self, what: &str, condition: &str) {
        let begun = Instant::now();
        let condition = format!("Boolean({condition})");
        // Between two pages there is none to look at.
        while self.try_look(&condition) != Ok(Value::Bool(true)) {
            if begun.elapsed() > PATIENCE {
                let page = self.try_look("location.href + '\\n' + document.body.innerText");
                panic!("{what} does not come: {condition}\n{page:?}");
            }
        }
    }

    /// What pages complained of so far.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    fn try_look(&mut self, expression: &str) -> Result<Value, String> {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", &asked);
        match &answer["result"]["result"]["value"] {
            _ if answer["error"].is_object() || answer["result"]["exceptionDetails"].is_object() => {
                Err(answer.to_string())
            }
            value => Ok(value.clone()),
        }
    }

    #[track_caller]
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        let answer = self.ask(method, &parameters);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Sends a command and reads up to its answer.
    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.sent += 1;
        let mut command = json!({ "id": self.sent, "method": method, "params": parameters });
        if !self.session.is_null() {
            command["sessionId"] = self.session.clone();
        }
        self.socket.send(Message::text(command.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let said: Value = serde_json::from_str(&text).unwrap();
            if said["id"] == json!(self.sent) {
                return said;
            }
            if said["method"].as_str().is_some_and(|event| COMPLAINTS.contains(&event)) {
                self.complaints.push(said["params"].to_string());
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to end, it ends its helpers too; one that does not listen any more is ended.
        let close = json!({ "id": 0, "method": "Browser.close" });
        let asked = self.socket.send(Message::text(close.to_string())).is_ok();
        if asked {
            while self.socket.read().is_ok() {}
        } else if self.child.kill().is_err() {
            // It has ended by itself.
        }
        drop(self.child.wait());
    }
}
