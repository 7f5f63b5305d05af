//! Whatever the routes: nothing overlaps, nothing is cut, everything is on the sheet.

use proptest::prelude::*;

use super::super::font::Style;
use super::super::scene::{Anchor, Item, Layer, Rect, Scene};
use super::super::{Limits, View, scene};
use super::*;

/// What a text covers, from its highest to its lowest letter.
fn extent(x: i32, y: i32, anchor: Anchor, style: Style, words: &str) -> Rect {
    let w = style.width(words);
    let x = match anchor {
        Anchor::Start => x,
        Anchor::Middle => x - w / 2,
        Anchor::End => x - w,
    };
    Rect::new(x, y - style.size() * 76 / 100, w, style.size())
}

fn inside(inner: Rect, outer: Rect) -> bool {
    inner.x >= outer.x
        && inner.y >= outer.y
        && inner.right() <= outer.right()
        && inner.bottom() <= outer.bottom()
}

fn touch(a: Rect, b: Rect) -> bool {
    a.x < b.right() && b.x < a.right() && a.y < b.bottom() && b.y < a.bottom()
}

/// The first two that touch. In order of their tops, so that few have to be compared.
fn overlap<T: Clone>(mut all: Vec<(Rect, T)>) -> Option<(T, T)> {
    all.sort_by_key(|(r, _)| r.y);
    for (at, (a, of)) in all.iter().enumerate() {
        for (b, by) in all[at + 1..].iter().take_while(|(b, _)| b.y < a.bottom()) {
            if touch(*a, *b) {
                return Some((of.clone(), by.clone()));
            }
        }
    }
    None
}

fn check(scene: &Scene) -> Result<(), String> {
    let sheet = Rect::new(0, 0, scene.width, scene.height);
    let mut texts = Vec::new();
    let mut boxes: Vec<(Layer, Vec<(Rect, Rect)>)> =
        [Layer::Card, Layer::Block, Layer::Mark].map(|layer| (layer, Vec::new())).into();
    let mut open = 0;
    let mut ids = std::collections::BTreeSet::new();
    let mut references = Vec::new();
    for (at, item) in scene.items.iter().enumerate() {
        match item {
            Item::Open { id, .. } => {
                open += 1;
                if let Some(id) = id.as_ref().filter(|id| !ids.insert((*id).clone())) {
                    return Err(format!("{id} twice"));
                }
            }
            Item::Close => open -= 1,
            Item::Box { at, layer, .. } => {
                if !inside(*at, sheet) || at.w <= 0 || at.h <= 0 {
                    return Err(format!("{at:?} is not on the sheet"));
                }
                if let Some((_, all)) = boxes.iter_mut().find(|(l, _)| l == layer) {
                    all.push((*at, *at));
                }
            }
            Item::Text { x, y, anchor, style, words, room, to } => {
                let extent = extent(*x, *y, *anchor, *style, words);
                if !inside(extent, *room) || !inside(extent, sheet) {
                    return Err(format!("{words:?} takes {extent:?}, and has {room:?}"));
                }
                texts.push((extent, (words.clone(), at)));
                references.extend(to.clone());
            }
            Item::Line { points, .. } => {
                if points.iter().any(|(x, y)| !inside(Rect::new(*x, *y, 0, 0), sheet)) {
                    return Err(format!("{points:?} leaves the sheet"));
                }
            }
        }
    }
    if open != 0 {
        return Err("a group stays open".to_owned());
    }
    if let Some(lost) = references.iter().find(|to| !ids.contains(*to)) {
        return Err(format!("{lost} is referred to, and nowhere"));
    }
    for (layer, all) in boxes {
        if let Some(two) = overlap(all) {
            return Err(format!("{layer:?}: {two:?} overlap"));
        }
    }
    no_text_is_struck_through(scene, &texts)?;
    overlap(texts).map_or(Ok(()), |two| Err(format!("texts {two:?} overlap")))
}

