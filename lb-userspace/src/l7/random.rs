//! Randomness for keys, seals and sessions.

/// Fills with bytes of the kernel's source, which does not fail once it has begun.
pub fn fill(into: &mut [u8]) {
    if getrandom::fill(into).is_err() {
        std::process::abort();
    }
}
