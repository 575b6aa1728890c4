//! `decap`: what a backend needs, from the command line.

use std::{
    io::Write,
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use lb_common::{decap::DecapEvent, tunnel::GUE_PORT};
use nix::ifaddrs::getifaddrs;
use serde_json::{Map, Value};

use super::{FAILED, OK, exit::write_error, table::printable};
use crate::{
    api::Prefix,
    config::XdpMode,
    decap::{self, DecapError, Rules},
    loader::Attached,
    object::DECAP_OBJECT,
};

/// Where the program is kept unless it is said.
const DIRECTORY: &str = "/sys/fs/bpf/holdfast-decap";

/// `decap`'s arguments.
#[derive(Debug, Args)]
pub struct DecapArgs {
    /// Where packets come in
    #[arg(long, value_name = "NAME")]
    pub interface: String,
    /// The address that the balancer knows this machine by (can be repeated)
    #[arg(long, value_name = "ADDR", required_unless_present_any = ["show", "off"])]
    pub address: Vec<IpAddr>,
    /// A listener's address: packets to it are taken out of tunnels (can be repeated)
    #[arg(long, value_name = "ADDR", required_unless_present_any = ["show", "off"])]
    pub vip: Vec<IpAddr>,
    /// Only packets in tunnels from these addresses [default: from any] (up to 8 times)
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = prefix)]
    pub from: Vec<Prefix>,
    /// The UDP port of GUE
    #[arg(long, value_name = "PORT", default_value_t = GUE_PORT,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// In the driver (native), on any interface but slower (generic), or the first that goes (auto)
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = mode)]
    pub mode: XdpMode,
    /// A directory in the BPF file system: it keeps the program, and what it counts
    #[arg(long, value_name = "PATH", default_value = DIRECTORY)]
    pub bpffs: PathBuf,
    /// Show what has been counted
    #[arg(long, conflicts_with_all = ["address", "vip", "from", "off"])]
    pub show: bool,
    /// Print JSON
    #[arg(long, conflicts_with_all = ["address", "vip", "from", "off"])]
    pub json: bool,
    /// Take the program off again
    #[arg(long, conflicts_with_all = ["address", "vip", "from"])]
    pub off: bool,
}

fn prefix(text: &str) -> Result<Prefix, String> {
    // Its own words are about clients.
    text.parse().ok().ok_or_else(|| {
        "allowed is an address with or without a prefix length, like 10.0.0.1 or 10.255.0.0/16"
            .to_owned()
    })
}

fn mode(text: &str) -> Result<XdpMode, String> {
    match text {
        "auto" => Ok(XdpMode::Auto),
        "native" => Ok(XdpMode::Native),
        "generic" => Ok(XdpMode::Generic),
        _ => Err("allowed are auto, native and generic".to_owned()),
    }
}

/// Carries it out.
pub fn run(arguments: &DecapArgs, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let directory = decap::directory(&arguments.bpffs, &arguments.interface);
    let done = if arguments.off {
        decap::take_off(&directory, &arguments.interface)
            .map(|()| format!("{}: taken off\n", arguments.interface))
    } else if arguments.show {
        show(arguments, &directory)
    } else {
        put(arguments, &directory, err)
    };
    // There is nobody left to tell when output fails.
    match done {
        Ok(text) => {
            out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
            OK.into()
        }
        Err(error) => {
            write_error(&printable(&error.to_string()), &[], err).ok();
            FAILED.into()
        }
    }
}

fn put(arguments: &DecapArgs, directory: &Path, err: &mut dyn Write) -> Result<String, DecapError> {
    let DecapArgs { interface, address, vip, from, port, mode, .. } = arguments;
    let rules =
        Rules { addresses: address.clone(), vips: vip.clone(), from: from.clone(), port: *port };
    let how = match decap::put(DECAP_OBJECT, directory, interface, *mode, &rules)? {
        Attached::Replaced => "in the place of the rules before",
        Attached::Native => "native",
        Attached::Generic => "generic",
    };
    for note in notes(&rules) {
        writeln!(err, "note: {note}").ok();
    }
    let list = |list: &[IpAddr]| list.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    Ok(format!(
        "{interface}: packets to {} are taken out of tunnels to {} ({how})\n",
        list(vip),
        list(address)
    ))
}

/// What will keep packets from being answered.
fn notes(rules: &Rules) -> Vec<String> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let here: Vec<IpAddr> = all
        .filter_map(|one| {
            let address = one.address?;
            let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
        })
        .collect();
    let strangers = rules.vips.iter().chain(&rules.addresses).filter(|one| !here.contains(one));
    strangers
        .map(|one| {
            let bits = if one.is_ipv4() { 32 } else { 128 };
            format!("this machine does not have {one}: `ip address add {one}/{bits} dev lo`")
        })
        .collect()
}

fn show(arguments: &DecapArgs, directory: &Path) -> Result<String, DecapError> {
    let counted = decap::counted(directory, &arguments.interface)?;
    if arguments.json {
        let all: Map<String, Value> = counted
            .iter()
            .map(|(event, count)| (event.name().to_owned(), (*count).into()))
            .collect();
        return Ok(format!("{}\n", Value::Object(all)));
    }
    let line = |(event, count): (DecapEvent, u64)| {
        format!("{:<18} {count:>12}  {}\n", event.name(), event.description())
    };
    Ok(counted.into_iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: DecapArgs,
    }

    fn parse(line: &str) -> Result<DecapArgs, clap::error::ErrorKind> {
        Line::try_parse_from(std::iter::once("decap").chain(line.split_whitespace()))
            .map(|line| line.arguments)
            .map_err(|error| error.kind())
    }

    #[test]
    fn usage() {
        use clap::error::ErrorKind::{ArgumentConflict, MissingRequiredArgument, ValueValidation};
        let put = "--interface eth0 --address 10.0.0.11 --vip 203.0.113.10";
        let good = parse(put).expect("enough");
        assert_eq!((good.port, good.mode, good.from.len()), (6080, XdpMode::Auto, 0));
        let good = parse(&format!("{put} --vip 2001:db8::1 --from 10.0.0.0/24 --from fd00::1"));
        assert_eq!(good.map(|good| (good.vip.len(), good.from.len())), Ok((2, 2)));
        assert!(parse("--interface eth0 --show --json").is_ok_and(|show| show.show && show.json));
        assert!(parse("--interface eth0 --off").is_ok_and(|off| off.off));
        let check = |line: &str, want| assert_eq!(parse(line).map(|_| ()), Err(want), "{line}");
        check("--vip 203.0.113.10 --address 10.0.0.11", MissingRequiredArgument);
        check("--interface eth0 --vip 203.0.113.10", MissingRequiredArgument);
        check("--interface eth0 --address 10.0.0.11", MissingRequiredArgument);
        check("--interface eth0 --off --show", ArgumentConflict);
        check("--interface eth0 --off --vip 203.0.113.10", ArgumentConflict);
        check(&format!("{put} --port 0"), ValueValidation);
        check(&format!("{put} --mode fast"), ValueValidation);
        check(&format!("{put} --from 10.0.0.0/33"), ValueValidation);
        check(&format!("{put} --json"), ArgumentConflict);
        check("--interface eth0 --json", MissingRequiredArgument);
    }
}
