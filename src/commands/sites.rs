//! `sites`: whether each site answers, who it is, and whether it accepts its credentials.

use std::{path::Path, sync::Arc};

use comfy_table::Table;
use serde_json::json;

use super::{Refusal, bind, print, print_json};
use crate::{
    cli::Lookup,
    failure::Failure,
    mask::Masker,
    site::{Site, Wire},
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
        let (row, failed) = match known.lookup(alias) {
            Ok(spec) => test(Wire::new(spec)?).await,
            Err(unknown) => (Row { result: unknown.to_string(), ..Row::default() }, Some(Exit::Refused)),
        };
        table.add_row([alias, &row.endpoint, &row.deployment, &row.release, &row.account, &row.result]);
        rows.push(json!({
            "alias": alias, "endpoint": row.endpoint, "deployment_id": row.deployment, "release": row.release,
            "account": row.account, "ok": failed.is_none(), "result": row.result,
        }));
        // An alias that is unknown outweighs a site that is down: it was never asked.
        exit = match (exit, failed) {
            (Exit::Refused, _) | (_, None) => exit,
            (_, Some(failed)) => failed,
        };
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
    endpoint: String,
    deployment: String,
    release: String,
    account: String,
    result: String,
}

async fn test(wire: Arc<Wire>) -> (Row, Option<Exit>) {
    let site = Site::reading(Arc::clone(&wire));
    let mut row = Row { endpoint: site.endpoint(), ..Row::default() };
    let tested: Result<(), Failure> = async {
        row.account = site.account().await?.name;
        let info = site.info().await?;
        row.release = info.releases().join(", ");
        row.deployment = info.deployment_id;
        Ok(())
    }
    .await;
    // The account of an administrator is named as its access key is.
    let masker = Masker::new(wire.secrets(), []);
    row.account = masker.text(&row.account).into_owned();
    row.result = match &tested {
        Ok(()) => "ok".into(),
        Err(failure) => masker.text(&failure.to_string()).into_owned(),
    };
    (row, tested.err().map(|_| Exit::Broke))
}
