//! Places on a third site: where shared runs and leases are kept. Never on a site that the run works on.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use super::{Refusal, bind, keep};
use crate::{
    cli::Lookup,
    event::SiteRecord,
    failure::Class,
    lease::{Holder, Leases},
    runs::{Place, Runs, Shared},
    secret::Secret,
    site::{folder::Address, leave::Leave},
    store::Store,
    verdict::Exit,
};

/// What says that runs are kept on a site.
const SITE: &str = "site:";

/// Where runs are kept. Nothing is asked yet.
pub(super) fn runs(text: &str, lookup: &Lookup, beside: &Path) -> Result<Place, Refusal> {
    let Some(address) = text.strip_prefix(SITE) else { return Ok(Place::Folder(Runs::new(text))) };
    Ok(Place::Site(Shared::new(store("--runs", address, lookup, beside)?)))
}

/// The directory for runs that nobody goes on with from elsewhere.
pub(super) fn folder(text: &str) -> Runs {
    Runs::new(if text.starts_with(SITE) { ".firedrill/runs" } else { text })
}

/// The directory of runs whose record is to be signed or stored.
pub(super) fn directory(text: &str) -> Result<Runs, Refusal> {
    if text.starts_with(SITE) { Err(keep::in_no_directory("audit sign|store")) } else { Ok(Runs::new(text)) }
}

/// The site of an address.
pub(super) fn store(flag: &str, address: &str, lookup: &Lookup, beside: &Path) -> Result<Store, Refusal> {
    let refused = |why: String| Refusal::refused(format!("`{flag} {address}`: {why}"));
    let address: Address = address.parse().map_err(refused)?;
    let spec = bind::known_sites(lookup, beside)?.lookup(&address.alias).map_err(|e| refused(e.to_string()))?;
    Ok(Store::new(spec, address)?)
}

/// The place of leases: the one that was named, else the one of `sites.yaml`.
pub(super) fn lease(named: Option<&str>, lookup: &Lookup, beside: &Path) -> Result<Option<Arc<Store>>, Refusal> {
    let listed = match named {
        Some(address) => Some(address.to_owned()),
        None => bind::known_sites(lookup, beside)?.lease().map(ToString::to_string),
    };
    listed.map(|address| store("--lease", &address, lookup, beside).map(Arc::new)).transpose()
}

/// What a run holds on third sites.
pub(super) struct Third<'a> {
    pub runs: &'a Place,
    pub lease: Option<Arc<Store>>,
    pub leave: Arc<Leave>,
}

impl Third<'_> {
    /// Refused when one of the places is on a site that the run works on: what is lost with it proves nothing, and a
    /// bucket that is replicated in both directions grants everything twice.
    pub(super) fn apart_from(&self, sites: &BTreeMap<String, SiteRecord>) -> Result<(), Refusal> {
        let runs = match self.runs {
            Place::Folder(_) => None,
            Place::Site(shared) => Some(("--runs", shared.store())),
        };
        for (flag, store) in runs.into_iter().chain(self.lease.iter().map(|store| ("--lease", store))) {
            let asked = store.call(|folder| async move {
                let site = folder.site();
                Ok((site.endpoint(), site.info().await))
            });
            let (endpoint, info) = asked?;
            let deployment = match info {
                Ok(info) => Some(info.deployment_id),
                // Without leave to ask, the address has to do.
                Err(failure) if failure.class() == Some(Class::Refused) => None,
                Err(failure) => return Err(Refusal::new(Exit::Journal, failure.to_string())),
            };
            let own = sites.iter().find(|(_, site)| {
                site.endpoint == endpoint || (deployment.is_some() && site.deployment_id == deployment)
            });
            if let Some((role, site)) = own {
                return Err(Refusal::refused(format!(
                    "`{flag}` names `{}`, which is on `{}`, the run's own {role}: name a place on a third site",
                    store.address(),
                    site.alias
                )));
            }
        }
        Ok(())
    }

    /// Leases for a run's claims, if it has a place for them.
    pub(super) fn leases(&self, holder: &Holder, request_timeout: Duration) -> Option<Leases> {
        let store = Arc::clone(self.lease.as_ref()?);
        Some(Leases::new(store, Arc::clone(&self.leave), holder.clone(), request_timeout))
    }

    /// What tells what must be masked beside the secrets of the run's sites.
    pub(super) fn secrets(&self) -> impl Fn() -> Vec<Secret> + Send + Sync + 'static {
        let runs = match self.runs {
            Place::Folder(_) => None,
            Place::Site(shared) => Some(shared.store()),
        };
        let wires: Vec<_> = runs.into_iter().chain(&self.lease).map(|store| Arc::clone(store.wire())).collect();
        move || wires.iter().flat_map(|wire| wire.secrets()).collect()
    }
}
