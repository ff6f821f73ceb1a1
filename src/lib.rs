//! The part of a Vercel Marketplace integration that deletes resources and installations.
//!
//! The table lists teardown's modules in the order in which a request passes through them. A module imports
//! only modules that are below it in the table, and a test checks the imports.
//!
//! | module | owns |
//! |---|---|
//! | [`host`] | Vercel's and Lambda's runtimes, which no other module knows |
//! | [`app`] | the steps of a request, from start to end |
//! | `front` | calls that are passed on to the provider's backend, and what teardown records of them |
//! | `work` | running jobs: claim, attempt, retry, park |
//! | `saga` | Delete Configuration, which also deletes at Vercel: intent, call, commit |
//! | [`store`] | DynamoDB: keys, conditions, transactions |
//! | [`http`] | requests in, responses out |
//! | [`webhook`] | Vercel's webhooks: their signatures, and the events that they report |
//! | [`provider`] | events for the provider's endpoint |
//! | [`backend`] | calls to the provider's backend |
//! | [`credentials`] | AWS credentials on Vercel without stored keys |
//! | [`config`] | the environment variables |
//! | [`job`] | the kinds of jobs, and when a failed job is retried: decisions without I/O |
//! | [`provision`] | what teardown records of a Provision: decisions without I/O |
//! | [`reconcile`] | the comparison of the table with Vercel: decisions without I/O |
//! | [`deletion`] | what to do for a deletion: decisions without I/O |
//! | [`grant`] | what a token permits its caller to delete |
//! | [`error`] | every error, and the table of the answers to errors |
//! | [`vercel`] | Vercel's REST API |
//! | [`auth`] | who is calling: tokens, claims, keys |
//! | [`outbound`] | HTTP requests to other services |
//! | [`ids`] | identifiers, parsed once |
//! | [`json`] | JSON from other programs |
//! | [`secret`] | texts that must not be shown |
//! | [`telemetry`] | the logs |
//! | [`limits`] | how long teardown waits for other services and callers |
//! | [`clock`] | the time |

pub mod app;
pub mod auth;
pub mod backend;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod deletion;
pub mod error;
mod front;
pub mod grant;
pub mod host;
pub mod http;
pub mod ids;
pub mod job;
pub mod json;
pub mod limits;
pub mod outbound;
pub mod provider;
pub mod provision;
pub mod reconcile;
mod saga;
pub mod secret;
pub mod store;
pub mod telemetry;
pub mod vercel;
pub mod webhook;
mod work;

pub use crate::app::App;
pub use crate::http::Endpoint;
