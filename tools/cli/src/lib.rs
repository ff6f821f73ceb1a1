//! The tool `teardown`: its command line, and what development needs: an embedded DynamoDB, a local
//! token issuer, stand-ins for Vercel and the provider, the endpoints on one port, and the pages that show
//! all of it: `page` that of `teardown dev`, `console` that of operators, `web` what both have.

mod attributes;
pub mod check;
pub mod cli;
mod console;
pub mod embedded;
pub mod issuer;
mod page;
pub mod server;
pub mod standin;
mod terminal;
mod web;
mod words;
