//! Mistakes in single values.

use super::check;

#[test]
fn agent() {
    check(&[
        ("[\"eth0\"]", "[]", "2:14: agent.interfaces: empty; allowed: at least one interface"),
        (
            "[\"eth0\"]",
            "[\"eth0\", \"eth1\", \"eth0\"]",
            "2:31: agent.interfaces = \"eth0\": named twice; allowed: each interface once",
        ),
        (
            "[\"eth0\"]",
            "[\"\", \"a b\", \"a/b\", \"..\", \"sixteen-bytes-16\"]",
            "2:15: agent.interfaces = \"\": not an interface name; allowed: a name of 1 to 15 \
             bytes without space, / or :\n\
             2:19: agent.interfaces = \"a b\": not an interface name; allowed: a name of 1 to \
             15 bytes without space, / or :\n\
             2:26: agent.interfaces = \"a/b\": not an interface name; allowed: a name of 1 to \
             15 bytes without space, / or :\n\
             2:33: agent.interfaces = \"..\": not an interface name; allowed: a name of 1 to \
             15 bytes without space, / or :\n\
             2:39: agent.interfaces = \"sixteen-bytes-16\": not an interface name; allowed: a \
             name of 1 to 15 bytes without space, / or :",
        ),
        (
            "[[pool]]",
            "xdp_mode = \"driver\"\n[[pool]]",
            "3:12: agent.xdp_mode = \"driver\": unknown; allowed: \"auto\", \"native\", \
             \"generic\"",
        ),
        (
            "[[pool]]",
            "admin = \"run/h.sock\"\n[[pool]]",
            "3:9: agent.admin = \"run/h.sock\": not an absolute path; allowed: a path that \
             starts with /, not / alone, without .., at most 107 bytes",
        ),
        (
            "[[pool]]",
            "bpffs = \"/\"\n[[pool]]",
            "3:9: agent.bpffs = \"/\": not a plain path; allowed: a path that starts with /, \
             not / alone, without .., at most 3840 bytes",
        ),
        (
            "[[pool]]",
            "state = \"/var/lib/../x\"\n[[pool]]",
            "3:9: agent.state = \"/var/lib/../x\": not a plain path; allowed: a path that \
             starts with /, not / alone, without .., at most 3840 bytes",
        ),
        (
            "[[pool]]",
            "[agent.flow_timeouts]\nudp = \"999ms\"\n[[pool]]",
            "4:7: agent.flow_timeouts.udp = \"999ms\": out of range; allowed: 1s to 7days",
        ),
        (
            "[[pool]]",
            "[agent.flow_timeouts]\ntcp_established = \"7days 1ns\"\n[[pool]]",
            "4:19: agent.flow_timeouts.tcp_established = \"7days 1ns\": out of range; allowed: \
             1s to 7days",
        ),
        (
            "[[pool]]",
            "[agent.flow_timeouts]\ntcp_time_wait = 0\n[[pool]]",
            "4:17: agent.flow_timeouts.tcp_time_wait = 0: out of range; allowed: 1s to 7days",
        ),
        (
            "[[pool]]",
            "[agent.flow_timeouts]\ntcp_transitory = \"4\"\n[[pool]]",
            "4:18: agent.flow_timeouts.tcp_transitory = \"4\": not a time: time unit needed, \
             for example 4sec or 4ms; allowed: 1s to 7days",
        ),
        (
            "[[pool]]",
            "[flood]\nflows_per_second = 0\n[[pool]]",
            "4:20: flood.flows_per_second = 0: out of range; allowed: 1 to 10000000",
        ),
        (
            "[[pool]]",
            "[flood]\nnetwork_flows_per_second = 10_000_001\n[[pool]]",
            "4:28: flood.network_flows_per_second = 10_000_001: out of range; allowed: 1 to \
             10000000",
        ),
        (
            "[[pool]]",
            "[flood]\nnetwork_v4 = 33\n[[pool]]",
            "4:14: flood.network_v4 = 33: out of range; allowed: 1 to 32",
        ),
        (
            "[[pool]]",
            "[flood]\nnetwork_v6 = \"56\"\n[[pool]]",
            "4:14: flood.network_v6 = \"56\": expected an integer from 1 to 128, found a string",
        ),
    ]);
}

