//! Network namespaces: a world with names and addresses of its own, in which every packet counts.
//!
//! They hold a loopback interface and, where asked for, a link to another such namespace; nothing
//! in them reaches the machine's network. They need root.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, Once, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::tools::{find, run, run_with, tool};

/// Whether this process may make network namespaces.
pub fn permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| {
        if !rustix::process::geteuid().is_root() || find("ip").is_none() {
            return false;
        }
        let name = unique_name();
        let made = run_ip(&["netns", "add", &name]);
        if made {
            run_ip(&["netns", "delete", &name]);
        }
        made
    })
}

/// A network namespace, removed when dropped.
#[derive(Debug)]
pub struct NetNs {
    name: String,
}

impl NetNs {
    /// A namespace with nothing but its loopback interface.
    pub fn new() -> Self {
        static TIDIED: Once = Once::new();
        TIDIED.call_once(remove_abandoned);
        let netns = Self {
            name: unique_name(),
        };
        {
            // The first one mounts /run/netns, which two at a time get wrong.
            static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
            let _turn = ONE_AT_A_TIME.lock();
            ip(&["netns", "add", &netns.name]);
        }
        // Without IPv6 no packet leaves but those that a program sends: no router is looked for.
        netns.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
        netns.sysctl("net.ipv6.conf.default.disable_ipv6", "1");
        ip(&["-n", &netns.name, "link", "set", "lo", "up"]);
        netns.hosts(&[]);
        netns
    }

    /// The name, as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes `/etc/hosts` of the commands run in here say this: pairs of address and names.
    /// `localhost` is always there; all other names go to a name server that is not there.
    pub fn hosts(&self, pairs: &[(&str, &str)]) {
        let mut text = "127.0.0.1 localhost\n".to_owned();
        for (address, names) in pairs {
            text.push_str(&format!("{address} {names}\n"));
        }
        let dir = self.files();
        std::fs::create_dir_all(&dir).expect("/etc/netns");
        std::fs::write(dir.join("hosts"), text).expect("a file");
        std::fs::write(
            dir.join("resolv.conf"),
            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        )
        .expect("a file");
    }

    /// A tool to be run in here. Its environment is as [`tool`] makes it.
    pub fn tool(&self, name: &str) -> Command {
        command_in(&self.name, name)
    }

    /// A command as it is, with its environment and directory, to be run in here.
    pub fn wrap(&self, command: &Command) -> Command {
        let mut wrapped = Command::new(find("ip").expect("asked for"));
        wrapped
            .args(["netns", "exec", &self.name])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                wrapped.env(name, value);
            }
        }
        if let Some(dir) = command.get_current_dir() {
            wrapped.current_dir(dir);
        }
        wrapped
    }

    /// Calls a function on a thread that is in here: the sockets that it makes stay in here,
    /// whoever uses them later. (The names of [`NetNs::hosts`] are for commands only.)
    pub fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let file = File::open(Path::new("/run/netns").join(&self.name)).expect("the namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter it");
                act()
            });
            thread.join().expect("no panic")
        })
    }

    /// A listener in here, to be used by the test process.
    pub fn listen(&self, address: &str) -> TcpListener {
        let bound: io::Result<_> = self.enter(|| TcpListener::bind(address));
        bound.unwrap_or_else(|e| panic!("{address} in {}: {e}", self.name))
    }

    /// Joins this namespace and another one by a cable: `here` and `there` are their addresses on
    /// it, in one network of 24 bits. What has no other way goes to the other side, so that a
    /// packet to anywhere is a packet that can be counted.
    pub fn connect(&self, other: &NetNs, here: &str, there: &str) {
        ip(&[
            "-n",
            &self.name,
            "link",
            "add",
            "cable",
            "type",
            "veth",
            "peer",
            "name",
            "cable",
            "netns",
            &other.name,
        ]);
        for (netns, address, gateway) in [(self, here, there), (other, there, here)] {
            let address = format!("{address}/24");
            let name = netns.name.as_str();
            ip(&["-n", name, "address", "add", &address, "dev", "cable"]);
            ip(&["-n", name, "link", "set", "cable", "up"]);
            ip(&["-n", name, "route", "add", "default", "via", gateway]);
        }
    }

    /// Starts to count the packets that leave programs in here: those to `expected` and all
    /// others, loopback included. The others are dropped.
    pub fn count_packets(&self, expected: SocketAddr) {
        let rules = format!(
            "table inet count {{
                counter expected {{ }}
                counter other {{ }}
                chain output {{
                    type filter hook output priority 0; policy accept;
                    ip daddr {} tcp dport {} counter name expected accept
                    counter name other drop
                }}
            }}",
            expected.ip(),
            expected.port()
        );
        let mut nft = self.tool("nft");
        nft.args(["-f", "-"]);
        run_with(nft, rules.into_bytes(), Duration::from_secs(20)).success();
    }

    /// The packets since [`NetNs::count_packets`].
    pub fn packets(&self) -> Packets {
        let mut nft = self.tool("nft");
        nft.args(["-j", "list", "counters"]);
        let listed = run(nft).success().json();
        let of = |name: &str| {
            let all = listed["nftables"].as_array().expect("a list");
            let counter = all.iter().find(|item| item["counter"]["name"] == name);
            let counter = counter.unwrap_or_else(|| panic!("{name} is not counted: {listed}"));
            counter["counter"]["packets"].as_u64().expect("a number")
        };
        Packets {
            expected: of("expected"),
            other: of("other"),
        }
    }

    fn sysctl(&self, key: &str, value: &str) {
        let mut command = self.tool("sysctl");
        command.args(["-q", "-w", &format!("{key}={value}")]);
        run(command).success();
    }

    fn files(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packets {
    /// To the one destination that is expected.
    pub expected: u64,
    /// To anywhere else: other hosts, name servers, services on loopback.
    pub other: u64,
}

impl Drop for NetNs {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// A tool to be run in the namespace of this name.
pub fn command_in(netns: &str, name: &str) -> Command {
    let program = find(name).unwrap_or_else(|| panic!("{name} is missing"));
    let mut command = tool("ip");
    command.args(["netns", "exec", netns]).arg(program);
    command
}

const PREFIX: &str = "sneakernet-";

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{count}", std::process::id())
}

// What a test run that was killed has left.
fn remove_abandoned() {
    let Ok(names) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for name in names.flatten() {
        let name = name.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if let Some(owner) = owner
            && owner.parse::<u32>().is_ok()
            && !Path::new("/proc").join(owner).exists()
        {
            remove(&name);
        }
    }
}

fn remove(name: &str) {
    run_ip(&["netns", "delete", name]);
    let _ = std::fs::remove_dir_all(Path::new("/etc/netns").join(name));
}

#[track_caller]
fn ip(arguments: &[&str]) {
    let mut command = tool("ip");
    command.args(arguments);
    run(command).success();
}

fn run_ip(arguments: &[&str]) -> bool {
    let mut command = tool("ip");
    command.args(arguments);
    run(command).status.success()
}
