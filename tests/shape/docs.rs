//! The pages: every link between them leads somewhere, every page is led to, every key of the configuration is told of,
//! and so is every command.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use super::Failure;

/// A page without what is only quoted in it: blocks between fences, and indented ones.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced && !line.starts_with("    ")
    })
}

/// The anchors that GitHub gives to the headings of a page.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(page).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    let anchor = |heading: &str| {
        let letters = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor = letters.collect::<String>().to_lowercase().replace(' ', "-");
        let seen = times.entry(anchor.clone()).or_default();
        *seen += 1;
        if *seen > 1 { format!("{anchor}-{}", *seen - 1) } else { anchor }
    };
    headings.map(anchor).collect()
}

/// Where the links and pictures of a page lead to.
fn links(page: &str) -> impl Iterator<Item = &str> {
    prose(page)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')'))
        .map(|(to, _)| to)
}

/// `a/../b` as `b`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
        plain
    })
}

/// Every link that leads nowhere, and every page of `docs` that none leads to. `exists`: is there such a file?
fn lost(pages: &BTreeMap<PathBuf, String>, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let anchors: BTreeMap<&Path, _> =
        pages.iter().map(|(path, page)| (path.as_path(), anchors(page))).collect();
    let mut lost = Vec::new();
    let mut found = BTreeSet::new();
    for (path, page) in pages {
        for link in links(page).filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, at)| (file, Some(at)));
            let here = path.parent().unwrap_or(Path::new(""));
            let to = if file.is_empty() { path.clone() } else { plain(&here.join(file)) };
            let there = anchors.get(to.as_path());
            if !exists(&to) || anchor.is_some_and(|at| there.is_none_or(|anchors| !anchors.contains(at))) {
                lost.push(format!("{}: {link} leads nowhere", path.display()));
            }
            if to != *path {
                found.insert(to);
            }
        }
    }
    let unknown = pages.keys().filter(|path| path.starts_with("docs") && !found.contains(*path));
    lost.extend(unknown.map(|path| format!("{}: no page leads there", path.display())));
    lost
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_link_leads_somewhere() -> Result<(), Failure> {
    let mut pages = BTreeMap::new();
    for dir in ["", "docs", "fuzz"] {
        for entry in std::fs::read_dir(root().join(dir))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "md") {
                pages.insert(path.strip_prefix(root())?.to_owned(), std::fs::read_to_string(&path)?);
            }
        }
    }
    assert!(pages.len() > 9, "{:?}", pages.keys());
    let all: usize = pages.values().map(|page| links(page).count()).sum();
    assert!(all > 30, "{all} links in all: are they still seen?");
    let lost = lost(&pages, |path| root().join(path).exists());
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    Ok(())
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let page = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
    let readme =
        "# A\n[b](docs/b.md), [`[[c]]`](docs/b.md#c_d-e--f) and [c](docs/b.md#twice-1)\n![p](docs/p.svg)\n";
    let b =
        "# `[[C_d]]` e: / F\n## Twice\n## Twice\n[up](../README.md#a) [here](#twice) [out](https://a.b/#c)\n";
    let exists = |path: &Path| ["README.md", "docs/b.md", "docs/p.svg"].iter().any(|p| path == Path::new(p));
    let check = |readme: &str, b: &str| {
        lost(&[page("README.md", readme), page("docs/b.md", b)].into_iter().collect(), exists)
    };
    let b = b.replace("e: / F", "e / F");
    assert_eq!(check(readme, &b), Vec::<String>::new());
    let quoted = format!("{b}    [x](x.md)\n```\n# No heading\n[x](x.md)\n```\n");
    assert_eq!(check(readme, &quoted), Vec::<String>::new());
    for (readme, b, says) in [
        (&*readme.replace("b.md#twice-1", "b.md#twice-2"), &*b, "README.md: docs/b.md#twice-2 leads nowhere"),
        (readme, &*format!("{b}[x](x.md)\n"), "docs/b.md: x.md leads nowhere"),
        (readme, &*format!("{b}[x](b.md#no-heading)\n"), "docs/b.md: b.md#no-heading leads nowhere"),
        (readme, &*b.replace("#a)", "#b)"), "docs/b.md: ../README.md#b leads nowhere"),
        ("# A\n", &*b, "docs/b.md: no page leads there"),
    ] {
        assert_eq!(check(readme, b), [says]);
    }
}

/// Every key that `src/config` asks for is in its page.
#[test]
fn every_key_is_documented() -> Result<(), Failure> {
    let page = std::fs::read_to_string(root().join("docs/configuration.md"))?;
    let mut keys = BTreeSet::new();
    for file in ["parse.rs", "peer.rs", "dataplane.rs", "vni.rs"] {
        let source = std::fs::read_to_string(root().join("src/config").join(file))?;
        for call in ["get(\"", "required(\"", "section(\"", "sections(\"", "not_yet(\"", "prefix(&mut s, \""]
        {
            let after = source.split(call).skip(1).filter_map(|rest| rest.split_once('"'));
            keys.extend(after.map(|(key, _)| key.to_owned()));
        }
    }
    assert!(keys.len() > 50, "{keys:?}: are they still seen?");
    keys.retain(|key| !page.contains(&format!("`{key}`")) && !page.contains(&format!("{key}]")));
    assert!(keys.is_empty(), "not in docs/configuration.md: {keys:?}");
    Ok(())
}

/// Every command is in the page of commands, and its help has an example.
#[test]
fn every_command_is_documented() -> Result<(), Failure> {
    let page = std::fs::read_to_string(root().join("docs/cli.md"))?;
    let help = |args: &[&str]| -> Result<String, Failure> {
        let output = Command::new(env!("CARGO_BIN_EXE_evpnd")).args(args).arg("--help").output()?;
        Ok(String::from_utf8(output.stdout)?)
    };
    let all = help(&[])?;
    let list =
        all.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).ok_or("no commands")?;
    let commands: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        assert!(
            page.contains(&format!("`evpnd {command} ")) || page.contains(&format!("`evpnd {command}`")),
            "{command}"
        );
        assert!(help(&[command])?.contains("\nExample"), "{command}");
    }
    Ok(())
}
