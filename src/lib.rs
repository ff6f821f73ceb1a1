//! The deletion side of a Vercel Marketplace integration.
//!
//! A request passes through them in one direction. A module imports only modules below it in this list; a
//! test checks this:
//!
//! | module | owns |
//! |---|---|
//! | [`host`] | Vercel's and Lambda's runtimes: the only place that knows them |
//! | [`app`] | the steps of a request, from start to end |
//! | `front` | calls that pass through to the provider's backend, and what is recorded of them |
//! | `work` | running jobs: claim, attempt, retry, park |
//! | `saga` | Delete Configuration, which also changes Vercel's side: intent, call, commit |
//! | [`store`] | DynamoDB: keys, conditions, transactions |
//! | [`http`] | requests in, responses out |
//! | [`webhook`] | Vercel's webhooks: their signature, and what they say |
//! | [`provider`] | the provider's endpoint |
//! | [`backend`] | the provider's backend |
//! | [`credentials`] | AWS credentials on Vercel without stored keys |
//! | [`config`] | the environment |
//! | [`job`] | which jobs there are, and when one is tried again: decisions without I/O |
//! | [`provision`] | what to record of a Provision that passes through: decisions without I/O |
//! | [`reconcile`] | the comparison of the table with Vercel: decisions without I/O |
//! | [`deletion`] | what to do for a deletion: decisions without I/O |
//! | [`grant`] | what a caller's token permits to delete |
//! | [`error`] | every way to fail, and the table of answers |
//! | [`vercel`] | Vercel's REST API |
//! | [`auth`] | who is calling: tokens, claims, keys |
//! | [`outbound`] | HTTP requests to others |
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
