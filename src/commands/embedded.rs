//! The runbooks inside the binary, for commands that need no YAML.

use super::{Refusal, load};
use crate::cli::{Bind, Options, Place};

/// An embedded runbook: its name and text.
pub(super) struct Embedded {
    name: &'static str,
    text: &'static str,
}

pub(super) static RECOVER: Embedded =
    Embedded { name: "recover_bucket.yaml", text: include_str!("../../runbooks/recover_bucket.yaml") };
pub(super) static VERIFY: Embedded =
    Embedded { name: "verify_replica.yaml", text: include_str!("../../runbooks/verify_replica.yaml") };

/// An embedded runbook over one bucket, bound to two places.
pub(super) fn bucket(
    runbook: &Embedded,
    source: Place,
    target: Place,
    mut options: Options,
) -> Result<(load::Loaded, Bind), Refusal> {
    let loaded = load::text(runbook.name, runbook.text.as_bytes(), ".".into())?;
    options.inputs.push(("bucket".into(), source.bucket));
    options.inputs.push(("target_bucket".into(), target.bucket));
    let roles = vec![("source".into(), source.alias), ("target".into(), target.alias)];
    Ok((loaded, Bind { roles, options }))
}

/// An embedded runbook whose roles are bound elsewhere.
pub(super) fn unbound(runbook: &Embedded, options: Options) -> Result<(load::Loaded, Bind), Refusal> {
    let loaded = load::text(runbook.name, runbook.text.as_bytes(), ".".into())?;
    Ok((loaded, Bind { roles: Vec::new(), options }))
}
