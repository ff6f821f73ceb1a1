//! The deletion side of a Vercel Marketplace integration.
//!
//! A request goes one way; the modules stand in its order:
//!
//! | module | owns |
//! |---|---|
//! | [`host`] | Vercel's and Lambda's runtimes: the only place that knows them |
//! | [`app`] | the way of a request, from top to bottom |
//! | [`http`] | requests in, responses out |
//! | [`auth`] | who is calling: tokens, claims, keys |
//! | [`ids`] | identifiers, parsed once |
//! | [`grant`] | what a caller may delete, as far as the token tells |
//! | [`deletion`] | what is to be done for it: decisions without I/O |
//! | [`configuration`] | Delete Configuration, whose effect lies at Vercel too: intent, call, commit |
//! | [`store`] | DynamoDB: keys, conditions, transactions |
//! | [`work`] | what a deletion owes: leased, carried out, put off |
//! | [`vercel`], [`provider`], [`outbound`] | Vercel's REST API, the provider's endpoint, HTTP to both |
//! | [`error`] | every way to fail, and the table of answers |
//! | [`config`], [`credentials`] | the environment, and AWS credentials on Vercel without stored keys |
//! | [`clock`], [`json`], [`telemetry`] | the time, JSON that others wrote, the logs |

pub mod app;
pub mod auth;
pub mod clock;
pub mod config;
pub mod configuration;
pub mod credentials;
pub mod deletion;
pub mod error;
pub mod grant;
pub mod host;
pub mod http;
pub mod ids;
pub mod json;
pub mod outbound;
pub mod provider;
pub mod store;
pub mod telemetry;
pub mod vercel;
pub mod work;

pub use crate::app::App;
pub use crate::http::Endpoint;
