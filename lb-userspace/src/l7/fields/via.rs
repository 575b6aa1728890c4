//! Via (RFC 9110, 7.6.3). Pure.

use http::{HeaderMap, HeaderValue, Version, header::VIA};

/// Adds this proxy, with the version that the message came in.
pub fn append(headers: &mut HeaderMap, received: Version) {
    let entry = match received {
        Version::HTTP_2 => "2.0 holdfast",
        Version::HTTP_10 => "1.0 holdfast",
        _ => "1.1 holdfast",
    };
    headers.append(VIA, HeaderValue::from_static(entry));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entry_is_ours() {
        let mut headers = HeaderMap::new();
        headers.append(VIA, HeaderValue::from_static("1.0 other"));
        append(&mut headers, Version::HTTP_11);
        append(&mut headers, Version::HTTP_2);
        let entries: Vec<_> = headers.get_all(VIA).iter().collect();
        assert_eq!(entries, ["1.0 other", "1.1 holdfast", "2.0 holdfast"]);
    }
}
