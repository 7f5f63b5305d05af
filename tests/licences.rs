//! The dependencies hold to what the project allows: licences and sources as `deny.toml` lists them, and the shape of
//! the workspace (`bgp` and `dataplane` know neither tokio nor each other). cargo-deny checks more; this needs no tool.
#![forbid(unsafe_code)]

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

/// The list `allow` of `deny.toml`.
fn allowed() -> Result<BTreeSet<String>, Failure> {
    let deny = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml"))?;
    let list = deny
        .split("allow = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .ok_or("no list in deny.toml")?;
    Ok(list
        .split(',')
        .map(|item| item.trim().trim_matches('"').to_owned())
        .filter(|item| !item.is_empty())
        .collect())
}

/// Whether an SPDX expression can be satisfied; enough of the grammar for crates: OR of ANDs, one level of parentheses.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ");
    if let Some((before, rest)) = expression.split_once('(') {
        let Some((inner, after)) = rest.split_once(')') else { return false };
        let inner = if satisfied(inner, allowed) { "MIT" } else { "none" };
        return satisfied(&format!("{before}{inner}{after}"), allowed);
    }
    expression.split(" OR ").any(|all| all.split(" AND ").all(|one| allowed.contains(one.trim())))
}

#[test]
fn licences_and_sources() -> Result<(), Failure> {
    let allowed = allowed()?;
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().ok_or("no packages")?;
    let mut bad = Vec::new();
    for package in packages {
        let name = format!("{} {}", text(&package["name"]), text(&package["version"]));
        if !satisfied(text(&package["license"]), &allowed) {
            bad.push(format!("{name}: licence {}", package["license"]));
        }
        let source = text(&package["source"]);
        if !source.is_empty() && !source.starts_with("registry+https://github.com/rust-lang/crates.io-index")
        {
            bad.push(format!("{name}: source {source}"));
        }
    }
    assert!(packages.len() > 20, "only {} packages seen", packages.len());
    assert!(bad.is_empty(), "not allowed:\n{}", bad.join("\n"));
    Ok(())
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
