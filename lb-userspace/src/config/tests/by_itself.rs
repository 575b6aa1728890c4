//! Mistakes in a single value, key or table.

use super::check;

#[test]
fn missing_tables_and_keys() {
    check(&[
        ("", "[[pool]]", ""),
        ("[[pool]]\nname = \"web\"", "[[pool]]", ""),
        ("[agent]\ninterfaces = [\"eth0\"]\n", "", ""),
        ("interfaces = [\"eth0\"]\n", "", ""),
        ("name = \"web-1\"\n", "", ""),
        ("address = \"10.0.0.11:8080\"\n", "", ""),
        ("[[pool.backend]]\nname = \"web-1\"\naddress = \"10.0.0.11:8080\"\n", "", ""),
        (
            "[[pool.backend]]\nname = \"web-1\"\naddress = \"10.0.0.11:8080\"\n",
            "backend = []\n",
            "",
        ),
        ("name = \"site\"\n", "", ""),
        ("protocol = \"tcp\"\n", "", ""),
        ("address = \"203.0.113.10:80\"\n", "", ""),
        ("pool = \"web\"\n", "", ""),
        ("[[pool.backend]]", "health = {}\n[[pool.backend]]", ""),
        ("", "persistence = {}\n", ""),
        ("", "persistence.refresh = \"never\"\n", ""),
    ]);
}

#[test]
fn empty_file() {
    let errors = super::parsed("").expect_err("nothing is not a configuration");
    assert_eq!(errors.to_string(), "");
    let errors = super::parsed("agent = 1\npool = []\nlistener = {}").expect_err("wrong");
    assert_eq!(errors.to_string(), "");
}

#[test]
fn unknown_keys() {
    check(&[
        ("[agent]", "[agnet]\n[agent]", ""),
        ("[agent]", "[agent]\nxdpmode = \"auto\"", ""),
        ("[[pool]]", "[agent.flow_timeouts]\ntcp = 1\n[[pool]]", ""),
        ("[[pool]]", "[limits]\nslots = 251\n[[pool]]", ""),
        ("name = \"web\"\n", "name = \"web\"\nmode = \"nat\"\n", ""),
        ("name = \"web-1\"\n", "name = \"web-1\"\n\"we\\u0007ght\" = 1\n", ""),
        ("[[pool.backend]]", "health = { kind = \"http\", uri = \"/\" }\n[[pool.backend]]", ""),
        ("protocol = \"tcp\"\n", "proto = \"tcp\"\n", ""),
        ("", "persistence = { timout = 5, timeout = 5 }\n", ""),
    ]);
}

#[test]
fn keys_and_words_of_other_versions() {
    check(&[
        ("[agent]", "[agent]\nhttp = \"127.0.0.1:9900\"", ""),
        ("", "tls = { certificate = \"a.pem\" }\n", ""),
        ("", "[[listener.rule]]\nhost = \"a.example\"\n", ""),
        ("\"tcp\"", "\"https\"", ""),
        ("\"tcp\"", "\"http\"", ""),
        ("[[pool.backend]]", "forward = \"tunnel\"\n[[pool.backend]]", ""),
        ("", "persistence = { mode = \"cookie-insert\", timeout = 5 }\n", ""),
        ("", "persistence = { mode = \"cookie-rewrite\", cookie = \"S\", timeout = 5 }\n", ""),
    ]);
}

#[test]
fn wrong_types() {
    check(&[
        ("[\"eth0\"]", "\"eth0\"", ""),
        ("[\"eth0\"]", "[1]", ""),
        ("[[pool]]", "manage_addresses = \"yes\"\n[[pool]]", ""),
        ("[[pool]]", "admin = 1979-05-27\n[[pool]]", ""),
        ("[[pool]]", "xdp_mode = 1.5\n[[pool]]", ""),
        ("[[pool]]", "[limits]\npins = \"many\"\n[[pool]]", ""),
        ("[[pool]]", "limits = 1\n[[pool]]", ""),
        ("\"web-1\"", "[\"web-1\"]", ""),
        ("\"10.0.0.11:8080\"", "{ ip = 1 }", ""),
        ("\"203.0.113.10:80\"", "80", ""),
        ("pool = \"web\"", "pool = true", ""),
        ("", "persistence = \"30m\"\n", ""),
        ("", "persistence.timeout = 1.5\n", ""),
        ("[[pool.backend]]", "nat_sources = \"10.0.0.2\"\n[[pool.backend]]", ""),
        ("[[pool.backend]]", "health = { kind = \"http\", expect = 2.0 }\n[[pool.backend]]", ""),
    ]);
}

#[test]
fn agent() {
    check(&[
        ("[\"eth0\"]", "[]", ""),
        ("[\"eth0\"]", "[\"eth0\", \"eth1\", \"eth0\"]", ""),
        ("[\"eth0\"]", "[\"\", \"a b\", \"a/b\", \"..\", \"sixteen-bytes-16\"]", ""),
        ("[[pool]]", "xdp_mode = \"driver\"\n[[pool]]", ""),
        ("[[pool]]", "admin = \"run/h.sock\"\n[[pool]]", ""),
        ("[[pool]]", "bpffs = \"/\"\n[[pool]]", ""),
        ("[[pool]]", "state = \"/var/lib/../x\"\n[[pool]]", ""),
        (
            "[[pool]]",
            "admin = \"/34567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"\n[[pool]]",
            "",
        ),
        ("[[pool]]", "[agent.flow_timeouts]\nudp = \"999ms\"\n[[pool]]", ""),
        ("[[pool]]", "[agent.flow_timeouts]\ntcp_established = \"7days 1ns\"\n[[pool]]", ""),
        ("[[pool]]", "[agent.flow_timeouts]\ntcp_time_wait = 0\n[[pool]]", ""),
        ("[[pool]]", "[agent.flow_timeouts]\ntcp_transitory = \"4\"\n[[pool]]", ""),
    ]);
}

