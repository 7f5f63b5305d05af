//! Who reaches whom: rounds of pings between endpoints, and the table of what came of them.
//!
//! Overlays have the same subnet, two of them even the same addresses, so that an answer alone proves little: whose it was
//! is told by the MAC that the asking endpoint has found for the address.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::shape::{Kind, Seat};
use super::topology::{Endpoint, Net};
use super::{Result, patience, several};

/// The most endpoints that a table has room for; of more, only what went wrong is told.
const TABLE: usize = 24;
/// As many endpoints ping at a time as keep a small machine busy without making it late.
const AT_A_TIME: usize = 12;

/// What the marks of a table with several overlays mean.
pub(super) const LEGEND: &str =
    "ok: it answers, by its own MAC   -: not reached, as it must be   =: the own address, in another overlay";

/// Which pairs of endpoints a round is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Of one host and network: to be answered.
    Inside,
    /// Of one network, on different hosts: to be answered.
    Across,
    /// Of one network, wherever they are: to be answered.
    Overlays,
    /// Of different networks: not to be answered.
    Between,
}

/// What an endpoint learned of an address.
#[derive(Clone, Debug, Default)]
struct Heard {
    /// Its own network has such an address.
    own: bool,
    answered: bool,
    /// Whose answer it was, as the neighbour table has it.
    mac: Option<String>,
}

/// What rounds of pings gave.
#[derive(Debug, Default)]
pub(super) struct Matrix {
    /// By the name of who asked, and the address.
    heard: BTreeMap<(String, String), Heard>,
}

/// What is known of a pair of endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nobody asked.
    Blank,
    /// It answered, as it must.
    Reached,
    /// It did not answer, and must.
    Lost,
    /// Somebody else answered in its place.
    Wrong,
    /// It was not reached, as it must not.
    Apart,
    /// It was reached, and must not.
    Leak,
    /// It has the address of who would ask, in another overlay.
    Same,
}

impl Mark {
    fn text(self) -> &'static str {
        match self {
            Self::Blank => "",
            Self::Reached => "ok",
            Self::Lost => "LOST",
            Self::Wrong => "WHO?",
            Self::Apart => "-",
            Self::Leak => "LEAK",
            Self::Same => "=",
        }
    }

    fn bad(self) -> bool {
        matches!(self, Self::Lost | Self::Wrong | Self::Leak)
    }
}

impl Round {
    fn concerns(self, same_host: bool, from: &Seat, to: &Seat) -> bool {
        let same_network = from.vni == to.vni;
        from.name != to.name
            && match self {
                Self::Inside => same_network && same_host,
                Self::Across => same_network && !same_host,
                Self::Overlays => same_network,
                Self::Between => !same_network && from.address != to.address,
            }
    }
}

/// A round as it was asked, endpoint by endpoint.
pub(super) fn targets<'n>(
    round: Round,
    from: (usize, &Seat),
    all: &[(usize, &'n Seat)],
) -> BTreeSet<&'n str> {
    let others = all.iter().filter(|(host, to)| round.concerns(*host == from.0, from.1, to));
    let addresses: BTreeSet<&str> = others.map(|(_, to)| to.address.as_str()).collect();
    if round != Round::Between {
        return addresses;
    }
    // What two overlays have is asked for in one's own, and whose answer it was is seen there.
    let own: BTreeSet<&str> =
        all.iter().filter(|(_, to)| to.vni == from.1.vni).map(|(_, to)| to.address.as_str()).collect();
    addresses.difference(&own).copied().collect()
}

impl Net {
    fn seats(&self) -> Vec<(usize, &Seat)> {
        self.endpoints().map(|(host, endpoint)| (host, &endpoint.seat)).collect()
    }

    /// A round of pings.
    pub(super) fn ping(&self, round: Round) -> Result<Matrix> {
        let seats = self.seats();
        let all: Vec<_> = self.endpoints().collect();
        let heard = several(&all, AT_A_TIME, |(host, from)| {
            from.ping_all(&targets(round, (*host, &from.seat), &seats), round)
        })?;
        let heard = heard.into_iter().flatten().collect();
        Ok(Matrix { heard })
    }
}

impl Endpoint {
    /// One ping to each of some addresses, and what the neighbour table says of them then.
    fn ping_all(&self, targets: &BTreeSet<&str>, round: Round) -> Result<Vec<((String, String), Heard)>> {
        // Whom nobody shall answer, all are asked at once: it takes a second, and much longer one by one.
        let (wait, order) = if round == Round::Between { (1, "&") } else { (2, "|| true") };
        let wait = patience(Duration::from_secs(wait)).as_secs();
        let script = format!(
            "for to; do ping -n -q -c 1 -W {wait} $to >/dev/null && echo $to {order}
             done; wait; echo =; ip neigh show dev eth0"
        );
        let mut argv = vec!["sh", "-ec", &script, "ping"];
        argv.extend(targets);
        let said = self.node.run(&argv)?;
        let (answered, neighbours) = said.split_once("=\n").unwrap_or(("", &said));
        let answered: BTreeSet<&str> = answered.lines().collect();
        let heard = targets.iter().map(|&to| {
            let own = round != Round::Between;
            let heard = Heard { own, answered: answered.contains(to), mac: mac_of(neighbours, to) };
            ((self.seat.name.clone(), to.to_owned()), heard)
        });
        Ok(heard.collect())
    }
}

/// The MAC that the lines of `ip neigh` have for an address.
fn mac_of(neighbours: &str, address: &str) -> Option<String> {
    let mut words = neighbours.lines().find(|line| line.split(' ').next() == Some(address))?.split(' ');
    words.find(|word| *word == "lladdr")?;
    words.next().map(str::to_owned)
}

