use lb_userspace::{config::Limits, loader};
fn main() {
    let object = std::fs::read("/work/target/bpf-main/bpfel-unknown-none/release/lb-ebpf").unwrap();
    let dir = std::path::Path::new("/run/hf-smoke");
    std::fs::create_dir_all(dir).unwrap();
    nix::mount::mount(Some("bpf"), dir, Some("bpf"), nix::mount::MsFlags::empty(), None::<&str>)
        .unwrap();
    let limits = Limits {
        pins: 1024,
        flows: 1024,
        listeners: 16,
        backends: 64,
        pools: 4,
        maglev_slots: 251,
    };
    let r = loader::load(&loader::Options {
        object: &object,
        directory: &dir.join("i"),
        limits: &limits,
        seed: lb_common::hash::Seed([1, 2]),
        packet_events: false,
        test_clock: true,
    });
    match r {
        Ok(mut l) => {
            println!("loaded");
            let m = l.maps().unwrap();
            use lb_userspace::maps::LbMaps;
            println!("{:?}", m.meta());
            let p: &mut aya::programs::Xdp =
                l.ebpf.program_mut("holdfast").unwrap().try_into().unwrap();
            println!("{:?}", p.info().map(|i| (i.size_jitted(), i.verified_instruction_count())));
        }
        Err(e) => {
            let mut s = format!("{e:?}").replace("\\n", "\n");
            std::fs::write("/tmp/vlog", &s).unwrap();
            if s.len() > 6000 {
                s = format!("{}\n....\n{}", &s[..1500], &s[s.len() - 4500..]);
            }
            println!("{s}")
        }
    }
    let _ = nix::mount::umount2(dir, nix::mount::MntFlags::MNT_DETACH);
}
