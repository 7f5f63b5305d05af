//! Real directories: what is in them, and what happens to them while they are watched.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use super::*;

const OURS: Ases = Ases { own: 65001, zero: 65001 };

/// A directory of its own for one test, gone with it.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("evpnd-clients-{}-{n}", std::process::id()));
        fs::create_dir_all(path.join("clients")).unwrap();
        Self(path)
    }

    fn clients(&self) -> PathBuf {
        self.0.join("clients")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.clients().join(name)
    }

    fn write(&self, name: &str, port: u16) {
        fs::write(self.path(name), client(port)).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn client(port: u16) -> String {
    let [hi, lo] = port.to_be_bytes();
    format!("{{\"mac\": \"02:00:00:00:{hi:02x}:{lo:02x}\", \"vni\": 10, \"ofport\": {port}}}")
}

/// A directory that is watched, and what was last told of it.
struct Watched {
    watch: Watch,
    updates: Receiver<Update>,
    last: Update,
    count: usize,
}

impl Watched {
    fn new(dir: &Dir) -> Self {
        let (sender, updates) = sync_channel(1);
        let (watch, first) = Watch::start(&dir.clients(), OURS, move |u| sender.send(u).is_ok()).unwrap();
        Self { watch, updates, last: first.unwrap(), count: 0 }
    }

    /// `a.json:1` for each file: its name, how it stands (`:`, `!`, `x`) and the port in use.
    fn state(&self) -> String {
        let show = |status: &Status| {
            let mark = match status.standing {
                Standing::Accepted => ':',
                Standing::Broken(_) => '!',
                Standing::Conflict(_) => 'x',
            };
            let port = status.in_use.as_ref().map_or_else(|| "-".to_owned(), |c| c.client.port.to_string());
            format!("{}{mark}{}", status.name, port.trim_start_matches("ofport "))
        };
        self.last.files.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    /// Waits until the files stand like this; says how long it took.
    fn until(&mut self, expected: &str) -> Duration {
        self.until_is(&format!("{expected:?}"), |w| w.state() == expected)
    }

    fn until_is(&mut self, what: &str, good: impl Fn(&Self) -> bool) -> Duration {
        let start = crate::clock::now();
        while !good(self) {
            let left = (start + Duration::from_secs(20)).since(crate::clock::now());
            match self.updates.recv_timeout(left) {
                Ok(update) => self.last = update,
                Err(e) => panic!("{e}: {}, {:?}, not {what}", self.state(), self.last.problem),
            }
            self.count += 1;
        }
        crate::clock::now().since(start)
    }

    fn error(&self, name: &str) -> String {
        self.last.files.iter().find(|f| &*f.name == name).unwrap().errors.join("\n")
    }
}

#[test]
fn each_kind_of_change_is_seen() {
    let dir = Dir::new();
    dir.write("a.json", 1);
    let mut w = Watched::new(&dir);
    assert_eq!(w.state(), "a.json:1");
    assert_eq!(w.last.clients.as_ref().unwrap().len(), 1);
    let mut slowest = Duration::ZERO;
    dir.write("b.json", 2);
    slowest = slowest.max(w.until("a.json:1 b.json:2"));
    // In place, the same length, at once.
    dir.write("b.json", 3);
    slowest = slowest.max(w.until("a.json:1 b.json:3"));
    dir.write("b.json", 4);
    slowest = slowest.max(w.until("a.json:1 b.json:4"));
    // By rename over it, from outside and from beside it.
    fs::write(dir.0.join("new"), client(5)).unwrap();
    fs::rename(dir.0.join("new"), dir.path("b.json")).unwrap();
    slowest = slowest.max(w.until("a.json:1 b.json:5"));
    fs::write(dir.path(".b.json.x1y2"), client(6)).unwrap();
    fs::rename(dir.path(".b.json.x1y2"), dir.path("b.json")).unwrap();
    slowest = slowest.max(w.until("a.json:1 b.json:6"));
    fs::rename(dir.path("b.json"), dir.path("c.json")).unwrap();
    slowest = slowest.max(w.until("a.json:1 c.json:6"));
    fs::remove_file(dir.path("c.json")).unwrap();
    slowest = slowest.max(w.until("a.json:1"));
    fs::write(dir.path("a.json"), "{\"vni\": }").unwrap();
    slowest = slowest.max(w.until("a.json!1"));
    dir.write("a.json", 1);
    slowest = slowest.max(w.until("a.json:1"));
    // What takes effect within a second on a quiet machine may take some more beside other tests; a rescan takes ten.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

#[test]
fn what_is_no_client_file_is_left_alone() {
    let dir = Dir::new();
    for name in [".hidden.json", "a.json~", "a.json.swp", "#a.json#", "README", "a.conf"] {
        fs::write(dir.path(name), "nonsense").unwrap();
    }
    fs::create_dir(dir.path("dir.json")).unwrap();
    let status = std::process::Command::new("mkfifo").arg(dir.path("fifo.json")).status().unwrap();
    assert!(status.success());
    let _socket = std::os::unix::net::UnixListener::bind(dir.path("socket.json")).unwrap();
    dir.write("a.json", 1);
    let mut w = Watched::new(&dir);
    assert_eq!(w.state(), "a.json:1");
    // A client file that becomes one of these is gone.
    fs::remove_file(dir.path("a.json")).unwrap();
    fs::rename(dir.path("fifo.json"), dir.path("a.json")).unwrap();
    w.until("");
}

#[test]
fn what_cannot_be_read_is_told_and_costs_nothing() {
    let dir = Dir::new();
    let huge = fs::File::create(dir.path("huge.json")).unwrap();
    huge.set_len(100 << 20).unwrap();
    fs::write(dir.path("latin.json"), b"{\n\"mac\": \"\xff\"}").unwrap();
    symlink("loop.json", dir.path("loop.json")).unwrap();
    symlink("nowhere", dir.path("dangling.json")).unwrap();
    fs::write(dir.path("empty.json"), "").unwrap();
    fs::write(dir.0.join("elsewhere"), client(1)).unwrap();
    symlink("../elsewhere", dir.path("link.json")).unwrap();
    let mut w = Watched::new(&dir);
    // The empty one may be about to be written.
    assert_eq!(w.state(), "dangling.json!- huge.json!- latin.json!- link.json:1 loop.json!-");
    assert_eq!(w.error("huge.json"), "has 102400 KiB, a client file at most 1024: not read");
    assert_eq!(w.error("latin.json"), "is not UTF-8: octet 11 in line 2");
    assert!(w.error("loop.json").contains("symbolic link"), "{}", w.error("loop.json"));
    assert!(w.error("dangling.json").contains("leads nowhere: no such file"), "{}", w.error("dangling.json"));
    w.until("dangling.json!- empty.json!- huge.json!- latin.json!- link.json:1 loop.json!-");
    assert_eq!(w.error("empty.json"), "is empty");
    // The same read once, as `evpnd check` does.
    let loaded = load(&dir.clients(), OURS);
    assert_eq!((loaded.clients.len(), loaded.errors.len()), (1, 5));
    // A link whose target goes keeps what it said.
    fs::remove_file(dir.0.join("elsewhere")).unwrap();
    w.watch.rescan();
    w.until("dangling.json!- empty.json!- huge.json!- latin.json!- link.json!1 loop.json!-");
}

/// A file that is written piece by piece is not told to be broken in between.
#[test]
fn a_file_that_is_being_written_is_waited_for() {
    use std::io::Write;
    let dir = Dir::new();
    dir.write("a.json", 1);
    let mut w = Watched::new(&dir);
    let text = client(2);
    let (one, two) = text.split_at(20);
    let mut file = fs::File::create(dir.path("a.json")).unwrap();
    file.write_all(one.as_bytes()).unwrap();
    assert!(w.updates.recv_timeout(Duration::from_millis(150)).is_err(), "half a file is news");
    file.write_all(two.as_bytes()).unwrap();
    drop(file);
    w.until("a.json:2");
    // Unless it stays like that.
    fs::write(dir.path("a.json"), "").unwrap();
    w.until("a.json!2");
}

#[test]
fn a_burst_is_a_few_looks() {
    let dir = Dir::new();
    let mut w = Watched::new(&dir);
    for n in 1..=1000 {
        dir.write(&format!("vm{n}.json"), n);
    }
    w.until_is("1000 clients", |w| w.last.files.len() == 1000);
    assert!(w.last.files.iter().all(|f| f.standing == Standing::Accepted));
    assert!(w.count < 100, "{} updates", w.count);
    fs::remove_dir_all(dir.clients()).unwrap();
    fs::create_dir(dir.clients()).unwrap();
    w.until("");
}

#[test]
fn a_thousand_files_at_the_start() {
    let dir = Dir::new();
    for n in 1..=1000 {
        dir.write(&format!("vm{n}.json"), n);
    }
    let start = crate::clock::now();
    let w = Watched::new(&dir);
    let took = crate::clock::now().since(start);
    assert_eq!(w.last.clients.as_ref().unwrap().len(), 1000);
    // Some ten milliseconds when optimised; this only finds what is out of proportion.
    assert!(took < Duration::from_secs(5), "{took:?}");
    println!("1000 files in {took:?}");
}

#[test]
fn a_directory_comes_goes_and_is_replaced() {
    let dir = Dir::new();
    fs::remove_dir(dir.clients()).unwrap();
    let mut w = Watched::new(&dir);
    assert!(w.last.problem.as_ref().unwrap().ends_with("there is no such directory (yet)"), "{:?}", w.last);
    assert_eq!(w.last.clients, Some(vec![]));
    fs::create_dir(dir.clients()).unwrap();
    dir.write("a.json", 1);
    w.until("a.json:1");
    assert_eq!(w.last.problem, None);
    // Gone altogether: a mount that fails must not take clients off the network.
    fs::rename(dir.clients(), dir.0.join("old")).unwrap();
    w.until_is("a missing directory", |w| w.last.problem.is_some());
    assert_eq!(w.state(), "a.json:1");
    assert!(
        w.last.notes.iter().any(|n| n.text.ends_with("; the clients stay as they are")),
        "{:?}",
        w.last.notes
    );
    // Another one in its place, by one rename.
    fs::create_dir(dir.0.join("new")).unwrap();
    fs::write(dir.0.join("new/b.json"), client(2)).unwrap();
    fs::rename(dir.0.join("new"), dir.clients()).unwrap();
    w.until("b.json:2");
    // It is watched as the first one was.
    dir.write("c.json", 3);
    let took = w.until("b.json:2 c.json:3");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// More events than the kernel keeps, while nobody listens: all of it is looked at again.
#[test]
fn lost_events_are_made_good() {
    let dir = Dir::new();
    let mut w = Watched::new(&dir);
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: u32 = limit.trim().parse().unwrap();
    for n in 0..limit.min(100_000) {
        // Now and then there is news: one update finds room, with the next one the thread waits to hand it over.
        if n % 1000 == 0 {
            dir.write("a.json", 1 + (n / 1000) as u16 % 2);
            dir.write("b.json", 3);
        }
        // Two files in turns, or the kernel would make one event of many.
        for name in ["a.json", "b.json"] {
            fs::set_permissions(dir.path(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
    dir.write("a.json", 7);
    dir.write("b.json", 8);
    w.until("a.json:7 b.json:8");
}

#[test]
fn a_dropped_watch_ends_its_thread() {
    let dir = Dir::new();
    let w = Watched::new(&dir);
    drop(w.watch);
    // The thread's end of the channel goes with it.
    assert!(matches!(
        w.updates.recv_timeout(Duration::from_secs(20)),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
    ));
}

/// The samples in configs/clients are right, fit together, and are all that their comments say.
#[test]
fn the_samples() {
    let loaded = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/clients"), OURS);
    assert_eq!(
        (loaded.errors, loaded.warnings, loaded.problem, loaded.others),
        (vec![], vec![], None, vec![])
    );
    let names: Vec<_> = loaded.clients.iter().map(|config| &*config.client.name).collect();
    assert_eq!(names, ["l2-flat.json", "l2-interface.json", "l2-vlan.json", "l3.json"]);
}