#[test]
fn admin_socket_fits_its_address() {
    let with = |bytes: usize| {
        let path = format!("/{}", "a".repeat(bytes - 1));
        super::parsed(&super::changed("[[pool]]", &format!("admin = {path:?}\n[[pool]]")))
    };
    assert!(with(107).is_ok());
    let said = with(108).expect_err("too long").to_string();
    let shown = "a".repeat(58);
    assert_eq!(
        said,
        format!(
            "h.toml:3:9: agent.admin = \"/{shown}…: too long; allowed: a path that starts \
             with /, not / alone, without .., at most 107 bytes"
        )
    );
}

#[test]
fn limits() {
    check(&[
        (
            "[[pool]]",
            "[limits]\npins = 1023\nflows = 32_000_001\n[[pool]]",
            "4:8: limits.pins = 1023: out of range; allowed: 1024 to 100000000\n\
             5:9: limits.flows = 32_000_001: out of range; allowed: 1024 to 32000000",
        ),
        (
            "[[pool]]",
            "[limits]\nlisteners = 0\nbackends = 65536\npools = -1\n[[pool]]",
            "4:13: limits.listeners = 0: out of range; allowed: 1 to 32767\n\
             5:12: limits.backends = 65536: out of range; allowed: 1 to 65535\n\
             6:9: limits.pools = -1: out of range; allowed: 1 to 4096",
        ),
        (
            "[[pool]]",
            "[limits]\nmaglev_slots = 250\n[[pool]]",
            "4:16: limits.maglev_slots = 250: out of range; allowed: 251 to 5000011",
        ),
        (
            "[[pool]]",
            "[limits]\nmaglev_slots = 5000012\n[[pool]]",
            "4:16: limits.maglev_slots = 5000012: out of range; allowed: 251 to 5000011",
        ),
        (
            "[[pool]]",
            "[limits]\nmaglev_slots = 0x10000\n[[pool]]",
            "4:16: limits.maglev_slots = 0x10000: not a prime; allowed: a prime from 251 to \
             5000011; the next one is 65537",
        ),
        (
            "[[pool]]",
            "[limits]\npins = 99999999999999999999999999999999999999999999\n[[pool]]",
            "4:8: limits.pins = 99999999999999999999999999999999999999999999: out of range; \
             allowed: 1024 to 100000000",
        ),
    ]);
}

