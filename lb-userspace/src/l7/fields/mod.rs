//! Header fields that a proxy takes out, sets or checks. Pure.
