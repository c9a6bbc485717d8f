//! The program `bundle`, see [`sneakernet::cli`].

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    sneakernet::cli::main()
}
