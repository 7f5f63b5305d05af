//! The random test: nodes restart, sessions break, links go silent, MACs and clients come, move and go, rows vanish behind our
//! back, writes fail, others write too; once all is quiet again every dataplane is what the model says.

mod clients;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dataplane::backend::ErrorKind;
use dataplane::rows::{Key, Row};
use types::{MacAddr, Vni};

use super::model;
use super::net::{Net, mac};
use super::world::{DOMAINS, World};

/// Seeds tried by the test; `EVPND_SIM_SEEDS` says another number.
const SEEDS: u64 = 60;
const MACS: u64 = 24;
/// After the last disturbance: hold timers, back-off, a full resync and then some.
const QUIET: Duration = Duration::from_secs(240);
/// So many frames from places it was not at before make a duplicate at the least: each shows two nodes at most that
/// it moved.
const FRAMES_OF_A_DUPLICATE: u32 = 3;

/// The static entry that an operator may make at node `n`.
fn static_mac(n: usize) -> MacAddr {
    mac(100 + n as u64)
}

/// The address of a host.
fn ip_of(mac: MacAddr) -> IpAddr {
    let MacAddr([.., n]) = mac;
    if n % 2 == 0 { [10, 1, 0, n].into() } else { Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into()).into() }
}

/// A disturbed world, with what the disturbances say of it.
struct Run {
    world: World,
    /// How often each MAC was learned somewhere.
    frames: BTreeMap<(u32, MacAddr), u32>,
}

impl Run {
    /// A host at node `n` sends a frame. If it was elsewhere it has moved; half the time its old bridge forgets it by
    /// itself, before it hears of the move.
    fn speak(&mut self, n: usize, domain: u32, m: MacAddr) {
        if !self.world.net.is_up(n) {
            return;
        }
        for other in self.world.hosts.clone() {
            if other != n && self.world.net.dice.chance(50) {
                let v = self.world.vni_of(other, domain);
                if m < static_mac(0) {
                    self.world.net.memory(other).age(v, m);
                }
            }
        }
        let v = self.world.vni_of(n, domain);
        let learned = self.world.net.memory(n).learn(v, m, "port0");
        self.world.net.tell(|| format!("  {m} in VNI {v} speaks at node {n}, learned: {learned}"));
        *self.frames.entry((domain, m)).or_default() += u32::from(learned);
    }

    fn is_local(&self, n: usize, v: Vni, m: MacAddr) -> bool {
        self.world.net.plane(n).backend().locals(v).any(|(mac, _)| mac == m)
    }

    /// One disturbance.
    fn disturb(&mut self) {
        let world = &mut self.world;
        let n = world.hosts[world.net.dice.below(world.hosts.len())];
        let domain = DOMAINS[world.net.dice.below(DOMAINS.len())];
        let v = world.vni_of(n, domain);
        let m = mac(1 + world.net.dice.next() % MACS);
        let what = world.net.dice.below(115);
        if what >= 100 {
            self.disturb_clients(n);
        } else if what < 64 {
            self.disturb_hosts(what, n, domain, v, m);
        } else {
            self.disturb_nodes(what, n, domain, v);
        }
        let net = &mut self.world.net;
        for n in self.world.hosts.clone() {
            net.settle(n);
        }
        let pause = [0, 1, 20, 500, 2_000, 8_000][net.dice.below(6)];
        net.run_for(Duration::from_millis(pause));
    }

    fn disturb_hosts(&mut self, what: usize, n: usize, domain: u32, v: Vni, m: MacAddr) {
        let hosts = self.world.hosts.clone();
        match what {
            0..=36 => {
                // Now and then somebody uses the MAC of a static entry.
                let dice = &mut self.world.net.dice;
                let whose = hosts[dice.below(hosts.len())];
                let m = if dice.chance(10) { static_mac(whose) } else { m };
                self.speak(n, domain, m);
            }
            37..=38 => {
                for _ in 0..2 + self.world.net.dice.below(8) {
                    let at = hosts[self.world.net.dice.below(hosts.len())];
                    self.speak(at, domain, m);
                    self.world.net.settle(at);
                    self.world.net.run_for(Duration::from_millis(30));
                }
            }
            39..=46 => {
                // An address becomes known of a host that is here.
                if self.is_local(n, v, m) {
                    self.world.net.tell(|| format!("  {m} in VNI {v} answers at node {n}"));
                    self.world.net.memory(n).add_neighbour(v, ip_of(m), m, false);
                }
            }
            47..=49 => {
                self.world.net.tell(|| format!("  the address of {m} in VNI {v} is forgotten at node {n}"));
                self.world.net.memory(n).remove_neighbour(v, ip_of(m));
            }
            50..=57 => {
                self.world.net.tell(|| format!("  {m} in VNI {v} ages at node {n}"));
                self.world.net.memory(n).age(v, m);
            }
            58..=60 => {
                let m = static_mac(n);
                let net = &mut self.world.net;
                if net.dice.chance(60) {
                    net.tell(|| format!("  {m} in VNI {v} is made static at node {n}"));
                    net.memory(n).add_static(v, m, "port1");
                } else {
                    net.tell(|| format!("  {m} in VNI {v} is static at node {n} no longer"));
                    net.memory(n).age(v, m);
                }
            }
            _ => {
                let net = &mut self.world.net;
                if net.dice.chance(50) {
                    net.tell(|| format!("  somebody installs {m} in VNI {v} at node {n}"));
                    net.memory(n).add_foreign(v, m);
                } else {
                    net.tell(|| format!("  somebody removes his {m} in VNI {v} at node {n}"));
                    net.memory(n).remove_foreign(v, m);
                }
            }
        }
    }

