//! Reads the output of `helm template` on stdin and prints a JSON line for every image that it names, and one for
//! everything that is not certain. Exit code 1 with the reason on stderr when the images cannot be told.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{io::Read as _, process::ExitCode};

use serde_json::json;
use sneakernet::helm::discover::{Place, discover};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut rendered = String::new();
    std::io::stdin().read_to_string(&mut rendered)?;
    let discovery = discover(&rendered)?;
    for found in &discovery.found {
        let places: Vec<_> = found.places.iter().map(place).collect();
        println!(
            "{}",
            json!({"reference": found.reference.to_string(), "places": places})
        );
    }
    for unsure in &discovery.unsure {
        println!(
            "{}",
            json!({"unsure": unsure.text, "why": unsure.why, "places": [place(&unsure.place)]})
        );
    }
    Ok(())
}

fn place(place: &Place) -> serde_json::Value {
    json!({"template": place.template, "object": place.object, "field": place.field})
}
