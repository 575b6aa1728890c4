//! Framing of HTTP/1.1 requests: nothing that could be read in two ways gets past.
