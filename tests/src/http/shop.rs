//! A lab with an `http` listener in front of nginx servers that say what they were sent.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{curl, process, raw::Raw};
use crate::{
    agent::Holdfast,
    servers::Nginx,
    site::{Configuration, PORT, Site, backend_name},
    topology::{Family, Lab, Shape},
    wait,
};

/// What is said of sessions in most tests; a first request is not remembered, so that clients of
/// one address spread.
pub const INSERT: &str = "persistence = { mode = \"cookie-insert\", timeout = \"1h\", \
                          header = \"X-Session\", first_flight = 0 }";

/// Where a shop's nginx posts to itself.
const POSTED: u16 = 8999;

/// Statuses that a shop answers with at `/status/NUMBER`.
const STATUSES: [u16; 13] = [200, 201, 301, 302, 303, 307, 308, 400, 403, 404, 500, 502, 503];

/// Where the first listener is.
#[must_use]
pub fn vip(lab: &Lab) -> SocketAddr {
    SocketAddr::new(lab.vip(Family::V4), 80)
}

/// A client's address.
#[must_use]
pub fn client(lab: &Lab, index: u8) -> IpAddr {
    lab.client(Family::V4, index)
}

/// The servers of an nginx that is a shop's: what they answer begins with `name`.
///
/// - `/`: the request's target and cookies; `/7`, a number: the target alone;
/// - `/post`: after all of the request's body has come;
/// - `/status/302`: that status;
/// - `/set`: a cookie of its own, JSESSIONID, with the name in it;
/// - `/public`: an answer that caches may keep.
#[must_use]
pub fn nginx_server(name: &str, listen: &str) -> String {
    let mut locations = String::new();
    for status in STATUSES {
        let then = match status {
            301..=308 => "/after".to_owned(),
            _ => format!("\"{name} $request_uri [$http_cookie]\\n\""),
        };
        writeln!(locations, "location = /status/{status} {{ return {status} {then}; }}")
            .expect("memory");
    }
    format!(
        "server {{
        {listen}
        absolute_redirect off;
        add_header X-Server {name} always;
        location / {{ return 200 \"{name} $request_uri [$http_cookie]\\n\"; }}
        location ~ ^/[0-9]+$ {{ return 200 \"{name} $request_uri\\n\"; }}
        location = /post {{ proxy_pass http://127.0.0.1:{POSTED}; }}
        location = /set {{
            add_header Set-Cookie \"JSESSIONID=AB+/c~{name}==; Path=/; HttpOnly; Max-Age=90\";
            add_header Set-Cookie \"other=1\";
            add_header X-Server {name};
            return 200 \"{name} $request_uri [$http_cookie]\\n\";
        }}
        location = /public {{
            add_header Cache-Control \"public, max-age=60\";
            add_header X-Server {name};
            return 200 \"{name} $request_uri [$http_cookie]\\n\";
        }}
        {locations}
    }}
    server {{
        listen 127.0.0.1:{POSTED};
        location / {{ return 200 \"{name} posted\\n\"; }}
    }}"
    )
}

/// nginx on every backend of a lab, each a shop's.
#[must_use]
pub fn servers(lab: &Lab) -> Vec<Nginx> {
    let start = |index| {
        let name = backend_name(index);
        let server = nginx_server(&name, &format!("listen {PORT} backlog=1024;"));
        Nginx::serving(lab, index, &name, PORT, &server)
    };
    (0..lab.backends.len()).map(start).collect()
}

/// Such a lab, with these lines for its listener `shop`.
#[must_use]
#[track_caller]
pub fn start(clients: u8, backends: u8, lines: &str) -> Site {
    let lab = Lab::new(Shape::Routed, clients, backends);
    let configuration = Configuration::new(&lab, "").pool(&lab, Family::V4, "").listener(
        "shop",
        "http",
        vip(&lab),
        lines,
    );
    let servers = servers(&lab);
    serve(lab, servers, &configuration)
}

/// Starts the agent with a configuration, until the sidecar serves and every backend is in
/// service.
///
/// # Panics
///
/// When it does not come to that.
#[must_use]
#[track_caller]
pub fn serve(lab: Lab, servers: Vec<Nginx>, configuration: &Configuration) -> Site {
    let holdfast = Holdfast::new(&lab, &configuration.text);
    run(lab, servers, holdfast)
}

/// The same, where its files are there.
///
/// # Panics
///
/// As [`serve`].
#[must_use]
#[track_caller]
pub fn run(lab: Lab, servers: Vec<Nginx>, holdfast: Holdfast) -> Site {
    let agent = Some(holdfast.start_ready());
    wait::until("the sidecar serves", crate::agent::PATIENCE, || {
        (process::times_served(&holdfast) > 0).then_some(())
    });
    settle();
    Site { agent, servers, holdfast, lab }
}

/// What the agent has learnt reaches the sidecar within milliseconds; on a busy machine a few more.
pub fn settle() {
    std::thread::sleep(Duration::from_millis(200));
}

/// `holdfast reload` with another configuration, until the sidecar goes by it.
///
/// # Panics
///
/// When it is refused.
#[track_caller]
pub fn reload(site: &Site, configuration: &Configuration) {
    std::fs::write(&site.holdfast.config, &configuration.text).expect("written");
    let _said = site.holdfast.verb("reload");
    settle();
}

/// One request with curl for a path of the first listener.
#[must_use]
#[track_caller]
pub fn get(site: &Site, index: u8, path: &str, arguments: &[&str]) -> curl::Transfer {
    let url = format!("http://{}{path}", vip(&site.lab));
    let arguments = arguments.iter().copied().chain([url.as_str()]);
    curl::get(&site.lab.clients, client(&site.lab, index), arguments)
}

/// A connection to the first listener.
#[must_use]
#[track_caller]
pub fn raw(site: &Site, index: u8) -> Raw {
    Raw::open(&site.lab.clients, client(&site.lab, index), vip(&site.lab))
}
