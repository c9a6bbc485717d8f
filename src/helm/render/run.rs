//! One run of `helm`: started in the sandbox, read with care, ended for certain.

use std::{
    convert::Infallible,
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    sync::oneshot,
};

use super::{
    HelmError, Limit,
    sandbox::{ENTERED, FAILED, Limits, OFFLINE, Sandbox},
    workspace::Workspace,
};

/// How much of the end of standard error is kept, in bytes.
const MAX_STDERR: usize = 64 << 10;

/// What to run.
#[derive(Debug)]
pub(super) struct Job {
    pub sandbox: Sandbox,
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// The working directory; removed at the end.
    pub workspace: Workspace,
    /// The most that may come on standard output, in bytes.
    pub max_output: u64,
}

/// A run that came to its end by itself.
#[derive(Debug)]
pub(super) struct Ended {
    pub succeeded: bool,
    pub stdout: Vec<u8>,
    /// The end of it, without the line of the sandbox.
    pub stderr: Vec<u8>,
    /// Whether it had a network namespace of its own.
    pub offline: bool,
}

/// Runs it on a thread of its own. The life of the process is tied to the thread that started it,
/// and the threads of the caller's runtime come and go as they like.
///
/// When this future is dropped, the process group is killed and the workspace removed.
pub(super) async fn run(job: Job) -> Result<Ended, HelmError> {
    let (tell, told) = oneshot::channel();
    // Never sent on: dropped with this future, that is its message.
    let (_wanted, unwanted) = oneshot::channel::<Infallible>();
    std::thread::Builder::new()
        .name("helm".to_owned())
        .spawn(move || {
            let ended = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(HelmError::io("start a runtime"))
                .and_then(|runtime| runtime.block_on(supervise(job, unwanted)));
            // Nobody may be waiting any more.
            let _ = tell.send(ended);
        })
        .map_err(HelmError::io("start a thread"))?;
    told.await.unwrap_or_else(|_| {
        let cause = io::Error::other("the thread ended early");
        Err(HelmError::io("wait")(cause))
    })
}

async fn supervise(job: Job, unwanted: oneshot::Receiver<Infallible>) -> Result<Ended, HelmError> {
    let limits = job.sandbox.limits();
    let mut child = start(&job)?;
    let outcome = tokio::select! {
        outcome = watch(&mut child, job.max_output) => outcome,
        () = tokio::time::sleep(limits.time) => Err(HelmError::Exceeded(Limit::Time(limits.time))),
        // Nobody reads this error.
        _ = unwanted => Err(HelmError::Killed { signal: Signal::KILL.as_raw() }),
    };
    if outcome.is_err() {
        end(&mut child).await;
    }
    let Seen {
        status,
        stdout,
        head,
        stderr,
    } = outcome?;
    judge(status, &head, &stderr, limits)?;
    let offline = head.ends_with(OFFLINE.as_bytes());
    Ok(Ended {
        succeeded: status.success(),
        stdout,
        stderr,
        offline,
    })
}

fn start(job: &Job) -> Result<Child, HelmError> {
    let mut command = job.sandbox.command(&job.program);
    command
        .args(&job.arguments)
        .env_clear()
        .envs(job.workspace.environment())
        // Go collects garbage harder before it runs into the limit.
        .env(
            "GOMEMLIMIT",
            (job.sandbox.limits().memory / 4 * 3).to_string(),
        )
        .current_dir(job.workspace.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| HelmError::sandbox(&error.to_string()))
}

/// What came of a process that ended.
struct Seen {
    status: ExitStatus,
    stdout: Vec<u8>,
    head: Vec<u8>,
    stderr: Vec<u8>,
}

async fn watch(child: &mut Child, max_output: u64) -> Result<Seen, HelmError> {
    let group = group_of(child);
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(HelmError::sandbox("its output is not connected"));
    };
    let ended = async {
        let status = child.wait().await.map_err(HelmError::io("wait"))?;
        // What it left behind would keep the pipes open.
        kill_group(group);
        Ok(status)
    };
    let (status, stdout, (head, stderr)) = tokio::try_join!(
        ended,
        read_all(stdout, max_output),
        read_head_and_end(stderr)
    )?;
    Ok(Seen {
        status,
        stdout,
        head,
        stderr,
    })
}

async fn read_all(from: impl AsyncRead + Unpin, most: u64) -> Result<Vec<u8>, HelmError> {
    let mut all = Vec::new();
    from.take(most.saturating_add(1))
        .read_to_end(&mut all)
        .await
        .map_err(HelmError::io("read the output"))?;
    if all.len() as u64 > most {
        return Err(HelmError::Exceeded(Limit::Output(most)));
    }
    Ok(all)
}

/// The report of the sandbox, and the last [`MAX_STDERR`] bytes of what follows.
async fn read_head_and_end(
    mut from: impl AsyncRead + Unpin,
) -> Result<(Vec<u8>, Vec<u8>), HelmError> {
    let failed = HelmError::io("read the messages");
    let read = async {
        let mut head = Vec::new();
        let report = (ENTERED.len() + OFFLINE.len()) as u64;
        (&mut from).take(report).read_to_end(&mut head).await?;
        let mut end = Vec::new();
        let mut chunk = vec![0; 16 << 10];
        loop {
            let count = from.read(&mut chunk).await?;
            if count == 0 {
                break;
            }
            end.extend_from_slice(&chunk[..count]);
            if end.len() > 2 * MAX_STDERR {
                end.drain(..end.len() - MAX_STDERR);
            }
        }
        end.drain(..end.len().saturating_sub(MAX_STDERR));
        Ok((head, end))
    };
    read.await.map_err(failed)
}

