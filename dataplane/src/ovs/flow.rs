//! A flow as text: how it is written to `ovs-ofctl`, how it is read back, how two are compared.
//!
//! Flows are rendered in the very words `ovs-ofctl -O OpenFlow13 --no-names --no-stats dump-flows` shows, so that
//! comparing what should be with what is needs no knowledge of OpenFlow: a flow is known by its table, priority and
//! match ([`FlowId`]; the order of the match's fields does not matter), and is right if its cookie and actions are
//! ([`Flow::digest`]).

use std::fmt::{self, Write as _};
use std::hash::BuildHasher as _;
use std::sync::LazyLock;

use foldhash::fast::RandomState;
use types::Vni;

/// The upper half of the cookie of every flow of ours: "evpd".
pub const COOKIE: u64 = 0x6576_7064 << 32;
/// The part of a cookie that says whose flow it is.
pub const COOKIE_MASK: u64 = 0xffff_ffff << 32;
/// What selects our flows, and no others, in `ovs-ofctl`'s words.
pub const OURS: &str = "cookie=0x6576706400000000/0xffffffff00000000";
/// The priority of a flow that names none.
const DEFAULT_PRIORITY: u16 = 0x8000;

/// The cookie of a flow that belongs to a VNI ([`Vni::ZERO`]: to none).
pub const fn cookie(vni: Vni) -> u64 {
    COOKIE | vni.get() as u64
}

/// Is a flow with this cookie ours?
pub const fn is_ours(cookie: u64) -> bool {
    cookie & COOKIE_MASK == COOKIE
}

/// The VNI a flow of ours belongs to, if it belongs to one.
pub const fn vni_of(cookie: u64) -> Option<Vni> {
    if !is_ours(cookie) {
        return None;
    }
    match Vni::new((cookie & 0x00ff_ffff) as u32) {
        Some(Vni::ZERO) | None => None,
        vni => vni,
    }
}

/// One flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Its table.
    pub table: u8,
    /// Its priority.
    pub priority: u16,
    /// Its cookie.
    pub cookie: u64,
    /// Its match: `name=value` and protocol words, with commas between; empty: everything.
    pub matches: String,
    /// Its actions.
    pub actions: String,
}

impl Flow {
    /// What it is known by.
    pub fn id(&self) -> FlowId {
        FlowId::new(self.table, self.priority, &self.matches)
    }

    /// Stands for what it does: two flows of one id are the same flow if this is the same.
    pub fn digest(&self) -> u64 {
        digest(self.cookie, "", &self.actions)
    }

    /// Appends the line that puts it in, for `ovs-ofctl --bundle add-flows BRIDGE -`.
    pub fn write_add(&self, out: &mut String) {
        out.reserve(self.matches.len() + self.actions.len() + 64);
        // Writing to a string cannot fail.
        let _ = write!(out, "add cookie={:#x},table={},priority={}", self.cookie, self.table, self.priority);
        if !self.matches.is_empty() {
            out.push(',');
            out.push_str(&self.matches);
        }
        out.push_str(" actions=");
        out.push_str(&self.actions);
        out.push('\n');
    }

    /// Appends the line that takes it out.
    pub fn write_delete(&self, out: &mut String) {
        write_delete(self.table, self.priority, &self.matches, out);
    }
}

/// As `ovs-ofctl dump-flows` shows it.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cookie={:#x}, ", self.cookie)?;
        if self.table != 0 {
            write!(f, "table={}, ", self.table)?;
        }
        write!(f, "priority={}", self.priority)?;
        if !self.matches.is_empty() {
            write!(f, ",{}", self.matches)?;
        }
        write!(f, " actions={}", self.actions)
    }
}

/// Appends the line that takes out the flow of ours with this table, priority and match; one of somebody else stays,
/// whatever it matches.
pub fn write_delete(table: u8, priority: u16, matches: &str, out: &mut String) {
    out.reserve(matches.len() + 112);
    let _ = write!(out, "delete_strict {OURS},table={table},priority={priority}");
    if !matches.is_empty() {
        out.push(',');
        out.push_str(matches);
    }
    out.push('\n');
}

/// What a flow is known by: 128 bits of its table, priority and match, the match's fields in any order.
///
/// It means something only within the process: its key is drawn at random, since peers choose the addresses in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId([u64; 2]);

