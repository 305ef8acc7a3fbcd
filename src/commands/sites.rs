//! `sites`: whether each site answers, who it is, and whether it accepts its credentials.

use std::path::Path;

use comfy_table::Table;
use serde_json::json;

use super::{Refusal, bind, print, print_json};
use crate::{
    cli::Lookup,
    failure::Failure,
    site::{Site, Wire},
    step::Reads,
    verdict::Exit,
};

pub(super) async fn sites(aliases: &[String], lookup: &Lookup, json: bool) -> Result<Exit, Refusal> {
    let known = bind::open_sites(lookup, Path::new("."))?;
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["alias", "endpoint", "deployment", "release", "account", "result"]);
    let mut rows = Vec::new();
    let mut exit = Exit::Held;
    for alias in aliases {
        let spec = known.lookup(alias).map_err(|e| Refusal::refused(e.to_string()))?;
        let site = Site::<Reads> { wire: Wire::new(spec)?, ledger: () };
        let (row, ok) = test(&site).await;
        table.add_row([alias, &site.endpoint(), &row.deployment, &row.release, &row.account, &row.result]);
        rows.push(json!({
            "alias": alias, "endpoint": site.endpoint(), "deployment_id": row.deployment, "release": row.release,
            "account": row.account, "ok": ok, "result": row.result,
        }));
        if !ok {
            exit = Exit::Broke;
        }
    }
    if json {
        print_json(&rows);
    } else {
        print(&table.trim_fmt());
    }
    Ok(exit)
}

#[derive(Default)]
struct Row {
    deployment: String,
    release: String,
    account: String,
    result: String,
}

async fn test(site: &Site<Reads>) -> (Row, bool) {
    let mut row = Row::default();
    let tested: Result<(), Failure> = async {
        row.account = site.account().await?.name;
        let info = site.info().await?;
        row.release = info.releases().join(", ");
        row.deployment = info.deployment_id;
        Ok(())
    }
    .await;
    row.result = match &tested {
        Ok(()) => "ok".into(),
        Err(failure) => failure.to_string(),
    };
    (row, tested.is_ok())
}
