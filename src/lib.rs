//! Runs disaster-recovery runbooks for MinIO, and proves the outcome from the data.

pub mod change;
pub mod check;
pub mod cli;
pub mod compare;
pub mod engine;
pub mod event;
pub mod failure;
pub mod journal;
pub mod observe;
pub mod problem;
pub mod replay;
pub mod report;
pub mod runbook;
pub mod runs;
pub mod schema;
pub mod secret;
pub mod site;
pub mod sites;
pub mod step;
pub mod steps;
pub mod template;
pub mod tree;
pub mod types;
pub mod verdict;
pub mod version;
