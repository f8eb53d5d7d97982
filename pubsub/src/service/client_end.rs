//! A client as its threads and the registry see it: the servers that it is connected to, and how it registers.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use ferrocal_proto::{Action, Announcement, DataType, EntityId, MAX_METHODS, ServiceInfo, Text};

use super::methods::{RegisteredMethod, infos};
use super::{Command, Io, ServiceError, ServiceEventKind};
use crate::feed::{Feed, FeedSender, add_sender};
use crate::registry::{Announcing, Identity, ServiceEnd};
use crate::wakers::{Awaited, Wait, Wakers};
use crate::{RecvError, lock};

/// A server of a service, as it registered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ServerIdentity {
    /// The name of its host.
    pub host_name: Text,
    /// The id of its process on that host.
    pub process_id: i32,
    /// The path of its process's executable.
    pub process_name: Text,
    /// The name that its process gave itself.
    pub unit_name: Text,
    /// Its id on the wire.
    pub id: EntityId,
}

/// A client has connected to a server, or lost it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientEvent {
    /// What happened.
    pub kind: ServiceEventKind,
    /// The server.
    pub server: Arc<ServerIdentity>,
}

/// A client as its threads and the registry see it.
pub(crate) struct ClientEnd {
    pub(crate) id: EntityId,
    pub(crate) service: Arc<str>,
    io: Arc<Io>,
    methods: Mutex<BTreeMap<String, Arc<RegisteredMethod>>>,
    announcing: Mutex<Announcing>,
    connected: Mutex<Connected>,
    changed: Condvar,
    listeners: Mutex<Vec<Arc<FeedSender<ClientEvent>>>>,
}

#[derive(Default)]
struct Connected {
    servers: Vec<Arc<ServerIdentity>>,
    /// Whether no server will come any more.
    has_ended: bool,
    tasks: Wakers,
}

impl ClientEnd {
    pub(crate) fn new(identity: &Identity, service: &str, io: Arc<Io>) -> Self {
        Self {
            id: identity.new_entity_id(),
            service: service.into(),
            io,
            methods: Mutex::default(),
            announcing: Mutex::default(),
            connected: Mutex::default(),
            changed: Condvar::new(),
            listeners: Mutex::default(),
        }
    }

    /// Stores a method that will be called, for the registration. The types that came first stay.
    pub(crate) fn method(
        &self,
        name: &str,
        request: DataType,
        response: DataType,
    ) -> Result<Arc<RegisteredMethod>, ServiceError> {
        ServiceError::check_name(name)?;
        let mut methods = lock(&self.methods);
        if let Some(method) = methods.get(name) {
            return Ok(method.clone());
        }
        if methods.len() >= MAX_METHODS {
            return Err(ServiceError::TooManyMethods { service: self.service.to_string() });
        }
        let method = Arc::new(RegisteredMethod::new(request, response));
        methods.insert(name.into(), method.clone());
        Ok(method)
    }

    /// The servers that are connected.
    pub(crate) fn servers(&self) -> Vec<Arc<ServerIdentity>> {
        lock(&self.connected).servers.clone()
    }

