//! Why the controller did not do something, and the sizes that it insists on.

use lb_common::{layout::Meta, maps::LAYOUT_VERSION};

use super::{ids::Full, reconcile::ApplyError};
use crate::{config::Limits, limits::difference, maps::MapError};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The maps are of another version.
    #[error(
        "the instance has map layout {found}, this holdfast has {LAYOUT_VERSION}: run `holdfast \
         detach` first"
    )]
    Layout {
        /// The maps' version.
        found: u32,
    },
    /// A size differs from that of the maps.
    #[error(
        "`limits.{limit}` is {configured}, but the instance was made with {instance}: sizes \
         change only after `holdfast detach`"
    )]
    Limit {
        /// Key in `[limits]`.
        limit: &'static str,
        /// Its value in the configuration.
        configured: u32,
        /// Its value in the maps.
        instance: u32,
    },
    /// There is no room. Nothing was changed.
    #[error(transparent)]
    Full(#[from] Full),
    /// No backend has that name. Nothing was changed.
    #[error("no backend is named `{0}`")]
    UnknownBackend(String),
    /// Maps could not be read, or pins not be deleted.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The maps could not be brought to what is wanted; [`Controller::apply`] tries again.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// Refuses limits that differ from what the maps were made with.
pub(super) fn check_limits(limits: &Limits, meta: &Meta) -> Result<(), ControlError> {
    match difference(limits, meta) {
        Some((limit, configured, instance)) => {
            Err(ControlError::Limit { limit, configured, instance })
        }
        None => Ok(()),
    }
}
