//! A headless Chromium in the clients' network, and what it is told by `WebDriver` (W3C, 2018).
//!
//! Owns both processes. They write below the lab's folder only, and end with it at the latest.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Child, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tests::{cleanup, netns::Namespace, topology::Lab, wait};

/// Where chromedriver listens, on the loopback of the clients' network.
const DRIVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9515);

/// How long a page, a script or the start of the browser may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the browser is started with: nothing on a screen, nothing by itself in the network, and
/// pages by the protocol that was asked for.
const ARGUMENTS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-features=HttpsUpgrades,HttpsFirstBalancedMode,HttpsFirstBalancedModeAutoEnable",
];

/// A browser with one window and an empty jar.
#[derive(Debug)]
pub(crate) struct Browser {
    clients: Namespace,
    driver: Child,
    session: String,
}

/// A cookie, as the browser has it in its jar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) path: String,
    pub(crate) http_only: bool,
    pub(crate) secure: bool,
    pub(crate) same_site: String,
    /// Seconds since 1970; `None` for one that ends with the browser.
    pub(crate) expiry: Option<u64>,
}

impl Browser {
    /// Starts one that finds these hosts at the listeners' address.
    #[track_caller]
    pub(crate) fn start(lab: &Lab, at: &str, hosts: &[&str]) -> Self {
        let home = lab.folder().join("browser");
        fs::create_dir_all(home.join("tmp")).expect("a folder");
        let mut command = lab.clients.command("chromedriver");
        command.arg(format!("--port={}", DRIVER.port()));
        command.arg(format!("--log-path={}", home.join("driver.log").display()));
        command.env("HOME", &home).env("TMPDIR", home.join("tmp"));
        command
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_CACHE_HOME", home.join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let driver = {
            let _gate = cleanup::gate();
            command.spawn().expect("chromedriver is installed")
        };
        let mut browser = Self { clients: lab.clients.clone(), driver, session: String::new() };
        wait::until("chromedriver listens", PATIENCE, || {
            browser.clients.run(|| TcpStream::connect(DRIVER).ok()).map(drop)
        });
        let mut rules: Vec<String> = hosts.iter().map(|host| format!("MAP {host} {at}")).collect();
        // Nobody would answer: what the browser looks for by itself fails at once.
        rules.push("MAP * ~NOTFOUND".to_owned());
        let own = [
            format!("--host-resolver-rules={}", rules.join(", ")),
            format!("--user-data-dir={}", home.join("profile").display()),
        ];
        let arguments: Vec<&str> =
            ARGUMENTS.into_iter().chain(own.iter().map(String::as_str)).collect();
        let answer = browser.ask(
            "POST",
            "/session",
            &json!({ "capabilities": { "alwaysMatch": {
                "acceptInsecureCerts": true,
                "timeouts": { "pageLoad": 20_000, "script": 20_000 },
                "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": arguments },
            } } }),
        );
        browser.session = text(&answer["sessionId"]);
        browser
    }

    /// Opens a page, and waits until all of it is there.
    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// Loads the page again.
    #[track_caller]
    pub(crate) fn reload(&self) {
        self.post("refresh", &json!({}));
    }

    /// The page's title.
    #[track_caller]
    pub(crate) fn title(&self) -> String {
        text(&self.get("title"))
    }

    /// Where the browser is, redirects followed.
    #[track_caller]
    pub(crate) fn url(&self) -> String {
        text(&self.get("url"))
    }

    /// What a script in the page returns; a promise is waited for.
    #[track_caller]
    pub(crate) fn script(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The cookies of the page's site, with those that scripts do not see.
    #[track_caller]
    pub(crate) fn jar(&self) -> Vec<Cookie> {
        let cookies = self.get("cookie");
        let cookies = cookies.as_array().unwrap_or_else(|| panic!("no cookies: {cookies}"));
        cookies.iter().map(cookie).collect()
    }

    /// The only one of them.
    #[track_caller]
    pub(crate) fn only_cookie(&self) -> Cookie {
        let mut jar = self.jar();
        assert_eq!(jar.len(), 1, "{jar:?}");
        jar.remove(0)
    }

    /// Empties the jar.
    #[track_caller]
    pub(crate) fn forget(&self) {
        let _nothing = self.ask("DELETE", &self.at("cookie"), &Value::Null);
    }

    fn at(&self, what: &str) -> String {
        format!("/session/{}/{what}", self.session)
    }

    #[track_caller]
    fn get(&self, what: &str) -> Value {
        self.ask("GET", &self.at(what), &Value::Null)
    }

    #[track_caller]
    fn post(&self, what: &str, body: &Value) -> Value {
        self.ask("POST", &self.at(what), body)
    }

    /// A command; the value of its answer.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, value) = self.try_ask(method, path, body).unwrap_or_else(|error| {
            panic!("{method} {path}: {error}");
        });
        assert_eq!(status, 200, "{method} {path} {body}: {value}");
        value
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = self.clients.run(|| TcpStream::connect(DRIVER))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {DRIVER}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let (head, body) = answer(&mut stream)?;
        let invalid = || std::io::Error::other(format!("it answered: {head}\n{body}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut value: Value = serde_json::from_str(&body).map_err(|_broken| invalid())?;
        Ok((status.ok_or_else(invalid)?, value["value"].take()))
    }
}

/// An answer's head and body. The connection may stay open behind it.
fn answer(stream: &mut TcpStream) -> std::io::Result<(String, String)> {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        head += &line;
    }
    let mut body = String::new();
    stream.take(length).read_to_string(&mut body)?;
    Ok((head, body))
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // The browser ends by it. If it is gone already, or hangs: the lab ends it.
            self.try_ask("DELETE", &format!("/session/{}", self.session), &Value::Null).ok();
        }
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

fn cookie(value: &Value) -> Cookie {
    let flag = |name: &str| value[name].as_bool().unwrap_or_else(|| panic!("{name} of {value}"));
    Cookie {
        name: text(&value["name"]),
        value: text(&value["value"]),
        path: text(&value["path"]),
        http_only: flag("httpOnly"),
        secure: flag("secure"),
        same_site: text(&value["sameSite"]),
        expiry: value["expiry"].as_u64(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
