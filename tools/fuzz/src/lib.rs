//! Rules that hold for every input: one function for each way in, from any bytes to a panic if a rule is
//! broken. A module's `target` is that function; its seeds are in the folder of its name.
//!
//! `cargo test` drives them with the seeds and with mutations of those (`tests/fuzz.rs`), libFuzzer
//! with what it finds out (`tools/fuzz/run`).

mod answer;
mod cost;
pub mod import;
pub mod request;
mod stand;
pub mod token;
pub mod vercel;

/// The input up to a separator, and what comes after it.
fn cut<'a>(input: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    match input.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (&input[..at], &input[at + separator.len()..]),
        None => (input, &[]),
    }
}
