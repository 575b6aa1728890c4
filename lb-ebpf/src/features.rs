//! What this program was loaded for.

use lb_common::features::Features;

use crate::maps::FEATURES;

/// Was it loaded for all of these? To the verifier a constant: what is not used is not there.
#[inline(always)]
pub(crate) fn have(features: Features) -> bool {
    Features(FEATURES.load()).have(features)
}