/// Whether it was `helm` that ran, and ended by itself.
fn judge(status: ExitStatus, head: &[u8], stderr: &[u8], limits: Limits) -> Result<(), HelmError> {
    let all = || String::from_utf8_lossy(&[head, stderr].concat()).into_owned();
    if !head.starts_with(ENTERED.as_bytes()) {
        let said = all();
        return Err(match said.strip_prefix(FAILED) {
            Some(reason) => HelmError::sandbox(reason),
            None => HelmError::NoSandbox,
        });
    }
    if let Some(reason) = stderr.strip_prefix(FAILED.as_bytes()) {
        return Err(HelmError::sandbox(&String::from_utf8_lossy(reason)));
    }
    match status.signal() {
        None => {}
        Some(signal) if signal == Signal::KILL.as_raw() || signal == Signal::XCPU.as_raw() => {
            return Err(HelmError::Exceeded(Limit::Cpu(limits.cpu)));
        }
        Some(signal) => return Err(HelmError::Killed { signal }),
    }
    if !status.success() && is_out_of_memory(stderr) {
        return Err(HelmError::Exceeded(Limit::Memory(limits.memory)));
    }
    Ok(())
}

/// What the runtime of Go says in its last words.
fn is_out_of_memory(stderr: &[u8]) -> bool {
    let said = String::from_utf8_lossy(stderr);
    said.lines().any(|line| {
        line.starts_with("fatal error: runtime: out of memory")
            || line.starts_with("fatal error: runtime: cannot allocate memory")
            || line.starts_with("fatal error: out of memory")
            || line.starts_with("fatal error: stack overflow")
            || line.starts_with("runtime: out of memory")
            || line.starts_with("runtime: cannot allocate memory")
            || line.starts_with("runtime: failed to create new OS thread")
    })
}

/// Ends the process with everything that it started, and waits for its end.
async fn end(child: &mut Child) {
    kill_group(group_of(child));
    // Where it has not got as far as to have a group of its own.
    let _ = child.kill().await;
}

fn group_of(child: &Child) -> Option<Pid> {
    child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw)
}

fn kill_group(group: Option<Pid>) {
    if let Some(group) = group {
        // An empty group is what is wanted.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(raw_status: i32, head: &str, stderr: &str) -> Result<(), HelmError> {
        let status = ExitStatus::from_raw(raw_status);
        judge(
            status,
            head.as_bytes(),
            stderr.as_bytes(),
            Limits::default(),
        )
    }

    fn entered() -> String {
        format!("{ENTERED}{OFFLINE}")
    }

    #[test]
    fn nothing_is_believed_of_a_program_that_did_not_enter_the_sandbox() {
        for head in ["", "running 0 tests", &ENTERED[..10]] {
            let error = judged(0, head, "").unwrap_err();
            assert!(matches!(error, HelmError::NoSandbox), "{head:?}");
        }
    }

    #[test]
    fn the_sandbox_tells_why_it_did_not_start_helm() {
        let reason = "cannot start /opt/helm: Permission denied";
        let early = format!("{FAILED}{reason}");
        let (head, rest) = early.split_at(entered().len());
        for error in [
            judged(125 << 8, head, rest),
            judged(125 << 8, &entered(), &early),
        ] {
            let error = error.unwrap_err();
            assert_eq!(error.to_string(), format!("helm was not started: {reason}"));
        }
    }

    #[test]
    fn ends_by_limits_are_told_from_errors_of_helm() {
        let limits = Limits::default();
        judged(1 << 8, &entered(), "Error: no").unwrap();
        judged(0, &entered(), "").unwrap();
        for signal in [9, 24] {
            let error = judged(signal, &entered(), "").unwrap_err();
            assert!(matches!(error, HelmError::Exceeded(Limit::Cpu(n)) if n == limits.cpu));
        }
        let error = judged(11, &entered(), "").unwrap_err();
        assert!(matches!(error, HelmError::Killed { signal: 11 }));
        let words =
            "runtime: out of memory: cannot allocate 4194304-byte block (1073741824 in use)\n";
        let error = judged(2 << 8, &entered(), words).unwrap_err();
        assert!(matches!(error, HelmError::Exceeded(Limit::Memory(n)) if n == limits.memory));
    }

    #[tokio::test]
    async fn output_is_read_up_to_the_limit_and_not_beyond() {
        assert_eq!(read_all(&b"12345"[..], 5).await.unwrap(), b"12345");
        let error = read_all(tokio::io::repeat(b'x'), 1000).await.unwrap_err();
        assert!(matches!(error, HelmError::Exceeded(Limit::Output(1000))));
    }

    #[tokio::test]
    async fn the_end_of_long_messages_is_kept() {
        let mut text = entered().into_bytes();
        text.extend(std::iter::repeat_n(b'x', 5 * MAX_STDERR));
        text.extend(b"Error: no");
        let (head, end) = read_head_and_end(&text[..]).await.unwrap();
        assert_eq!(head, entered().into_bytes());
        assert_eq!(end.len(), MAX_STDERR);
        assert!(end.ends_with(b"xError: no"));
    }
}
