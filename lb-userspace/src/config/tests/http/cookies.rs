//! Whether browsers bring the cookies of rules back.

use super::{accepted, check};

#[test]
fn domains_and_paths() {
    check(&[
        (
            "",
            "rule = [{ host = \"a.example\", persistence = { timeout = 5, domain = \"b.example\" \
             } }]\n",
            "15:69: listener \"shop\": rule number 1: persistence.domain = \"b.example\": \
             browsers refuse it from a.example, the host in line 15; allowed: the host itself, or \
             a domain that it is in",
        ),
        (
            "",
            "rule = [{ host = \"*.a.example\", persistence = { timeout = 5, domain = \
             \"x.a.example\" } }]\n",
            "15:71: listener \"shop\": rule number 1: persistence.domain = \"x.a.example\": \
             browsers refuse it from *.a.example, the host in line 15; allowed: the host itself, \
             or a domain that it is in",
        ),
        // Inherited, and told once.
        (
            "",
            "persistence = { timeout = 5, domain = \"a.example\" }\nrule = [{ host = \
             \"b.example\" }, { host = \"c.example\" }]\n",
            "15:39: listener \"shop\": persistence.domain = \"a.example\": browsers refuse it \
             from b.example, the host in line 16; allowed: the host itself, or a domain that it is \
             in",
        ),
        (
            "",
            "rule = [{ path = \"/api\", persistence = { timeout = 5, path = \"/app\" } }]\n",
            "15:62: listener \"shop\": rule number 1: persistence.path = \"/app\": browsers never \
             send it to /api, the path in line 15; allowed: that path, or one above or below it",
        ),
        (
            "",
            "rule = [{ path = \"/api\", persistence = { timeout = 5, path = \"/apis\" } }]\n",
            "15:62: listener \"shop\": rule number 1: persistence.path = \"/apis\": browsers \
             never send it to /api, the path in line 15; allowed: that path, or one above or below \
             it",
        ),
    ]);
    for rule in [
        "host = \"a.b.example\", persistence = { timeout = 5, domain = \"b.example\" }",
        "host = \"*.b.example\", persistence = { timeout = 5, domain = \"b.example\" }",
        "path = \"/api\", persistence = { timeout = 5, domain = \"b.example\" }",
        "path = \"/api\", persistence = { timeout = 5, path = \"/api/\" }",
        "path = \"/api\", persistence = { timeout = 5, path = \"/api/v1\" }",
        "path = \"/api\", persistence = { timeout = 5, path = \"/\" }",
        // Off.
        "path = \"/api\", persistence = { timeout = 0, path = \"/app\" }",
    ] {
        accepted("", &format!("rule = [{{ {rule} }}]\n"));
    }
}

#[test]
fn replaced() {
    check(&[
        // One host.
        (
            "",
            "persistence = { timeout = 5, path = \"/\" }\nrule = [{ path = \"/api\", pool = \
             \"api\" }]\n",
            "16:9: listener \"shop\": rule number 1: its cookie SERVERID and that of line 9 would \
             replace one another, for pools \"api\" and \"web\"; allowed: another \
             persistence.cookie, path or domain for one of them, or one pool",
        ),
        (
            "",
            "persistence = { timeout = 5, path = \"/\" }\nrule = [{ host = \"a\", path = \
             \"/api\", pool = \"api\" }]\n",
            "16:9: listener \"shop\": rule number 1: its cookie SERVERID and that of line 9 would \
             replace one another, for pools \"api\" and \"web\"; allowed: another \
             persistence.cookie, path or domain for one of them, or one pool",
        ),
        (
            "pool = \"web\"",
            "persistence = { timeout = 5, path = \"/\" }\nrule = [{ host = \"b.a\", path = \
             \"/api\", pool = \"api\" }, \
             { host = \"*.a\", pool = \"web\" }]\n",
            "15:9: listener \"shop\": rule number 1: its cookie SERVERID and that of line 15 \
             would replace one another, for pools \"api\" and \"web\"; allowed: another \
             persistence.cookie, path or domain for one of them, or one pool",
        ),
        // `__Host-` has no other path.
        (
            "",
            "persistence = { timeout = 5, cookie = \"__Host-S\" }\nrule = [{ path = \"/api\", \
             pool = \"api\" }]\n",
            "16:9: listener \"shop\": rule number 1: its cookie __Host-S and that of line 9 would \
             replace one another, for pools \"api\" and \"web\"; allowed: another \
             persistence.cookie, path or domain for one of them, or one pool",
        ),
        // One domain.
        (
            "pool = \"web\"",
            "persistence = { timeout = 5, domain = \"example\" }\nrule = [{ host = \"a.example\", \
             pool = \"web\" }, \
             { host = \"b.example\", pool = \"api\" }]\n",
            "15:47: listener \"shop\": rule number 2: its cookie SERVERID and that of line 15 \
             would replace one another, for pools \"api\" and \"web\"; allowed: another \
             persistence.cookie, path or domain for one of them, or one pool",
        ),
    ]);
}

#[test]
fn not_replaced() {
    for rule in [
        // Each has its own path.
        "path = \"/api\", pool = \"api\", persistence = { timeout = 5 }",
        // One pool.
        "path = \"/api\", persistence = { timeout = 5, path = \"/\" }",
        // Another name.
        "path = \"/api\", pool = \"api\", persistence = { timeout = 5, path = \"/\", cookie = \
         \"S\" }",
        // Another host: what is for it never comes to the listener's pool.
        "host = \"a\", pool = \"api\", persistence = { timeout = 5 }",
        // Another domain.
        "host = \"a.b\", pool = \"api\", path = \"/c\", persistence = { timeout = 5, path = \
         \"/\", domain = \"b\" }",
        // No cookie of ours.
        "path = \"/api\", pool = \"api\", persistence = { mode = \"cookie-rewrite\", cookie = \
         \"SERVERID\" }",
        "path = \"/api\", pool = \"api\", persistence = { timeout = 0, path = \"/\" }",
    ] {
        accepted("", &format!("persistence = {{ timeout = 5 }}\nrule = [{{ {rule} }}]\n"));
    }
    // Hosts that have nothing in common.
    let apart = "persistence = { timeout = 5, path = \"/\" }\nrule = [{ host = \"a\", path = \
    \"/x\", \
                 pool = \"api\" }, { host = \"*.a\", pool = \"web\" }, { host = \"b\", pool = \
                 \"web\" }]\n";
    accepted("pool = \"web\"", apart);
}
