//! What Kubernetes objects look like and how they merge: schemas, validation, patches, server-side apply. Pure: no IO, no
//! clock, and no knowledge of particular kinds beyond the schemas themselves.

pub mod apply;
mod cause;
mod facts;
pub mod fields;
pub mod names;
pub mod openapi;
pub mod patch;
mod path;
pub mod quantity;
mod schema;

pub use cause::{Cause, Reason};
pub use schema::Schema;