static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);

impl FlowId {
    /// Of a flow with this table, priority and match.
    pub fn new(table: u8, priority: u16, matches: &str) -> Self {
        let keys = &*KEYS;
        let place = u32::from(table) << 16 | u32::from(priority);
        let mut id = [keys[0].hash_one(place), keys[1].hash_one(place)];
        for field in matches.split(',').filter(|field| !field.is_empty()) {
            id[0] = id[0].wrapping_add(keys[0].hash_one(field));
            id[1] = id[1].wrapping_add(keys[1].hash_one(field));
        }
        Self(id)
    }
}

impl fmt::Debug for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0[0], self.0[1])
    }
}

fn digest(cookie: u64, extras: &str, actions: &str) -> u64 {
    KEYS[0].hash_one((cookie, extras, actions))
}

/// A flow as a dump shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dumped<'a> {
    /// Its table.
    pub table: u8,
    /// Its priority.
    pub priority: u16,
    /// Its cookie.
    pub cookie: u64,
    /// Its match.
    pub matches: &'a str,
    /// Its actions.
    pub actions: &'a str,
    /// What none of our flows has: timeouts, flags.
    pub extras: &'a str,
}

impl Dumped<'_> {
    /// What it is known by.
    pub fn id(&self) -> FlowId {
        FlowId::new(self.table, self.priority, self.matches)
    }

    /// As [`Flow::digest`]; never that of a flow of ours if it has timeouts or flags.
    pub fn digest(&self) -> u64 {
        digest(self.cookie, self.extras, self.actions)
    }

    /// Is it ours?
    pub const fn is_ours(&self) -> bool {
        is_ours(self.cookie)
    }

    /// A copy that lasts.
    pub fn to_flow(&self) -> Flow {
        Flow {
            table: self.table,
            priority: self.priority,
            cookie: self.cookie,
            matches: self.matches.to_owned(),
            actions: self.actions.to_owned(),
        }
    }
}

/// Reads one line of `ovs-ofctl --no-names --no-stats dump-flows`; `None` if it shows no flow.
pub fn parse_dump_line(line: &str) -> Option<Dumped<'_>> {
    let line = line.trim_ascii();
    let (head, actions) = match line.strip_prefix("actions=") {
        Some(actions) => ("", actions),
        None => line.split_once(" actions=")?,
    };
    let mut flow =
        Dumped { table: 0, priority: DEFAULT_PRIORITY, cookie: 0, matches: "", actions, extras: "" };

    // `cookie=…, table=…, ` come first, then what is rare, then priority and match in one word.
    let mut rest = head;
    if let Some(after) = rest.strip_prefix("cookie=0x") {
        let (cookie, after) = after.split_once(',')?;
        flow.cookie = u64::from_str_radix(cookie, 16).ok()?;
        rest = after.trim_ascii_start();
    }
    if let Some(after) = rest.strip_prefix("table=") {
        let (table, after) = after.split_once(',')?;
        flow.table = table.parse().ok()?;
        rest = after.trim_ascii_start();
    }
    let (extras, matches) = match rest.rsplit_once(' ') {
        Some((extras, matches)) => (extras, matches),
        None => ("", rest),
    };
    if is_extra(matches) {
        flow.extras = rest;
        return Some(flow);
    }
    flow.extras = extras;
    flow.matches = matches;
    if let Some(after) = matches.strip_prefix("priority=") {
        let (priority, after) = after.split_once(',').unwrap_or((after, ""));
        flow.priority = priority.parse().ok()?;
        flow.matches = after;
    }
    Some(flow)
}

