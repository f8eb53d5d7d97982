//! A server as its threads and the registry see it: its methods, and how they are called and registered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ferrocal_proto::{
    Action, Announcement, CallState, DataType, EntityId, MAX_METHODS, MAX_TEXT_LEN, ServiceInfo,
    ServiceRequest, ServiceResponse,
};
use ferrocal_transport::Chain;

use super::ServiceError;
use super::methods::{RegisteredMethod, infos};
use crate::feed::{Feed, FeedSender, add_sender};
use crate::registry::{Announcing, Identity, ServiceEnd};
use crate::{RecvError, lock};

/// Why a method of a server failed: what the client is told.
///
/// Any error becomes one by `?`, with its text.
///
/// ```
/// use ferrocal::MethodError;
///
/// fn half(text: String) -> Result<String, MethodError> {
///     let number: u32 = text.parse()?;
///     if number % 2 == 1 {
///         return Err(MethodError::new("the number is odd").ret_state(2));
///     }
///     Ok((number / 2).to_string())
/// }
/// # assert!(half("3".into()).is_err() && half("x".into()).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodError {
    message: String,
    ret_state: i64,
}

impl MethodError {
    /// A failure with a text, of which a client reads 64 KiB at most. The number beside it is -1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ret_state: -1 }
    }

    /// Sets the number that the client is told beside the text.
    #[must_use]
    pub fn ret_state(mut self, ret_state: i64) -> Self {
        self.ret_state = ret_state;
        self
    }
}

impl<E: std::error::Error> From<E> for MethodError {
    fn from(error: E) -> Self {
        Self::new(Chain(&error).to_string())
    }
}

/// What a server did so far. Made by [`Server::stats`](crate::Server::stats).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ServerStats {
    /// Calls of its methods.
    pub calls: u64,
    /// Those that failed, and calls of methods that it does not have.
    pub failed: u64,
    /// Connections that there was no room for, because there were
    /// [`max_connections`](crate::ServiceLimits::max_connections), or few descriptors were left to the program. They were
    /// closed at once, or another one for them.
    pub refused: u64,
    /// Connections of other hosts, which were closed at once in local mode, and of addresses that
    /// [`AllowConfig`](crate::AllowConfig) does not allow.
    pub refused_hosts: u64,
    /// Connections that were closed because of what came on them: it was not eCAL's protocol, damaged or too long, or there
    /// was no room for it or for its response.
    pub broken: u64,
    /// Connections that were closed because the other side kept waiting.
    pub stalled: u64,
}

/// A client connected to a server, or left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerEvent {
    /// What happened.
    pub kind: ServiceEventKind,
    /// The client's address. eCAL's protocol says no more of it.
    pub address: SocketAddr,
}

/// What happened to a connection of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServiceEventKind {
    /// It is there, and can be used.
    Connected,
    /// It is gone.
    Disconnected,
}

