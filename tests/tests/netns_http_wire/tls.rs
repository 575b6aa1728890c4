//! TLS with clients: names, new certificates, sessions taken up again, and redirects to it.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tests::{
    agent::PATIENCE,
    http::{
        certificates::{Authority, Certificate},
        curl,
        shop::{self, INSERT},
    },
    site::{Configuration, Site},
    topology::{Family, Lab, Shape},
    wait,
};

struct Secure {
    site: Site,
    authority: Authority,
    shop: Certificate,
    other: Certificate,
}

/// `https` on 443 with two certificates, `http` on 80 that leads there.
fn site() -> Secure {
    let lab = Lab::new(Shape::Routed, 1, 2);
    let authority = Authority::new(&lab.folder().join("ca"));
    let (one, two) =
        (authority.sign("shop", "shop.example"), authority.sign("other", "*.other.example"));
    let tls = format!("tls = [{}, {}]", one.table(), two.table());
    let at = |port| SocketAddr::new(lab.vip(Family::V4), port);
    let mut configuration = Configuration::new(&lab, "").pool(&lab, Family::V4, "").listener(
        "secure",
        "https",
        at(443),
        &format!("{tls}\n{INSERT}"),
    );
    write!(
        configuration.text,
        "[[listener]]\nname = \"plain\"\nprotocol = \"http\"\naddress = \"{}\"\n\
         https_redirect = true\n",
        at(80)
    )
    .expect("memory");
    let servers = shop::servers(&lab);
    Secure { site: shop::serve(lab, servers, &configuration), authority, shop: one, other: two }
}

/// openssl's client in the clients' namespace.
fn s_client(site: &Site, arguments: &str) -> Command {
    let mut command = site.lab.clients.command("openssl");
    let vip = site.lab.vip(Family::V4);
    command.args(["s_client", "-connect", &format!("{vip}:443")]);
    command.args(arguments.split_whitespace()).current_dir(site.lab.folder());
    command
}

