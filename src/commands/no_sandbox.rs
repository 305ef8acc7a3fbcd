//! What stands for the sandbox in a program that was built without it.

use super::{Refusal, load::Loaded};
use crate::{
    cli::{Bind, Compare, Go, Test},
    runs::{Place, Runs},
    verdict::Exit,
};

#[expect(clippy::unused_async, reason = "the same signature as with the sandbox")]
pub(super) async fn run(_: &Place, _: Loaded, _: &Bind, _: &Go, _: &str, _: bool) -> Result<Exit, Refusal> {
    Err(missing())
}

#[expect(clippy::unused_async, reason = "the same signature as with the sandbox")]
pub(super) async fn compare(_: &Compare, _: &str, _: bool) -> Result<Exit, Refusal> {
    Err(missing())
}

#[expect(clippy::unused_async, reason = "the same signature as with the sandbox")]
pub(super) async fn stay(_: &str, _: bool) -> Result<Exit, Refusal> {
    Err(missing())
}

pub(super) fn list(_: bool) -> Result<Exit, Refusal> {
    Err(missing())
}

#[expect(clippy::unused_async, reason = "the same signature as with the sandbox")]
pub(super) async fn test(_: &Runs, _: &Test, _: bool) -> Result<Exit, Refusal> {
    Err(missing())
}

pub(super) fn test_schema() -> Result<serde_json::Value, Refusal> {
    Err(missing())
}

pub(super) fn scenario_schema() -> Result<serde_json::Value, Refusal> {
    Err(missing())
}

fn missing() -> Refusal {
    Refusal::refused("this program was built without the sandbox")
}
