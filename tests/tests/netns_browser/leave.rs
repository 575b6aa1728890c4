//! Backends leave under a browser's session.

use lb_userspace::api::wire::BackendState;
use tests::site::backend_name;

use crate::shop::start;

#[test]
fn a_session_outlasts_draining_and_moves_once_from_a_stopped_server() {
    let mut shop = start();
    shop.browser.open("http://shop.example/");
    let first = shop.backend();
    let cookie = shop.browser.only_cookie();

    let _said = shop.site.holdfast.verb(&format!("backend drain {}", backend_name(first)));
    assert_eq!(shop.reload(5), [first; 5], "while it drains");
    shop.browser.forget();
    shop.browser.reload();
    let second = shop.backend();
    assert_ne!(second, first, "a new session on a backend that drains");
    assert_ne!(shop.browser.only_cookie().value, cookie.value);

    // Nobody waits for the health check.
    shop.site.servers[second].stop();
    shop.browser.reload();
    let third = shop.backend();
    assert!(third != first && third != second, "{third} after {first} and {second}");
    let _status = shop.site.holdfast.until_backend(&backend_name(second), BackendState::Down);
    assert_eq!(shop.reload(3), [third; 3], "it moved once");
    shop.site.servers[second].start_again();
    let _status = shop.site.holdfast.until_backend(&backend_name(second), BackendState::Ready);
    assert_eq!(shop.reload(5), [third; 5], "after the other one is back");
}