/// No line runs through words, unless a box covers it there before they are written.
fn no_text_is_struck_through(scene: &Scene, texts: &[(Rect, (String, usize))]) -> Result<(), String> {
    for (from, item) in scene.items.iter().enumerate() {
        let Item::Line { points, .. } = item else { continue };
        for pair in points.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let stroke = Rect::new(a.0.min(b.0), a.1.min(b.1), (a.0 - b.0).abs() + 1, (a.1 - b.1).abs() + 1);
            for (extent, (words, at)) in texts.iter().filter(|(extent, _)| touch(*extent, stroke)) {
                let between = scene.items.get(from..*at).unwrap_or_default();
                let covers = |item: &Item| matches!(item, Item::Box { at, .. } if inside(*extent, *at));
                if !between.iter().any(covers) {
                    return Err(format!("a line runs through {words:?}"));
                }
            }
        }
    }
    Ok(())
}

/// A made-up network, in few numbers.
#[derive(Clone, Debug)]
struct Made {
    hosts: usize,
    vnis: usize,
    macs: usize,
    prefixes: usize,
    v6: bool,
    seed: u32,
    names: Vec<String>,
}

impl Made {
    fn model(&self) -> Model {
        let mut seed = self.seed;
        let mut next = move |below: usize| {
            // Numerical Recipes' generator: any would do.
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize % below.max(1)
        };
        let host = |n: usize| {
            if self.v6 {
                format!("2001:db8:aaaa:bbbb:cccc:dddd:eeee:{n:x}")
            } else {
                format!("192.168.{}.{}", 100 + n / 100, 100 + n % 100)
            }
        };
        let vni = |n: usize| if n.is_multiple_of(3) { 16_777_215 - n as u32 } else { 1 + n as u32 };
        let mut rows = Vec::new();
        for n in 0..self.hosts * self.vnis {
            if next(3) > 0 {
                rows.push(flood(vni(n % self.vnis), &host(n / self.vnis), next(3) as u32 * 2047));
            }
        }
        for n in 0..self.macs {
            let (at, vni) = (host(next(self.hosts)), vni(next(self.vnis)));
            let ip = format!("2001:db8:1111:2222:3333:4444:5555:{n:x}");
            let address = format!("02:00:00:00:{:02x}:{:02x}", n / 256, n % 256);
            let ip = [None, Some("10.1.2.3"), Some(ip.as_str())][next(3)];
            rows.push(RouteView { sticky: Some(next(4) == 0), ..mac(vni, &at, &address, ip) });
        }
        for n in 0..self.prefixes {
            let net = if self.v6 { format!("2001:db8:{n:x}::/64") } else { format!("10.{}.{n}.0/24", n % 7) };
            rows.push(prefix(vni(next(self.vnis)), &host(next(self.hosts)), &net));
        }
        let named = self.names.iter().enumerate();
        let names = named.filter_map(|(n, name)| Some((host(n).parse().ok()?, name.clone()))).collect();
        let observer = Observer { router_id: [1, 2, 3, 4].into(), asn: u32::MAX, vtep: host(0).parse().ok() };
        model_with(&rows, &Facts { observer: Some(observer), names, ..Facts::default() })
    }
}