#[test]
fn limits() {
    check(&[
        ("[[pool]]", "[limits]\npins = 1023\nflows = 100_000_001\n[[pool]]", ""),
        ("[[pool]]", "[limits]\nlisteners = 0\nbackends = 65536\npools = -1\n[[pool]]", ""),
        ("[[pool]]", "[limits]\nmaglev_slots = 250\n[[pool]]", ""),
        ("[[pool]]", "[limits]\nmaglev_slots = 5000012\n[[pool]]", ""),
        ("[[pool]]", "[limits]\nmaglev_slots = 0x10000\n[[pool]]", ""),
        ("[[pool]]", "[limits]\npins = 99999999999999999999999999999999999999999999\n[[pool]]", ""),
    ]);
}

#[test]
fn names_and_addresses() {
    check(&[
        ("\"web-1\"", "\"web 1\"", ""),
        ("\"web-1\"", "\"\"", ""),
        ("\"site\"", "\"s\\u001b[2J\"", ""),
        ("\"10.0.0.11:8080\"", "\"web1.example:8080\"", ""),
        ("\"10.0.0.11:8080\"", "\"10.0.0.11:0\"", ""),
        ("\"10.0.0.11:8080\"", "\"10.0.0.11:65536\"", ""),
        ("\"10.0.0.11:8080\"", "\"10.0.0.256\"", ""),
        ("\"10.0.0.11:8080\"", "\"::ffff:10.0.0.11\"", ""),
        ("\"10.0.0.11:8080\"", "\"0.0.0.0:80\"", ""),
        ("\"10.0.0.11:8080\"", "\"127.0.0.1\"", ""),
        ("\"10.0.0.11:8080\"", "\"224.0.0.1\"", ""),
        ("\"10.0.0.11:8080\"", "\"255.255.255.255\"", ""),
        ("\"203.0.113.10:80\"", "\"203.0.113.10:0\"", ""),
        ("\"203.0.113.10:80\"", "\"203.0.113.10\"", ""),
        ("\"203.0.113.10:80\"", "\"[::ffff:203.0.113.10]:80\"", ""),
        ("\"203.0.113.10:80\"", "\"[::]:80\"", ""),
        ("\"203.0.113.10:80\"", "\"[::1]:80\"", ""),
        ("\"203.0.113.10:80\"", "\"[ff02::1]:80\"", ""),
        ("\"203.0.113.10:80\"", "\"[fe80::1]:80\"", ""),
        ("\"203.0.113.10:80\"", "\"[fd00::1%2]:80\"", ""),
        ("\"203.0.113.10:80\"", "\"fd00::1\"", ""),
        ("\"tcp\"", "\"sctp\"", ""),
    ]);
}

#[test]
fn pools() {
    check(&[
        ("[[pool.backend]]", "forward = \"masquerade\"\n[[pool.backend]]", ""),
        ("[[pool.backend]]", "on_down = \"drop\"\n[[pool.backend]]", ""),
        ("[[pool.backend]]", "nat_sources = [\"x\", \"127.0.0.1\"]\n[[pool.backend]]", ""),
        ("\"web-1\"", "\"web-1\"\nweight = 1001", ""),
        ("\"web-1\"", "\"web-1\"\nweight = -1", ""),
        ("[[pool.backend]]", "health.kind = \"icmp\"\n[[pool.backend]]", ""),
        ("[[pool.backend]]", "health = { kind = \"tcp\", path = \"/\" }\n[[pool.backend]]", ""),
        ("[[pool.backend]]", "health = { kind = \"tcp\", port = 0 }\n[[pool.backend]]", ""),
        (
            "[[pool.backend]]",
            "health = { kind = \"tcp\", interval = \"99ms\" }\n[[pool.backend]]",
            "",
        ),
        ("[[pool.backend]]", "health = { kind = \"tcp\", interval = 3601 }\n[[pool.backend]]", ""),
        (
            "[[pool.backend]]",
            "health = { kind = \"tcp\", timeout = \"9ms\" }\n[[pool.backend]]",
            "",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"tcp\", timeout = \"2001ms\" }\n[[pool.backend]]",
            "",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"tcp\", rise = 0, fall = 101 }\n[[pool.backend]]",
            "",
        ),
        ("[[pool.backend]]", "health = { kind = \"http\", path = \"x\" }\n[[pool.backend]]", ""),
        ("[[pool.backend]]", "health = { kind = \"http\", path = \"/a b\" }\n[[pool.backend]]", ""),
        (
            "[[pool.backend]]",
            "health = { kind = \"http\", host = \"a\\r\\nb\" }\n[[pool.backend]]",
            "",
        ),
        ("[[pool.backend]]", "health = { kind = \"http\", expect = 99 }\n[[pool.backend]]", ""),
        (
            "[[pool.backend]]",
            "health = { kind = \"http\", expect = \"399-200\" }\n[[pool.backend]]",
            "",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"http\", expect = \"+20\" }\n[[pool.backend]]",
            "",
        ),
        (
            "[[pool.backend]]",
            "health = { kind = \"http\", expect = \"200-600\" }\n[[pool.backend]]",
            "",
        ),
    ]);
}

#[test]
fn syntax() {
    check(&[
        ("[agent]", "[agent", ""),
        ("pool = \"web\"", "pool = web", ""),
        ("pool = \"web\"", "pool = \"web", ""),
        ("pool = \"web\"", "pool = \"web\"\npool = \"web\"", ""),
        ("[agent]", "[agent]\n[agent]", ""),
        ("name = \"site\"", "\u{e9}\u{e9} = 1\nname = \"site\"", ""),
    ]);
}
