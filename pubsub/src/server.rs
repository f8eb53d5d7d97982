//! Answers the calls of a service.

use std::borrow::Borrow;
use std::sync::Arc;

use ferrocal_proto::{DataType, EntityId};

use crate::core::Core;
use crate::feed::Feed;
use crate::registry::ServiceEnd;
use crate::service::{Command, Handler, Io, ServerEnd, listen};
use crate::{MethodError, Payload, RecvError, ServerEvent, ServerStats, ServiceError};

/// Answers the calls of a service. Made by [`Node::server`](crate::Node::server).
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ferrocal::{MethodError, Node};
///
/// let node = Node::new("my_robot")?;
/// let server = node.server("gripper")?;
/// server.method::<str, str>("say", |text| Ok(format!("gripper says {text}")))?;
/// server.method::<[u8], [u8]>("move", |_| Err(MethodError::new("the brake is on")))?;
/// # let client = node.client("gripper")?;
/// # let say = client.method::<str, str>("say")?;
/// # assert!(client.wait_for_server(Duration::from_secs(30)));
/// # assert_eq!(say.call("hi", Duration::from_secs(30))?.payload, "gripper says hi");
/// # Ok(())
/// # }
/// ```
///
/// Methods run on threads of the node, up to 64 at a time, and several at once, also the same one. Each client has one
/// call at a time on its connection. A method that panics fails, as does one that returns an error: the client gets the
/// text.
///
/// Dropping it ends its connections. No method is called after that; one that runs at that time runs on, and its
/// response goes nowhere.
pub struct Server {
    end: Arc<ServerEnd>,
    registered: Arc<dyn ServiceEnd>,
    io: Arc<Io>,
    core: Arc<Core>,
}

impl Server {
    pub(crate) fn open(core: &Arc<Core>, service: &str) -> Result<Self, ServiceError> {
        ServiceError::check_name(service)?;
        let io = core.service_io(service)?;
        let listened = listen().and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
        let (port, listener) =
            listened.map_err(|source| ServiceError::Listen { service: service.to_owned(), source })?;
        let max_len = core.config.limits.service.max_message_len;
        let end = Arc::new(ServerEnd::new(&core.registry.identity, service, port, max_len));
        io.submit(Command::Listen { server: end.clone(), listener });
        let registered: Arc<dyn ServiceEnd> = end.clone();
        core.registry.add_service(&registered);
        Ok(Self { end, registered, io, core: core.clone() })
    }

    /// Adds a method, or replaces the one of that name. `Q` says how requests travel, and `R` how responses do.
    ///
    /// # Errors
    /// When the name is empty or longer than 4096 bytes, or there are 256 methods.
    pub fn method<Q, R>(
        &self,
        name: &str,
        function: impl Fn(Q::Received) -> Result<R::Received, MethodError> + Send + Sync + 'static,
    ) -> Result<(), ServiceError>
    where
        Q: Payload + ?Sized,
        R: Payload + ?Sized,
        R::Received: Borrow<R::Value>,
    {
        self.method_with::<Q, R>(name, Q::data_type(), R::data_type(), function)
    }

    /// As [`method`](Self::method), but registers these data types. For types chosen at run time.
    ///
    /// # Errors
    /// As [`method`](Self::method).
    pub fn method_with<Q, R>(
        &self,
        name: &str,
        request: DataType,
        response: DataType,
        function: impl Fn(Q::Received) -> Result<R::Received, MethodError> + Send + Sync + 'static,
    ) -> Result<(), ServiceError>
    where
        Q: Payload + ?Sized,
        R: Payload + ?Sized,
        R::Received: Borrow<R::Value>,
    {
        let handler: Handler = Box::new(move |bytes, frame| {
            let request = Q::decode(bytes)?;
            let response = function(request)?;
            let mut scratch = Vec::new();
            frame(R::encode(response.borrow(), &mut scratch)?)
        });
        self.end.set_method(name, request, response, handler)?;
        self.core.registry.announce_service(&*self.end);
        Ok(())
    }

    /// Removes a method. Returns whether there was one.
    pub fn remove_method(&self, name: &str) -> bool {
        let removed = self.end.remove_method(name);
        if removed {
            self.core.registry.announce_service(&*self.end);
        }
        removed
    }

    /// The name of the service.
    pub fn service(&self) -> &str {
        &self.end.service
    }

    /// Its id on the wire.
    pub fn id(&self) -> EntityId {
        self.end.id
    }

    /// The TCP port that it listens on.
    pub fn port(&self) -> u16 {
        self.end.port
    }

    /// How many clients are connected.
    pub fn client_count(&self) -> usize {
        self.end.connections()
    }

    /// Clients that connect and leave from now on. Ends with the server.
    pub fn events(&self) -> Feed<ServerEvent> {
        self.end.events()
    }

    /// What it did so far.
    pub fn stats(&self) -> ServerStats {
        self.end.stats()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // In a forked child, a thread that does not exist there may hold a lock.
        if self.core.is_forked() {
            return;
        }
        self.core.registry.remove_service(&self.registered);
        self.io.submit(Command::CloseServer(self.end.id));
        self.end.close_methods();
        self.end.end_events(RecvError::Closed);
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("service", &self.end.service).finish_non_exhaustive()
    }
}
