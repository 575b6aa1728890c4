//! What backends speak: HTTP/2, and TLS with a certificate that must be theirs.

use tests::{
    http::{
        certificates::Authority,
        shop::{self, INSERT, get, nginx_server},
    },
    servers::Nginx,
    site::{Configuration, PORT, Site, backend_name},
    topology::{Family, Lab, Shape},
};

/// Backends that listen as nginx has it written, in a pool with these lines.
fn site(listen: &str, more: &str, pool: impl Fn(&Lab, &Authority) -> String) -> Site {
    let lab = Lab::new(Shape::Routed, 1, 2);
    let authority = Authority::new(&lab.folder().join("ca"));
    let servers = (0..2)
        .map(|index| {
            let name = backend_name(index);
            let certificate = authority.sign(&name, "backend.example");
            let (chain, key) = (certificate.chain.display(), certificate.key.display());
            let listen = format!(
                "listen {PORT} {listen};\nssl_certificate {chain}; ssl_certificate_key {key};\n{more}"
            );
            Nginx::serving(&lab, index, &name, PORT, &nginx_server(&name, &listen))
        })
        .collect();
    let lines = pool(&lab, &authority);
    let configuration = Configuration::new(&lab, "").pool(&lab, Family::V4, &lines).listener(
        "shop",
        "http",
        shop::vip(&lab),
        INSERT,
    );
    shop::serve(lab, servers, &configuration)
}

/// Lines of a pool, for a lab and who signs its certificates.
type PoolLines = fn(&Lab, &Authority) -> String;

/// Sessions hold with clients of either version.
#[track_caller]
fn check_sessions(site: &Site) {
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let first = get(site, 0, "/", &[version]).answer;
        assert_eq!(first.status, 200, "{first:?}{}", site.holdfast.last_words());
        let cookie = first.cookies()[0].to_owned();
        for _ in 0..5 {
            let answer = get(site, 0, "/path", &[version, "--cookie", &cookie]).answer;
            let server = first.server();
            assert_eq!(answer.text(), format!("{server} /path []\n"), "{answer:?}");
            assert_eq!(answer.field("x-session"), Some("hit"), "{answer:?}");
        }
        let missing = get(site, 0, "/status/404", &[version]).answer;
        assert_eq!((missing.status, missing.cookies().len()), (404, 0), "{missing:?}");
        let body = get(site, 0, "/post", &[version, "--data", "a=b"]).answer;
        assert_eq!(body.status, 200, "{body:?}");
    }
}

fn tls(name: &str, ca: &std::path::Path, version: &str) -> String {
    let ca = ca.display();
    format!("http = {{ version = \"{version}\", tls = {{ name = \"{name}\", ca = \"{ca}\" }} }}")
}

#[test]
fn http_2_to_backends() {
    check_sessions(&site("http2", "", |_, _| "http = { version = \"2\" }".to_owned()));
}

#[test]
fn tls_to_backends() {
    let pool = |_: &Lab, ca: &Authority| tls("backend.example", &ca.certificate, "1.1");
    check_sessions(&site("ssl", "", pool));
}

#[test]
fn http_2_over_tls_to_backends() {
    let pool = |_: &Lab, ca: &Authority| tls("backend.example", &ca.certificate, "2");
    check_sessions(&site("ssl http2", "", pool));
}

#[test]
fn a_backend_with_another_name_or_signer_is_not_spoken_to() {
    let other_name = |_: &Lab, ca: &Authority| tls("other.example", &ca.certificate, "1.1");
    let other_signer = |lab: &Lab, _: &Authority| {
        let other = Authority::new(&lab.folder().join("other"));
        tls("backend.example", &other.certificate, "1.1")
    };
    let system =
        |_: &Lab, _: &Authority| "http = { tls = { name = \"backend.example\" } }".to_owned();
    let cases: [PoolLines; 3] = [other_name, other_signer, system];
    for pool in cases {
        let site = site("ssl", "", pool);
        let answer = get(&site, 0, "/", &[]).answer;
        assert!([502, 503].contains(&answer.status), "{answer:?}");
        assert_eq!(answer.cookies().len(), 0);
        assert!(!answer.text().contains("example"), "{answer:?}");
    }
}

#[test]
fn a_backend_that_is_not_verified_may_be_anybody() {
    let pool = |_: &Lab, _: &Authority| "http = { tls = { verify = false } }".to_owned();
    check_sessions(&site("ssl", "", pool));
}
