//! What only the machine can refuse: `check`, `run` and `reload` say the same about it, with its
//! place in the file; and what a refused start leaves behind.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path};

use tests::{
    agent::{Holdfast, check_refused, said},
    clients::curl,
    site::{Site, usual, usual_configuration},
    topology::{Family, Lab, Shape},
};

/// `text` with `from` replaced by `to`, and the place of `at` in that: `line:column`.
#[track_caller]
fn changed(text: &str, from: &str, to: &str, at: &str) -> (String, String) {
    assert!(text.contains(from), "{from} is not in: {text}");
    let text = text.replacen(from, to, 1);
    let before = &text[..text.find(at).unwrap_or_else(|| panic!("{at} is not in: {text}"))];
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
    (text, format!("holdfast.toml:{line}:{column}: "))
}

/// Checks that `verbs` refuse this file, at this place and with these words.
#[track_caller]
fn check(holdfast: &Holdfast, verbs: &[&str], text: &str, place: &str, told: &str) {
    fs::write(&holdfast.config, text).expect("the configuration");
    for verb in verbs {
        let output = match *verb {
            "reload" => holdfast.try_verb(verb),
            verb => holdfast.try_with_config(verb),
        };
        check_refused(&output, 2, &[place, told]);
    }
}

/// The names in a directory; `None`: it is not there.
fn names(directory: &Path) -> Option<BTreeSet<String>> {
    let entries = fs::read_dir(directory).ok()?;
    Some(
        entries
            .map(|entry| entry.expect("an entry").file_name().into_string())
            .map(|name| name.expect("UTF-8"))
            .collect(),
    )
}

#[test]
fn paths_that_lead_nowhere() {
    let lab = Lab::new(Shape::Routed, 1, 1);
    let good = usual_configuration(&lab).text;
    let holdfast = Holdfast::new(&lab, &good);
    let folder = lab.folder();
    let file = lab.write("a-file", "x");
    let own = |name: &str| format!("\"{}\"", folder.join(name).display());
    let path = |path: &Path| format!("\"{}\"", path.display());
    let bpf = lab.instance();
    let dotted = bpf.with_file_name("in.stance");
    for (from, to, told) in [
        (own("state"), path(&file), "a-file is not a directory"),
        (own("state"), path(&file.join("state")), "a-file is not a directory"),
        (own("state"), path(&bpf.with_file_name("state")), "holds no files"),
        (own("state"), "\"/proc/holdfast\"".to_owned(), "holds no files"),
        (own("admin.sock"), path(&file), "is no socket"),
        (own("admin.sock"), path(&folder), "is no socket"),
        (own("admin.sock"), path(&file.join("admin.sock")), "a-file is not a directory"),
        (path(&bpf), path(&dotted), "no name with a dot"),
    ] {
        let (bad, place) = changed(&good, &from, &to, &to);
        check(&holdfast, &["check", "run"], &bad, &place, told);
    }
    assert_eq!(names(&bpf), None, "something was made");

    fs::write(folder.join("state/state.json"), "{").expect("a state");
    let (_, place) = changed(&good, &own("state"), &own("state"), &own("state"));
    check(&holdfast, &["check", "run"], &good, &place, "state.json is damaged");
}

#[test]
fn without_privileges_the_rest_is_checked() {
    let lab = Lab::new(Shape::Routed, 1, 1);
    let good = usual_configuration(&lab).text;
    let holdfast = Holdfast::new(&lab, &good);
    let verb = |verb: &str| {
        let mut command = lab.balancer.command("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(holdfast.binary());
        command.args([verb, "--config"]).arg(&holdfast.config).env("NO_COLOR", "1");
        command.output().expect("setpriv")
    };
    let (code, text) = said(&verb("check"));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("not looked at, since this process lacks CAP_"), "{text}");
    check_refused(&verb("run"), 2, &["cannot be used here", "no permission"]);
    let (bad, place) = changed(&good, "\"eth1\"", "\"eth7\"", "\"eth7\"");
    fs::write(&holdfast.config, bad).expect("the configuration");
    check_refused(&verb("check"), 2, &[&place, "no interface"]);
    assert_eq!(names(&lab.instance()), None, "something was made");
}

