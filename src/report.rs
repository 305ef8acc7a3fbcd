//! Reports of a run, each from its events or its state alone.

pub mod console;
pub mod json;
pub mod summary;
