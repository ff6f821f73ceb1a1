//! The tests. The tests send HTTP requests, and check the answers and the table. The tests use a local issuer
//! and the embedded DynamoDB. If `TEST_DYNAMODB` is set, the tests use the DynamoDB at that address instead.
//!
//! Each test that proves a rule of `docs/contract.md` names the rule's number. `docs/coverage.md` lists the
//! tests of each rule.
#![expect(unreachable_pub, reason = "a test binary has no API")]
#![expect(clippy::similar_names, reason = "a reply and its replay are alike")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// The type `World`, and the stand-ins for Vercel, the provider and others.
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

// F: idempotency, many requests at the same time, faults, crashes.
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

// J: the front, which passes calls on to a backend.
mod front;

// L: looking after a deployment.
mod incidents;

// N: `teardown check`, for the backend of any provider.
mod check;

// S, L2: how a function starts, and its hosts.
mod credentials;
mod functions;
mod lambda;
mod secrets;
mod vercel_platform;

// The tool, the documentation, and rules for the source files.
mod documentation;
mod layers;
mod tool;
