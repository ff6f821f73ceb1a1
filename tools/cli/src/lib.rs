//! The tool `teardown`: its command line, and what development needs: an embedded DynamoDB, a local
//! token issuer, stand-ins for Vercel and the provider, the endpoints on one port.

pub mod cli;
pub mod embedded;
pub mod issuer;
pub mod server;
pub mod standin;
mod terminal;
