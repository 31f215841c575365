//! What Kubernetes objects look like and how they merge: schemas, validation, patches, server-side apply. Pure: no IO, no
//! clock, and no knowledge of particular kinds beyond the schemas themselves.

mod cause;

pub use cause::{Cause, Reason};

/// Placeholder of the contract; see the crate's brief.
#[derive(Debug)]
pub struct Schema;