#[test]
fn names_and_backend_addresses() {
    check(&[
        (
            "\"web-1\"",
            "\"web 1\"",
            "6:8: pool \"web\": backend \"web 1\": name = \"web 1\": not a name; allowed: 1 to \
             63 characters of A-Z a-z 0-9 . _ -",
        ),
        (
            "\"web-1\"",
            "\"\"",
            "6:8: pool \"web\": backend \"\": name = \"\": not a name; allowed: 1 to 63 \
             characters of A-Z a-z 0-9 . _ -",
        ),
        (
            "\"site\"",
            "\"s\\u001b[2J\"",
            "9:8: listener \"s\\u{1b}[2J\": name = \"s\\u001b[2J\": not a name; allowed: 1 to \
             63 characters of A-Z a-z 0-9 . _ -",
        ),
        (
            "\"10.0.0.11:8080\"",
            "\"web1.example:8080\"",
            "7:11: pool \"web\": backend \"web-1\": address = \"web1.example:8080\": not an IP \
             address (names are not looked up); allowed: \"10.0.0.11:8080\", \"10.0.0.11\", \
             \"[fd00::11]:8080\" or \"fd00::11\"; port 1 to 65535",
        ),
        (
            "\"10.0.0.11:8080\"",
            "\"10.0.0.11:0\"",
            "7:11: pool \"web\": backend \"web-1\": address = \"10.0.0.11:0\": port 0; \
             allowed: \"10.0.0.11:8080\", \"10.0.0.11\", \"[fd00::11]:8080\" or \"fd00::11\"; \
             port 1 to 65535",
        ),
        (
            "\"10.0.0.11:8080\"",
            "\"10.0.0.11:65536\"",
            "7:11: pool \"web\": backend \"web-1\": address = \"10.0.0.11:65536\": port \
             out of range; allowed: \"10.0.0.11:8080\", \"10.0.0.11\", \"[fd00::11]:8080\" or \
             \"fd00::11\"; port 1 to 65535",
        ),
        (
            "\"10.0.0.11:8080\"",
            "\"10.0.0.256\"",
            "7:11: pool \"web\": backend \"web-1\": address = \"10.0.0.256\": not an IP \
             address (names are not looked up); allowed: \"10.0.0.11:8080\", \"10.0.0.11\", \
             \"[fd00::11]:8080\" or \"fd00::11\"; port 1 to 65535",
        ),
        (
            "\"10.0.0.11:8080\"",
            "\"::ffff:10.0.0.11\"",
            "7:11: pool \"web\": backend \"web-1\": address = \"::ffff:10.0.0.11\": an IPv4 \
             address written as IPv6; allowed: a unicast address of one machine, IPv4 or IPv6",
        ),
        (
            "\"10.0.0.11:8080\"",
            "\"0.0.0.0:80\"",
            "7:11: pool \"web\": backend \"web-1\": address = \"0.0.0.0:80\": the unspecified \
             address; allowed: a unicast address of one machine, IPv4 or IPv6",
        ),
        (
            "\"10.0.0.11:8080\"",
            "\"127.0.0.1\"",
            "7:11: pool \"web\": backend \"web-1\": address = \"127.0.0.1\": a loopback \
             address; allowed: a unicast address of one machine, IPv4 or IPv6",
        ),
        (
            "\"10.0.0.11:8080\"",
            "\"224.0.0.1\"",
            "7:11: pool \"web\": backend \"web-1\": address = \"224.0.0.1\": a multicast \
             address; allowed: a unicast address of one machine, IPv4 or IPv6",
        ),
        (
            "\"10.0.0.11:8080\"",
            "\"255.255.255.255\"",
            "7:11: pool \"web\": backend \"web-1\": address = \"255.255.255.255\": the \
             broadcast address; allowed: a unicast address of one machine, IPv4 or IPv6",
        ),
    ]);
}

