//! The walls around `helm`.
//!
//! Limits, namespaces and privileges belong to a process and cannot be set for another one from
//! outside without unsafe code. So this program starts itself once more; the copy, single-threaded
//! and with nothing done yet, gives up what `helm` may not have and then becomes `helm`.
//!
//! The copy says on its standard error that it is behind the walls before it becomes `helm`.
//! Without that line nothing that was printed is believed: a program that does not know what it was
//! started for may have printed it.

use std::{
    convert::Infallible,
    ffi::OsString,
    fmt,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, Signal},
    thread::UnshareFlags,
};

use super::HelmError;

/// The first argument that asks the program to become `helm`. Private to this crate: both sides
/// are of the same build.
pub(super) const REQUEST: &str = "sneakernet-helm-sandbox-1";

/// The first line on standard error, up to what tells whether there is a network.
pub(super) const ENTERED: &str = "sneakernet-helm-sandbox-1: entered, ";
/// The end of that line where the network is out of reach. Both ends are equally long.
pub(super) const OFFLINE: &str = "offline\n";
const ONLINE: &str = "network\n";
/// The start of a message of the sandbox itself.
pub(super) const FAILED: &str = "sneakernet-helm-sandbox-1: failed: ";
const FAILED_EXIT_CODE: u8 = 125;

/// Whether `main` has given this module the chance to take over.
static READY: AtomicBool = AtomicBool::new(false);

/// What `helm` may use. The memory and the time that real charts need are a tenth of the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a run may take.
    pub time: Duration,
    /// CPU time of all threads, in seconds.
    pub cpu: u64,
    /// Memory that is written to, in bytes.
    pub memory: u64,
    /// The longest file that may be written, in bytes.
    pub file: u64,
    /// What may be printed, in bytes; kept in memory.
    pub output: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            time: Duration::from_secs(60),
            cpu: 120,
            memory: 1024 * MIB,
            file: 64 * MIB,
            output: 64 * MIB,
        }
    }
}

/// How `helm` is started: the program that becomes it, and the limits.
#[derive(Clone, Debug)]
pub struct Sandbox {
    launcher: PathBuf,
    limits: Limits,
}

impl Sandbox {
    /// A sandbox that this very program enters.
    ///
    /// # Errors
    /// When it has not called [`enter_if_asked`]: started once more, it would do whatever else it
    /// does, and `helm` would not run at all.
    pub fn of_this_program() -> Result<Self, HelmError> {
        if !READY.load(Ordering::SeqCst) {
            return Err(HelmError::NoSandbox);
        }
        // Also there when the file was replaced since, as an update does.
        Ok(Self::reexec("/proc/self/exe"))
    }

    /// A sandbox that another program enters: one that calls [`enter_if_asked`] first of all, such
    /// as `bundle`. For programs that cannot, because their `main` is not their own.
    pub fn reexec(launcher: impl Into<PathBuf>) -> Self {
        Self {
            launcher: launcher.into(),
            limits: Limits::default(),
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Its limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The command that becomes `program`; the arguments of the program may follow.
    pub(super) fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new(&self.launcher);
        command
            .arg(REQUEST)
            .arg(Walls::of(self.limits).to_string())
            .arg(program);
        command
    }
}

/// The limits that the copy sets; the others are kept by the one who started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Walls {
    cpu: u64,
    memory: u64,
    file: u64,
}

impl Walls {
    fn of(limits: Limits) -> Self {
        Self {
            cpu: limits.cpu,
            memory: limits.memory,
            file: limits.file,
        }
    }
}

impl fmt::Display for Walls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.cpu, self.memory, self.file)
    }
}

impl FromStr for Walls {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers = text
            .split(',')
            .map(str::parse)
            .collect::<Result<Vec<u64>, _>>();
        match numbers.map_err(drop)?[..] {
            [cpu, memory, file] => Ok(Self { cpu, memory, file }),
            _ => Err(()),
        }
    }
}

/// Becomes `helm` where this process was started for that; otherwise returns `None` at once, and
/// [`Sandbox::of_this_program`] may be used from then on.
///
/// To be called first of all in `main`, while there is one thread. An exit code that it returns is
/// to be returned by `main`.
pub fn enter_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != REQUEST) {
        READY.store(true, Ordering::SeqCst);
        return None;
    }
    let Err(reason) = enter(arguments);
    // Where nobody listens, the exit code has to do.
    let _ = write!(io::stderr(), "{FAILED}{reason}");
    Some(ExitCode::from(FAILED_EXIT_CODE))
}

