//! A folder on a site for code that cannot wait: a thread of its own sends the requests, however busy the run is.

use std::{future::Future, io, sync::Arc, thread};

use tokio::{
    runtime::{Builder, Handle, RuntimeFlavor},
    sync::mpsc,
};

use crate::{
    failure::Failure,
    site::{
        SiteSpec, Wire,
        folder::{Address, Folder},
    },
};

/// A folder on a site, asked from anywhere.
pub struct Store {
    address: Address,
    folder: Folder,
    wire: Arc<Wire>,
    runtime: Handle,
    /// The thread ends when this is dropped.
    _alive: mpsc::Sender<()>,
}

impl Store {
    /// Sends nothing yet.
    pub fn new(spec: SiteSpec, address: Address) -> Result<Self, Failure> {
        let wire = Wire::new(spec)?;
        let folder = Folder::new(Arc::clone(&wire), &address);
        let failed = |e: io::Error| Failure::Defect(format!("no thread for `{address}`: {e}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (alive, mut ended) = mpsc::channel::<()>(1);
        let thread = thread::Builder::new().name("store".into());
        thread.spawn(move || runtime.block_on(ended.recv())).map_err(failed)?;
        Ok(Self { address, folder, wire, runtime: handle, _alive: alive })
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The connection; its secrets are to be masked.
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Does something on the store's thread, and waits for it.
    pub fn call<T, F>(&self, work: impl FnOnce(Folder) -> F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let work = work(self.folder.clone());
        self.runtime.spawn(async move {
            let _ = answer.send(work.await);
        });
        let died = |_| Err(Failure::Defect("the store's thread died".into()));
        let wait = move || answered.recv().unwrap_or_else(died);
        // The other tasks of a runtime with many threads go on meanwhile.
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
            Ok(_) | Err(_) => wait(),
        }
    }

    /// Lets something run on the store's thread.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
        self.runtime.spawn(work).abort_handle()
    }
}
