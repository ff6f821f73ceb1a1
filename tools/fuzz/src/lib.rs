//! Rules that hold for every input. Each module tests one kind of input: its function `target` takes any
//! bytes, and panics if they break a rule. The seeds of a module are in the folder of its name under
//! `seeds`.
//!
//! `cargo test` runs each `target` with the seeds and with mutations of them (`tests/fuzz.rs`). libFuzzer
//! runs it with inputs that it finds itself (`tools/fuzz/run`).

mod answer;
mod cost;
mod fixture;
pub mod import;
pub mod request;
pub mod token;
pub mod vercel;

/// The input before the first separator, and the input after it. Without a separator, the second part is
/// empty.
fn cut<'a>(input: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    match input.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (&input[..at], &input[at + separator.len()..]),
        None => (input, &[]),
    }
}
