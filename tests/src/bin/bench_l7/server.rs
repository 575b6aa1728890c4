//! A server's process, in the namespace of the balancer.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tests::{cleanup, topology::Lab};

/// How long one has to end when it is told to.
const GRACE: Duration = Duration::from_secs(5);

/// It runs on the core of the thread that starts it; dropping it ends it.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts it; what it says goes to a file in the lab's folder.
    pub(crate) fn start(lab: &Lab, name: &str, program: &str, arguments: &[&str]) -> Self {
        let log = lab.folder().join(name).with_extension("log");
        let log = File::create(&log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        let mut command = lab.balancer.command(program);
        command.args(arguments).current_dir(lab.folder()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a handle")).stderr(log);
        Self { child: spawn(command) }
    }

    /// Starts nginx with this configuration, the part within `http`.
    pub(crate) fn nginx(lab: &Lab, name: &str, http: &str) -> Self {
        let folder = lab.folder().join(name);
        let made = std::fs::create_dir_all(&folder);
        made.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let configuration = lab.write(format!("{name}/nginx.conf"), &nginx_conf(http));
        let error_log = folder.join("error.log");
        let [folder, configuration, error_log] =
            [&folder, &configuration, &error_log].map(|path| text(path));
        Self::start(lab, name, "nginx", &["-p", folder, "-c", configuration, "-e", error_log])
    }

    /// The first of its processes.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

fn spawn(mut command: Command) -> Child {
    // Ctrl-C is for this program, which then takes down all.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let _gate = cleanup::gate();
    command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of a lab are text")
}

/// Temporary files are in the folder of this nginx, not of the system's.
fn nginx_conf(http: &str) -> String {
    format!(
        "daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid nginx.pid;
error_log error.log;
events {{ worker_connections 10000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
{http}}}
"
    )
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        // It may have ended by itself. nginx ends its worker only when it is asked to.
        kill(pid, Signal::SIGTERM).ok();
        let start = Instant::now();
        while start.elapsed() < GRACE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
