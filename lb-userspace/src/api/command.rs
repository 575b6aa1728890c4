//! What the API asks of the writer task, and what it may answer.

use tokio::sync::oneshot;

use super::{prefix::Prefix, wire};
use crate::control::facts::Intent;

/// Where an answer goes. The asker may have gone meanwhile: a failed send is no error.
pub type Reply<T> = oneshot::Sender<Result<T, CommandError>>;

/// A request to the task that owns the maps.
#[derive(Debug)]
pub enum Command {
    /// How things stand.
    Status(Reply<wire::Status>),
    /// A page of pins that are valid now.
    Sessions {
        /// Which of them, and where the page begins.
        query: SessionsQuery,
        /// The page.
        reply: Reply<wire::SessionsPage>,
    },
    /// Remove pins.
    Flush {
        /// Which; an empty filter means every one, and was asked for in so many words.
        filter: Filter,
        /// How many went.
        reply: Reply<wire::Flushed>,
    },
    /// Set what the operator wants of a backend.
    SetIntent {
        /// Its name.
        backend: String,
        /// What is wanted.
        intent: Intent,
        /// The backend after the change.
        reply: Reply<wire::IntentSet>,
    },
    /// Read the configuration file again; all or nothing.
    Reload(Reply<wire::Reloaded>),
    /// Which keys cookies are sealed with.
    Keys(Reply<wire::Keys>),
    /// Add a key.
    RotateKeys {
        /// When it begins to seal, from now.
        after_s: u64,
        /// The key.
        reply: Reply<wire::Rotated>,
    },
    /// Say what a cookie means.
    ExplainCookie {
        /// As somebody pasted it.
        value: String,
        /// What it means.
        reply: Reply<wire::Explained>,
    },
    /// Put another sidecar in the place of the one that runs.
    ReplaceSidecar(Reply<wire::Replaced>),
}

/// Which pins are meant; every condition that is there must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of the scope that this listener is in. The writer refuses a name that it does not know.
    pub listener: Option<String>,
    /// To this backend. The writer refuses a name that it does not know.
    pub backend: Option<String>,
    /// Of clients in this prefix. A pin that stands for a prefix itself counts when the two
    /// overlap.
    pub client: Option<Prefix>,
}

impl Filter {
    /// Does it leave nothing out?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A page of pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionsQuery {
    /// Which pins.
    pub filter: Filter,
    /// At most so many; 1 to [`super::PAGE_MAX`]. A page may hold fewer, or none, and not be the
    /// last: that is told by [`wire::SessionsPage::next`] alone.
    pub limit: usize,
    /// Where the page begins, as once given to [`super::encode_cursor`]; empty: at the beginning.
    pub position: Vec<u8>,
}

/// Why a command was not carried out. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Something of that name is not there.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense as it stands.
    #[error("{0}")]
    Invalid(String),
    /// The new configuration is wrong, and why; the old one goes on.
    #[error("the configuration is refused; nothing has changed")]
    Refused(Vec<String>),
    /// The agent could not do it.
    #[error("{0}")]
    Internal(String),
}

/// How many known names an error lists.
const NAMES_LISTED: usize = 8;

impl CommandError {
    /// Nothing of this kind has that name; names the nearest that is known.
    ///
    /// `kind` as it stands in the sentence: `backend`, `listener`.
    #[must_use]
    pub fn not_found<'a>(kind: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let nearest = known
            .iter()
            .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
            .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
            .min();
        let hint = match nearest {
            Some((_, candidate)) => format!("did you mean `{candidate}`?"),
            None if known.is_empty() => format!("there is no {kind}"),
            None => {
                let listed = known[..known.len().min(NAMES_LISTED)].join(", ");
                match known.len().saturating_sub(NAMES_LISTED) {
                    0 => format!("known: {listed}"),
                    more => format!("known: {listed} and {more} more"),
                }
            }
        };
        Self::NotFound(format!("no {kind} is named `{name}`; {hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_is_answered_with_known_ones() {
        let check = |name: &str, known: &[&str], want: &str| {
            let error = CommandError::not_found("backend", name, known.iter().copied());
            assert_eq!(error.to_string(), want);
        };
        check("web-9", &["web-1", "api-1"], "no backend is named `web-9`; did you mean `web-1`?");
        check("wbe-1", &["web-2", "web-1"], "no backend is named `wbe-1`; did you mean `web-1`?");
        check("zz", &["web-1", "web-2"], "no backend is named `zz`; known: web-1, web-2");
        check("zz", &[], "no backend is named `zz`; there is no backend");
        let many: Vec<String> = (10..20).map(|n| format!("backend-{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let listed = many[..8].join(", ");
        check("x", &many, &format!("no backend is named `x`; known: {listed} and 2 more"));
    }
}