/// Calls a method: from the bytes of a request to the frame of a response, which is made of its bytes.
pub(crate) type Handler = Box<dyn Fn(Bytes, &MakeFrame<'_>) -> Result<Vec<u8>, MethodError> + Send + Sync>;
type MakeFrame<'a> = dyn Fn(&[u8]) -> Result<Vec<u8>, MethodError> + 'a;

/// A server as its threads and the registry see it.
pub(crate) struct ServerEnd {
    pub(crate) id: EntityId,
    pub(crate) service: Arc<str>,
    pub(crate) port: u16,
    /// The longest response.
    max_len: usize,
    host_name: ferrocal_proto::Text,
    methods: Mutex<BTreeMap<String, Arc<Method>>>,
    announcing: Mutex<Announcing>,
    pub(super) counters: Counters,
    connections: AtomicUsize,
    listeners: Mutex<Vec<Arc<FeedSender<ServerEvent>>>>,
}

struct Method {
    registered: RegisteredMethod,
    handler: Handler,
}

#[derive(Default)]
pub(super) struct Counters {
    calls: AtomicU64,
    failed: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) refused_hosts: AtomicU64,
    pub(super) broken: AtomicU64,
    pub(super) stalled: AtomicU64,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl ServerEnd {
    pub(crate) fn new(identity: &Identity, service: &str, port: u16, max_len: usize) -> Self {
        Self {
            id: identity.new_entity_id(),
            service: service.into(),
            port,
            max_len,
            host_name: identity.host_name.clone(),
            methods: Mutex::default(),
            announcing: Mutex::default(),
            counters: Counters::default(),
            connections: AtomicUsize::new(0),
            listeners: Mutex::default(),
        }
    }

    /// Adds a method, or replaces the one of that name.
    pub(crate) fn set_method(
        &self,
        name: &str,
        request: DataType,
        response: DataType,
        handler: Handler,
    ) -> Result<(), ServiceError> {
        ServiceError::check_name(name)?;
        let mut methods = lock(&self.methods);
        if methods.len() >= MAX_METHODS && !methods.contains_key(name) {
            return Err(ServiceError::TooManyMethods { service: self.service.to_string() });
        }
        let registered = RegisteredMethod::new(request, response);
        let method = Arc::new(Method { registered, handler });
        let before = methods.insert(name.into(), method);
        drop(methods);
        // To drop it runs code of the program.
        drop(before);
        Ok(())
    }

    /// Removes a method. Returns whether there was one.
    pub(crate) fn remove_method(&self, name: &str) -> bool {
        let before = lock(&self.methods).remove(name);
        before.is_some()
    }

    /// Drops all methods: none is called any more.
    pub(crate) fn close_methods(&self) {
        let before = std::mem::take(&mut *lock(&self.methods));
        drop(before);
    }

    /// Answers a request with a frame. Calls code of the program.
    pub(super) fn answer(&self, request: &Bytes) -> Vec<u8> {
        let mut response = ServiceResponse {
            host_name: self.host_name.clone(),
            service_name: (*self.service).into(),
            service_id: Some(self.id),
            ..ServiceResponse::default()
        };
        self.call(request, &mut response).unwrap_or_else(|MethodError { mut message, ret_state }| {
            count(&self.counters.failed);
            cut(&mut message, MAX_TEXT_LEN);
            response.state = CallState::Failed;
            (response.error, response.ret_state) = (message.into(), ret_state);
            // It fits any frame.
            response.encode().unwrap_or_default()
        })
    }

    fn call(&self, request: &Bytes, response: &mut ServiceResponse) -> Result<Vec<u8>, MethodError> {
        let service = &self.service;
        let failed = |message| MethodError::new(message).ret_state(0);
        let ServiceRequest { method: name, payload } = ServiceRequest::decode(request)
            .map_err(|reason| failed(format!("service `{service}`: the request is damaged: {reason}")))?;
        response.method = name.clone();
        let method = str::from_utf8(&name).ok().and_then(|name| lock(&self.methods).get(name).cloned());
        let method = method.ok_or_else(|| failed(format!("service `{service}` has no method `{name}`")))?;
        method.registered.count();
        count(&self.counters.calls);
        response.state = CallState::Executed;
        let frame = |payload: &[u8]| {
            let (len, max) = (payload.len(), self.max_len);
            let frame = if len > max { None } else { response.encode_with(payload).ok() };
            frame.ok_or_else(|| {
                log::error!(
                    "service `{service}`: the response of `{name}` has {len} bytes; {max} is the most"
                );
                failed(format!("service `{service}`: the response of `{name}` is too long"))
            })
        };
        catch_unwind(AssertUnwindSafe(|| (method.handler)(payload, &frame))).unwrap_or_else(|_| {
            log::error!("service `{service}`: method `{name}` panicked");
            Err(MethodError::new(format!("service `{service}`: method `{name}` panicked")))
        })
    }

    pub(super) fn event(&self, kind: ServiceEventKind, address: SocketAddr) {
        match kind {
            ServiceEventKind::Connected => self.connections.fetch_add(1, Ordering::Relaxed),
            ServiceEventKind::Disconnected => self.connections.fetch_sub(1, Ordering::Relaxed),
        };
        let listeners = {
            let mut listeners = lock(&self.listeners);
            listeners.retain(|listener| listener.is_open());
            listeners.clone()
        };
        listeners.iter().for_each(|one| one.send(ServerEvent { kind, address }, size_of::<ServerEvent>()));
    }

    /// How many clients are connected.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn events(&self) -> Feed<ServerEvent> {
        let (sender, feed) = Feed::with_bounds(Feed::<ServerEvent>::CAPACITY, usize::MAX);
        add_sender(&mut lock(&self.listeners), Arc::new(sender));
        feed
    }

    pub(crate) fn stats(&self) -> ServerStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { calls, failed, refused, refused_hosts, broken, stalled } = &self.counters;
        ServerStats {
            calls: get(calls),
            failed: get(failed),
            refused: get(refused),
            refused_hosts: get(refused_hosts),
            broken: get(broken),
            stalled: get(stalled),
        }
    }

    /// Ends what listens: the server is closed, or the node has failed.
    pub(crate) fn end_events(&self, why: RecvError) {
        let listeners = lock(&self.listeners).clone();
        listeners.iter().for_each(|listener| listener.end(why));
    }
}

/// Cuts a text off behind `max_len` bytes at most.
fn cut(text: &mut String, max_len: usize) {
    let end = max_len.min(text.len());
    text.truncate((0..=end).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0));
}

impl ServiceEnd for ServerEnd {
    fn announcing(&self) -> &Mutex<Announcing> {
        &self.announcing
    }

    fn announcement(&self, action: Action, info: ServiceInfo) -> Announcement {
        let methods = lock(&self.methods);
        Announcement::Server(ServiceInfo {
            service_id: self.id,
            service_name: (*self.service).into(),
            methods: infos(action, methods.iter().map(|(name, method)| (name, &method.registered))),
            tcp_port_v1: self.port.into(),
            ..info
        })
    }

    fn server_registered(&self, _: std::net::SocketAddrV4, _: Action, _: &ServiceInfo) {}

    fn end(&self) {
        self.end_events(RecvError::NodeFailed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn feeds_that_are_gone_are_forgotten() {
        let end = ServerEnd::new(&Identity::new("node", &Config::default()), "arm", 1, 1);
        (0..1000).for_each(|_| drop(end.events()));
        assert_eq!(lock(&end.listeners).len(), 1);
    }
}
