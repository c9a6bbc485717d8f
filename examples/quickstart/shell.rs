//! Shows commands and runs them: what is shown is what runs.

use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use tokio::process::Command;

use crate::Failure;

/// Makes a process of this example be the program `bundle`.
pub const BE_BUNDLE: &str = "SNEAKERNET_QUICKSTART_IS_BUNDLE";

const TITLE: Style = Style::new().bold();
const COMMAND: Style = AnsiColor::Cyan.on_default().bold();

/// A shell that knows one program, in a directory of its own.
pub struct Shell {
    directory: PathBuf,
    program: PathBuf,
    chapter: u32,
}

impl Shell {
    pub fn new(directory: &Path) -> Result<Self, Failure> {
        Ok(Self {
            directory: directory.to_owned(),
            program: std::env::current_exe()?,
            chapter: 0,
        })
    }

    /// Begins a chapter of the story.
    pub fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        anstream::println!("\n{TITLE}{}. {title}{TITLE:#}", self.chapter);
    }

    /// Writes a file and shows it.
    pub fn file(&self, name: &str, content: &str) -> Result<(), Failure> {
        std::fs::write(self.directory.join(name), content)?;
        anstream::println!("{COMMAND}$ cat {name}{COMMAND:#}\n{}", content.trim_end());
        Ok(())
    }

    /// Runs `bundle …`, whose words are separated by spaces, and expects this exit code.
    pub async fn bundle(&self, line: &str, expected: i32) -> Result<(), Failure> {
        anstream::println!("{COMMAND}$ bundle {line}{COMMAND:#}");
        let mut command = Command::new(&self.program);
        command
            .args(line.split_whitespace())
            .current_dir(&self.directory)
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            // What is set for other bundles and keys would change what is shown here.
            if text.starts_with("BUNDLE_") || text.starts_with("COSIGN_") {
                command.env_remove(&name);
            }
        }
        command.env("NO_PROXY", "127.0.0.1").env(BE_BUNDLE, "1");
        let ended = command.status().await?;
        if expected != 0 {
            anstream::println!(
                "{COMMAND}$ echo $?{COMMAND:#}\n{}",
                ended.code().unwrap_or(-1)
            );
        }
        if ended.code() == Some(expected) {
            Ok(())
        } else {
            Err(format!("bundle {line}: {ended}, but exit code {expected} was expected").into())
        }
    }
}
