//! All proxies and their backends, in one network namespace: everybody is reached over its loopback.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use tests::{
    agent::{Agent, Holdfast},
    topology::{Lab, Shape},
};

use crate::{
    cores::Cores,
    load::{self, Answer},
    process,
    proxy::{self, Proxy},
    server::Server,
};

/// How long all may take to serve.
const PATIENCE: Duration = Duration::from_mins(1);

/// What an answer's body has.
const BODY: usize = 1024;

/// They run. The fields are dropped in this order.
pub(crate) struct Scene {
    agent: Agent,
    holdfast: Holdfast,
    haproxy: Server,
    nginx: Server,
    _backend: Server,
    pub(crate) lab: Lab,
}

impl Scene {
    /// Starts all, until each serves.
    pub(crate) fn start(holdfast: &Path, cores: Cores) -> Self {
        let lab = Lab::new(Shape::OneArm, 0, 0);
        prepare(&lab);
        let backend = Server::nginx(&lab, "backend", &proxy::backend(&lab));
        let holdfast = Holdfast::with(holdfast.to_owned(), &lab, &proxy::holdfast(&lab));
        let configuration = lab.write("haproxy.cfg", &proxy::haproxy(&lab));
        let configuration = configuration.display().to_string();
        let nginx = proxy::nginx(&lab);
        let scene = cores.for_proxies(|| Self {
            agent: holdfast.start_only(),
            holdfast,
            haproxy: Server::start(&lab, "haproxy", "haproxy", &["-db", "-f", &configuration]),
            nginx: Server::nginx(&lab, "nginx", &nginx),
            _backend: backend,
            lab,
        });
        for proxy in Proxy::ALL {
            for tls in [false, true] {
                if proxy != Proxy::Unpinned || !tls {
                    scene.until_it_serves(proxy, tls);
                }
            }
        }
        scene
    }

    fn until_it_serves(&self, proxy: Proxy, tls: bool) {
        let url = proxy.url(&self.lab, tls);
        let what = format!("{} answers at {url}", proxy.name());
        let start = Instant::now();
        let answer = loop {
            match load::ask(&self.lab.balancer, &url, None) {
                Some(answer) if answer.status == 200 => break answer,
                answer => assert!(
                    start.elapsed() < PATIENCE,
                    "waited {PATIENCE:?} in vain until {what}: {answer:?}{}",
                    self.last_words(proxy)
                ),
            }
            thread::sleep(Duration::from_millis(50));
        };
        assert_eq!(answer.body_bytes, BODY, "{what}: the body's bytes");
        // A session's cookie is believed: there is no new one.
        let Answer { cookie, .. } = answer;
        assert_eq!(cookie.is_some(), proxy.has_cookie(), "{what}: a cookie");
        if let Some(cookie) = &cookie {
            let again = load::ask(&self.lab.balancer, &url, Some(cookie)).expect("an answer");
            assert_eq!((again.status, again.cookie), (200, None), "{what}: with its cookie");
        }
    }

    fn last_words(&self, proxy: Proxy) -> String {
        let log = match proxy {
            Proxy::Holdfast | Proxy::Unpinned => return self.holdfast.last_words(),
            Proxy::Haproxy => "haproxy.log",
            Proxy::Nginx => "nginx/error.log",
        };
        let log = fs::read_to_string(self.lab.folder().join(log)).unwrap_or_default();
        format!("\n--- it said:\n{log}---")
    }

    /// A session's cookie, as new as can be: an older one would be renewed in between.
    pub(crate) fn cookie(&self, proxy: Proxy, tls: bool) -> Option<String> {
        if !proxy.has_cookie() {
            return None;
        }
        let url = proxy.url(&self.lab, tls);
        let answer = load::ask(&self.lab.balancer, &url, None);
        let cookie = answer.and_then(|answer| answer.cookie);
        Some(cookie.unwrap_or_else(|| panic!("{}: no cookie at {url}", proxy.name())))
    }

    /// The processes that serve requests; of Holdfast that is the sidecar alone.
    pub(crate) fn processes(&self, proxy: Proxy) -> Vec<u32> {
        let root = match proxy {
            Proxy::Holdfast | Proxy::Unpinned => self.agent.id(),
            Proxy::Haproxy => self.haproxy.id(),
            Proxy::Nginx => self.nginx.id(),
        };
        let mut family = process::family(root);
        if root == self.agent.id() {
            family.retain(|pid| *pid != root);
        }
        assert!(!family.is_empty(), "{} runs", proxy.name());
        family
    }
}

/// Addresses, ports enough, the file that is served, and a certificate.
fn prepare(lab: &Lab) {
    lab.balancer.ip(&format!("addr add {}/32 dev lo", proxy::front(lab)));
    lab.balancer.sysctl("ipv4/ip_local_port_range", "10000 65535");
    let files = lab.folder().join("files");
    fs::create_dir_all(&files).unwrap_or_else(|e| panic!("{}: {e}", files.display()));
    lab.write("files/index.html", &"x".repeat(BODY));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    openssl.args(["-days", "30", "-subj", "/CN=bench.example"]);
    openssl.args(["-addext", "subjectAltName=DNS:bench.example"]);
    openssl.args(["-keyout", "key.pem", "-out", "certificate.pem"]).current_dir(lab.folder());
    let output = openssl.output().expect("openssl runs");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| {
        let path = lab.folder().join(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    lab.write("both.pem", &(read("certificate.pem") + &read("key.pem")));
}
