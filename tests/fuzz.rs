//! Checks rules that every input must obey. The inputs are the seeds in `tools/fuzz/seeds`, mutations of
//! these seeds, and inputs that are too large for a file.
//!
//! The mutations are the same in every run. With `FUZZ_SECONDS=600`, each target runs for 600 s, with
//! other mutations in every run.

#[path = "../tools/fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

use targets::{import, request, token, vercel};

/// The longest time that one target's mutations run, if `FUZZ_SECONDS` is not set.
const PATIENCE: Duration = Duration::from_secs(3);

/// The number of mutations that one seed of the random generator gives.
const BATCH: u32 = 20;

/// The seeds of a target, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/fuzz/seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

/// One change to an input. The places and lengths of a change are fractions: a value of n means n/65,536.
#[derive(Clone, Debug)]
enum Edit {
    Set(u16, u8),
    Insert(u16, Vec<u8>),
    Token(u16, usize),
    Remove(u16, u16),
    Repeat(u16, u16, u16),
    Splice(u16, usize, u16),
    Piece(usize, usize, usize),
}

/// Pieces of input that parsers often handle wrongly.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"1e999",
    b"-0",
    b"1.5",
    b"\\u0000",
    b"\\ud800",
    b"\\udc00",
    b"\x00",
    b"\xff",
    b"\xc3\x28",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\n\n",
    b"\t",
    b" ",
    b"\x1b[2J",
    b"%",
    b"%2F",
    b"%25",
    b"%00",
    b"%ff",
    b"%2e",
    b"..",
    b"/",
    b"//",
    b"?",
    b"#",
    b"&",
    b"=",
    b"teamId=",
    b"slug=",
    b"@admin",
    b"@account",
    b"{\"a\":",
    b"\"crit\":[]",
    b"\"aud\":\"x\"",
    b"\"sub\":null",
    b"Retry-After: -1\n",
    b"Content-Length: 9\n",
    b"Transfer-Encoding: chunked\n",
    b"18446744073709551616",
    b"cascadeResourceDeletion",
    b"reason",
];