    fn disturb_nodes(&mut self, what: usize, n: usize, domain: u32, v: Vni) {
        let all = &self.world.controllers;
        let others = if all.is_empty() { &self.world.hosts } else { all };
        let peer = others[self.world.net.dice.below(others.len())];
        let net = &mut self.world.net;
        match what {
            64..=68 => {
                net.tell(|| format!("  connections of {n} and {peer} break"));
                net.reset(n, peer);
            }
            69..=71 => {
                net.tell(|| format!("  {n} and {peer} are cut"));
                net.cut(n, peer);
            }
            72..=75 => {
                net.tell(|| "  all is mended".to_owned());
                net.mend_all();
            }
            76..=79 => {
                if net.is_up(n) {
                    net.tell(|| format!("  node {n} dies"));
                    net.kill(n);
                } else {
                    net.tell(|| format!("  node {n} starts"));
                    net.start(n);
                }
            }
            80..=81 => {
                let wait = net.dice.below(15) as u64;
                net.tell(|| format!("  node {peer} dies for {wait} s"));
                net.kill(peer);
                net.run_for(Duration::from_secs(wait));
                net.start(peer);
            }
            82..=84 => {
                let mut keys = Vec::new();
                net.plane(n).backend().rows().keys(v, &mut keys);
                keys.sort_unstable(); // The table has no order that another run would have too.
                if !keys.is_empty() {
                    let key = keys[net.dice.below(keys.len())];
                    net.tell(|| format!("  at node {n} somebody removes {key}"));
                    net.memory(n).drop_row(&key);
                }
            }
            85..=86 => {
                net.tell(|| format!("  at node {n} somebody removes the device of VNI {v}"));
                net.memory(n).drop_row(&Key::Vni(v));
            }
            87..=88 => {
                net.tell(|| format!("  node {n} loses dataplane events"));
                net.memory(n).overrun();
            }
            89..=92 => {
                let at = net.dice.below(5) as u64;
                net.tell(|| format!("  node {n} op {at} will fail"));
                net.memory(n).fail_op(at, ErrorKind::Other);
            }
            93..=94 => {
                let stalled = net.dice.chance(50);
                net.tell(|| format!("  node {n} stalled: {stalled}"));
                net.stall(n, stalled);
            }
            95..=96 => {
                let mut config = net.nodes[n].config.clone();
                if net.dice.chance(50) {
                    let at = net.dice.below(config.neighbours.len().max(1));
                    config.neighbours.truncate(at);
                } else {
                    for neighbour in &mut config.neighbours {
                        neighbour.session.hold_time = 6 + 3 * net.dice.below(3) as u16;
                    }
                }
                net.tell(|| format!("  node {n} has {} neighbours", config.neighbours.len()));
                net.reconfigure(n, config);
            }
            _ => {
                let mut dice = net.dice.clone();
                let mut config = net.nodes[n].config.clone();
                match config.mac_vrfs.iter().position(|x| x.vni == v) {
                    Some(at) => drop(config.mac_vrfs.remove(at)),
                    None => config.mac_vrfs.push(self.world.mac_vrf(domain, &mut dice)),
                }
                let vnis: Vec<_> = config.mac_vrfs.iter().map(|v| v.vni.get()).collect();
                let net = &mut self.world.net;
                net.dice = dice;
                net.tell(|| format!("  node {n} has VNIs {vnis:?}"));
                net.reconfigure(n, config);
            }
        }
    }