#[test]
fn listener_addresses() {
    check(&[
        (
            "\"203.0.113.10:80\"",
            "\"203.0.113.10:0\"",
            "11:11: listener \"site\": address = \"203.0.113.10:0\": port 0; allowed: \
             \"203.0.113.10:80\" or \"[2001:db8::10]:80\"; port 1 to 65535",
        ),
        (
            "\"203.0.113.10:80\"",
            "\"203.0.113.10\"",
            "11:11: listener \"site\": address = \"203.0.113.10\": no port; allowed: \
             \"203.0.113.10:80\" or \"[2001:db8::10]:80\"; port 1 to 65535",
        ),
        (
            "\"203.0.113.10:80\"",
            "\"[::ffff:203.0.113.10]:80\"",
            "11:11: listener \"site\": address = \"[::ffff:203.0.113.10]:80\": an IPv4 address \
             written as IPv6; allowed: a unicast address of one machine, IPv4 or IPv6",
        ),
        (
            "\"203.0.113.10:80\"",
            "\"[::]:80\"",
            "11:11: listener \"site\": address = \"[::]:80\": the unspecified address; \
             allowed: a unicast address of one machine, IPv4 or IPv6",
        ),
        (
            "\"203.0.113.10:80\"",
            "\"[::1]:80\"",
            "11:11: listener \"site\": address = \"[::1]:80\": a loopback address; allowed: a \
             unicast address of one machine, IPv4 or IPv6",
        ),
        (
            "\"203.0.113.10:80\"",
            "\"[ff02::1]:80\"",
            "11:11: listener \"site\": address = \"[ff02::1]:80\": a multicast address; \
             allowed: a unicast address of one machine, IPv4 or IPv6",
        ),
        (
            "\"203.0.113.10:80\"",
            "\"[fe80::1]:80\"",
            "11:11: listener \"site\": address = \"[fe80::1]:80\": a link-local address; \
             allowed: a unicast address of one machine, IPv4 or IPv6",
        ),
        (
            "\"203.0.113.10:80\"",
            "\"[fd00::1%2]:80\"",
            "11:11: listener \"site\": address = \"[fd00::1%2]:80\": not an IP address (names \
             are not looked up); allowed: \"203.0.113.10:80\" or \"[2001:db8::10]:80\"; port 1 \
             to 65535",
        ),
        (
            "\"203.0.113.10:80\"",
            "\"10.0.0.1:65536\"",
            "11:11: listener \"site\": address = \"10.0.0.1:65536\": port out of range; allowed: \
             \"203.0.113.10:80\" or \"[2001:db8::10]:80\"; port 1 to 65535",
        ),
        (
            "\"203.0.113.10:80\"",
            "\"[fd00::1]:http\"",
            "11:11: listener \"site\": address = \"[fd00::1]:http\": not a port number; allowed: \
             \"203.0.113.10:80\" or \"[2001:db8::10]:80\"; port 1 to 65535",
        ),
        (
            "\"203.0.113.10:80\"",
            "\"10.0.0.1:\"",
            "11:11: listener \"site\": address = \"10.0.0.1:\": not a port number; allowed: \
             \"203.0.113.10:80\" or \"[2001:db8::10]:80\"; port 1 to 65535",
        ),
        (
            "\"203.0.113.10:80\"",
            "\"fd00::1\"",
            "11:11: listener \"site\": address = \"fd00::1\": no port; allowed: \
             \"203.0.113.10:80\" or \"[2001:db8::10]:80\"; port 1 to 65535",
        ),
        (
            "\"tcp\"",
            "\"sctp\"",
            "10:12: listener \"site\": protocol = \"sctp\": unknown; allowed: \"tcp\", \"udp\", \
             \"http\", \"https\"",
        ),
    ]);
}

#[test]
fn pools() {
    check(&[
        (
            "[[pool.backend]]",
            "forward = \"masquerade\"\n[[pool.backend]]",
            "5:11: pool \"web\": forward = \"masquerade\": unknown; allowed: \"nat\", \"dsr\", \
             \"tunnel\"",
        ),
        (
            "[[pool.backend]]",
            "on_down = \"drop\"\n[[pool.backend]]",
            "5:11: pool \"web\": on_down = \"drop\": unknown; allowed: \"reset\", \"keep\"",
        ),
        (
            "[[pool.backend]]",
            "scheduler = \"random\"\n[[pool.backend]]",
            "5:13: pool \"web\": scheduler = \"random\": unknown; allowed: \"maglev\", \"round-robin\", \
             \"least-connections\"",
        ),
        (
            "[[pool.backend]]",
            "slow_start = \"500ms\"\n[[pool.backend]]",
            "5:14: pool \"web\": slow_start = \"500ms\": out of range; allowed: 1s to 1h; 0: no slow \
             start",
        ),
        (
            "[[pool.backend]]",
            "nat_sources = [\"x\", \"127.0.0.1\"]\n[[pool.backend]]",
            "5:16: pool \"web\": nat_sources = \"x\": not an address; allowed: \"10.0.0.2\" or \
             \"fd00::2\"\n\
             5:21: pool \"web\": nat_sources = \"127.0.0.1\": a loopback address; allowed: a \
             unicast address of one machine, IPv4 or IPv6",
        ),
        (
            "\"web-1\"",
            "\"web-1\"\nweight = 1001",
            "7:10: pool \"web\": backend \"web-1\": weight = 1001: out of range; allowed: 0 to \
             1000",
        ),
        (
            "\"web-1\"",
            "\"web-1\"\nweight = -1",
            "7:10: pool \"web\": backend \"web-1\": weight = -1: out of range; allowed: 0 to \
             1000",
        ),
    ]);
}