/// What it prints of a connection that ends at once.
fn connect(site: &Site, arguments: &str) -> String {
    let mut command = s_client(site, arguments);
    let output = command.stdin(Stdio::null()).output().expect("openssl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The serial number of the certificate that a name is shown.
fn serial(site: &Site, name: &str) -> String {
    let text = connect(site, &format!("-servername {name}"));
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-serial"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("openssl runs");
    child.stdin.take().expect("input").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn each_name_has_its_certificate() {
    let Secure { site, shop, other, .. } = site();
    for (name, wanted) in [
        ("shop.example", &shop),
        ("SHOP.example", &shop),
        ("a.other.example", &other),
        ("a.b.other.example", &shop),
        ("unknown.example", &shop),
    ] {
        assert_eq!(serial(&site, name), wanted.serial(), "{name}");
    }
    let text = connect(&site, "-noservername -tls1_2 -alpn http/1.1");
    assert!(text.contains("ALPN protocol: http/1.1"), "{text}");
    assert!(text.contains("Protocol  : TLSv1.2"), "{text}");
    for old in ["-tls1", "-tls1_1"] {
        let text = connect(&site, &format!("{old} -cipher DEFAULT@SECLEVEL=0"));
        assert!(!text.contains("BEGIN CERTIFICATE"), "{old}: {text}");
    }
}

/// A connection by openssl that stays, one request after the other.
struct Kept {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Kept {
    fn open(site: &Site) -> Self {
        let mut command = s_client(site, "-quiet -servername shop.example");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl runs");
        let output = BufReader::new(child.stdout.take().expect("output"));
        Self { child, output }
    }

    fn ask(&mut self) -> String {
        let input = self.child.stdin.as_mut().expect("input");
        input.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").expect("it runs");
        let mut length = 0;
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("an answer");
            assert!(read > 0, "the connection was dropped");
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.output.read_exact(&mut body).expect("a body");
        String::from_utf8_lossy(&body).into_owned()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // It may have ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_new_certificate_is_shown_and_a_bad_one_is_not() {
    let Secure { site, authority, shop, .. } = site();
    let before = shop.serial();
    assert_eq!(serial(&site, "shop.example"), before);
    let mut kept = Kept::open(&site);
    assert!(kept.ask().starts_with("web-"));

    // A file that is none: the old certificate stays, and a reload says why not.
    let good = [&shop.chain, &shop.key].map(|path| fs::read(path).expect("a file"));
    fs::write(&shop.chain, "none").expect("written");
    let output = site.holdfast.try_verb("reload");
    tests::agent::check_refused(&output, 2, &["shop.pem"]);
    assert_eq!(serial(&site, "shop.example"), before);
    // A key of another certificate, likewise.
    let next = authority.sign("next", "shop.example");
    fs::copy(&next.chain, &shop.chain).expect("copied");
    assert!(!site.holdfast.try_verb("reload").status.success());
    assert_eq!(serial(&site, "shop.example"), before);
    fs::write(&shop.chain, &good[0]).expect("written");

    // A new pair is found without being told of it, as ACME clients leave it.
    fs::copy(&next.key, &shop.key).expect("copied");
    fs::copy(&next.chain, &shop.chain).expect("copied");
    wait::until("the new certificate is shown", PATIENCE, || {
        (serial(&site, "shop.example") == next.serial()).then_some(())
    });
    // Nobody was cut off.
    assert!(kept.ask().starts_with("web-"));
}

#[test]
fn sessions_are_taken_up_again() {
    let Secure { site, .. } = site();
    for version in ["-tls1_2", "-tls1_3"] {
        // A ticket of TLS 1.3 comes with the first answer.
        let mut command = s_client(&site, &format!("{version} -sess_out session -ign_eof"));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl runs");
        let mut input = child.stdin.take().expect("input");
        let request = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
        input.write_all(request).expect("it runs");
        assert!(child.wait().expect("it ends").success());
        // Every worker takes it, also the one of the next process.
        for round in 0..6 {
            let text = connect(&site, &format!("{version} -sess_in session"));
            assert!(text.contains("Reused, TLSv1."), "{version}, {round}: {text}");
        }
        fs::remove_file(site.lab.folder().join("session")).expect("there");
    }
}

#[test]
fn plain_requests_are_sent_to_https() {
    let Secure { site, .. } = site();
    let vip = site.lab.vip(Family::V4);
    for (request, wanted) in [
        ("GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\n\r\n", "https://shop.example/a?b=c"),
        (
            "POST / HTTP/1.1\r\nHost: shop.example:80\r\nContent-Length: 0\r\n\r\n",
            "https://shop.example/",
        ),
        ("GET //evil.example HTTP/1.1\r\nHost: a\r\n\r\n", "https://a//evil.example"),
    ] {
        let mut raw = shop::raw(&site, 0);
        raw.send(request);
        let answer = raw.answer();
        assert_eq!((answer.status, answer.field("location")), (308, Some(wanted)), "{answer:?}");
    }
    let ca = site.lab.folder().join("ca/ca.pem").display().to_string();
    let resolve = [format!("shop.example:80:{vip}"), format!("shop.example:443:{vip}")];
    let arguments =
        ["--location", "--cacert", &ca, "--resolve", &resolve[0], "--resolve", &resolve[1]];
    let all = arguments.into_iter().chain(["http://shop.example/there"]);
    let answer = curl::get(&site.lab.clients, shop::client(&site.lab, 0), all);
    assert_eq!((answer.answer.status, answer.before.len()), (200, 1), "{answer:?}");
    let cookie = answer.answer.field("set-cookie").expect("a cookie");
    assert!(cookie.contains("; Secure"), "{cookie}");
}

#[test]
fn what_is_no_tls_is_dropped() {
    let Secure { site, .. } = site();
    let at = SocketAddr::new(site.lab.vip(Family::V4), 443);
    let mut raw = tests::http::raw::Raw::open(&site.lab.clients, shop::client(&site.lab, 0), at);
    raw.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    let mut rest = Vec::new();
    raw.stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    // An alert, and the end; a reset is an end as well.
    let _read = raw.stream.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&rest));
    assert!(connect(&site, "").contains("BEGIN CERTIFICATE"));
}
