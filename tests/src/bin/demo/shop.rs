//! What stands around layer 7 in the demo: the backends' pages, and a client with curl and jars.
//!
//! Owns the names of the two sites. What is asked is the story's.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tests::{cleanup, netns::Namespace, topology::Lab, wait};

use crate::view;

/// Both sites' address.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);

/// Makes the certificate of `shop.example`.
const CERTIFICATE: &str = "\
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \\
      -subj /CN=shop.example -addext subjectAltName=DNS:shop.example \\
      -keyout shop.key -out shop.pem";

/// nginx's servers of a backend. The default one answers layer 4 and health checks; the shop's
/// pages show the backend's own address; the API keeps a session of its own, in a cookie, and shows
/// that too.
pub(crate) fn pages(name: &str, port: u16) -> String {
    format!(
        "server {{
        listen {port} backlog=1024 default_server;
        location / {{ return 200 \"{name} $request_uri\\n\"; }}
    }}
    server {{
        listen {port};
        server_name shop.example;
        absolute_redirect off;
        add_header X-Backend $server_addr always;
        location / {{ return 200 \"$server_addr\\n\"; }}
        location = /login {{ return 302 /account; }}
        location = /missing {{ return 404 \"$server_addr\\n\"; }}
    }}
    server {{
        listen 8081 backlog=1024;
        set $own $cookie_jsessionid;
        set $fresh \"\";
        if ($own = \"\") {{
            set $own $request_id;
            set $fresh \"JSESSIONID=$own; Path=/; HttpOnly\";
        }}
        add_header Set-Cookie $fresh;
        location / {{ return 200 \"$server_addr $own\\n\"; }}
    }}"
    )
}

/// Who asks the two sites: a shell in the clients' network, in a folder of its own.
pub(crate) struct Client {
    namespace: Namespace,
    folder: PathBuf,
}

impl Client {
    /// Makes its folder, and tells curl where the sites are and whose certificates to take.
    pub(crate) fn new(lab: &Lab) -> Self {
        let folder = lab.folder().join("client");
        fs::create_dir_all(&folder).expect("the client's folder");
        let mut lines = vec!["silent".to_owned(), "max-time = 5".to_owned()];
        lines.push("noproxy = \"*\"".to_owned());
        for site in ["shop.example:80", "shop.example:443", "api.example:80"] {
            lines.push(format!("resolve = \"{site}:{ADDRESS}\""));
        }
        lines.push(format!("cacert = \"{}\"", lab.folder().join("shop.pem").display()));
        fs::write(folder.join(".curlrc"), lines.join("\n") + "\n").expect(".curlrc");
        Self { namespace: lab.clients.clone(), folder }
    }

    /// Waits until both listeners take connections.
    pub(crate) fn wait_for_sites(&self) {
        for port in [80, 443] {
            let at = SocketAddr::from((ADDRESS, port));
            wait::until(&format!("{at} answers"), Duration::from_secs(10), || {
                let connect = || TcpStream::connect_timeout(&at, Duration::from_secs(1)).ok();
                self.namespace.run(connect).map(drop)
            });
        }
    }

    /// Shows a command line of the shell, runs it, and returns the lines that it prints.
    pub(crate) fn run(&self, line: &str) -> Vec<String> {
        view::command(line);
        shell(&self.namespace, &self.folder, line)
    }
}

/// Makes the certificate in the lab's folder.
pub(crate) fn make_certificate(lab: &Lab) {
    view::command(CERTIFICATE);
    let _nothing = shell(&lab.clients, &lab.folder(), CERTIFICATE);
}

fn shell(namespace: &Namespace, folder: &Path, line: &str) -> Vec<String> {
    let mut command = namespace.command("sh");
    command.args(["-c", line]).current_dir(folder).env("CURL_HOME", folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = {
        let _gate = cleanup::gate();
        command.spawn().expect("a shell runs")
    };
    let output = child.wait_with_output().expect("the shell ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {}\n{error}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// How often each line is there.
pub(crate) fn tally(lines: &[String]) -> BTreeMap<&str, usize> {
    let mut tally = BTreeMap::new();
    for line in lines {
        *tally.entry(line.as_str()).or_default() += 1;
    }
    tally
}

/// The values of a field in answers with their heads, as `curl -i` prints them.
pub(crate) fn fields<'l>(lines: &'l [String], name: &str) -> Vec<&'l str> {
    let pairs = lines.iter().filter_map(|line| line.split_once(": "));
    pairs.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// Those lines of answers with their heads that the story is about.
pub(crate) fn told(lines: &[String]) -> String {
    let wanted = |line: &&String| {
        let name = line.split(": ").next().unwrap_or_default().to_ascii_lowercase();
        let fields = ["set-cookie", "location", "x-backend"];
        line.starts_with("HTTP/") || fields.contains(&name.as_str()) || line.starts_with("10.")
    };
    lines.iter().filter(wanted).flat_map(|line| [line.as_ref(), "\n"]).collect()
}