fn edit() -> impl Strategy<Value = Edit> {
    use prop_oneof as one_of;
    let any_of = || any::<u16>();
    one_of![
        3 => (any_of(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        2 => (any_of(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        4 => (any_of(), 0..TOKENS.len()).prop_map(|(at, token)| Edit::Token(at, token)),
        3 => (any_of(), any_of()).prop_map(|(at, length)| Edit::Remove(at, length)),
        1 => (any_of(), any_of(), 1..200_u16).prop_map(|(at, length, n)| Edit::Repeat(at, length, n)),
        4 => any::<(usize, usize, usize)>().prop_map(|(at, other, from)| Edit::Piece(at, other, from)),
        2 => (any_of(), any::<usize>(), any_of()).prop_map(|(at, other, from)| Edit::Splice(at, other, from)),
    ]
}

/// The length of the longest mutated input. This length is a little over that of the longest allowed body.
const MAX_INPUT: usize = 70 * 1024;

/// The parts of an input between its separators.
fn pieces(input: &[u8]) -> Vec<&[u8]> {
    input.split(|byte| b",{}/\n".contains(byte)).collect()
}

fn apply(edit: &Edit, input: &mut Vec<u8>, seeds: &[(String, Vec<u8>)]) {
    let place = |fraction: u16, length: usize| usize::from(fraction) * length / 65_536;
    let length = input.len();
    match edit {
        Edit::Set(at, byte) => {
            if let Some(place) = input.get_mut(place(*at, length)) {
                *place = *byte;
            }
        }
        Edit::Insert(at, bytes) => {
            let at = place(*at, length);
            input.splice(at..at, bytes.iter().copied());
        }
        Edit::Token(at, token) => {
            let at = place(*at, length);
            input.splice(at..at, TOKENS[*token].iter().copied());
        }
        Edit::Remove(at, part) => {
            let at = place(*at, length);
            // A removed piece has fewer than 40 bytes.
            input.drain(at..at + place(*part, (length - at).min(40)));
        }
        Edit::Repeat(at, part, times) => {
            let at = place(*at, length);
            let piece =
                input[at..at + place(*part, (length - at).min(40))].repeat(usize::from(*times));
            input.splice(at..at, piece);
        }
        // Replaces a field, a line or a path segment by a piece of another seed.
        Edit::Piece(at, other, from) => {
            let there = pieces(&seeds[other % seeds.len()].1);
            let mut here: Vec<_> = pieces(input).into_iter().map(<[u8]>::len).collect();
            here.truncate(at % here.len() + 1);
            let length = here.pop().unwrap_or_default();
            let start = here.iter().sum::<usize>() + here.len();
            input.splice(start..start + length, there[from % there.len()].iter().copied());
        }
        Edit::Splice(at, other, from) => {
            let other = &seeds[other % seeds.len()].1;
            input.truncate(place(*at, length));
            input.extend_from_slice(&other[place(*from, other.len())..]);
        }
    }
    input.truncate(MAX_INPUT);
}

/// Runs a target on its seeds and on this many mutations of its seeds, for [`PATIENCE`] at most. If
/// `FUZZ_SECONDS` is set, the mutations run for that many seconds instead.
fn run(name: &str, target: fn(&[u8]), cases: u32) {
    let seeds = seeds(name);
    for (_, seed) in &seeds {
        target(seed);
    }
    let mutation = (0..seeds.len(), vec(edit(), 1..8)).prop_map({
        let seeds = seeds.clone();
        move |(seed, edits)| {
            let mut input = seeds[seed].1.clone();
            for edit in &edits {
                apply(edit, &mut input, &seeds);
            }
            input
        }
    });
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let end = Instant::now() + seconds.map_or(PATIENCE, Duration::from_secs);
    let (mut batch, mut ran) = (0, 0);
    while Instant::now() < end && (seconds.is_some() || ran < cases) {
        let rng_seed = seconds.map_or(RngSeed::Fixed(batch), |_| RngSeed::Random);
        let config =
            Config { cases: BATCH, failure_persistence: None, rng_seed, ..Config::default() };
        let result = TestRunner::new(config).run(&mutation, |input| {
            target(&input);
            Ok(())
        });
        if let Err(TestError::Fail(reason, input)) = result {
            panic!("{name}: {reason} for b\"{}\"", input.escape_ascii());
        }
        batch += 1;
        ran += BATCH;
    }
    println!("{name}: {} seeds and {ran} mutations", seeds.len());
}

/// A1 to A4: a token is accepted only if the issuer's key signed it. The token's claims say who calls.
#[test]
fn any_token() {
    for (name, seed) in seeds("token") {
        assert_eq!(token::caller(&seed).is_some(), name.starts_with("valid"), "{name}");
    }
    run("token", token::target, 2000);
}

/// B1 to B6: any request is answered as documented, and a request that is not answered with a 2xx
/// changes nothing.
#[test]
fn any_request() {
    for (name, seed) in seeds("request") {
        let status = name.split('-').next().unwrap().parse().ok();
        assert_eq!(request::answers(&seed), status, "{name}");
    }
    run("request", request::target, 1000);
}

/// An import reports the line number of each line that it refuses. The result is the same as for a file
/// without the refused lines.
#[test]
fn any_lines_to_import() {
    for (name, seed) in seeds("import") {
        let (good, refused) = (name.starts_with("good"), import::refused(&seed));
        assert_eq!(refused.is_empty(), good, "{name}: {refused:?}");
    }
    run("import", import::target, 300);
}

/// E2, E3: Vercel may send any answer. Only the status of Vercel's answer decides how the caller is answered.
#[test]
fn any_answer_of_vercel() {
    for (name, seed) in seeds("vercel") {
        let status: u16 = name.split('-').next().unwrap().parse().unwrap();
        assert_eq!(vercel::answered(&seed), status, "{name}");
    }
    run("vercel", vercel::target, 200);
}

/// Texts of at most `most` bytes, nested as deep or repeated as often as possible.
fn huge(most: usize) -> Vec<Vec<u8>> {
    let deep = |open: &str, close: &str| {
        let times = most / (open.len() + close.len());
        [open.repeat(times), close.repeat(times)].concat().into_bytes()
    };
    let many = |piece: &str| {
        [b"{", &piece.as_bytes().repeat(most / piece.len() - 1)[..], b"\"z\":0}"].concat()
    };
    vec![
        deep("[", "]"),
        deep("[", ""),
        deep("{\"a\":", ""),
        [&deep("{\"a\":", "}")[..most / 2], b"0"].concat(),
        many("\"a\":0,"),
        many("\"reason\":0,"),
        many("\"aud\":0,"),
        "9".repeat(most).into_bytes(),
        ["\"", &"\\u0061".repeat(most / 6 - 1), "\""].concat().into_bytes(),
    ]
}

/// A3, B3: JSON of the largest allowed size, deeply nested or full of repetition, overflows no stack and
/// costs little time.
#[test]
fn json_as_large_as_it_may_be() {
    for json in huge(64 * 1024) {
        for field in ["", "{\"reason\":", "{\"cascadeResourceDeletion\":", "{\"surprise\":"] {
            let head = b"DELETE /v1/installations/icfg_1\nAuthorization: Bearer @admin\n\n";
            let end: &[u8] = if field.is_empty() { b"" } else { b"}" };
            let room = 64 * 1024 - field.len() - end.len();
            let json = &json[..json.len().min(room)];
            request::target(&[head, field.as_bytes(), json, end].concat());
        }
    }
    // The header, the payload and the signature of a token have at most 8 KiB together, in base64.
    let (header, claims) = (r#"{"alg":"RS256","kid":"key-1","#, r#"{"iss":"x","#);
    for json in huge(5 * 1024) {
        for (header, payload) in [
            (&json[..], &b"{}"[..]),
            (&[header.as_bytes(), b"\"crit\":", &json, b"}"].concat(), b"{}"),
            (&[header.as_bytes(), b"\"x\":", &json, b"}"].concat(), b"{}"),
            (b"{\"alg\":\"RS256\",\"kid\":\"key-1\"}", &json),
            (
                b"{\"alg\":\"RS256\",\"kid\":\"key-1\"}",
                &[claims.as_bytes(), b"\"x\":", &json, b"}"].concat(),
            ),
        ] {
            token::target(&[header, b"\n", payload].concat());
        }
    }
}

/// The body of Vercel's answer may have any size. teardown reads only the first 64 KiB of Vercel's body. If
/// Vercel's answer has too many headers, it counts as no answer.
#[test]
fn an_answer_of_vercel_as_large_as_it_likes() {
    for body in huge(64 * 1024).into_iter().chain([vec![b' '; 16 * 1024 * 1024]]) {
        assert_eq!(vercel::answered(&[b"409\n\n", &body[..]].concat()), 409);
        let body = [b"{\"error\":{\"message\":", &body[..], b"}}"].concat();
        assert_eq!(vercel::answered(&[b"404\n\n", &body[..]].concat()), 204);
    }
    let headers = "x: y\n".repeat(100_000);
    assert_eq!(vercel::answered(format!("204\n{headers}\n").as_bytes()), 503);
}

/// An import may have any number of lines, and each line any length. teardown never holds the whole import in
/// memory, and never a whole line that is too long.
#[test]
fn an_import_as_large_as_it_likes() {
    let line = vec![b'x'; 16 * 1024 * 1024];
    assert_eq!(import::refused(&line).into_keys().collect::<Vec<_>>(), [1]);
    for name in ["id", "accessToken", "surprise"] {
        let line = format!(
            r#"{{"installation":{{"id":"icfg_1","accountId":"acc_1","{name}":"{}"}}}}"#,
            "x".repeat(1024 * 1024 - 100),
        );
        assert_eq!(import::refused(line.as_bytes()).len(), 1, "{name}");
    }
    let lines = "{}\n".repeat(20_000);
    assert_eq!(import::refused(lines.as_bytes()).len(), 20_000);
}