#[test]
fn backends_without_room() {
    let site = usual(1, 1);
    let good = usual_configuration(&site.lab).text;
    // 64 fit.
    let full = |on_down: &str, last: &str| -> String {
        let backend = |n| {
            let name = if n == 163 { last.to_owned() } else { format!("more-{n}") };
            format!("[[pool.backend]]\nname = \"{name}\"\naddress = \"10.0.0.{n}:8080\"\n")
        };
        let more: String = (101..164).map(backend).collect();
        let text = good.replace("[[listener]]", &format!("{more}[[listener]]"));
        text.replacen("[[pool.backend]]", &format!("{on_down}\n[[pool.backend]]"), 1)
    };
    let taken = |text: String| {
        fs::write(&site.holdfast.config, text).expect("the configuration");
        let (code, said) = said(&site.holdfast.try_with_config("check"));
        assert_eq!(code, Some(0), "{said}");
        site.holdfast.verb("reload");
    };
    let keep = "on_down = \"keep\"";
    taken(full(keep, "old"));
    // The old name has its number until its last connection has ended.
    let (renamed, place) =
        changed(&full(keep, "new"), "backends = 64", "backends = 64", "64\npools");
    check(&site.holdfast, &["check", "reload"], &renamed, &place, "`limits.backends` is 64");
    // Where connections are reset nothing is left of it.
    taken(full("", "old"));
    taken(full("", "new"));
    let status = site.holdfast.status();
    assert_eq!(status.backends.len(), 64);
    assert_eq!(status.backends[63].name, "new");
    check_traffic(&site);
}

#[test]
fn addresses_that_cannot_be() {
    let site = usual(1, 1);
    let good = usual_configuration(&site.lab).text;
    let verbs = ["check", "reload"];
    let backend = SocketAddr::new(site.lab.backend(Family::V4, 0), 8080).to_string();
    let own = SocketAddr::new(site.lab.balancer_back(Family::V4), 8080).to_string();
    let told = "pool \"web\": backend \"web-1\": address 10.0.0.1 is this machine's own";
    let (bad, place) = changed(&good, &backend, &own, &format!("\"{own}\""));
    check(&site.holdfast, &verbs, &bad, &place, told);
    let (bad, place) = changed(&good, &format!("\"{backend}\""), "\"10.0.0.1\"", "\"10.0.0.1\"");
    let (bad, _) = changed(&bad, "[[pool.backend]]", "forward=\"dsr\"\n[[pool.backend]]", "dsr");
    let line = place.split(':').nth(1).and_then(|line| line.parse::<u32>().ok()).expect("a line");
    check(&site.holdfast, &verbs, &bad, &format!("holdfast.toml:{}:11: ", line + 1), told);

    let sources = |list: &str| format!("nat_sources = [{list}]\n[[pool.backend]]");
    let two = sources("\"10.0.0.1\", \"10.0.0.77\"");
    let (bad, place) = changed(&good, "[[pool.backend]]", &two, "\"10.0.0.77\"");
    check(&site.holdfast, &verbs, &bad, &place, "this machine does not have that address");
    // The kernel answers for it by a route as well.
    site.lab.balancer.ip("route add local 10.0.0.77/32 dev lo");
    for verb in ["check", "reload"] {
        let output = match verb {
            "reload" => site.holdfast.try_verb(verb),
            verb => site.holdfast.try_with_config(verb),
        };
        let (code, text) = said(&output);
        assert_eq!(code, Some(0), "{verb}: {text}");
    }
    check_traffic(&site);

    // A listener's address stays the agent's own: that of another listener's backend can be there.
    let (better, _) = changed(&good, "203.0.113.10:80", "203.0.113.11:80", "203.0.113.11");
    let (better, _) = changed(
        &better,
        "[[listener]]",
        "[[pool]]\nname = \"b\"\nbackend = [{ name = \"b\", address = \"203.0.113.10\" }]\n\
         [[listener]]",
        "name = \"b\"",
    );
    fs::write(&site.holdfast.config, better).expect("the configuration");
    let (code, text) = said(&site.holdfast.try_verb("reload"));
    assert_eq!(code, Some(0), "{text}");
}

#[track_caller]
fn check_traffic(site: &Site) {
    let vip = SocketAddr::new(site.lab.vip(Family::V4), 80);
    let answers = curl(&site.lab.clients, site.lab.client(Family::V4, 0), vip, 3);
    assert_eq!(answers.values().copied().collect::<Vec<_>>(), [3], "{answers:?}");
}

