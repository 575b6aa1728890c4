//! How much of the flow table is in use: as little as flows have room in, so that caches hold it.

use lb_common::{
    flow::{self, IdleTimes},
    layout::{Flow, FlowSpace, Settings},
    ticks,
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
        let brief = u32::try_from(BRIEF_NS / maps.tick_ns()).unwrap_or(u32::MAX);
        let needs_place = |flow: &&Flow| needs_place(flow, &settings, maps.now_ticks(), brief);
        // Up to five of eight places a new flow finds a free one nearly always.
        if flows.iter().filter(needs_place).count() * 8 <= places * 5 {
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

/// Who has not shown within this time that it is real is taken for forged.
const BRIEF_NS: u64 = 1_000_000_000;

/// Is the flow under way, or so new that it may come to be? `brief`: for so many ticks it is new.
fn needs_place(flow: &Flow, settings: &Settings, now: u32, brief: u32) -> bool {
    if flow.pin_owed {
        ticks::since(flow.seen, now) <= brief
    } else {
        flow::in_time(flow, settings, now)
    }
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
        let mut forged = maps(vec![owed; 16]);
        forged.now_ns += 2 * BRIEF_NS;
        assert_eq!(grow(&mut forged, &IDLE, REGIONS).expect("read"), None);
        let mut new = maps(vec![owed; 16]);
        new.now_ns += BRIEF_NS / 2;
        assert!(grow(&mut new, &IDLE, REGIONS).expect("written").is_some());
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
