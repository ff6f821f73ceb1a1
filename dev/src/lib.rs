//! What development needs: an embedded DynamoDB, a local token issuer, the endpoints on one port,
//! and the command line `cargo dev` over them.

pub mod cli;
pub mod embedded;
pub mod issuer;
pub mod server;
