//! The machine's network: interfaces and the programs on them, its addresses, its neighbours.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    thread,
};

use nix::net::if_::if_nameindex;

use super::{Problem, unknown};
use crate::{
    config::Config,
    loader,
    net::{
        self, links,
        present::{self, There},
        routes,
    },
};

/// What the kernel says of it.
#[derive(Debug, Default)]
pub(super) struct Network {
    addresses: There,
    /// Those of `nat_sources` that are this machine's by a route alone.
    by_route: BTreeSet<IpAddr>,
    /// Ids of XDP programs, by interface.
    programs: BTreeMap<String, Vec<u32>>,
}

/// Asks the kernel. `own`: listener addresses that the agent has put on interfaces.
pub(super) fn ask(config: &Config, own: &[IpAddr]) -> Result<Network, Problem> {
    let failed = |error: &dyn std::error::Error| unknown("the state of the network", error);
    // A thread of its own, since the caller may be inside a runtime already.
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| failed(&error))?;
            runtime.block_on(answers(config, own)).map_err(|error| failed(&error))
        });
        match asking.join() {
            Ok(answers) => answers,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

async fn answers(config: &Config, own: &[IpAddr]) -> Result<Network, net::Error> {
    let handle = net::connect()?;
    let addresses = present::there(&handle, own).await?;
    let mut by_route = BTreeSet::new();
    for source in config.pools.iter().flat_map(|pool| &pool.nat_sources) {
        let on_interface = addresses.others.contains(source) || addresses.own.contains(source);
        if !on_interface && routes::is_local(&handle, *source).await? {
            by_route.insert(*source);
        }
    }
    let mut programs = BTreeMap::new();
    for name in &config.agent.interfaces {
        // One that is not there has none.
        if let Ok(ids) = links::xdp_programs(&handle, name).await {
            programs.insert(name.clone(), ids);
        }
    }
    Ok(Network { addresses, by_route, programs })
}

/// Names of all interfaces.
pub(super) fn interfaces() -> Result<Vec<String>, nix::Error> {
    let all = if_nameindex()?;
    Ok(all.iter().map(|one| one.name().to_string_lossy().into_owned()).collect())
}

/// Those of `wanted` that are not `present`.
pub(super) fn missing_interfaces(wanted: &[String], present: &[String]) -> Vec<Problem> {
    let missing = wanted.iter().enumerate().filter(|(_, name)| !present.contains(name));
    let others = present.iter().filter(|name| *name != "lo");
    missing
        .map(|(index, name)| Problem::NoInterface {
            index,
            name: name.clone(),
            present: others.clone().cloned().collect(),
        })
        .collect()
}

impl Network {
    /// Interfaces whose program is not this instance's.
    pub(super) fn foreign_programs(&self, config: &Config) -> Vec<Problem> {
        let agent = &config.agent;
        let linked = |name: &str| loader::linked_program(&agent.bpffs, name);
        foreign(&agent.interfaces, &self.programs, linked)
    }

    /// Backends that are this machine, and `nat_sources` that are not.
    pub(super) fn addresses(&self, config: &Config) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (place, pool) in config.pools.iter().enumerate() {
            for (index, &address) in pool.nat_sources.iter().enumerate() {
                if !self.addresses.others.contains(&address) && !self.by_route.contains(&address) {
                    let (at, name) = ((place, index), pool.name.clone());
                    problems.push(Problem::NoSource { at, pool: name, address });
                }
            }
            // Where only layer 7 sends to, this machine's own servers may be backends too.
            let packets = !config.serves_requests_only(place);
            for (index, backend) in pool.backends.iter().enumerate() {
                if packets && self.addresses.others.contains(&backend.address) {
                    problems.push(Problem::OwnBackend {
                        at: (place, index),
                        pool: pool.name.clone(),
                        backend: backend.name.clone(),
                        address: backend.address,
                    });
                }
            }
        }
        problems
    }

    /// What is worth a word about the number of neighbours.
    pub(super) fn neighbours(&self, config: &Config) -> Vec<String> {
        let backends = config.pools.iter().flat_map(|pool| &pool.backends);
        let near: BTreeSet<IpAddr> = backends
            .map(|backend| backend.address)
            .filter(|&address| self.addresses.on_link(address))
            .collect();
        let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) = near.iter().partition(|one| one.is_ipv4());
        [("ipv4", v4.len()), ("ipv6", v6.len())]
            .into_iter()
            .filter_map(|(family, count)| {
                let setting = format!("/proc/sys/net/{family}/neigh/default/gc_thresh3");
                // Other network namespaces than the first one do not see it.
                let most = fs::read_to_string(setting).ok()?.trim().parse().ok()?;
                too_many_neighbours(family, count, most)
            })
            .collect()
    }
}

/// `programs`: of each interface; `linked`: the program of the instance's own link there.
fn foreign(
    interfaces: &[String],
    programs: &BTreeMap<String, Vec<u32>>,
    linked: impl Fn(&str) -> Option<u32>,
) -> Vec<Problem> {
    let is_foreign = |name: &str| {
        let there = programs.get(name).map(Vec::as_slice).unwrap_or_default();
        !there.is_empty() && !linked(name).is_some_and(|own| there.contains(&own))
    };
    let found = interfaces.iter().enumerate().filter(|(_, name)| is_foreign(name));
    found.map(|(index, name)| Problem::ForeignProgram { index, name: name.clone() }).collect()
}