    /// Waits until so many servers are connected. Returns whether they are.
    pub(crate) fn wait_for(&self, count: usize, timeout: Duration) -> bool {
        let is_waiting = |state: &mut Connected| !state.has_ended && state.servers.len() < count;
        let state = lock(&self.connected);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, timeout, is_waiting)
            .unwrap_or_else(PoisonError::into_inner);
        state.servers.len() >= count
    }

    /// As [`wait_for`](Self::wait_for), without a limit in time and without blocking.
    pub(crate) async fn wait_for_async(&self, count: usize) -> bool {
        let mut wait = Wait::new(self);
        std::future::poll_fn(|cx| {
            let mut state = lock(&self.connected);
            let is_enough = state.servers.len() >= count;
            if is_enough || state.has_ended {
                return std::task::Poll::Ready(is_enough);
            }
            let replaced = state.tasks.add(&mut wait.ticket, cx.waker());
            drop(state);
            drop(replaced);
            std::task::Poll::Pending
        })
        .await
    }

    /// A server was connected or lost. Wakes those who wait, which runs code of the program.
    pub(super) fn event(&self, kind: ServiceEventKind, server: &Arc<ServerIdentity>) {
        let listeners = {
            let mut connected = lock(&self.connected);
            match kind {
                ServiceEventKind::Connected => connected.servers.push(server.clone()),
                ServiceEventKind::Disconnected => connected.servers.retain(|one| !Arc::ptr_eq(one, server)),
            }
            // With the lock, so that whoever begins to listen hears of it once.
            let mut listeners = lock(&self.listeners);
            listeners.retain(|listener| listener.is_open());
            listeners.clone()
        };
        self.notify();
        let event = ClientEvent { kind, server: server.clone() };
        listeners.iter().for_each(|listener| listener.send(event.clone(), size_of::<ClientEvent>()));
    }

    fn notify(&self) {
        let tasks = lock(&self.connected).tasks.take();
        self.changed.notify_all();
        tasks.for_each(std::task::Waker::wake);
    }

    /// Events from now on, after one for each server that is connected.
    pub(crate) fn events(&self) -> Feed<ClientEvent> {
        let (sender, feed) = Feed::with_bounds(Feed::<ClientEvent>::CAPACITY, usize::MAX);
        // Nothing changes between the look and the listening. Nobody can wait for this feed yet.
        let connected = lock(&self.connected);
        for server in &connected.servers {
            let event = ClientEvent { kind: ServiceEventKind::Connected, server: server.clone() };
            sender.send(event, size_of::<ClientEvent>());
        }
        add_sender(&mut lock(&self.listeners), Arc::new(sender));
        feed
    }

    /// Ends all waiting: the client is closed, or the node has failed.
    pub(crate) fn finish(&self, why: RecvError) {
        lock(&self.connected).has_ended = true;
        self.notify();
        let listeners = lock(&self.listeners).clone();
        listeners.iter().for_each(|listener| listener.end(why));
    }
}

impl Awaited for ClientEnd {
    fn with_wakers(&self, f: &mut dyn FnMut(&mut Wakers)) {
        f(&mut lock(&self.connected).tasks);
    }
}

impl ServiceEnd for ClientEnd {
    fn announcing(&self) -> &Mutex<Announcing> {
        &self.announcing
    }

    fn announcement(&self, action: Action, info: ServiceInfo) -> Announcement {
        let methods = lock(&self.methods);
        Announcement::Client(ServiceInfo {
            service_id: self.id,
            service_name: (*self.service).into(),
            methods: infos(action, methods.iter().map(|(name, method)| (name, &**method))),
            ..info
        })
    }

    fn server_registered(&self, source: SocketAddrV4, action: Action, server: &ServiceInfo) {
        if server.service_name != *self.service {
            return;
        }
        let port = match action {
            Action::Unregister => 0,
            Action::Register => match u16::try_from(server.tcp_port_v1) {
                // Servers of the protocol before this one have no such port.
                Ok(port) if port > 0 => port,
                _ => return,
            },
        };
        let identity = ServerIdentity {
            host_name: server.host_name.clone(),
            process_id: server.process_id,
            process_name: server.process_name.clone(),
            unit_name: server.unit_name.clone(),
            id: server.service_id,
        };
        self.io.submit(Command::Server { client: self.id, source: *source.ip(), port, identity });
    }

    fn end(&self) {
        self.finish(RecvError::NodeFailed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::service::pool::Pool;

    #[test]
    fn feeds_that_are_gone_are_forgotten() {
        let config = Config::default();
        let (io, _thread) =
            crate::service::io::new(&config, b"host", crate::resolver::Resolver::new(1), Pool::default())
                .expect("the system has what it takes");
        let end = ClientEnd::new(&Identity::new("node", &config), "arm", io);
        (0..1000).for_each(|_| drop(end.events()));
        assert_eq!(lock(&end.listeners).len(), 1);
    }
}
