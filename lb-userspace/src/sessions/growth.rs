//! How much of the flow table is in use: as little as flows have room in, so that caches hold it.

use lb_common::{
    flow::{self, IdleTimes},
    layout::{Flow, FlowSpace, Settings},
};

use crate::maps::{LbMaps, MapError};

/// Doubles what is in use if flows are crowded there, up to so many regions; and moves those that
/// belong elsewhere then. What is in use from now on, if it has changed.
pub fn grow(
    maps: &mut impl LbMaps,
    idle: &IdleTimes,
    regions: u32,
) -> Result<Option<FlowSpace>, MapError> {
    let mut space = maps.flow_space()?;
    // Else an agent was killed while it did this.
    if space == space.settled() {
        if space.regions() >= regions {
            return Ok(None);
        }
        let settings = flow::settings(idle, maps.tick_ns());
        let (flows, places) = maps.sample_flows()?;
        if !crowded(&flows, places, &settings, maps.now_ticks()) {
            return Ok(None);
        }
        space = space.doubled();
        maps.set_flow_space(&space)?;
    }
    // From here on nothing is placed as before.
    maps.grace_period()?;
    maps.move_flows()?;
    space = space.settled();
    maps.set_flow_space(&space)?;
    Ok(Some(space))
}

/// Do flows have more than five of eight places? Up to there a new flow finds one of its own
/// nearly always. Who has not shown yet that it is real needs none: a flood does not count.
fn crowded(flows: &[Flow], places: usize, settings: &Settings, now: u32) -> bool {
    let real = |flow: &&Flow| !flow.pin_owed && flow::in_time(flow, settings, now);
    flows.iter().filter(real).count() * 8 > places * 5
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lb_common::layout::{FlowEntry, TcpState};

    use super::*;
    use crate::maps::fake::FakeMaps;

    const REGIONS: u32 = 4;

    const IDLE: IdleTimes = IdleTimes {
        tcp_established_ns: 60_000_000_000,
        tcp_transitory_ns: 60_000_000_000,
        tcp_time_wait_ns: 60_000_000_000,
        stateless_ns: 60_000_000_000,
    };

    fn flow() -> Flow {
        Flow {
            backend: 1,
            generation: 1,
            state: TcpState::Established.code(),
            seen: FakeMaps::default().now_ticks(),
            ..Flow::unpack(FlowEntry::default())
        }
    }

    fn maps(flows: Vec<Flow>) -> FakeMaps {
        let mut maps = FakeMaps::default();
        (maps.flows, maps.flow_entries) = (flows, 16);
        maps
    }

    #[test]
    fn it_doubles_when_flows_are_crowded() {
        let mut maps = maps(vec![flow(); 10]);
        assert_eq!(grow(&mut maps, &IDLE, REGIONS).expect("read"), None);
        maps.flows.push(flow());
        for mask in [1, 3] {
            let space = FlowSpace { mask, before: mask };
            assert_eq!(grow(&mut maps, &IDLE, REGIONS).expect("written"), Some(space));
            let begin = format!("set_flow_space {mask} {}", mask / 2);
            let end = format!("set_flow_space {mask} {mask}");
            assert_eq!(maps.take_log(), [&begin, "grace_period", "move_flows", &end]);
        }
        assert_eq!(grow(&mut maps, &IDLE, REGIONS).expect("read"), None, "all is in use");
    }

    #[test]
    fn what_needs_no_place_does_not_count() {
        let owed = Flow { pin_owed: true, ..flow() };
        assert_eq!(grow(&mut maps(vec![owed; 16]), &IDLE, REGIONS).expect("read"), None);
        let mut late = maps(vec![flow(); 16]);
        late.now_ns += u64::try_from(Duration::from_hours(24).as_nanos()).expect("a day");
        assert_eq!(grow(&mut late, &IDLE, REGIONS).expect("read"), None);
    }

    #[test]
    fn what_a_killed_agent_began_is_ended_first() {
        for changes in 0..4 {
            let mut maps = maps(vec![flow(); 16]);
            maps.fails_after.set(Some(changes));
            grow(&mut maps, &IDLE, REGIONS).expect_err("told to fail");
            let before = maps.flow_space;
            maps.take_log();
            let grown = grow(&mut maps, &IDLE, REGIONS).expect("written").expect("grown");
            assert_eq!(grown, FlowSpace { mask: 1, before: 1 }, "after {changes}");
            assert_eq!(maps.take_log().len(), if before.mask == 0 { 4 } else { 3 });
        }
    }
}
