//! Servers and clients of services: announced like publishers and subscribers, and told of the servers of others.

use std::net::SocketAddrV4;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use ferrocal_proto::{Action, Announcement, Registration, SERVICE_VERSION, ServiceInfo};

use super::{Identity, NEW_ENTITY_ANNOUNCEMENTS, Registry};
use crate::lock;

/// A server or client of this node, as the registry sees it.
pub(crate) trait ServiceEnd: Send + Sync {
    /// How often it was announced.
    fn announcing(&self) -> &Mutex<Announcing>;

    /// What is announced of it, but for what is true of all of the node.
    fn announcement(&self, action: Action, info: ServiceInfo) -> Announcement;

    /// A server of any service registered, or unregistered, from this address.
    fn server_registered(&self, source: SocketAddrV4, action: Action, server: &ServiceInfo);

    /// A thread of the node has failed.
    fn end(&self);
}

/// How often a server or client was announced.
#[derive(Default)]
pub(crate) struct Announcing {
    is_closed: bool,
    clock: i32,
}

/// The servers and clients of a node.
#[derive(Default)]
pub(super) struct Services(Mutex<Vec<Arc<dyn ServiceEnd>>>);

impl Services {
    /// The list may change meanwhile: ends call programs.
    fn each(&self, mut f: impl FnMut(&dyn ServiceEnd)) {
        let ends = lock(&self.0).clone();
        ends.iter().for_each(|end| f(&**end));
    }

    pub(super) fn end(&self) {
        self.each(|end| end.end());
    }
}

impl Registry {
    /// Adds a server or client of this node and announces it.
    pub(crate) fn add_service(&self, end: &Arc<dyn ServiceEnd>) {
        lock(&self.services.0).push(end.clone());
        // After it was added: a failure from now on reaches it by itself.
        if self.has_failed.load(Ordering::SeqCst) {
            end.end();
        }
        for _ in 0..NEW_ENTITY_ANNOUNCEMENTS {
            self.announce_service(&**end);
        }
    }

    /// Removes a server or client of this node and announces that.
    pub(crate) fn remove_service(&self, end: &Arc<dyn ServiceEnd>) {
        lock(&self.services.0).retain(|one| !Arc::ptr_eq(one, end));
        self.announce_as(&**end, Action::Unregister);
    }

    /// Announces what has changed of a server or client.
    pub(crate) fn announce_service(&self, end: &dyn ServiceEnd) {
        self.announce_as(end, Action::Register);
    }

    /// Announces a server or client, unless its end was announced. It is sent under a lock, so that nothing is announced
    /// after that.
    fn announce_as(&self, end: &dyn ServiceEnd, action: Action) {
        let mut announcing = lock(end.announcing());
        if !announcing.is_closed {
            match action {
                Action::Register => announcing.clock = announcing.clock.wrapping_add(1),
                Action::Unregister => announcing.is_closed = true,
            }
            let Identity { host_name, process_id, process_name, unit_name, .. } = &self.identity;
            let info = ServiceInfo {
                host_name: host_name.clone(),
                process_id: *process_id,
                process_name: process_name.clone(),
                unit_name: unit_name.clone(),
                version: SERVICE_VERSION.into(),
                registration_clock: announcing.clock,
                ..ServiceInfo::default()
            };
            self.send(&Registration { action, announcement: end.announcement(action, info) });
        }
        drop(announcing);
        self.post();
    }

    pub(super) fn announce_services(&self) {
        self.services.each(|end| self.announce_service(end));
    }

    /// Has the clients of this node hear of a server in reach.
    pub(super) fn service_registered(
        &self,
        source: SocketAddrV4,
        action: Action,
        announcement: &Announcement,
    ) {
        if let Announcement::Server(server) = announcement
            && self.hears(announcement)
        {
            self.services.each(|end| end.server_registered(source, action, server));
        }
    }
}
