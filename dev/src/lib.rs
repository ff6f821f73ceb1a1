//! What development needs: an embedded DynamoDB, a local token issuer, stand-ins for Vercel and the
//! provider, the endpoints on one port, and the command line `cargo dev` over them.

pub mod cli;
pub mod embedded;
pub mod issuer;
pub mod server;
pub mod standin;
