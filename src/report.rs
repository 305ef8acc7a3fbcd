//! Reports of a run, each from its journal alone.

mod chart;
pub mod console;
pub mod document;
pub mod facts;
pub mod junit;
pub mod summary;
pub(crate) mod xml;
