//! The programs that the tests work with, and the program under test.

use std::{
    ffi::OsStr,
    fmt,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a command may take where the test does not say otherwise.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Ends the test here where one of the named tools is missing; `root` stands for being root with
/// the right to make network namespaces.
///
/// The line `left out: needs NAME` is printed; where `CI` or `SNEAKERNET_REQUIRE_TOOLS` is set, a
/// missing tool is a failure instead, so that nothing is left out unnoticed there.
macro_rules! require {
    ($($name:expr),+ $(,)?) => {
        if !$crate::support::tools::present(&[$($name),+]) {
            return;
        }
    };
}

pub(crate) use require;

/// What [`require!`] asks.
pub fn present(names: &[&str]) -> bool {
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| match *name {
            "root" => !super::netns::permitted(),
            name => find(name).is_none(),
        })
        .collect();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(", ");
    let strict = ["CI", "SNEAKERNET_REQUIRE_TOOLS"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    assert!(!strict, "needs {missing}: run tests/run, which installs it");
    tell_left_out(&missing);
    false
}

/// Whether there is a tool that no set-up brings; where there is none, the line is printed that
/// [`require!`] prints, and it is no failure anywhere.
pub fn offered(name: &str) -> bool {
    let is_there = find(name).is_some();
    if !is_there {
        tell_left_out(name);
    }
    is_there
}

fn tell_left_out(missing: &str) {
    let test = std::thread::current();
    let test = test.name().unwrap_or("a test");
    // Not `eprintln!`: the harness would keep that to itself.
    let _ = writeln!(std::io::stderr(), "{test}: left out: needs {missing}");
}

/// Where a tool is: in the directory that `tests/run` fills, on `PATH`, or in the directories for
/// system programs that the `PATH` of ordinary users lacks.
pub fn find(name: &str) -> Option<PathBuf> {
    let own = own_tools().map(|dir| dir.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    own.into_iter()
        .chain(std::env::split_paths(&path))
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn own_tools() -> Option<PathBuf> {
    match std::env::var_os("SNEAKERNET_TOOLS") {
        Some(dir) if !dir.is_empty() => Some(dir.into()),
        _ => Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/sneakernet/tools")),
    }
}

/// A tool as a command with nothing of the caller's environment but `PATH`; for a test that has
/// asked for the tool with [`require!`].
pub fn tool(name: &str) -> Command {
    let file = find(name).unwrap_or_else(|| panic!("{name} is missing"));
    let mut command = Command::new(file);
    clear_environment(&mut command);
    command
}

fn clear_environment(command: &mut Command) {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    command
        .env_clear()
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8");
}

/// A home directory of its own for the program under test and for the tools beside it, so that no
/// credential, setting or proxy of the machine has a part in a test.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
}

impl Home {
    /// An empty home.
    pub fn new() -> Self {
        Self {
            dir: temp_dir("home"),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where `DOCKER_CONFIG` points: `config.json` in it holds logins.
    pub fn docker_config(&self) -> PathBuf {
        self.path().join(".docker")
    }

    /// Writes Docker's `config.json` with a user and password for every host named.
    pub fn log_in(&self, logins: &[(&str, &str, &str)]) {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let auths: serde_json::Map<_, _> = logins
            .iter()
            .map(|(host, user, password)| {
                let auth = STANDARD.encode(format!("{user}:{password}"));
                ((*host).to_owned(), serde_json::json!({ "auth": auth }))
            })
            .collect();
        std::fs::create_dir_all(self.docker_config()).unwrap();
        let text = serde_json::json!({ "auths": auths }).to_string();
        std::fs::write(self.docker_config().join("config.json"), text).unwrap();
    }

    /// Lets a command see this home and nothing else of the caller's environment.
    pub fn apply(&self, command: &mut Command) {
        clear_environment(command);
        let home = self.path();
        command
            .env("HOME", home)
            .env("DOCKER_CONFIG", self.docker_config())
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env("XDG_CACHE_HOME", home.join(".cache"))
            .env("XDG_DATA_HOME", home.join(".local/share"))
            .env("XDG_RUNTIME_DIR", home.join("run"))
            .env("TMPDIR", std::env::temp_dir())
            .current_dir(home);
    }

    /// The program under test.
    pub fn bundle(&self) -> Command {
        let mut command = Command::new(bundle_path());
        self.apply(&mut command);
        command
    }

    /// A tool that sees this home.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = tool(name);
        self.apply(&mut command);
        command
    }

    /// Runs the program under test with these arguments, whatever it answers.
    pub fn run_bundle<I, S>(&self, arguments: I) -> Finished
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.bundle();
        command.args(arguments);
        run(command)
    }
}

/// The program under test.
pub fn bundle_path() -> &'static str {
    env!("CARGO_BIN_EXE_bundle")
}

/// A temporary directory whose name says what it is for.
pub fn temp_dir(purpose: &str) -> TempDir {
    tempfile::Builder::new()
        .prefix(&format!("sneakernet-{purpose}-"))
        .tempdir()
        .expect("a temporary directory")
}

/// A command that has ended.
pub struct Finished {
    /// The command line.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Everything on its standard output.
    pub stdout: Vec<u8>,
    /// Everything on its standard error, as text.
    pub stderr: String,
}

impl Finished {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("not JSON: {e}\n{self:?}"))
    }

    /// The exit code; `None` where a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Asserts success.
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.status.success(), "{self:?}");
        self
    }

    /// Asserts that it failed, and says so in its messages.
    #[track_caller]
    pub fn failure(self) -> Self {
        assert!(!self.status.success(), "did not fail: {self:?}");
        self
    }

    /// Asserts an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        self
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout);
        write!(
            f,
            "{}\n{}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            self.status,
            stdout.chars().take(8000).collect::<String>(),
            self.stderr.chars().take(8000).collect::<String>()
        )
    }
}

