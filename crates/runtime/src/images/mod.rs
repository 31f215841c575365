//! Images: names, content, layers, pulling and importing.

pub(crate) mod compression;
pub(crate) mod digest;
pub(crate) mod import;
pub(crate) mod manifest;
pub(crate) mod pull;
pub(crate) mod reference;
pub(crate) mod store;
mod unpack;