#[test]
fn health() {
    check(&[
        (
            "[[pool.backend]]",
            "health.kind = \"icmp\"\n[[pool.backend]]",
            "5:15: pool \"web\": health.kind = \"icmp\": unknown; allowed: \"tcp\", \"http\"",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"tcp\", path = \"/\" }\n[[pool.backend]]",
            "5:33: pool \"web\": health.path = \"/\": only with kind = \"http\"; allowed: \
             kind, port, interval, timeout, rise, fall",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"tcp\", port = 0 }\n[[pool.backend]]",
            "5:33: pool \"web\": health.port = 0: out of range; allowed: 1 to 65535",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"tcp\", interval = \"99ms\" }\n[[pool.backend]]",
            "5:37: pool \"web\": health.interval = \"99ms\": out of range; allowed: 100ms to 1h",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"tcp\", interval = 3601 }\n[[pool.backend]]",
            "5:37: pool \"web\": health.interval = 3601: out of range; allowed: 100ms to 1h",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"tcp\", timeout = \"9ms\" }\n[[pool.backend]]",
            "5:36: pool \"web\": health.timeout = \"9ms\": out of range; allowed: 10ms to 1h",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"tcp\", timeout = \"2001ms\" }\n[[pool.backend]]",
            "5:36: pool \"web\": health.timeout = \"2001ms\": longer than health.interval; \
             allowed: 10ms to 2s",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"tcp\", rise = 0, fall = 101 }\n[[pool.backend]]",
            "5:33: pool \"web\": health.rise = 0: out of range; allowed: 1 to 100\n\
             5:43: pool \"web\": health.fall = 101: out of range; allowed: 1 to 100",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"http\", path = \"x\" }\n[[pool.backend]]",
            "5:34: pool \"web\": health.path = \"x\": not a request target; allowed: / and up \
             to 1023 visible ASCII characters, no space, no #",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"http\", path = \"/a b\" }\n[[pool.backend]]",
            "5:34: pool \"web\": health.path = \"/a b\": not a request target; allowed: / and \
             up to 1023 visible ASCII characters, no space, no #",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"http\", host = \"a\\r\\nb\" }\n[[pool.backend]]",
            "5:34: pool \"web\": health.host = \"a\\r\\nb\": not a host; allowed: 1 to 255 \
             characters of A-Z a-z 0-9 . _ - : [ ]",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"http\", expect = 99 }\n[[pool.backend]]",
            "5:36: pool \"web\": health.expect = 99: out of range; allowed: 100 to 599",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"http\", expect = \"399-200\" }\n[[pool.backend]]",
            "5:36: pool \"web\": health.expect = \"399-200\": not a range of statuses; \
             allowed: \"200\", or \"200-399\"; 100 to 599",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"http\", expect = \"+20\" }\n[[pool.backend]]",
            "5:36: pool \"web\": health.expect = \"+20\": not a range of statuses; allowed: \
             \"200\", or \"200-399\"; 100 to 599",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"http\", expect = \"200-600\" }\n[[pool.backend]]",
            "5:36: pool \"web\": health.expect = \"200-600\": not a range of statuses; \
             allowed: \"200\", or \"200-399\"; 100 to 599",
        ),
    ]);
}
