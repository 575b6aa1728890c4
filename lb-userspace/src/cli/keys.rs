//! `keys`: which keys seal cookies, and another one.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{
    human::{duration, plural},
    table::{
        Column::{Left, Right},
        printable, render,
    },
};
use crate::api::wire::{Key, Keys, RotateRequest, Rotated};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeysVerb {
    /// Show the keys' ids and times; never what is secret
    #[command(after_help = "\
Examples:
  sudo holdfast keys list
  sudo holdfast keys list --json

A key opens what it sealed as long as it is listed, also before its time to seal has come. One is
dropped, at the next rotation, when nothing that it sealed can be valid any more: 30 days after a
newer one has begun to seal.")]
    List {
        /// Print the admin API's JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a key, which seals cookies from some time on; no session is lost
    #[command(
        long_about = "\
Add a key to the ring. It opens cookies at once and seals them after the time
given by --after, so that there is time to copy the file with the keys to the
other nodes and to reload them: a node that has not got it by then takes its
cookies for forged. Older keys open what they sealed as long as it can be valid.",
        after_help = "\
Examples:
  sudo holdfast keys rotate
  sudo holdfast keys rotate --after 1h
  sudo holdfast keys rotate --after 0s          one node: at once"
    )]
    Rotate(RotateArgs),
}

/// `keys rotate`'s arguments.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// When it begins to seal, from now: 0s to 30d
    #[arg(long, value_name = "DURATION", default_value = "1min", value_parser = after)]
    pub after: Duration,
}

fn after(text: &str) -> Result<Duration, String> {
    let most = Duration::from_secs(RotateRequest::AFTER_S_MAX);
    let time = humantime::parse_duration(text).ok().filter(|time| *time <= most);
    time.ok_or_else(|| "allowed is a time from 0s to 30d, like 90s, 5min or 1h".to_owned())
}

/// The keys as a table.
pub(super) fn list(keys: &Keys) -> String {
    let when = |key: &Key| match key.seals_in_s {
        _ if key.seals => "seals and opens".to_owned(),
        Some(in_s) => format!("opens; seals in {}", duration(in_s)),
        None => "opens".to_owned(),
    };
    let row = |key: &Key| vec![key.id.to_string(), key.seals_from.clone(), when(key)];
    let rows: Vec<Vec<String>> = keys.keys.iter().map(row).collect();
    render(&[Right("KEY"), Left("SEALS FROM"), Left("NOW")], &rows)
        + &format!("in {}\n", printable(&keys.file))
}

/// What the new key does, and what is to be done with it.
pub(super) fn rotated(rotated: &Rotated) -> String {
    let Rotated { key, dropped, keys } = rotated;
    let dropped = match dropped {
        0 => String::new(),
        count => {
            format!(" {} dropped: nothing that it sealed is valid.", plural(*count, "old key"))
        }
    };
    let Some(in_s) = key.seals_in_s else {
        return format!("Key {} seals from now on.{dropped}\n", key.id);
    };
    let text = format!(
        "Key {} seals from {} on, in {}. Where other nodes serve the same cookies: copy {} to them \
         before, and reload them.{dropped}",
        key.id,
        key.seals_from,
        duration(in_s),
        keys.file
    );
    printable(&text) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let key = |id, seals_in_s, seals| Key {
            id,
            seals_from: "2026-01-02T03:04:05Z".to_owned(),
            seals_in_s,
            seals,
        };
        Keys {
            file: "/var/lib/holdfast/keys.json".to_owned(),
            keys: vec![
                key(7, None, false),
                key(4_000_000_000, None, true),
                key(5, Some(59), false),
            ],
        }
    }

    #[test]
    fn a_table() {
        assert_eq!(
            list(&keys()),
            "       KEY  SEALS FROM            NOW\n         \
             7  2026-01-02T03:04:05Z  opens\n\
             4000000000  2026-01-02T03:04:05Z  seals and opens\n         \
             5  2026-01-02T03:04:05Z  opens; seals in 59 s\nin /var/lib/holdfast/keys.json\n"
        );
    }

    #[test]
    fn a_new_key() {
        let keys = keys();
        let check = |key: &Key, dropped, want: &str| {
            let rotated = rotated(&Rotated { key: key.clone(), dropped, keys: keys.clone() });
            assert_eq!(rotated, want);
        };
        check(&keys.keys[1], 0, "Key 4000000000 seals from now on.\n");
        check(
            &keys.keys[2],
            1,
            "Key 5 seals from 2026-01-02T03:04:05Z on, in 59 s. Where other nodes serve the same \
             cookies: copy /var/lib/holdfast/keys.json to them before, and reload them. 1 old key \
             dropped: nothing that it sealed is valid.\n",
        );
    }

    #[test]
    fn times() {
        for (text, want) in [("0s", 0), ("90s", 90), ("1min", 60), ("30d", 2_592_000)] {
            assert_eq!(after(text), Ok(Duration::from_secs(want)), "{text}");
        }
        for text in ["", "1", "31d", "soon", "-1s"] {
            assert!(after(text).is_err(), "{text}");
        }
    }
}
