//! Cookies: what is in the fields, and what is sealed in the sidecar's own.
