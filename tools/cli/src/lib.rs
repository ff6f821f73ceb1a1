//! The tool `teardown`: its command line, and what development needs: an embedded DynamoDB, a local token
//! issuer, stand-ins for Vercel and the provider, the endpoints on one port, and pages that show all of it.
//! `page` is the page of `teardown dev`, `console` is the page for operators, and `web` is what both share.

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
