//! Runs disaster-recovery runbooks for MinIO, and proves the outcome from the data.
//!
//! The map, in reading order; `ARCHITECTURE.md` says how the parts hang together.
//!
//! - **The contract**: [`step`] says what a step kind is, [`steps`] lists the kinds, [`change`] is how anything is changed,
//!   [`site`] what may be asked of a site, [`failure`] why it could not be done.
//! - **The data**: [`version`], [`compare`] and [`inventory`].
//! - **The language**: [`problem`], [`tree`], [`template`], [`runbook`], [`check`].
//! - **The record**: [`event`], [`replay`], [`verdict`], [`log`].
//! - **The run**: [`engine`], [`journal`], [`runs`], [`audit`], [`signature`], [`evidence`].
//! - **Around it**: [`sites`], [`report`], [`schema`], [`cli`], [`commands`], and what all share.
//!
//! A step kind is one file and two lines: see "Add a step kind" in `CONTRIBUTING.md`.

// The contract.
pub mod change;
pub mod failure;
pub mod site;
pub mod step;
pub mod steps;
pub mod types;

// The data.
pub mod compare;
pub mod inventory;
pub mod version;

// The language.
pub mod check;
pub mod problem;
pub mod runbook;
pub mod template;
pub mod tree;

// The record.
pub mod event;
pub mod log;
pub mod replay;
pub mod verdict;

// The run.
pub mod audit;
pub mod engine;
pub mod evidence;
pub mod journal;
pub mod mask;
pub mod runs;
pub mod secret;
pub mod signature;

// Around it.
pub mod cli;
pub mod clock;
pub mod commands;
pub mod digest;
pub mod human;
pub mod lease;
pub mod report;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod schema;
pub mod sites;
pub mod store;
#[cfg(feature = "sandbox")]
pub mod testing;

pub use commands::{NoOutcome, Outcome, Spec, run_or_resume};
