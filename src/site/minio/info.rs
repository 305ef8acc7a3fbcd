//! Answers of the admin interface about a whole deployment.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Info, Node, Usage};
use crate::types::BucketName;

/// `GET /minio/admin/v3/info`, as far as it is of use; a node that is down lacks most of its fields.
#[derive(Deserialize)]
pub(super) struct Wire {
    #[serde(default, rename = "deploymentID")]
    deployment_id: String,
    #[serde(default)]
    services: Services,
    #[serde(default)]
    backend: Backend,
    #[serde(default)]
    servers: Vec<Server>,
}

#[derive(Default, Deserialize)]
struct Services {
    #[serde(default, rename = "kmsStatus")]
    kms: Option<Vec<Kms>>,
}

#[derive(Deserialize)]
struct Kms {
    #[serde(default)]
    status: String,
}

#[derive(Default, Deserialize)]
struct Backend {
    #[serde(default, rename = "onlineDisks")]
    online: u64,
    #[serde(default, rename = "offlineDisks")]
    offline: u64,
    #[serde(default, rename = "standardSCParity")]
    parity: u32,
    #[serde(default, rename = "totalDrivesPerSet")]
    drives_per_set: Option<Vec<u32>>,
}

#[derive(Deserialize)]
struct Server {
    #[serde(default)]
    endpoint: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    uptime: u64,
    #[serde(default)]
    version: String,
    #[serde(default)]
    drives: Option<Vec<Drive>>,
}

#[derive(Deserialize)]
struct Drive {
    #[serde(default)]
    state: String,
    #[serde(default)]
    healing: bool,
    #[serde(default)]
    availspace: u64,
}

impl Wire {
    pub(super) fn read(self) -> Info {
        let drives = || self.servers.iter().flat_map(|s| s.drives.iter().flatten());
        let free_bytes = drives().filter(|d| d.state == "ok").map(|d| d.availspace).sum();
        let in_a_set = self.backend.drives_per_set.iter().flatten().copied().min().unwrap_or(0);
        let usable_share = match in_a_set {
            0 => 1.0,
            n => f64::from(n.saturating_sub(self.backend.parity)) / f64::from(n),
        };
        // A server without a KMS says `disabled`.
        let kms: Vec<_> = self.services.kms.iter().flatten().filter(|k| k.status != "disabled").collect();
        let kms_online = if kms.is_empty() { None } else { Some(kms.iter().all(|k| k.status == "online")) };
        Info {
            deployment_id: self.deployment_id,
            online_drives: self.backend.online,
            offline_drives: self.backend.offline,
            free_bytes,
            usable_share,
            kms_online,
            nodes: self.servers.into_iter().map(Server::read).collect(),
        }
    }
}

impl Server {
    fn read(self) -> Node {
        let count = |which: fn(&Drive) -> bool| {
            let found = self.drives.iter().flatten().filter(|d| which(d)).count();
            u64::try_from(found).unwrap_or(u64::MAX)
        };
        Node {
            offline_drives: count(|d| d.state != "ok" && !d.healing),
            healing_drives: count(|d| d.healing),
            endpoint: self.endpoint,
            state: self.state,
            uptime_seconds: self.uptime,
            release: self.version,
        }
    }
}

/// `GET /minio/admin/v3/datausageinfo`.
#[derive(Deserialize)]
pub(super) struct UsageWire {
    #[serde(default, rename = "bucketsUsageInfo")]
    buckets: Option<BTreeMap<String, BucketUsage>>,
}

#[derive(Deserialize)]
struct BucketUsage {
    #[serde(default)]
    size: u64,
    #[serde(default, rename = "objectsCount")]
    objects: u64,
    #[serde(default, rename = "versionsCount")]
    versions: u64,
    #[serde(default, rename = "deleteMarkersCount")]
    delete_markers: u64,
}

impl UsageWire {
    pub(super) fn read(self, bucket: &BucketName) -> Option<Usage> {
        let BucketUsage { size, objects, versions, delete_markers } = self.buckets?.remove(bucket.as_str())?;
        Some(Usage { bytes: size, objects, versions, delete_markers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = r#"{"mode":"online","deploymentID":"19fa3b0b-0038","buckets":{"count":1},"services":{"kms":{},"kmsStatus":[{"status":"online","endpoint":"127.0.0.1"}],"ldap":{}},"backend":{"backendType":"Erasure","onlineDisks":4,"offlineDisks":0,"standardSCParity":2,"rrSCParity":1,"totalSets":[1],"totalDrivesPerSet":[4]},"servers":[{"state":"online","endpoint":"source.example:9000","uptime":272,"version":"DEVELOPMENT.GOGET","commitID":"DEVELOPMENT.GOGET","network":{"source.example:9000":"online"},"drives":[{"endpoint":"/data/disk1","state":"ok","totalspace":97793294336,"usedspace":16547643392,"availspace":81245650944,"metrics":{},"local":true,"disk_index":0},{"state":"offline","availspace":5},{"state":"ok","healing":true,"availspace":6}],"poolNumber":1},{"state":"offline","endpoint":"other.example:9000"}]}"#;

    fn read(text: &str) -> Info {
        serde_json::from_str::<Wire>(text).unwrap().read()
    }

    #[test]
    fn a_deployment_is_read_with_its_nodes_also_those_that_are_down() {
        let info = read(RECORDED);
        assert_eq!(
            (info.deployment_id.as_str(), info.online_drives, info.kms_online),
            ("19fa3b0b-0038", 4, Some(true))
        );
        assert_eq!(info.free_bytes, 81_245_650_944 + 6);
        assert!((info.usable_share - 0.5).abs() < 1e-9);
        let node = &info.nodes[0];
        assert_eq!((node.uptime_seconds, node.offline_drives, node.healing_drives), (272, 1, 1));
        assert_eq!((info.nodes[1].state.as_str(), info.nodes[1].uptime_seconds), ("offline", 0));
    }

    #[test]
    fn a_kms_that_is_disabled_is_none() {
        assert_eq!(read(r#"{"services":{"kmsStatus":[{"status":"disabled"}]}}"#).kms_online, None);
        assert_eq!(read(r#"{"services":{"kmsStatus":[{"status":"offline"}]}}"#).kms_online, Some(false));
        assert_eq!(read("{}").kms_online, None);
    }

    #[test]
    fn usage_of_a_bucket_that_was_never_scanned_is_none() {
        let bucket = |name: &str| BucketName::try_from(name.to_owned()).unwrap();
        let text = r#"{"lastUpdate":"2026-11-23T18:31:17Z","bucketsUsageInfo":{"data":{"size":762015,"objectsCount":200,"versionsCount":240,"deleteMarkersCount":10}}}"#;
        let read = |name| serde_json::from_str::<UsageWire>(text).unwrap().read(&bucket(name));
        assert_eq!(read("data"), Some(Usage { bytes: 762_015, objects: 200, versions: 240, delete_markers: 10 }));
        assert_eq!(read("other"), None);
    }
}