/// Runs a command to its end with no standard input, within [`PATIENCE`].
#[track_caller]
pub fn run(command: Command) -> Finished {
    run_with(command, Vec::new(), PATIENCE)
}

/// Runs a command with these bytes on its standard input.
#[track_caller]
pub fn run_with(command: Command, input: Vec<u8>, patience: Duration) -> Finished {
    Running::start(command, input).finish(patience)
}

/// A command under way, killed by its process id when dropped.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Starts a command whose output is collected.
    #[track_caller]
    pub fn start(mut command: Command, input: Vec<u8>) -> Self {
        let line = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{line}: {e}"));
        let mut stdin = child.stdin.take().expect("piped");
        // A command that does not read its input closes it; that is its right.
        std::thread::spawn(move || stdin.write_all(&input));
        let stdout = collect(child.stdout.take().expect("piped"));
        let stderr = collect(child.stderr.take().expect("piped"));
        Self {
            line,
            child,
            stdout: Some(stdout),
            stderr: Some(stderr),
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Ends it with SIGKILL, as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Waits for its end; panics with what it said where that takes too long.
    #[track_caller]
    pub fn finish(mut self, patience: Duration) -> Finished {
        let end = Instant::now() + patience;
        let mut late = false;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            if Instant::now() > end && !late {
                late = true;
                self.kill();
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        let text = |handle: Option<JoinHandle<Vec<u8>>>| {
            let handle = handle.expect("taken once");
            handle.join().expect("a reader that does not panic")
        };
        let finished = Finished {
            command: self.line.clone(),
            status,
            stdout: text(self.stdout.take()),
            stderr: String::from_utf8_lossy(&text(self.stderr.take())).into_owned(),
        };
        assert!(!late, "not done after {patience:?}: {finished:?}");
        finished
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = from.read_to_end(&mut all);
        all
    })
}

/// Asks again and again until the answer is yes; panics with `what` where it never is.
#[track_caller]
pub fn wait_until(what: &str, patience: Duration, mut answer: impl FnMut() -> bool) {
    let end = Instant::now() + patience;
    while !answer() {
        assert!(Instant::now() < end, "{what}: not after {patience:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