#[test]
fn ports_of_the_machines_own() {
    let lab = Lab::new(Shape::Routed, 1, 1);
    let good = usual_configuration(&lab).text;
    let holdfast = Holdfast::new(&lab, &good);
    lab.balancer.sysctl("ipv4/ip_local_port_range", "20000 60999");
    let (_, place) = changed(&good, "[[pool]]", "[[pool]]", "[[pool]]");
    check(&holdfast, &["check", "run"], &good, &place, "ip_local_reserved_ports=1024-32767");
    // In pieces, and longer than a line.
    let pieces: Vec<String> = (0..40).map(|n| format!("{}", 1_000 + 2 * n)).collect();
    let reserved = format!("{},2000-25000,25001-40000", pieces.join(","));
    lab.balancer.sysctl("ipv4/ip_local_reserved_ports", &reserved);
    let (code, text) = said(&holdfast.try_with_config("check"));
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn somebody_elses_program() {
    let lab = Lab::new(Shape::Routed, 1, 1);
    let good = usual_configuration(&lab).text;
    let holdfast = Holdfast::new(&lab, &good);
    let (_, place) = changed(&good, "\"eth1\"", "\"eth1\"", "\"eth1\"");
    lab.wake(&lab.balancer, "eth1");
    let told = "eth1: another XDP program is attached";
    check(&holdfast, &["check", "run"], &good, &place, told);
    assert_eq!(names(&lab.instance()), None, "something was made");

    // A running agent that is to take the interface on says so too, and holds the one it has.
    let (one, _) = changed(&good, ", \"eth1\"", "", "[agent]");
    fs::write(&holdfast.config, one).expect("the configuration");
    let agent = holdfast.start();
    check(&holdfast, &["check", "reload"], &good, &place, told);
    let link = lab.instance().with_file_name("eth1").join("link-eth1");
    fs::remove_file(&link).unwrap_or_else(|e| panic!("{}: {e}", link.display()));
    let (code, text) = said(&holdfast.try_verb("reload"));
    assert_eq!(code, Some(0), "{text}");
    drop(agent);
    let (code, text) = said(&holdfast.try_with_config("check"));
    assert_eq!(code, Some(0), "its own program: {text}");
}

#[test]
fn what_takes_a_detach_or_a_restart() {
    let mut site = usual(1, 1);
    let good = usual_configuration(&site.lab).text;
    let (more, place) = changed(&good, "pins = 10_000", "pins = 20_000", "20_000");
    let told = "limits.pins = 20000, but ";
    check(&site.holdfast, &["check", "reload"], &more, &place, told);
    let admin = format!("\"{}\"", site.lab.folder().join("other.sock").display());
    let old = format!("\"{}\"", site.lab.folder().join("admin.sock").display());
    let (moved, place_of_admin) = changed(&good, &old, &admin, &admin);
    check(&site.holdfast, &["reload"], &moved, &place_of_admin, "agent.admin cannot change");

    let before = names(&site.lab.instance());
    assert_eq!(site.agent.take().expect("an agent").stop(), Some(0));
    check(&site.holdfast, &["check", "run"], &more, &place, told);
    assert_eq!(names(&site.lab.instance()), before);
    check_traffic(&site);
}

#[test]
fn a_refused_start_leaves_nothing_new() {
    let lab = Lab::new(Shape::Routed, 1, 1);
    let vip = SocketAddr::new(lab.vip(Family::V4), 80);
    let good = usual_configuration(&lab).text;
    // Its driver knows no XDP, which is found when it is tried: after maps and other links.
    lab.balancer.ip("link add bridge0 type bridge");
    lab.balancer.ip("link set bridge0 up");
    let with = "\"eth1\", \"bridge0\"]\nxdp_mode = \"native\"";
    let (bad, place) = changed(&good, "\"eth1\"]", with, "\"bridge0\"");
    let holdfast = Holdfast::new(&lab, &bad);
    let refused = |holdfast: &Holdfast| {
        fs::write(&holdfast.config, &bad).expect("the configuration");
        check_refused(
            &holdfast.try_with_config("run"),
            1,
            &[&place, "agent.interfaces: bridge0: "],
        );
    };
    refused(&holdfast);
    assert_eq!(names(&lab.instance()), None, "maps and directory are left");
    let links = lab.balancer.ip("-details link show");
    assert!(!links.contains("prog/xdp"), "{links}");
    // A directory of somebody else's making stays, empty.
    fs::create_dir(lab.instance()).expect("a directory");
    refused(&holdfast);
    assert_eq!(names(&lab.instance()), Some(BTreeSet::new()));

    let configuration = usual_configuration(&lab);
    let mut site = Site::start(lab, &configuration);
    check_traffic(&site);
    let before = names(&site.lab.instance()).expect("an instance");
    assert!(before.contains("PINS") && before.contains("link-eth0"), "{before:?}");
    // A second one is refused for the lock, and touches nothing either.
    check_refused(&site.holdfast.try_with_config("run"), 1, &["another holdfast agent"]);
    assert_eq!(names(&site.lab.instance()).as_ref(), Some(&before));
    assert_eq!(site.agent.take().expect("an agent").stop(), Some(0));
    refused(&site.holdfast);
    assert_eq!(names(&site.lab.instance()).as_ref(), Some(&before));
    let answers = curl(&site.lab.clients, site.lab.client(Family::V4, 0), vip, 3);
    assert_eq!(answers.values().copied().collect::<Vec<_>>(), [3], "{answers:?}");
}