fn enter(mut arguments: impl Iterator<Item = OsString>) -> Result<Infallible, String> {
    let walls = arguments
        .next()
        .and_then(|text| text.to_str().and_then(|text| text.parse::<Walls>().ok()))
        .ok_or("the limits are missing")?;
    let program = arguments.next().ok_or("the program is missing")?;

    // A session of its own has no terminal, and a process group that can be ended as a whole.
    rustix::process::setsid().map_err(|e| format!("cannot start a session: {e}"))?;
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    walls.set()?;
    let network = if leave_the_network() { OFFLINE } else { ONLINE };
    rustix::thread::set_no_new_privs(true)
        .map_err(|e| format!("cannot give up privileges: {e}"))?;
    // After the namespaces: entering one takes this back.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| format!("cannot tie its life to this program: {e}"))?;

    write!(io::stderr(), "{ENTERED}{network}").map_err(|e| format!("cannot report: {e}"))?;
    let error = Command::new(&program).args(arguments).exec();
    Err(format!("cannot start {}: {error}", program.display()))
}

impl Walls {
    fn set(self) -> Result<(), String> {
        // Go reserves address space far beyond what it uses, so there has to be room for that;
        // what it uses is counted as data.
        const RESERVED: u64 = 8 << 30;
        const OPEN_FILES: u64 = 256;
        for (resource, most) in [
            (Resource::Cpu, self.cpu),
            (Resource::Data, self.memory),
            (Resource::As, self.memory.saturating_add(RESERVED)),
            (Resource::Fsize, self.file),
            (Resource::Nofile, OPEN_FILES),
            (Resource::Core, 0),
        ] {
            limit(resource, most).map_err(|e| format!("cannot limit {resource:?}: {e}"))?;
        }
        Ok(())
    }
}

/// Sets the soft and the hard limit, so that it cannot be raised again. A lower one stays.
fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let present = rustix::process::getrlimit(resource);
    let most = present.maximum.map_or(most, |maximum| maximum.min(most));
    let new = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    rustix::process::setrlimit(resource, new)
}

/// Moves into a network namespace in which there is nothing, not even a loopback device that is
/// up. Systems that forbid this are many (containers, hardened kernels), so it is not required:
/// `helm` is given nothing to fetch.
fn leave_the_network() -> bool {
    // In a user namespace without any user, which is what an ordinary user may make; root loses
    // its capabilities by it.
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) || unshare(UnshareFlags::NEWNET)
}

#[allow(deprecated)]
fn unshare(namespaces: UnshareFlags) -> bool {
    // Deprecated since it can take away a table of open files that other threads use. These flags
    // do not, and there are no other threads.
    rustix::thread::unshare(namespaces).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_take_part_has_no_sandbox() {
        // The test program does not: its `main` is the one of the harness.
        let error = Sandbox::of_this_program().unwrap_err();
        assert!(matches!(error, HelmError::NoSandbox), "{error}");
    }

    #[test]
    fn limits_survive_the_way_to_the_copy() {
        let walls = Walls::of(Limits::default());
        assert_eq!(walls.to_string().parse(), Ok(walls));
        for wrong in ["", "1,2", "1,2,3,4", "1,2,-3", "1,2,x", "1, 2, 3"] {
            assert_eq!(wrong.parse::<Walls>(), Err(()), "{wrong:?}");
        }
    }

    #[test]
    fn what_the_copy_is_given_is_not_mixed_up() {
        let sandbox = Sandbox::reexec("/usr/bin/bundle");
        let command = sandbox.command(std::path::Path::new("/opt/helm"));
        let arguments: Vec<_> = command.get_args().collect();
        let limits = Walls::of(Limits::default()).to_string();
        assert_eq!(command.get_program(), "/usr/bin/bundle");
        assert_eq!(arguments, [REQUEST, &limits, "/opt/helm"]);
    }

    #[test]
    fn entering_without_what_is_needed_fails_before_anything_is_done() {
        let entering = |arguments: &[&str]| enter(arguments.iter().map(OsString::from));
        assert_eq!(entering(&[]), Err("the limits are missing".to_owned()));
        assert_eq!(
            entering(&["many"]),
            Err("the limits are missing".to_owned())
        );
        assert_eq!(
            entering(&["1,2,3"]),
            Err("the program is missing".to_owned())
        );
    }

    #[test]
    fn both_reports_are_equally_long() {
        assert_eq!(OFFLINE.len(), ONLINE.len());
    }
}
