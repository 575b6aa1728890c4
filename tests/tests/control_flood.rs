//! The rates of new flows: written at a start, changed by a reload.

use lb_common::{address::Address, flood::per_second, layout, rate::Rate};
use lb_userspace::config::{Config, Flood, OnDown};
use tests::control::{Scenario, config, listener, pool};

fn web() -> Config {
    config(
        vec![pool("web", OnDown::Reset, &["web-1 10.0.0.11:8080"])],
        vec![listener("web", "203.0.113.10:80", 0, 60)],
    )
}

fn row(scenario: &mut Scenario) -> layout::Flood {
    scenario.maps().flood.expect("written")
}

#[test]
fn a_row_that_follows_the_file() {
    let mut scenario = Scenario::start(web());
    let default = layout::Flood {
        all: per_second(100_000),
        network: per_second(5_000),
        mask_v4: Address::mask(120),
        mask_v6: Address::mask(56),
    };
    assert_eq!(row(&mut scenario), default);
    assert_eq!(default.all, Rate::new(10_000, 100_000));

    let mut next = web();
    next.flood =
        Flood { flows_per_second: 10, network_flows_per_second: 1, network_v4: 32, network_v6: 1 };
    scenario.reload(next);
    let other = layout::Flood {
        all: Rate::new(100_000_000, 10),
        network: Rate::new(1_000_000_000, 1),
        mask_v4: Address::mask(128),
        mask_v6: Address::mask(1),
    };
    assert_eq!(row(&mut scenario), other);
}