/// `most`: what the kernel keeps; `backends`: how many there are without a router before them.
fn too_many_neighbours(family: &str, backends: usize, most: usize) -> Option<String> {
    (backends > most).then(|| {
        let enough = (2 * backends).next_power_of_two();
        format!(
            "{backends} backends are in this machine's own networks, but the kernel keeps no more \
             than {most} neighbours, so that some will not be reached; raise that with `sysctl -w \
             net.{family}.neigh.default.gc_thresh3={enough}`"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    fn ips(list: &[&str]) -> BTreeSet<IpAddr> {
        list.iter().map(|text| text.parse().expect("address")).collect()
    }

    fn texts(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn interfaces_by_name() {
        let present = names(&["lo", "eth0", "eth1"]);
        assert_eq!(missing_interfaces(&names(&["eth1", "eth0"]), &present), []);
        let problems = missing_interfaces(&names(&["eth0", "eth9"]), &present);
        assert_eq!(
            texts(&problems),
            ["agent.interfaces: there is no interface `eth9`; this machine has eth0, eth1"]
        );
        assert!(interfaces().expect("a list").contains(&"lo".to_owned()));
    }

    #[test]
    fn programs_of_others() {
        let check = |there: &[(&str, &[u32])], linked: &[(&str, u32)], want: &[usize]| {
            let programs = there.iter().map(|(name, ids)| ((*name).to_owned(), ids.to_vec()));
            let linked = |name: &str| linked.iter().find(|(one, _)| *one == name).map(|one| one.1);
            let problems = foreign(&names(&["eth0", "eth1"]), &programs.collect(), linked);
            let problem =
                |&index: &usize| Problem::ForeignProgram { index, name: format!("eth{index}") };
            assert_eq!(problems, want.iter().map(problem).collect::<Vec<_>>(), "{there:?}");
        };
        check(&[], &[], &[]);
        check(&[("eth0", &[]), ("eth1", &[])], &[("eth0", 7)], &[]);
        check(&[("eth0", &[7]), ("eth1", &[8])], &[("eth0", 7), ("eth1", 8)], &[]);
        check(&[("eth0", &[7]), ("eth1", &[8])], &[("eth0", 7)], &[1]);
        // Ours led to an interface that has gone; the one of that name has another program.
        check(&[("eth0", &[9])], &[("eth0", 7)], &[0]);
        check(&[("eth0", &[9]), ("eth1", &[9])], &[], &[0, 1]);
    }

    #[test]
    fn addresses_of_this_machine() {
        const CONFIG: &str = r#"
[agent]
interfaces = ["eth0"]
[[pool]]
name = "web"
nat_sources = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]
backend = [{ name = "a", address = "10.0.0.8:80" }, { name = "b", address = "10.0.0.9:80" }]
[[pool]]
name = "direct"
forward = "dsr"
backend = [{ name = "c", address = "10.0.0.7" }, { name = "d", address = "10.0.0.9" }]
[[listener]]
name = "site"
protocol = "tcp"
address = "203.0.113.1:80"
pool = "web"
"#;
        let config = crate::config::parse(CONFIG, Path::new("t.toml")).expect("configuration");
        let mut addresses = There::default();
        addresses.others = ips(&["10.0.0.1", "10.0.0.9"]);
        // Listeners of before; they go.
        addresses.own = ips(&["10.0.0.7", "10.0.0.4"]);
        let network = Network { addresses, by_route: ips(&["10.0.0.2"]), ..Network::default() };
        let source = |source: &str| {
            format!(
                "pool \"web\": nat_sources = \"{source}\": this machine does not have that address; \
                 allowed: an address of its interfaces"
            )
        };
        let backend = |pool: &str, name: &str, address: &str| {
            format!(
                "pool \"{pool}\": backend \"{name}\": address {address} is this machine's own; \
                 allowed: an address of another machine"
            )
        };
        assert_eq!(
            texts(&network.addresses(&config)),
            [
                source("10.0.0.3"),
                source("10.0.0.4"),
                backend("web", "b", "10.0.0.9"),
                backend("direct", "d", "10.0.0.9"),
            ]
        );
    }

    #[test]
    fn neighbours() {
        assert_eq!(too_many_neighbours("ipv4", 1024, 1024), None);
        let text = too_many_neighbours("ipv6", 1025, 1024).expect("too many");
        assert!(text.starts_with("1025 backends are in this machine's own networks"), "{text}");
        assert!(text.ends_with("`sysctl -w net.ipv6.neigh.default.gc_thresh3=4096`"), "{text}");
    }

    #[test]
    fn this_machine() {
        const CONFIG: &str = "[agent]\ninterfaces = [\"lo\"]\n[[pool]]\nname = \"p\"\nnat_sources = \
                              [\"192.0.2.250\"]\nbackend = [{ name = \"b\", address = \
                              \"192.0.2.251\" }]\n[[listener]]\nname = \"l\"\nprotocol = \"tcp\"\n\
                              address = \"203.0.113.1:80\"\npool = \"p\"\n";
        let config = crate::config::parse(CONFIG, Path::new("t.toml")).expect("configuration");
        let network = ask(&config, &[]).expect("answers");
        assert!(network.addresses.others.contains(&IpAddr::from([127, 0, 0, 1])));
        assert!(network.addresses.on_link(IpAddr::from([127, 9, 9, 9])));
        assert_eq!(network.programs.get("lo"), Some(&Vec::new()));
        assert_eq!(network.addresses(&config).len(), 1, "a source that nobody has");
        assert_eq!(network.foreign_programs(&config), []);
        assert_eq!(network.neighbours(&config), [""; 0]);
    }
}
