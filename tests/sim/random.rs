//! The random test: nodes restart, sessions break, links go silent, MACs come, move and go, rows vanish behind our
//! back, writes fail; once all is quiet again every dataplane is what the model says.

use std::time::Duration;

use dataplane::backend::ErrorKind;
use dataplane::rows::Key;
use evpnd::core::CoreConfig;

use super::model;
use super::net::{Dice, Net, controller, mac, neighbour, node, vni, vrf};

/// Seeds tried by the test; each takes some tens of milliseconds.
const SEEDS: u64 = 150;
const VNIS: [u32; 3] = [100, 200, 300];
const MACS: u64 = 24;
/// After the last disturbance: hold timers, back-off, a full resync and then some.
const QUIET: Duration = Duration::from_secs(240);

struct World {
    net: Net,
    controllers: Vec<usize>,
    hosts: Vec<usize>,
}

fn host(n: usize, controllers: usize, dice: &mut Dice) -> CoreConfig {
    let mut config = node(n, 65000 + n as u32);
    for c in 0..controllers {
        let seen = neighbour(&config, c);
        config.neighbours.push(seen);
    }
    config.mac_vrfs = VNIS.into_iter().filter(|_| dice.chance(75)).map(vrf).collect();
    config
}

fn build(seed: u64) -> World {
    let mut net = Net::new(seed);
    let mut dice = Dice::new(seed ^ 0xb111d);
    let controllers = 1 + dice.below(2);
    let hosts = 2 + dice.below(4);
    for n in 0..controllers {
        net.add(controller(n, 64512 + n as u32));
    }
    for n in controllers..controllers + hosts {
        net.add(host(n, controllers, &mut dice));
    }
    World {
        net,
        controllers: (0..controllers).collect(),
        hosts: (controllers..controllers + hosts).collect(),
    }
}

fn vnis_of(config: &CoreConfig) -> Vec<u32> {
    config.mac_vrfs.iter().map(|v| v.vni.get()).collect()
}

/// One disturbance.
fn disturb(world: &mut World) {
    let net = &mut world.net;
    let n = world.hosts[net.dice.below(world.hosts.len())];
    let c = world.controllers[net.dice.below(world.controllers.len())];
    let v = vni(VNIS[net.dice.below(VNIS.len())]);
    let m = mac(1 + net.dice.next() % MACS);
    match net.dice.below(100) {
        0..=44 => {
            // A host sends a frame; if its MAC was elsewhere it has moved.
            if net.is_up(n) {
                for other in world.hosts.iter().filter(|&&o| o != n) {
                    // A port that no longer sees frames of a MAC that moved ages it; at the latest after this
                    // disturbance a bridge that is not told of the move would blackhole. Half the time it lingers.
                    if net.dice.chance(50) {
                        net.memory(*other).age(v, m);
                    }
                }
                let learned = net.memory(n).learn(v, m, "port0");
                net.tell(|| format!("  {m} in VNI {v} speaks at node {n}, learned: {learned}"));
            }
        }
        45..=59 => {
            net.tell(|| format!("  {m} in VNI {v} ages at node {n}"));
            net.memory(n).age(v, m);
        }
        60..=67 => {
            net.tell(|| format!("  connections of {n} and {c} break"));
            net.reset(n, c);
        }
        68..=71 => {
            net.tell(|| format!("  {n} and {c} are cut"));
            net.cut(n, c);
        }
        72..=76 => {
            net.tell(|| "  all is mended".to_owned());
            net.mend_all();
        }
        77..=80 => {
            if net.is_up(n) {
                net.tell(|| format!("  node {n} dies"));
                net.kill(n);
            } else {
                net.tell(|| format!("  node {n} starts"));
                net.start(n);
            }
        }
        81..=82 => {
            let wait = net.dice.below(15) as u64;
            net.tell(|| format!("  controller {c} dies for {wait} s"));
            net.kill(c);
            net.run_for(Duration::from_secs(wait));
            net.start(c);
        }
        83..=86 => {
            let rows = net.plane(n).backend().rows();
            let mut keys = Vec::new();
            rows.keys(v, &mut keys);
            keys.sort_unstable(); // The table has no order of its own that another run would have too.
            if !keys.is_empty() {
                let key = keys[net.dice.below(keys.len())];
                net.tell(|| format!("  at node {n} somebody removes {key}"));
                net.memory(n).drop_row(&key);
            }
        }
        87..=88 => {
            net.tell(|| format!("  at node {n} somebody removes the device of VNI {v}"));
            net.memory(n).drop_row(&Key::Vni(v));
        }
        89..=91 => {
            net.tell(|| format!("  node {n} loses dataplane events"));
            net.memory(n).overrun();
        }
        92..=94 => {
            let at = net.dice.below(5) as u64;
            net.tell(|| format!("  node {n} op {at} will fail"));
            net.memory(n).fail_op(at, ErrorKind::Other);
        }
        95..=96 => {
            let stalled = net.dice.chance(50);
            net.tell(|| format!("  node {n} stalled: {stalled}"));
            net.stall(n, stalled);
        }
        _ => {
            let mut config = net.nodes[n].config.clone();
            match config.mac_vrfs.iter().position(|x| x.vni == v) {
                Some(at) => drop(config.mac_vrfs.remove(at)),
                None => config.mac_vrfs.push(vrf(v.get())),
            }
            net.tell(|| format!("  node {n} is reconfigured: {:?}", vnis_of(&config)));
            net.reconfigure(n, config);
        }
    }
    for n in world.hosts.clone() {
        world.net.settle(n);
    }
    let pause = [0, 1, 20, 500, 2_000, 8_000][world.net.dice.below(6)];
    world.net.run_for(Duration::from_millis(pause));
}

/// Ends every disturbance and waits for quiet. MACs that two bridges claim are told apart as frames would: the host
/// is heard once more where it is.
fn calm(world: &mut World) {
    world.net.mend_all();
    for n in 0..world.net.nodes.len() {
        world.net.stall(n, false);
        if !world.net.is_up(n) {
            world.net.start(n);
        }
    }
    world.net.run_for(QUIET);
}

fn run(seed: u64) -> (World, Result<(), String>) {
    let mut world = build(seed);
    world.net.story = std::env::var_os("EVPND_SIM_STORY").map(|_| Vec::new());
    world.net.run_for(Duration::from_secs(5));
    let steps = 20 + world.net.dice.below(80);
    for _ in 0..steps {
        disturb(&mut world);
    }
    calm(&mut world);
    let result = model::check(&world.net, &world.controllers);
    (world, result)
}

#[test]
fn once_quiet_every_dataplane_is_what_the_model_says() {
    let number = |name| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    let seeds = match number("EVPND_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("EVPND_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let mut wrong = Vec::new();
    for seed in seeds {
        let (world, result) = run(seed);
        for line in world.net.story.iter().flatten() {
            println!("{line}");
        }
        if let Err(what) = result {
            wrong.push(format!("EVPND_SIM_SEED={seed}: {what}"));
        }
    }
    assert!(wrong.is_empty(), "{} seeds failed:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 14] {
        let (one, other) = (run(seed).0, run(seed).0);
        assert_eq!((one.net.octets, one.net.now), (other.net.octets, other.net.now));
        assert!(one.net.octets > 0);
        for n in one.hosts {
            assert_eq!(model::table(&one.net, n), model::table(&other.net, n));
        }
    }
}
