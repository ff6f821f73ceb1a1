//! Code that tests share: the type `World`, and the stand-ins that it calls. This module contains no test.

pub mod backend;
pub mod dynamodb;
pub mod gate;
pub mod log;
pub mod outside;
pub mod process;
pub mod steps;
pub mod sts;
pub mod waiting;
pub mod wire;
pub mod world;
