//! The tool `teardown`. `cli` is its command line, and `check` tests a provider's backend. For development,
//! there are an embedded DynamoDB, a local token issuer, stand-ins for Vercel and the provider, and the
//! endpoints on one port. `page` is the page of `teardown dev`, `console` is the page for operators, and both
//! pages share the module `web`.

mod attributes;
pub mod check;
pub mod cli;
mod console;
pub mod embedded;
pub mod issuer;
mod page;
mod phrases;
pub mod server;
pub mod standin;
mod terminal;
mod web;
