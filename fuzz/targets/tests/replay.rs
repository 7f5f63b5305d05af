//! Every committed input through its fuzz target, with the stable compiler.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// At most so many octets of corpora: they are to be read by people's tools, not to fill their disks.
const LIMIT: u64 = 2 << 20;

fn corpora() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../corpus"))
}

fn replay(name: &str) {
    let (_, run) = targets::TARGETS.iter().find(|(n, _)| *n == name).expect("a target");
    let mut paths: Vec<_> =
        fs::read_dir(corpora().join(name)).expect("a corpus").map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    let failed: Vec<_> = paths
        .iter()
        .filter(|path| {
            let data = fs::read(path).expect("a file");
            catch_unwind(|| run(&data)).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} inputs fail: {failed:?}", failed.len(), paths.len());
    assert!(paths.len() >= 20, "only {} inputs", paths.len());
    println!("{name}: {} inputs", paths.len());
}

#[test]
fn message() {
    replay("message");
}

#[test]
fn nlri() {
    replay("nlri");
}

#[test]
fn session() {
    replay("session");
}

#[test]
fn update() {
    replay("update");
}

/// No corpus without a target, no target without a corpus, and all of it small.
#[test]
fn the_corpora_are_complete_and_small() {
    let mut size = 0;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(corpora()).expect("corpora") {
        let entry = entry.expect("an entry");
        names.insert(entry.file_name().into_string().expect("a name"));
        for file in fs::read_dir(entry.path()).expect("a corpus") {
            size += file.expect("an entry").metadata().expect("a size").len();
        }
    }
    assert_eq!(names, targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect());
    assert!(size < LIMIT, "{size} octets");
    // The crate of the entry points is outside the workspace; that it knows the same targets is seen here.
    let manifest = include_str!("../../Cargo.toml");
    let bins: BTreeSet<_> =
        manifest.lines().filter_map(|l| l.strip_prefix("path = \"fuzz_targets/")).collect();
    assert_eq!(
        bins,
        names.iter().map(|n| format!("{n}.rs\"")).collect::<Vec<_>>().iter().map(String::as_str).collect()
    );
}
