//! The shape of the workspace: `bgp` and `dataplane` know neither tokio nor each other, at any depth, and the pages of
//! `docs` are whole. (Licences and sources are cargo-deny's business, see `deny.toml`.)
#![forbid(unsafe_code)]

#[path = "shape/docs.rs"]
mod docs;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

type Failure = Box<dyn std::error::Error>;

fn metadata() -> Result<Value, Failure> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn the_shape_of_the_workspace() -> Result<(), Failure> {
    let metadata = metadata()?;
    let nodes = metadata["resolve"]["nodes"].as_array().ok_or("no graph")?;
    let names: BTreeMap<&str, &str> = (metadata["packages"].as_array().ok_or("no packages")?.iter())
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    // All that a package needs to run, whatever the depth.
    let needs = |name: &str| {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = names.iter().filter(|(_, n)| **n == name).map(|(id, _)| *id).collect();
        while let Some(id) = open.pop() {
            for dep in nodes
                .iter()
                .filter(|n| n["id"] == id)
                .flat_map(|n| n["deps"].as_array().into_iter().flatten())
            {
                let normal = dep["dep_kinds"]
                    .as_array()
                    .is_some_and(|kinds| kinds.iter().any(|k| k["kind"].is_null()));
                let (id, name) =
                    (text(&dep["pkg"]), names.get(text(&dep["pkg"])).copied().unwrap_or_default());
                if normal && found.insert(name) {
                    open.push(id);
                }
            }
        }
        found
    };
    let bgp = needs("evpnd-bgp");
    assert!(bgp.contains("evpnd-types"), "{bgp:?}");
    for foreign in ["tokio", "evpnd-dataplane", "evpnd", "socket2"] {
        assert!(!bgp.contains(foreign), "bgp needs {foreign}");
    }
    let dataplane = needs("evpnd-dataplane");
    for foreign in ["tokio", "evpnd-bgp", "evpnd"] {
        assert!(!dataplane.contains(foreign), "dataplane needs {foreign}");
    }
    Ok(())
}
