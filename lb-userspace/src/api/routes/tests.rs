use super::*;

#[test]
fn paths_and_methods() {
    let check = |method: Method, path: &str, want: Result<Route<'_>, u16>| {
        let got = route(&method, path).map_err(|failure| failure.status.as_u16());
        assert_eq!(got, want, "{method} {path}");
    };
    check(Method::GET, "/v1/health", Ok(Route::Health));
    check(Method::GET, "/v1/status", Ok(Route::Status));
    check(Method::GET, "/v1/sessions", Ok(Route::Sessions));
    check(Method::POST, "/v1/sessions/flush", Ok(Route::Flush));
    check(Method::GET, "/v1/keys", Ok(Route::Keys));
    check(Method::POST, "/v1/keys/rotate", Ok(Route::Rotate));
    check(Method::POST, "/v1/cookie/explain", Ok(Route::Explain));
    check(Method::POST, "/v1/sidecar/replace", Ok(Route::Replace));
    check(Method::POST, "/v1/keys", Err(405));
    check(Method::GET, "/v1/keys/rotate", Err(405));
    check(Method::GET, "/v1/cookie/explain", Err(405));
    check(Method::GET, "/v1/sidecar/replace", Err(405));
    check(Method::POST, "/v1/reload", Ok(Route::Reload));
    check(Method::POST, "/v1/backends/a/intent", Ok(Route::Intent { backend: "a" }));
    check(Method::GET, "/v1/backends/a/intent", Err(405));
    check(Method::POST, "/v1/status", Err(405));
    check(Method::HEAD, "/v1/status", Err(405));
    check(Method::GET, "/v1/reload", Err(405));
    for path in [
        "/",
        "/v1",
        "/v1/status/",
        "/v2/status",
        "/v1/backends//intent",
        "/v1/backends/a",
        "/v1/backends/a/b/intent",
        "/v1/backends/intent",
        "//v1/status",
    ] {
        check(Method::GET, path, Err(404));
        check(Method::POST, path, Err(404));
    }
}

#[test]
fn a_flush_needs_a_filter_or_all_and_not_both() {
    let check = |text: &str, want: Result<bool, u16>| {
        let request = serde_json::from_str(text).expect("request");
        let got = flush_filter(request)
            .map(|filter| filter.is_empty())
            .map_err(|failure| failure.status.as_u16());
        assert_eq!(got, want, "{text}");
    };
    check("{}", Err(400));
    check(r#"{"all": false}"#, Err(400));
    check(r#"{"all": true}"#, Ok(true));
    check(r#"{"backend": "a"}"#, Ok(false));
    check(r#"{"client": "10.0.0.0/8", "listener": "web"}"#, Ok(false));
    check(r#"{"all": true, "backend": "a"}"#, Err(400));
}
