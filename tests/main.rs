//! The tests: HTTP in, HTTP and the table out, against the embedded DynamoDB, or the one that
//! `TEST_DYNAMODB` names, and a local issuer.
//!
//! Each test that proves a requirement of `docs/contract.md` names it; `docs/coverage.md` lists them.
#![expect(unreachable_pub, reason = "a test binary has no API")]
#![expect(clippy::similar_names, reason = "a reply and its replay are alike")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// The world that tests stand in.
mod support;

// A: who may delete.
mod attack;
mod jwks;
mod tokens;
mod vectors;

// B: what a request looks like.
mod fuzz;
mod requests;

// C, D: Delete Resource and Delete Installation.
mod installation;
mod registration;
mod resource;
mod writing_the_table;

// E: Delete Configuration.
mod configuration;
mod confirmation;
mod saga;
mod unreached;
mod vercel_answers;

// F: idempotency, many at once, faults, crashes.
mod concurrency;
mod connections;
mod crash;
mod faults;
mod histories;
mod protocol;

// G: jobs.
mod alarms;
mod finalization;
mod provider;
mod purge;
mod sweep;

// H: nothing is torn down by mistake.
mod forget;
mod grace;
mod holds;
mod keep;
mod moves;

// K: Vercel's webhooks.
mod webhook;

// J: in front of a backend.
mod front;

// L: looking after it.
mod incidents;

// N: a check for everybody.
mod check;

// S, L2: start and hosts.
mod credentials;
mod functions;
mod lambda;
mod secrets;
mod vercel_platform;

// The tool, the pages, and what the sources have to keep to.
mod documentation;
mod layers;
mod tool;