fn made() -> impl Strategy<Value = Made> {
    let size = (1usize..14, 1usize..12, 0usize..90, 0usize..20);
    (size, any::<bool>(), any::<u32>(), prop::collection::vec(".{0,60}", 0..4)).prop_map(
        |((hosts, vnis, macs, prefixes), v6, seed, names)| Made {
            hosts,
            vnis,
            macs,
            prefixes,
            v6,
            seed,
            names,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn nothing_overlaps_and_nothing_is_cut(made in made(), rows in 1usize..60, blocks in 1usize..40, cards in 1usize..20) {
        let model = made.model();
        for limits in [Limits::FOLDED, Limits { rows, blocks, cards, words: rows % 3 }] {
            for view in View::ALL {
                let drawn = check(&scene(&model, view, limits));
                prop_assert!(drawn.is_ok(), "{:?}: {}", view, drawn.unwrap_err());
                language::xml(&svg(&model, view, limits)).map_err(TestCaseError::fail)?;
                language::dot(&dot(&model, view, limits)).map_err(TestCaseError::fail)?;
            }
        }
    }
}

/// Lanes are cut with the hosts: one that no host shown takes part in is neither drawn nor referred to, but counted.
#[test]
fn a_vni_of_hosts_that_are_cut_is_counted() {
    let seed = 578_301_446;
    let made = Made { hosts: 10, vnis: 3, macs: 0, prefixes: 0, v6: false, seed, names: Vec::new() };
    let model = made.model();
    for view in View::ALL {
        let drawn = scene(&model, view, Limits { rows: 1, blocks: 1, cards: 1, words: 1 });
        check(&drawn).unwrap_or_else(|e| panic!("{view:?}: {e}"));
    }
    let rows = [flood(1, "10.0.0.1", 0), flood(2, "10.0.0.2", 0), flood(0, "10.0.0.3", 0)];
    let drawn =
        scene(&model_with(&rows, &Facts::default()), View::Vlans, Limits { cards: 1, ..Limits::FULL });
    check(&drawn).unwrap();
    let says = |scene: &Scene, what: &str| {
        scene.items.iter().any(|item| matches!(item, Item::Text { words, .. } if words == what))
    };
    assert!(says(&drawn, "and 1 more VNI") && says(&drawn, "and 2 more hosts"));
    // Without a VNI, a host is drawn all the same.
    let drawn = scene(&model_with(&rows[2..], &Facts::default()), View::Vlans, Limits::FULL);
    check(&drawn).unwrap();
    assert!(says(&drawn, "10.0.0.3"));
}

#[test]
fn large_networks_stay_readable_and_small() {
    let many = Made { hosts: 50, vnis: 40, macs: 500, prefixes: 60, v6: false, seed: 7, names: Vec::new() };
    for made in [many.clone(), Made { v6: true, ..many.clone() }, Made { hosts: 160, vnis: 130, ..many }] {
        let model = made.model();
        for view in View::ALL {
            let drawn = scene(&model, view, Limits::FOLDED);
            check(&drawn).unwrap_or_else(|e| panic!("{view:?}: {e}"));
            // Within what a browser or a printer takes, and no ribbon.
            assert!(drawn.width < 12_000 && drawn.height < 12_000, "{} x {}", drawn.width, drawn.height);
            assert!(super::super::svg::svg(&drawn).len() < 2_000_000);
        }
    }
}

/// Only between blocks can a column end, so that a long list is several.
#[test]
fn long_lists_make_no_ribbon() {
    for (v6, hosts) in [(false, 1), (false, 2), (true, 3)] {
        let made = Made { hosts, vnis: 1, macs: 400, prefixes: 60, v6, seed: 3, names: Vec::new() };
        for view in [View::Hosts, View::Overlays] {
            let drawn = scene(&made.model(), view, Limits::FOLDED);
            check(&drawn).unwrap_or_else(|e| panic!("{view:?}: {e}"));
            let words = |item: &Item| match item {
                Item::Text { words, .. } => Some(words.clone()),
                _ => None,
            };
            let words: Vec<String> = drawn.items.iter().filter_map(words).collect();
            assert!(words.iter().any(|word| word == "continued"), "{view:?}");
            // What is indented belongs to the row before it.
            let torn = |pair: &[String]| pair[0] == "continued" && pair[1].starts_with(' ');
            assert!(!words.windows(2).any(torn), "{view:?}");
            assert!(drawn.height < 2 * drawn.width, "{view:?}: {} x {}", drawn.width, drawn.height);
        }
    }
}

/// Lanes are not broken where they need not be.
#[test]
fn few_hosts_stand_side_by_side_once() {
    for (hosts, vnis) in [(1, 2), (1, 6), (3, 4), (6, 3), (10, 6)] {
        let routes: Vec<RouteView> = (0..hosts * vnis)
            .map(|n| flood(1 + n % vnis, &format!("2001:db8:aaaa:bbbb:cccc:dddd:eeee:{:x}", 1 + n / vnis), 0))
            .collect();
        let drawn = scene(&model(&routes), View::Vlans, Limits::FOLDED);
        check(&drawn).unwrap();
        let panels = drawn.items.iter().filter(|item| matches!(item, Item::Box { layer: Layer::Card, .. }));
        assert_eq!(panels.count(), hosts as usize, "{hosts} hosts, {vnis} VNIs");
    }
}

#[test]
fn wrapped_words_fit_and_none_is_lost() {
    for style in [Style::Title, Style::Head, Style::Body, Style::Small, Style::Mono] {
        for text in
            ["a", "two words", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", "Wörter 漢字漢字漢字漢字", ""]
        {
            for width in [40, 90, 200] {
                let lines = style.wrap(text, width);
                assert!(lines.iter().all(|line| style.width(line) <= width), "{lines:?} in {width}");
                let plain = |s: &str| s.split_whitespace().collect::<String>();
                assert_eq!(plain(&lines.concat()), plain(text));
            }
        }
    }
}
