//! The sites that the browser visits, and the machines that they are on.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use tests::{
    agent::Holdfast,
    servers::Nginx,
    site::{Configuration, PORT, Site, backend_name},
    topology::{Family, Lab, Shape},
    wait,
};

use crate::driver::Browser;

const BACKENDS: u8 = 3;

/// All of them at one address.
const HOSTS: [&str; 4] = ["shop.example", "api.example", "short.example", "spread.example"];

/// Listeners and rules.
///
/// - `shop.example` is the listener's own; `/start` has no session.
/// - `api.example` has its backends' cookie.
/// - `short.example` has sessions that soon end.
/// - `spread.example` remembers no first request.
const RULES: &str = r#"
persistence = { mode = "cookie-insert", timeout = "1h", header = "X-Session" }

  [[listener.rule]]
  host = "shop.example"
  path = "/start"
  persistence = { timeout = 0 }

  [[listener.rule]]
  host = "api.example"
  persistence = { mode = "cookie-rewrite", cookie = "JSESSIONID" }

  [[listener.rule]]
  host = "short.example"
  persistence = { mode = "cookie-insert", timeout = "3s", cookie = "SHORT", header = "X-Session" }

  [[listener.rule]]
  host = "spread.example"
  persistence = { mode = "cookie-insert", timeout = "1h", cookie = "SPREAD", first_flight = 0 }
"#;

/// A site and a browser.
pub(crate) struct Shop {
    // Dropped in this order.
    pub(crate) browser: Browser,
    pub(crate) site: Site,
}

/// Starts all of it.
#[track_caller]
pub(crate) fn start() -> Shop {
    let lab = Lab::new(Shape::Routed, 1, BACKENDS);
    let at = |port| SocketAddr::new(lab.vip(Family::V4), port);
    let (certificate, key) = certificate(&lab);
    let secure = format!(
        "tls = {{ certificate = \"{certificate}\", key = \"{key}\" }}\n\
         persistence = {{ timeout = \"1h\", cookie = \"SHOP\" }}"
    );
    let sidecar = "[sidecar]\nworkers = 2";
    let configuration = Configuration::new(&lab, sidecar)
        .pool(&lab, Family::V4, "")
        .listener("shop", "http", at(80), RULES)
        .listener("shop-tls", "https", at(443), &secure);
    let servers = (0..lab.backends.len())
        .map(|index| Nginx::serving(&lab, index, &backend_name(index), PORT, &pages(index)))
        .collect();
    let holdfast = Holdfast::new(&lab, &configuration.text);
    let agent = Some(holdfast.start_ready());
    for port in [80, 443] {
        wait::until("the listeners answer", Duration::from_secs(10), || {
            let connect = || TcpStream::connect_timeout(&at(port), Duration::from_secs(1)).ok();
            lab.clients.run(connect).map(drop)
        });
    }
    let browser = Browser::start(&lab, &lab.vip(Family::V4).to_string(), &HOSTS);
    Shop { browser, site: Site { agent, servers, holdfast, lab } }
}

impl Shop {
    /// Which backend the page that is open came from, by its title.
    #[track_caller]
    pub(crate) fn backend(&self) -> usize {
        let title = self.browser.title();
        (0..usize::from(BACKENDS))
            .find(|index| backend_name(*index) == title)
            .unwrap_or_else(|| panic!("the page of no backend: {title:?}"))
    }

    /// Loads the page that is open so often again; the backends that it came from.
    #[track_caller]
    pub(crate) fn reload(&self, times: usize) -> Vec<usize> {
        (0..times)
            .map(|_| {
                self.browser.reload();
                self.backend()
            })
            .collect()
    }
}

/// nginx's server of a backend. A page's title is the backend's name, an image's width its number.
fn pages(index: usize) -> String {
    let name = backend_name(index);
    let images = |host: &str| -> String {
        (1..=8)
            .map(|number| format!("<img src='http://{host}/image/{number}'>"))
            .collect::<Vec<_>>()
            .concat()
    };
    format!(
        "server {{
        listen {PORT} backlog=1024;
        default_type text/html;
        absolute_redirect off;
        set $page \"<!doctype html><title>{name}</title><link rel=icon href=data:,>\";
        set $own $cookie_jsessionid;
        set $fresh \"\";
        if ($own = \"\") {{ set $own {name}.$request_id==; set $fresh 1; }}
        if ($http_host != api.example) {{ set $fresh \"\"; }}
        if ($fresh) {{ set $fresh \"JSESSIONID=$own; Path=/; HttpOnly\"; }}
        add_header Set-Cookie $fresh;
        location / {{ return 200 \"$page<p id=own>$own</p><p id=all>$http_cookie</p>\"; }}
        location = /login {{ return 302 /account; }}
        location = /missing {{ return 404 $page; }}
        location = /start {{ return 200 \"$page{}\"; }}
        location = /start/elsewhere {{ return 200 \"$page{}\"; }}
        location /image/ {{
            default_type image/svg+xml;
            return 200 \"<svg xmlns='http://www.w3.org/2000/svg' width='{}' height='1'/>\";
        }}
    }}",
        images("shop.example"),
        images("spread.example"),
        index + 1
    )
}

/// Makes one that nobody has signed; where it and its key are.
fn certificate(lab: &Lab) -> (String, String) {
    let at = |name: &str| lab.folder().join(name).display().to_string();
    let (certificate, key) = (at("shop.pem"), at("shop.key"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.args(["-nodes", "-days", "2", "-subj", "/CN=shop.example"]);
    openssl.args(["-addext", "subjectAltName=DNS:shop.example"]);
    openssl.args(["-keyout", &key, "-out", &certificate]);
    let output = openssl.stdin(Stdio::null()).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    (certificate, key)
}