    /// Ends every disturbance and waits for quiet. Duplicates must have moved a lot; an operator forgives them, since
    /// a MAC that nobody may decide about has no right place.
    fn calm(&mut self) -> Result<(), String> {
        let world = &mut self.world;
        world.net.mend_all();
        for n in 0..world.net.nodes.len() {
            world.net.stall(n, false);
            if !world.net.is_up(n) {
                world.net.start(n);
            }
            let mut config = world.configs[n].clone();
            config.mac_vrfs.clone_from(&world.net.nodes[n].config.mac_vrfs);
            world.net.reconfigure(n, config);
        }
        self.settle_clients();
        let world = &mut self.world;
        world.net.run_for(QUIET);
        for &n in &world.hosts {
            for (v, m) in world.net.duplicates(n).into_iter().filter(|(_, m)| !clients::is_client(*m)) {
                let frames = self.frames.get(&(model::domain(v), m)).copied().unwrap_or_default();
                if frames < FRAMES_OF_A_DUPLICATE {
                    return Err(format!("node {n} calls {m} in VNI {v} a duplicate after {frames} frames"));
                }
            }
        }
        world.net.tell(|| "  duplicates are forgiven".to_owned());
        world.net.clear_duplicates();
        world.net.run_for(Duration::from_secs(30));
        Ok(())
    }
}

fn run(seed: u64) -> (World, Result<(), String>) {
    let mut run = Run { world: World::new(seed), frames: BTreeMap::new() };
    run.world.net.run_for(Duration::from_secs(5));
    for _ in 0..20 + run.world.net.dice.below(80) {
        run.disturb();
    }
    let result = run.calm().and_then(|()| model::check(&run.world.net, &run.world.controllers));
    (run.world, result)
}

/// `EVPND_SIM_SEED=17`: that one. `EVPND_SIM_SEEDS=3000` or `3000..6000`: those.
fn seeds() -> Range<u64> {
    let number = |text: &str| text.parse::<u64>().expect("a number");
    if let Ok(seed) = std::env::var("EVPND_SIM_SEED") {
        return number(&seed)..number(&seed) + 1;
    }
    match std::env::var("EVPND_SIM_SEEDS") {
        Ok(seeds) => match seeds.split_once("..") {
            Some((from, to)) => number(from)..number(to),
            None => 0..number(&seeds),
        },
        Err(_) => 0..SEEDS,
    }
}

#[test]
fn once_quiet_every_dataplane_is_what_the_model_says() {
    let try_seed = |seed| {
        let (world, result) = run(seed);
        for line in world.net.story.iter().flatten() {
            println!("{line}");
        }
        result.err().map(|what| format!("EVPND_SIM_SEED={seed}: {what}"))
    };
    let Range { start, end } = seeds();
    let next = AtomicU64::new(start);
    let work = || {
        let seeds = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        seeds.take_while(|seed| *seed < end).filter_map(try_seed).collect::<Vec<_>>()
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().flat_map(|thread| thread.join().expect("a seed that panics fails the test")).collect()
    });
    assert!(wrong.is_empty(), "{} seeds failed:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 14, 15] {
        let (one, other) = (run(seed).0, run(seed).0);
        assert_eq!((one.net.octets, one.net.now), (other.net.octets, other.net.now));
        assert!(one.net.octets > 0);
        for n in one.hosts {
            assert_eq!(model::table(&one.net, n), model::table(&other.net, n));
        }
    }
}

type Spoil = fn(&mut Net, usize, Key);

/// A check that finds nothing must be able to find something.
#[test]
fn the_check_sees_what_went_unnoticed() {
    let spoil: [(&str, Spoil); 3] = [
        ("a row that went without an event", |net, n, key| net.memory(n).drop_row(&key)),
        ("a row that nobody wants", |net, n, key| {
            let mut row = net.plane(n).backend().rows().get(&key).expect("it stands");
            if let Row::Mac(_, m, _) = &mut row {
                *m = mac(9999);
            }
            net.memory(n).set_row(row);
        }),
        ("a host on two bridges", |net, n, key| {
            if let Key::Mac(v, m) = key {
                net.memory(n).learn(v, m, "port0");
            }
        }),
    ];
    for (what, spoil) in spoil {
        let (mut world, result) = run(5);
        result.unwrap();
        let keys = |net: &Net, n| model::table(net, n).macs.keys().map(|&(v, m)| Key::Mac(v, m)).next();
        let (n, key) =
            world.hosts.iter().find_map(|&n| Some((n, keys(&world.net, n)?))).expect("somebody knows a MAC");
        world.net.memory(n).lose_events(true);
        spoil(&mut world.net, n, key);
        // Less than it takes to the next full comparison, which would put it right.
        world.net.run_for(Duration::from_secs(1));
        assert!(model::check(&world.net, &world.controllers).is_err(), "{what}");
        world.net.run_for(QUIET);
        model::check(&world.net, &world.controllers).unwrap();
    }
}
