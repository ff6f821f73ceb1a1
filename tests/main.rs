//! The tests: HTTP in, HTTP and the table out, against the embedded DynamoDB, or the one that
//! `TEST_DYNAMODB` names, and a local issuer.
//!
//! Each test that proves a requirement of `docs/contract.md` names it.
#![expect(unreachable_pub, reason = "a test binary has no API")]
#![expect(clippy::similar_names, reason = "a reply and its replay are alike")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod alarms;
mod attack;
mod concurrency;
mod configuration;
mod connections;
mod crash;
mod credentials;
mod documentation;
mod dynamodb;
mod faults;
mod finalization;
mod functions;
mod fuzz;
mod gate;
mod histories;
mod installation;
mod jwks;
mod lambda;
mod log;
mod model;
mod outside;
mod process;
mod protocol;
mod provider;
mod purge;
mod registration;
mod requests;
mod resource;
mod saga;
mod secrets;
mod steps;
mod sts;
mod sweep;
mod tokens;
mod tool;
mod unreached;
mod vectors;
mod vercel_answers;
mod vercel_platform;
mod waiting;
mod wire;
mod world;
mod writing_the_table;
