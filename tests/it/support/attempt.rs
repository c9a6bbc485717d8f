//! The program under test with hostile input: it has to refuse, quickly, in one line, with little
//! memory, and without a byte to anybody.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use sneakernet::trust::{KeyPair, SigningKey};

use super::{
    recording::Recording,
    tools::{Finished, Home, Running},
};

/// How long a refusal may take, on a machine with other things to do.
pub const QUICK: Duration = Duration::from_secs(20);
/// The most memory that the program may have at any time, in bytes.
pub const MEMORY: u64 = 128 << 20;

/// A command that has ended, and the most memory that it had.
pub struct Watched {
    /// What it said.
    pub finished: Finished,
    /// Peak resident memory in bytes, as far as it was seen.
    pub peak: u64,
}

/// Runs a command to its end and watches its memory.
#[track_caller]
pub fn watch(command: Command, input: Vec<u8>, patience: Duration) -> Watched {
    let started = Instant::now();
    let mut running = Running::start(command, input);
    let process = PathBuf::from(format!("/proc/{}", running.id()));
    let own = std::fs::read_link("/proc/self/exe").unwrap();
    let mut peak = 0;
    while running.is_running() && started.elapsed() < patience {
        // Until it becomes the program, it has the memory of this process.
        let is_started = std::fs::read_link(process.join("exe")).is_ok_and(|exe| exe != own);
        // The high-water mark never sinks, so that a late look sees what was before.
        let mark = high_water_mark(&process.join("status")).filter(|_| is_started);
        peak = peak.max(mark.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    let finished = running.finish(patience.saturating_sub(started.elapsed()));
    Watched { finished, peak }
}

fn high_water_mark(status: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes << 10)
}

/// Asserts what is true of every failure of the program: this exit code, one line with the error,
/// nothing that acts on a terminal, no internal fault, bounded memory.
#[track_caller]
pub fn assert_refused(what: &str, watched: &Watched, code: i32) {
    let Watched { finished, peak } = watched;
    assert_eq!(finished.code(), Some(code), "{what}: {finished:?}");
    assert_proper(what, watched);
    let errors = finished.stderr.lines().filter(|l| l.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{what}: {finished:?}");
    assert!(
        *peak <= MEMORY,
        "{what}: {} MiB of memory: {finished:?}",
        peak >> 20
    );
}

/// Asserts what is true of every run: nothing that acts on a terminal, no internal fault.
#[track_caller]
pub fn assert_proper(what: &str, watched: &Watched) {
    let finished = &watched.finished;
    for text in [&finished.text(), &finished.stderr] {
        let acts = text.chars().find(|&c| c != '\n' && c.is_control());
        assert_eq!(acts, None, "{what}: {finished:?}");
        assert!(!text.contains("panicked"), "{what}: {finished:?}");
        assert!(!text.contains("internal fault"), "{what}: {finished:?}");
    }
}

/// Whose keys there are.
const NAMES: [&str; 2] = ["cosign", "other"];

struct Keys {
    pair: KeyPair,
    key: Arc<SigningKey>,
}

/// One pair each for the whole run: to open a key takes its time, on purpose.
fn keys() -> &'static [Keys; 2] {
    static KEYS: OnceLock<[Keys; 2]> = OnceLock::new();
    KEYS.get_or_init(|| {
        NAMES.map(|_| {
            let pair = KeyPair::generate("").expect("a key pair");
            let key = SigningKey::from_pem(pair.private_pem().as_bytes(), "");
            let key = Arc::new(key.expect("a key"));
            Keys { pair, key }
        })
    })
}

/// A place with a key pair and a registry that must not be asked.
pub struct Bench {
    /// The home of the program; keys `cosign.key`, `cosign.pub`, and of somebody else `other.key`,
    /// `other.pub`.
    pub home: Home,
    /// The destination, which writes everything down.
    pub recording: Recording,
    next: AtomicU32,
}

impl Bench {
    /// A new key pair, a new listener.
    pub fn new() -> Self {
        let home = Home::new();
        for (name, keys) in NAMES.iter().zip(keys()) {
            let written = keys.pair.write_files(&home.path().join(name));
            written.expect("files");
        }
        Self {
            home,
            recording: Recording::refusing(),
            next: AtomicU32::new(0),
        }
    }

    /// The private key that belongs to `NAME.pub`.
    pub fn key(&self, name: &str) -> Arc<SigningKey> {
        let at = NAMES.iter().position(|known| *known == name);
        Arc::clone(&keys()[at.expect("one of the two")].key)
    }

    /// Writes a file into the home.
    pub fn file(&self, bytes: &[u8]) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.home.path().join(format!("{number}.bundle.tar.zst"));
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    /// The program with these arguments and standard input, and the public key as `--key`.
    #[track_caller]
    pub fn run(&self, arguments: &[&str], input: Vec<u8>) -> Watched {
        let mut command = self.home.bundle();
        command.args(arguments);
        if !arguments.contains(&"--key") && !arguments.contains(&"--allow-unsigned") {
            command.args(["--key", "cosign.pub"]);
        }
        watch(command, input, QUICK)
    }

    /// Loads a file into the recording registry.
    #[track_caller]
    pub fn load(&self, file: &Path, more: &[&str]) -> Watched {
        let host = self.recording.host();
        let file = file.to_str().expect("text");
        let arguments = [&["load", file, "--to", &host], more].concat();
        self.run(&arguments, Vec::new())
    }

    /// Asserts that `load` and `verify` refuse this as a file and `verify` as a stream, with this exit
    /// code, because of what this text says (of the file), and that nobody was asked anything.
    #[track_caller]
    pub fn refuses(&self, what: &str, bundle: Vec<u8>, code: i32, because: &str) {
        self.refuses_file(what, &bundle, code, because);
        let piped = self.run(&["verify", "-"], bundle);
        assert_refused(&format!("{what}, from a pipe"), &piped, code);
    }

    /// The same for what is wrong in the head, which decides before anything is sent from a pipe,
    /// too.
    #[track_caller]
    pub fn refuses_head(&self, what: &str, bundle: Vec<u8>, code: i32, because: &str) {
        self.refuses_file(what, &bundle, code, because);
        let host = self.recording.host();
        let piped = self.run(&["load", "-", "--to", &host], bundle);
        assert_refused(&format!("{what}, from a pipe"), &piped, code);
        self.recording.assert_untouched();
    }

    #[track_caller]
    fn refuses_file(&self, what: &str, bundle: &[u8], code: i32, because: &str) {
        let file = self.file(bundle);
        let load = self.load(&file, &[]);
        assert_refused(what, &load, code);
        let message = &load.finished.stderr;
        assert!(message.contains(because), "{what}: {message}");
        let name = file.to_str().expect("text");
        assert_refused(what, &self.run(&["verify", name], Vec::new()), code);
        self.recording.assert_untouched();
        std::fs::remove_file(&file).expect("written before");
    }

    /// Asserts that `verify` accepts this as a file and as a stream: without it, a refusal of
    /// something like it shows nothing.
    #[track_caller]
    pub fn accepts(&self, what: &str, bundle: Vec<u8>) {
        let file = self.file(&bundle);
        let name = file.to_str().expect("text");
        let verified = self.run(&["verify", name], Vec::new());
        assert_eq!(
            verified.finished.code(),
            Some(0),
            "{what}: {:?}",
            verified.finished
        );
        assert_proper(what, &verified);
        assert!(
            verified.peak <= MEMORY,
            "{what}: {} MiB",
            verified.peak >> 20
        );
        let piped = self.run(&["verify", "-"], bundle);
        assert_eq!(
            piped.finished.code(),
            Some(0),
            "{what}: {:?}",
            piped.finished
        );
        assert!(
            piped.peak <= MEMORY,
            "{what}: {} MiB from a pipe",
            piped.peak >> 20
        );
        std::fs::remove_file(&file).expect("written before");
    }
}
