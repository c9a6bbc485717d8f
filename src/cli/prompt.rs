//! What is asked of a person, on the terminal and nowhere else: standard input may be a bundle.

use std::{
    fs::OpenOptions,
    io::{self, BufRead as _, BufReader, ErrorKind, IsTerminal as _, Read as _, Write as _},
};

use zeroize::Zeroizing;

use super::{
    escape::escape,
    exit::{CliError, Exit},
    interrupt::Interrupt,
};

/// Longest password, in bytes.
const MAX_PASSWORD: u64 = 64 << 10;
/// Longest line that is typed, in bytes.
const MAX_TYPED: u64 = 4096;
/// The terminal of the process, wherever its streams lead.
const TERMINAL: &str = "/dev/tty";

/// Reads the password that `--password-stdin` promises: the first line of standard input.
///
/// # Errors
/// With exit code 2 when it is a terminal (which would show it), empty, too long or not text.
pub fn password_from_stdin() -> Result<Zeroizing<String>, CliError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(
            CliError::usage("--password-stdin would show the password on the terminal")
                .hint("pass it from a file or a pipe: --password-stdin < FILE"),
        );
    }
    first_line(stdin.lock())
}

fn first_line(reader: impl io::Read) -> Result<Zeroizing<String>, CliError> {
    let mut line = Zeroizing::new(Vec::new());
    BufReader::new(reader.take(MAX_PASSWORD + 1))
        .read_until(b'\n', &mut line)
        .map_err(|e| CliError::new(Exit::LocalIo, format!("cannot read standard input: {e}")))?;
    if line.len() as u64 > MAX_PASSWORD {
        return Err(CliError::usage(
            "the password on standard input is too long",
        ));
    }
    let text = std::str::from_utf8(&line)
        .map_err(|_| CliError::usage("the password on standard input is not UTF-8 text"))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(CliError::usage("there is no password on standard input"));
    }
    Ok(Zeroizing::new(password.to_owned()))
}

/// Asks for a password; it is not shown.
///
/// # Errors
/// With exit code 2 when there is no terminal, with 130 at Ctrl-C.
pub fn password(interrupt: &Interrupt, what: &str) -> Result<Zeroizing<String>, CliError> {
    let _held = interrupt.hold();
    let typed = rpassword::prompt_password(format!("{}: ", escape(what)));
    typed.map(Zeroizing::new).map_err(|e| unasked(what, &e))
}

/// Asks for a new password, twice.
///
/// # Errors
/// As [`password`], and with exit code 2 when the two differ.
pub fn new_password(interrupt: &Interrupt, what: &str) -> Result<Zeroizing<String>, CliError> {
    let first = password(interrupt, what)?;
    let again = password(interrupt, "the same again")?;
    if first == again {
        Ok(first)
    } else {
        Err(CliError::usage("the two passwords differ"))
    }
}

/// Asks for a line of text that may be seen.
///
/// # Errors
/// With exit code 2 when there is no terminal, or nothing is typed.
pub fn line(what: &str) -> Result<String, CliError> {
    let ask = || -> io::Result<String> {
        let mut terminal = OpenOptions::new().read(true).write(true).open(TERMINAL)?;
        write!(terminal, "{}: ", escape(what))?;
        let mut typed = String::new();
        BufReader::new(terminal.take(MAX_TYPED)).read_line(&mut typed)?;
        Ok(typed)
    };
    let typed = ask().map_err(|e| unasked(what, &e))?;
    match typed.trim() {
        "" => Err(CliError::usage(format!("no {what}"))),
        text => Ok(text.to_owned()),
    }
}

fn unasked(what: &str, error: &io::Error) -> CliError {
    match error.kind() {
        ErrorKind::Interrupted => CliError::interrupted(),
        ErrorKind::UnexpectedEof => CliError::usage(format!("no {what}")),
        _ => CliError::usage(format!("no {what}, and no terminal to ask for it")).hint(
            "for keys set BUNDLE_KEY_PASSWORD or COSIGN_PASSWORD\n\
             for registries pass --username NAME --password-stdin",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line() {
        for (text, password) in [
            (&b"secret"[..], Some("secret")),
            (b"secret\n", Some("secret")),
            (b" se cret \r\nmore", Some(" se cret ")),
            (b"", None),
            (b"\n", None),
            (b"\xff\n", None),
        ] {
            assert_eq!(
                first_line(text).ok().map(|p| p.to_string()),
                password.map(str::to_owned)
            );
        }
        assert!(first_line(io::repeat(b'x')).is_err());
    }

    #[test]
    fn an_interrupted_prompt_is_an_interruption_and_no_terminal_is_wrong_usage() {
        let exit = |kind: ErrorKind| unasked("password", &kind.into()).exit;
        assert_eq!(exit(ErrorKind::Interrupted), Exit::Interrupted);
        assert_eq!(exit(ErrorKind::NotFound), Exit::Usage);
        assert_eq!(exit(ErrorKind::UnexpectedEof), Exit::Usage);
    }
}