impl Matrix {
    /// What another round gave, too.
    pub(super) fn join(&mut self, other: Self) {
        self.heard.extend(other.heard);
    }

    /// What is known of a pair.
    pub(super) fn mark(&self, from: &Seat, to: &Seat) -> Mark {
        let heard = self.heard(from, to);
        if from.name == to.name {
            return Mark::Blank;
        }
        if from.vni != to.vni {
            return match heard {
                // The kernel of who asks takes such a packet for its own.
                _ if from.address == to.address => Mark::Same,
                None => Mark::Blank,
                Some(heard) if heard.leaks(to) => Mark::Leak,
                Some(_) => Mark::Apart,
            };
        }
        match heard {
            None => Mark::Blank,
            Some(heard) if !heard.answered => Mark::Lost,
            // Behind a gateway, the MAC is the gateway's.
            Some(heard) if from.kind != Kind::Routed && heard.mac.as_ref() != Some(&to.mac) => Mark::Wrong,
            Some(_) => Mark::Reached,
        }
    }

    /// Whether all is as it must be, and that in words.
    pub(super) fn verdict(&self, net: &Net) -> (bool, String) {
        let seats = net.seats();
        let mut marks: BTreeMap<&str, usize> = BTreeMap::new();
        for (from, to) in pairs(&seats) {
            *marks.entry(self.mark(from, to).text()).or_default() += 1;
        }
        let count = |mark: Mark| marks.get(mark.text()).copied().unwrap_or(0);
        let good = ![Mark::Lost, Mark::Wrong, Mark::Leak].into_iter().any(|mark| count(mark) > 0);
        let asked = self.heard.values().filter(|heard| heard.own).count();
        let apart = self.heard.len() - asked;
        let mut words = Vec::new();
        if asked > 0 {
            words.push(format!("{} of {asked} pings answered", count(Mark::Reached)));
        }
        if apart > 0 {
            let leaks = self.heard.values().filter(|heard| !heard.own && heard.reached()).count();
            let leaks = if leaks == 0 { "none".to_owned() } else { leaks.to_string() };
            words.push(format!("{leaks} of {apart} pings answered"));
        }
        if count(Mark::Wrong) > 0 {
            words.push(format!("{} by somebody else", count(Mark::Wrong)));
        }
        // Asked for in one's own overlay: whose MAC it was has been looked at.
        let both = pairs(&seats)
            .filter(|(from, to)| from.vni != to.vni && self.heard(from, to).is_some_and(|heard| heard.own));
        let both = both.count();
        if both > 0 {
            words.push(format!("{both} of them at addresses that another overlay has, too"));
        }
        (good, words.join(", "))
    }

    /// The table itself, a row for each who asked; only what is wrong when it is too wide for a screen.
    pub(super) fn table(&self, net: &Net) -> String {
        let mut seats = net.seats();
        // Hosts side by side in each overlay.
        seats.sort_by_key(|(host, seat)| (seat.vni, *host));
        if seats.len() > TABLE {
            return self.wrong(&seats);
        }
        let several = net.shape.overlays > 1;
        let label = |at: usize| {
            let seat = seats[at].1;
            // An overlay's number stands at its first row.
            let first = at == 0 || seats[at - 1].1.vni != seat.vni;
            match (several, first) {
                (false, _) => format!("{:<5} {}", seat.name, seat.address),
                (true, true) => format!("{} {}", seat.vni, seat.name),
                (true, false) => format!("{:5} {}", "", seat.name),
            }
        };
        let mut lines = vec!["from \\ to".to_owned()];
        lines.extend((0..seats.len()).map(label));
        let left = lines.iter().map(String::len).max().unwrap_or(0);
        let mut lines: Vec<String> = lines.into_iter().map(|line| format!("{line:<left$}")).collect();
        let width = seats.iter().map(|(_, seat)| seat.name.len()).max().unwrap_or(0).max(3) + 1;
        let mut before = seats.first().map(|(_, seat)| seat.vni);
        for (_, to) in &seats {
            let gap = if several && before != Some(to.vni) { "  " } else { "" };
            before = Some(to.vni);
            let marks = seats.iter().map(|(_, from)| self.mark(from, to).text());
            let column = std::iter::once(to.name.as_str()).chain(marks);
            for (line, text) in lines.iter_mut().zip(column) {
                let _ = write!(line, "{gap}{text:>width$}");
            }
        }
        lines.join("\n")
    }

    fn wrong(&self, seats: &[(usize, &Seat)]) -> String {
        let mut text = String::new();
        for (from, to) in pairs(seats) {
            let mark = self.mark(from, to);
            if mark.bad() {
                let mark = mark.text();
                let _ = writeln!(
                    text,
                    "{mark}: {} ({}) from {} ({})",
                    to.address, to.name, from.address, from.name
                );
            }
        }
        text
    }

    fn heard(&self, from: &Seat, to: &Seat) -> Option<&Heard> {
        self.heard.get(&(from.name.clone(), to.address.clone()))
    }
}

/// Everyone with everyone.
fn pairs<'s>(seats: &'s [(usize, &'s Seat)]) -> impl Iterator<Item = (&'s Seat, &'s Seat)> {
    seats.iter().flat_map(|(_, from)| seats.iter().map(move |(_, to)| (*from, *to)))
}

impl Heard {
    /// Somebody is there.
    fn reached(&self) -> bool {
        self.answered || self.mac.is_some()
    }

    /// Said of an endpoint of another overlay: it can be reached.
    fn leaks(&self, to: &Seat) -> bool {
        self.mac.as_ref() == Some(&to.mac) || !self.own && self.reached()
    }
}

#[cfg(test)]
mod tests;
