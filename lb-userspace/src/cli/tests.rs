use clap::{CommandFactory, error::ErrorKind};

use super::*;

fn parse(line: &str) -> Result<Cli, ErrorKind> {
    Cli::try_parse_from(std::iter::once("holdfast").chain(line.split_whitespace()))
        .map_err(|error| error.kind())
}

#[test]
fn the_tree_is_sound_and_every_verb_shows_an_example() {
    fn walk(command: &clap::Command, path: &str) {
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let path = format!("{path} {}", verb.get_name());
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("holdfast ") || verb.has_subcommands(), "{path}");
            assert!(verb.get_about().is_some(), "{path}");
            walk(verb, &path);
        }
    }
    Cli::command().debug_assert();
    walk(&Cli::command(), "holdfast");
}

#[test]
fn every_example_of_the_help_texts_parses() {
    fn texts(command: &clap::Command, all: &mut Vec<String>) {
        all.extend(command.get_after_help().map(ToString::to_string));
        command.get_subcommands().for_each(|verb| texts(verb, all));
    }
    let mut all = Vec::new();
    texts(&Cli::command(), &mut all);
    let mut examples = 0;
    for line in all.iter().flat_map(|text| text.lines()) {
        let line = line.trim_start().trim_start_matches("sudo ");
        let Some(line) = line.strip_prefix("holdfast ") else { continue };
        let line = line.split("  ").next().unwrap_or(line);
        let line = line.split(" | ").next().unwrap_or(line);
        assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        examples += 1;
    }
    assert!(examples > 15, "{examples}");
}

#[test]
fn usage_that_is_refused() {
    let check = |line: &str, want: ErrorKind| {
        assert_eq!(parse(line).map(|_| ()), Err(want), "{line}");
    };
    check("run", ErrorKind::MissingRequiredArgument);
    check("keys rotate --after soon", ErrorKind::ValueValidation);
    check("keys rotate --after 31d", ErrorKind::ValueValidation);
    check("cookie explain", ErrorKind::MissingRequiredArgument);
    check("sidecar --user nobody", ErrorKind::UnknownArgument);
    check("serve-http", ErrorKind::MissingRequiredArgument);
    check("backend drain", ErrorKind::MissingRequiredArgument);
    check("backend pause web-1", ErrorKind::InvalidSubcommand);
    check("sessions --limit 0", ErrorKind::ValueValidation);
    check("sessions --limit 5 --all", ErrorKind::ArgumentConflict);
    check("sessions --client 10.0.0", ErrorKind::ValueValidation);
    check("sessions flush", ErrorKind::MissingRequiredArgument);
    check("sessions flush --all --backend web-1", ErrorKind::ArgumentConflict);
    check("sessions --backend web-1 flush --all", ErrorKind::ArgumentConflict);
}

#[test]
fn the_socket_can_stand_anywhere() {
    for line in ["--socket /x status", "status --socket /x"] {
        assert_eq!(parse(line).expect(line).socket, PathBuf::from("/x"));
    }
}
