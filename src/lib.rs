//! The part of a Vercel Marketplace integration that deletes resources and installations.
//!
//! A request passes through these modules from the top of the list down. A module imports only modules that
//! are below it in the list. A test checks that.
//!
//! | module | owns |
//! |---|---|
//! | [`host`] | Vercel's and Lambda's runtimes: the only place that knows them |
//! | [`app`] | the steps of a request, from start to end |
//! | `front` | calls that pass through to the provider's backend, and what teardown records of them |
//! | `work` | running jobs: claim, attempt, retry, park |
//! | `saga` | Delete Configuration, which also changes Vercel's side: intent, call, commit |
//! | [`store`] | DynamoDB: keys, conditions, transactions |
//! | [`http`] | requests in, responses out |
//! | [`webhook`] | Vercel's webhooks: their signatures, and the events that they report |
//! | [`provider`] | the provider's endpoint |
//! | [`backend`] | the provider's backend |
//! | [`credentials`] | AWS credentials on Vercel without stored keys |
//! | [`config`] | the environment |
//! | [`job`] | the kinds of jobs, and when a failed job is retried: decisions without I/O |
//! | [`provision`] | what to record of a Provision that passes through: decisions without I/O |
//! | [`reconcile`] | the comparison of the table with Vercel: decisions without I/O |
//! | [`deletion`] | what to do for a deletion: decisions without I/O |
//! | [`grant`] | what a token permits its caller to delete |
//! | [`error`] | every error, and the table of their answers |
//! | [`vercel`] | Vercel's REST API |
//! | [`auth`] | who is calling: tokens, claims, keys |
//! | [`outbound`] | HTTP requests to other services |
//! | [`ids`] | identifiers, parsed once |
//! | [`json`] | JSON that others wrote |
//! | [`secret`] | texts that must not be shown |
//! | [`telemetry`] | the logs |
//! | [`limits`] | how long teardown waits for others |
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
