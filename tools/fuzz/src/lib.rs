//! Fuzz targets, which check rules that hold for every input. Each module tests one kind of input: the
//! module's function `target` takes any bytes, and panics if a rule is broken. The seeds of a module are in
//! the folder of its name under `seeds`.
//!
//! `cargo test` runs each `target` with the seeds and with mutations of the seeds (`tests/fuzz.rs`).
//! libFuzzer runs a `target` with inputs that libFuzzer finds (`tools/fuzz/run`).

mod answer;
mod cost;
mod fixture;
pub mod import;
pub mod request;
pub mod token;
pub mod vercel;

/// The part of the input before the first separator, and the part after this separator. If the input has no
/// separator, the second part is empty.
fn cut<'a>(input: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    match input.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (&input[..at], &input[at + separator.len()..]),
        None => (input, &[]),
    }
}
