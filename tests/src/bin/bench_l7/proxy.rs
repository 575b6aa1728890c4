//! What is compared, and how each is configured: as people do it who want it fast, and all alike in
//! what they do.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use tests::topology::{Family, Lab};

/// The ports that backends listen on.
pub(crate) const BACKENDS: [u16; 2] = [9001, 9002];

/// Something that is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proxy {
    /// Holdfast's sidecar, with `cookie-insert`.
    Holdfast,
    /// The same without persistence.
    Unpinned,
    /// `HAProxy`, with a cookie of its own.
    Haproxy,
    /// nginx, without any cookie.
    Nginx,
}

impl Proxy {
    pub(crate) const ALL: [Self; 4] = [Self::Holdfast, Self::Unpinned, Self::Haproxy, Self::Nginx];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Holdfast => "Holdfast",
            Self::Unpinned => "Holdfast without persistence",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    /// Does it set a cookie by which it knows a session again?
    pub(crate) const fn has_cookie(self) -> bool {
        matches!(self, Self::Holdfast | Self::Haproxy)
    }

    /// Its port for HTTP; that for TLS is one more.
    pub(crate) const fn port(self, tls: bool) -> u16 {
        let plain = match self {
            Self::Holdfast => 8000,
            Self::Unpinned => 8100,
            Self::Haproxy => 8200,
            Self::Nginx => 8300,
        };
        plain + tls as u16
    }

    pub(crate) fn address(self, lab: &Lab, tls: bool) -> SocketAddr {
        SocketAddr::new(front(lab), self.port(tls))
    }

    /// What is asked for.
    pub(crate) fn url(self, lab: &Lab, tls: bool) -> String {
        let scheme = if tls { "https" } else { "http" };
        format!("{scheme}://{}/", self.address(lab, tls))
    }
}

/// The address that they all listen on.
pub(crate) fn front(lab: &Lab) -> IpAddr {
    lab.vip(Family::V4)
}

/// That of the backends.
pub(crate) fn back(lab: &Lab) -> IpAddr {
    lab.balancer_back(Family::V4)
}

/// The agent with its sidecar. The listeners' address is there already: it is all proxies'.
pub(crate) fn holdfast(lab: &Lab) -> String {
    let mut text = lab.agent_table();
    text.push_str(
        "manage_addresses = false

[limits]
pins = 1024
flows = 1024

[sidecar]
workers = 1

[sidecar.limits]
client_connections = 20000

[[pool]]
name = \"web\"
",
    );
    for (number, port) in (1..).zip(BACKENDS) {
        let backend = format!("name = \"web-{number}\"\naddress = \"{}:{port}\"", back(lab));
        write!(text, "\n[[pool.backend]]\n{backend}\n").expect("memory");
    }
    for (proxy, tls) in
        [(Proxy::Holdfast, false), (Proxy::Unpinned, false), (Proxy::Holdfast, true)]
    {
        let protocol = if tls { "https" } else { "http" };
        let address = proxy.address(lab, tls);
        let name = proxy.port(tls);
        write!(
            text,
            "\n[[listener]]\nname = \"on-{name}\"\nprotocol = \"{protocol}\"\n\
             address = \"{address}\"\npool = \"web\"\n"
        )
        .expect("memory");
        if tls {
            let [certificate, key] =
                ["certificate.pem", "key.pem"].map(|name| lab.folder().join(name));
            let (certificate, key) = (certificate.display(), key.display());
            writeln!(text, "tls = {{ certificate = \"{certificate}\", key = \"{key}\" }}")
                .expect("memory");
        }
        if proxy.has_cookie() {
            text.push_str("persistence = { mode = \"cookie-insert\", timeout = \"1h\" }\n");
        }
    }
    text
}

/// One thread; connections to backends are shared; what a session's cookie needs, and the address of
/// the client for backends.
pub(crate) fn haproxy(lab: &Lab) -> String {
    let [plain, tls] = [false, true].map(|tls| Proxy::Haproxy.address(lab, tls));
    let certificate = lab.folder().join("both.pem");
    let mut text = format!(
        "global
    nbthread 1
    maxconn 8000
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode http
    option http-keep-alive
    option forwardfor
    http-reuse always
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    timeout http-keep-alive 60s
frontend in
    bind {plain}
    bind {tls} ssl crt {} alpn h2,http/1.1
    default_backend web
backend web
    balance roundrobin
    cookie SERVERID insert indirect nocache
",
        certificate.display()
    );
    for (number, port) in (1..).zip(BACKENDS) {
        let address = SocketAddr::new(back(lab), port);
        writeln!(text, "    server web-{number} {address} cookie web-{number}").expect("memory");
    }
    text
}

/// Connections to backends are kept; the host and the address of the client for backends.
pub(crate) fn nginx(lab: &Lab) -> String {
    let [plain, tls] = [false, true].map(|tls| Proxy::Nginx.address(lab, tls));
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| lab.folder().join(name));
    let servers: String = BACKENDS.map(|port| format!("server {}:{port}; ", back(lab))).concat();
    format!(
        "    upstream web {{ {servers}keepalive 512; keepalive_requests 1000000000; }}
    server {{
        listen {plain} backlog=4096;
        listen {tls} ssl http2 backlog=4096;
        ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3;
        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
",
        certificate.display(),
        key.display()
    )
}

/// nginx as the backends: a file of 1 KiB, held open, in one write with its head.
pub(crate) fn backend(lab: &Lab) -> String {
    let folder = lab.folder().join("files");
    let listen: String =
        BACKENDS.map(|port| format!("listen {}:{port} backlog=4096; ", back(lab))).concat();
    format!(
        "    default_type text/html;
    keepalive_timeout 1h;
    sendfile off;
    open_file_cache max=16 inactive=1h; open_file_cache_valid 1h;
    server {{ {listen}root {}; }}
",
        folder.display()
    )
}