/// Is the last word before the actions a timeout or a flag, and the match empty?
fn is_extra(word: &str) -> bool {
    const FLAGS: [&str; 5] =
        ["send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"];
    word.ends_with(',') || FLAGS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        Flow {
            table: 30,
            priority: 100,
            cookie: cookie(Vni::new(10).unwrap()),
            matches: "reg0=0xa,dl_dst=02:00:00:00:00:09".to_owned(),
            actions: "set_field:0xa->tun_id,set_field:10.0.0.2->tun_dst,goto_table:50".to_owned(),
        }
    }

    #[test]
    fn a_flow_is_read_back_from_the_dump_as_it_was_written() {
        let flow = flow();
        let line = format!(" {flow}");
        let dumped = parse_dump_line(&line).unwrap();
        assert_eq!(dumped.to_flow(), flow);
        assert_eq!((dumped.id(), dumped.digest()), (flow.id(), flow.digest()));
        assert!(dumped.is_ours());
        assert_eq!(vni_of(dumped.cookie), Vni::new(10));
        let mut add = String::new();
        flow.write_add(&mut add);
        flow.write_delete(&mut add);
        assert_eq!(
            add,
            "add cookie=0x657670640000000a,table=30,priority=100,reg0=0xa,dl_dst=02:00:00:00:00:09 \
             actions=set_field:0xa->tun_id,set_field:10.0.0.2->tun_dst,goto_table:50\n\
             delete_strict cookie=0x6576706400000000/0xffffffff00000000,table=30,priority=100,\
             reg0=0xa,dl_dst=02:00:00:00:00:09\n"
        );
    }

    #[test]
    fn what_a_dump_may_show() {
        let all = |line| {
            let d = parse_dump_line(line).unwrap();
            (d.table, d.priority, d.cookie, d.matches, d.actions, d.extras)
        };
        assert_eq!(all(" actions=NORMAL"), (0, 0x8000, 0, "", "NORMAL", ""));
        assert_eq!(all(" priority=0 actions=NORMAL"), (0, 0, 0, "", "NORMAL", ""));
        assert_eq!(all(" cookie=0x5, actions=drop"), (0, 0x8000, 5, "", "drop", ""));
        assert_eq!(all(" table=7, in_port=LOCAL actions=drop"), (7, 0x8000, 0, "in_port=LOCAL", "drop", ""));
        assert_eq!(
            all(" cookie=0x5, table=7, idle_timeout=5, send_flow_rem priority=3,ip actions=drop"),
            (7, 3, 5, "ip", "drop", "idle_timeout=5, send_flow_rem")
        );
        assert_eq!(
            all(" idle_timeout=5, send_flow_rem actions=drop"),
            (0, 0x8000, 0, "", "drop", "idle_timeout=5, send_flow_rem")
        );
        for line in
            ["", "OFPST_FLOW reply (OF1.3) (xid=0x2):", " cookie=0xzz, actions=drop", "table=9 actions=x"]
        {
            assert_eq!(parse_dump_line(line), None, "{line}");
        }
    }

    #[test]
    fn an_id_is_of_table_priority_and_the_set_of_fields() {
        let flow = flow();
        let other = |f: fn(&mut Flow)| {
            let mut other = flow.clone();
            f(&mut other);
            other
        };
        let turned = other(|f| f.matches = "dl_dst=02:00:00:00:00:09,reg0=0xa".to_owned());
        assert_eq!(turned.id(), flow.id());
        for changed in [
            other(|f| f.table = 31),
            other(|f| f.priority = 101),
            other(|f| f.matches = "reg0=0xa".to_owned()),
            other(|f| f.matches = "reg1=0xa,dl_dst=02:00:00:00:00:09".to_owned()),
        ] {
            assert_ne!(changed.id(), flow.id(), "{changed}");
            assert_eq!(changed.digest(), flow.digest());
        }
        assert_ne!(other(|f| f.cookie += 1).digest(), flow.digest());
        assert_ne!(other(|f| f.actions.push('0')).digest(), flow.digest());
    }

    #[test]
    fn a_flow_with_a_timeout_is_not_the_same() {
        let flow = flow();
        let line = flow.to_string().replace("priority", "idle_timeout=9, priority");
        let dumped = parse_dump_line(&line).unwrap();
        assert_eq!(dumped.id(), flow.id());
        assert_ne!(dumped.digest(), flow.digest());
    }

    #[test]
    fn only_our_cookie_is_ours() {
        assert!(is_ours(COOKIE) && is_ours(cookie(Vni::MAX)));
        assert_eq!(vni_of(COOKIE), None);
        for cookie in [0, 10, COOKIE >> 1, u64::MAX] {
            assert!(!is_ours(cookie), "{cookie:#x}");
            assert_eq!(vni_of(cookie), None);
        }
    }
}
