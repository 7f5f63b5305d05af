//! A network namespace for each test.
//!
//! A test body runs in a copy of the test process that `unshare` put into fresh user, network, mount and process
//! namespaces: as root or not, nothing of the machine is touched, and nothing is left.

use std::process::Command;

/// Set in the copy.
const INSIDE: &str = "EVPND_TEST_INSIDE";

/// Runs the body of the test of that name in namespaces of its own. `prepare` is called there first.
pub(crate) fn in_namespace(test: &str, prepare: impl FnOnce(), body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        prepare();
        return body();
    }
    let copy = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child"])
        .arg(std::env::current_exe().expect("own path"))
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare (util-linux) is needed");
    let said = String::from_utf8_lossy(&[copy.stdout, copy.stderr].concat()).replace('\n', "\n    ");
    assert!(copy.status.success(), "{test} failed in its namespace:\n    {said}");
}
