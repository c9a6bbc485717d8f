//! The program `bundle`, see [`sneakernet::cli`].

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    // First of all: a copy of this program that was started to become `helm` does nothing else.
    if let Some(exit) = sneakernet::helm::render::sandbox::enter_if_asked() {
        return exit;
    }
    sneakernet::cli::main()
}
