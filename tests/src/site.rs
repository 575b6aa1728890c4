//! A lab with nginx on its backends, and a configuration for it, written bit by bit.

use std::{fmt::Write as _, net::SocketAddr};

use crate::{
    agent::{Agent, Holdfast},
    servers::Nginx,
    topology::{Family, Lab, Shape},
};

/// The port that nginx listens on, besides 80 and 443.
pub const PORT: u16 = 8080;

/// Everything together. The fields are dropped in this order.
#[derive(Debug)]
pub struct Site {
    /// The agent, while it runs.
    pub agent: Option<Agent>,
    /// nginx on each backend.
    pub servers: Vec<Nginx>,
    /// The command line.
    pub holdfast: Holdfast,
    /// The network.
    pub lab: Lab,
}

impl Site {
    /// Starts nginx on every backend, and the agent with this configuration, until every backend
    /// is in service.
    ///
    /// # Panics
    ///
    /// When a step fails.
    #[must_use]
    #[track_caller]
    pub fn start(lab: Lab, configuration: &Configuration) -> Self {
        let servers = (0..lab.backends.len())
            .map(|index| Nginx::start(&lab, index, &backend_name(index), &[PORT, 80, 443]))
            .collect();
        let holdfast = Holdfast::new(&lab, &configuration.text);
        let agent = Some(holdfast.start_ready());
        Self { agent, servers, holdfast, lab }
    }

    /// The running agent.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn agent(&self) -> &Agent {
        self.agent.as_ref().expect("the agent runs")
    }
}

/// What backend `index` is called.
#[must_use]
pub fn backend_name(index: usize) -> String {
    format!("web-{}", index + 1)
}

/// A configuration in the making.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The file.
    pub text: String,
}

impl Configuration {
    /// `[agent]` for a lab with these further lines in it, and tables that are small enough for a
    /// test's machine.
    #[must_use]
    pub fn new(lab: &Lab, agent_lines: &str) -> Self {
        let agent = lab.agent_table();
        let limits = "[limits]\npins = 10_000\nflows = 50_000\nbackends = 64\npools = 8\n";
        Self { text: format!("{agent}{agent_lines}\n{limits}") }
    }

    /// Adds pool `web` with every backend of the lab. Its health check is a quick one.
    #[must_use]
    pub fn pool(mut self, lab: &Lab, family: Family, lines: &str) -> Self {
        let untranslated = lines.contains("dsr") || lines.contains("tunnel");
        let health = format!(
            "{{ kind = \"tcp\", port = {PORT}, interval = \"250ms\", timeout = \"250ms\", \
             rise = 1, fall = 3 }}"
        );
        writeln!(self.text, "[[pool]]\nname = \"web\"\nhealth = {health}\n{lines}")
            .expect("memory");
        for index in 0..lab.backends.len() {
            let address = lab.backend(family, index);
            // A port cannot be translated where the backend answers by itself.
            let address = if untranslated {
                address.to_string()
            } else {
                SocketAddr::new(address, PORT).to_string()
            };
            let name = backend_name(index);
            writeln!(self.text, "[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"")
                .expect("memory");
        }
        self
    }

    /// Adds a listener for pool `web`.
    #[must_use]
    pub fn listener(self, name: &str, protocol: &str, address: SocketAddr, lines: &str) -> Self {
        let text = format!(
            "{}[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\n\
             address = \"{address}\"\npool = \"web\"\n{lines}\n",
            self.text
        );
        Self { text }
    }
}

/// The usual one: web servers in a routed network of their own, a listener `web` on port 80 with
/// pins of five minutes, `nat`.
#[must_use]
#[track_caller]
pub fn usual(clients: u8, backends: u8) -> Site {
    let lab = Lab::new(Shape::Routed, clients, backends);
    let configuration = usual_configuration(&lab);
    Site::start(lab, &configuration)
}

/// The configuration of [`usual`].
#[must_use]
pub fn usual_configuration(lab: &Lab) -> Configuration {
    let vip = SocketAddr::new(lab.vip(Family::V4), 80);
    Configuration::new(lab, "").pool(lab, Family::V4, "").listener(
        "web",
        "tcp",
        vip,
        "persistence = { timeout = \"5m\" }",
    )
}
