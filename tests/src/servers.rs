//! What runs on backends: nginx, and a UDP echo.

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{cleanup, netns::Namespace, topology::Lab, wait};

/// What `/large` has.
pub const LARGE: usize = 2 << 20;

/// A real web server. It answers every request with its name, a space and the request's target;
/// but `/large` with [`LARGE`] bytes, and `/sink` only after it has all of the request's body.
#[derive(Debug)]
pub struct Nginx {
    namespace: Namespace,
    prefix: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Nginx {
    /// Starts one on backend `index` of a lab, on these ports of all its addresses.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    #[must_use]
    pub fn start(lab: &Lab, index: usize, name: &str, ports: &[u16]) -> Self {
        let prefix = prefix(lab, name);
        let mut listen = String::new();
        for port in ports {
            write!(listen, "listen {port} backlog=1024; listen [::]:{port} backlog=1024;")
                .expect("memory");
        }
        let port = *ports.first().expect("a port");
        let large = prefix.join("large");
        fs::write(&large, vec![b'x'; LARGE]).expect("a large file");
        let large = large.display();
        let servers = format!(
            "server {{
        {listen}
        location / {{ return 200 \"{name} $request_uri\\n\"; }}
        location = /large {{ alias {large}; }}
        location = /sink {{
            client_max_body_size 64m;
            proxy_pass_request_body off; proxy_set_header Content-Length \"\";
            proxy_pass http://127.0.0.1:{port}/;
        }}
    }}
"
        );
        Self::serving(lab, index, name, port, &servers)
    }

    /// Starts one on backend `index` of a lab, with servers as nginx has them written; one of them
    /// listens on `port` of the loopback.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    #[must_use]
    pub fn serving(lab: &Lab, index: usize, name: &str, port: u16, servers: &str) -> Self {
        let prefix = prefix(lab, name);
        let configuration = format!(
            "daemon off; master_process off; pid nginx.pid; error_log error.log;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 10000000;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    {servers}
}}
"
        );
        fs::write(prefix.join("nginx.conf"), configuration).expect("nginx.conf");
        let namespace = lab.backends[index].clone();
        let mut server = Self { namespace, prefix, port, child: None };
        server.start_again();
        server
    }

    /// Starts it after a `stop`.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn start_again(&mut self) {
        let mut command = self.namespace.command("nginx");
        command.arg("-p").arg(&self.prefix).arg("-c").arg("nginx.conf");
        // Before it has read its configuration it would write to the system's log.
        command.arg("-e").arg(self.prefix.join("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        {
            let _gate = cleanup::gate();
            self.child = Some(command.spawn().expect("nginx is installed"));
        }
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        wait::until("nginx listens", Duration::from_secs(10), || {
            self.namespace.run(|| TcpStream::connect(address).ok()).map(drop)
        });
    }

    /// Kills it: its connections are reset, new ones refused.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Leaves it running when this is dropped.
    pub fn keep(mut self) {
        self.child = None;
    }
}

/// Its folder.
fn prefix(lab: &Lab, name: &str) -> PathBuf {
    let prefix = lab.folder().join(name);
    fs::create_dir_all(&prefix).unwrap_or_else(|e| panic!("{}: {e}", prefix.display()));
    prefix
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A UDP server that answers each datagram with its name, a space and the datagram.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Echo {
    /// Starts one in a namespace, on each of these addresses.
    ///
    /// # Panics
    ///
    /// When an address cannot be had.
    #[must_use]
    pub fn start(namespace: &Namespace, name: &str, addresses: &[SocketAddr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let serve = |address: &SocketAddr| {
            let socket = namespace.run(|| UdpSocket::bind(address));
            let socket = socket.unwrap_or_else(|e| panic!("bind {address}: {e}"));
            let (stop, name) = (Arc::clone(&stop), name.to_owned());
            thread::spawn(move || echo(&socket, &name, &stop))
        };
        let threads = addresses.iter().map(serve).collect();
        Self { stop, threads }
    }
}

fn echo(socket: &UdpSocket, name: &str, stop: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let mut bytes = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, client)) = socket.recv_from(&mut bytes) else { continue };
        let mut answer = format!("{name} ").into_bytes();
        answer.extend_from_slice(&bytes[..length]);
        // An error of an earlier answer (the client is gone) may be told here.
        socket.send_to(&answer, client).ok();
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there has been printed; the test finds its answers missing.
            thread.join().ok();
        }
    }
}
