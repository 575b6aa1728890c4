//! Which backend a request's session is on, and what becomes of its cookie. Pure.
