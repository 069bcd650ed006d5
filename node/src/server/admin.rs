//! The door for those who run the node: what it measures, whether it lives and is ready, and what
//! it tells somebody who looks for a fault; on an address of its own, without the API of clients.
//!
//! Nobody is asked who they are here: whoever reaches the address may read. What is said names no
//! person, and changes nothing. It speaks plain HTTP, and goes on while clients' doors are full.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Config;
use crate::server::doorstep::Doorstep;
use crate::server::{StartError, running};

/// Connections of one address at a time; those from this machine are not bounded.
const PER_ADDRESS_MAX: usize = 64;

/// An address that was taken, where nobody is served yet.
pub(crate) struct AdminDoor {
    doorstep: Doorstep,
    /// Where it is.
    pub(super) address: SocketAddr,
}

impl AdminDoor {
    /// Takes the address that is configured, if there is one.
    ///
    /// # Errors
    /// [`StartError`] naming the address and its key.
    pub(super) async fn take(config: &Config) -> Result<Option<Self>, StartError> {
        let Some(address) = config.listen.admin.0 else { return Ok(None) };
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| StartError::admin(address, source))?;
        let address = listener.local_addr().map_err(StartError::Io)?;
        let doorstep = Doorstep::at(listener, None, PER_ADDRESS_MAX).map_err(StartError::Io)?;
        Ok(Some(Self { doorstep, address }))
    }

    /// Serves until the node's doors are closed.
    pub(super) fn open(self, doors: Router, closed: watch::Receiver<bool>) {
        tokio::spawn(running::serve(self.doorstep, doors, closed));
    }
}
