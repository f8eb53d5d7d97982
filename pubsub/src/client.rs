//! Calls the servers of a service.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ferrocal_proto::{DataType, EntityId, ServiceRequest};

use crate::core::Core;
use crate::feed::Feed;
use crate::registry::ServiceEnd;
use crate::service::{
    Call, ClientEnd, Command, Io, RegisteredMethod, Reply, ReplyReceiver, ReplyResult, ReplySender,
};
use crate::{CallError, ClientEvent, Payload, RecvError, ServerIdentity, ServiceError};

/// Calls the servers of a service. Made by [`Node::client`](crate::Node::client).
///
/// It connects to all servers of that name, in this process, on this computer and on the network, and connects again
/// when it has lost one that still registers. A server is found when it registers next: within a second.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ferrocal::{CallError, Node};
///
/// let node = Node::new("my_robot")?;
/// # let server = node.server("display")?;
/// # server.method::<str, str>("say", |text| Ok(text.to_uppercase()))?;
/// let client = node.client("display")?;
/// let say = client.method::<str, str>("say")?;
/// client.wait_for_server(Duration::from_secs(5));
///
/// match say.call("hello", Duration::from_secs(5)) {
///     Ok(response) => println!("{}", response.payload),
///     Err(CallError::Timeout) => println!("too slow"),
///     Err(error) => return Err(error.into()),
/// }
/// # assert_eq!(say.call("hello", Duration::from_secs(30))?.payload, "HELLO");
/// # Ok(())
/// # }
/// ```
pub struct Client {
    shared: Arc<Shared>,
}

/// What a client and its methods share. The client is there until all of them are dropped.
struct Shared {
    end: Arc<ClientEnd>,
    registered: Arc<dyn ServiceEnd>,
    io: Arc<Io>,
    core: Arc<Core>,
}

impl Client {
    pub(crate) fn open(core: &Arc<Core>, service: &str) -> Result<Self, ServiceError> {
        ServiceError::check_name(service)?;
        let io = core.service_io(service)?;
        let end = Arc::new(ClientEnd::new(&core.registry.identity, service, io.clone()));
        io.submit(Command::Client(end.clone()));
        let registered: Arc<dyn ServiceEnd> = end.clone();
        core.registry.add_service(&registered);
        Ok(Self { shared: Arc::new(Shared { end, registered, io, core: core.clone() }) })
    }

    /// A method of the service. `Q` says how requests travel, and `R` how responses do. Whether servers have it shows
    /// when it is called.
    ///
    /// # Errors
    /// When the name is empty or longer than 4096 bytes, or there are 256 methods.
    pub fn method<Q, R>(&self, name: &str) -> Result<ClientMethod<Q, R>, ServiceError>
    where
        Q: Payload + ?Sized,
        R: Payload + ?Sized,
    {
        self.method_with(name, Q::data_type(), R::data_type())
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
    ) -> Result<ClientMethod<Q, R>, ServiceError>
    where
        Q: Payload + ?Sized,
        R: Payload + ?Sized,
    {
        let called = self.shared.end.method(name, request, response)?;
        self.shared.core.registry.announce_service(&*self.shared.end);
        Ok(ClientMethod {
            shared: self.shared.clone(),
            called,
            name: name.into(),
            server: None,
            payloads: PhantomData,
        })
    }

    /// The name of the service.
    pub fn service(&self) -> &str {
        &self.shared.end.service
    }

    /// Its id on the wire.
    pub fn id(&self) -> EntityId {
        self.shared.end.id
    }

    /// The servers that are connected, those that have been for longest first.
    pub fn servers(&self) -> Vec<Arc<ServerIdentity>> {
        self.shared.end.servers()
    }

    /// Waits until a server is connected, for `timeout` at most. Returns whether one is.
    pub fn wait_for_server(&self, timeout: Duration) -> bool {
        self.wait_for_servers(1, timeout)
    }

    /// Waits until so many servers are connected, for `timeout` at most. Returns whether they are.
    pub fn wait_for_servers(&self, count: usize, timeout: Duration) -> bool {
        self.shared.end.wait_for(count, timeout)
    }

    /// Waits until so many servers are connected, without blocking. Needs no particular runtime. Returns `false` when none
    /// will come any more, because a thread of the node has failed.
    pub async fn wait_for_servers_async(&self, count: usize) -> bool {
        self.shared.end.wait_for_async(count).await
    }

    /// Servers that are connected and lost from now on, after an event for each that is connected. Ends with the client.
    pub fn events(&self) -> Feed<ClientEvent> {
        self.shared.end.events()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // In a forked child, a thread that does not exist there may hold a lock.
        if self.core.is_forked() {
            return;
        }
        self.core.registry.remove_service(&self.registered);
        self.io.submit(Command::CloseClient(self.end.id));
        self.end.finish(RecvError::Closed);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("service", &self.shared.end.service).finish_non_exhaustive()
    }
}

/// A method of a service, to call it. Made by [`Client::method`].
///
/// A call goes to one server: of those that are connected, the one with the fewest calls that wait. A
/// [chosen](Self::of_server) server, or [all of them](Self::call_all), can be called, too.
///
/// Each call has a time-out. When it is over, the call has failed, and its response is ignored; the server may run the
/// method nevertheless. `Duration::MAX` is no time-out. A call that took too long does not keep later calls waiting: they
/// go over another connection.
pub struct ClientMethod<Q: Payload + ?Sized, R: Payload + ?Sized> {
    shared: Arc<Shared>,
    called: Arc<RegisteredMethod>,
    name: Arc<str>,
    server: Option<Arc<ServerIdentity>>,
    #[allow(clippy::type_complexity)]
    payloads: PhantomData<fn() -> (Box<Q>, Box<R>)>,
}

/// What a server answered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Response<T> {
    /// The response.
    pub payload: T,
    /// The number that the method returned beside it, whose meaning is the service's own. Methods of ferrocal return 0.
    pub ret_state: i64,
    /// Who answered.
    pub server: Arc<ServerIdentity>,
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> ClientMethod<Q, R> {
    /// The name of the method.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same method, of this server alone.
    #[must_use]
    pub fn of_server(&self, server: &Arc<ServerIdentity>) -> Self {
        Self { server: Some(server.clone()), ..self.clone() }
    }

    /// Calls the method, and waits for the response.
    ///
    /// # Errors
    /// When there is no server, no response in time, or none that can be used.
    pub fn call(&self, request: &Q::Value, timeout: Duration) -> Result<Response<R::Received>, CallError> {
        self.call_async(request, timeout).wait()
    }

    /// Calls the method. The response is awaited, or waited for; the call goes on if nobody does. Needs no particular
    /// runtime.
    pub fn call_async(&self, request: &Q::Value, timeout: Duration) -> PendingCall<R> {
        let (reply, receiver) = ReplySender::new();
        let deadline = Instant::now().checked_add(timeout);
        self.begin(request, deadline, reply);
        PendingCall { receiver, deadline, payload: PhantomData }
    }

    /// Calls the method, and has `callback` called with the response, on a thread of the node. It is always called, once,
    /// also if the client and the node are dropped before.
    pub fn call_with(
        &self,
        request: &Q::Value,
        timeout: Duration,
        callback: impl FnOnce(Result<Response<R::Received>, CallError>) + Send + 'static,
    ) where
        R: 'static,
    {
        let io = self.shared.io.clone();
        let name = self.name.clone();
        let reply = ReplySender::function(move |result| {
            io.run(Box::new(move || {
                let call = AssertUnwindSafe(|| callback(response::<R>(result)));
                if catch_unwind(call).is_err() {
                    log::error!("the callback of a call of `{name}` panicked");
                }
            }));
        });
        self.begin(request, Instant::now().checked_add(timeout), reply);
    }

    /// Calls the method of all servers that are connected, and waits for their responses: each with its server.
    ///
    /// # Errors
    /// When there is no server. What failed of one server is in its place of the result.
    #[allow(clippy::type_complexity)]
    pub fn call_all(
        &self,
        request: &Q::Value,
        timeout: Duration,
    ) -> Result<Vec<(Arc<ServerIdentity>, Result<Response<R::Received>, CallError>)>, CallError> {
        let servers = self.shared.end.servers();
        if servers.is_empty() {
            return Err(CallError::NoServer);
        }
        let call = |server: Arc<ServerIdentity>| {
            let pending = self.of_server(&server).call_async(request, timeout);
            (server, pending)
        };
        let calls: Vec<_> = servers.into_iter().map(call).collect();
        Ok(calls.into_iter().map(|(server, pending)| (server, pending.wait())).collect())
    }

    fn begin(&self, request: &Q::Value, deadline: Option<Instant>, reply: ReplySender) {
        match self.encode(request) {
            Ok(frame) => {
                self.called.count();
                let call = Call::new(frame, deadline, reply);
                let (client, server) = (self.shared.end.id, self.server.clone());
                self.shared.io.submit(Command::Call { client, server, call });
            }
            Err(error) => reply.send(Err(error)),
        }
    }

    fn encode(&self, request: &Q::Value) -> Result<Vec<u8>, CallError> {
        let mut scratch = Vec::new();
        let encoded = Q::encode(request, &mut scratch).map_err(|error| CallError::Encode(Box::new(error)))?;
        let (len, max) = (encoded.len(), self.shared.core.config.limits.service.max_message_len);
        if len > max {
            return Err(CallError::TooLong { len, max });
        }
        ServiceRequest::encode(&self.name, encoded).map_err(|_| CallError::TooLong { len, max })
    }
}

/// Decodes a response, on the thread that wants it.
fn response<R: Payload + ?Sized>(result: ReplyResult) -> Result<Response<R::Received>, CallError> {
    let Reply { payload, ret_state, server } = result?;
    let payload = R::decode(payload).map_err(|error| CallError::Decode(Box::new(error)))?;
    Ok(Response { payload, ret_state, server })
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Clone for ClientMethod<Q, R> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            called: self.called.clone(),
            name: self.name.clone(),
            server: self.server.clone(),
            payloads: PhantomData,
        }
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> std::fmt::Debug for ClientMethod<Q, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientMethod").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A call that was made: await it, or [wait](Self::wait) for it. Made by [`ClientMethod::call_async`].
#[must_use = "the response is lost when this is dropped"]
pub struct PendingCall<R: Payload + ?Sized> {
    receiver: ReplyReceiver,
    deadline: Option<Instant>,
    payload: PhantomData<fn() -> Box<R>>,
}

impl<R: Payload + ?Sized> PendingCall<R> {
    /// Blocks until the response is there, or the time-out is over.
    ///
    /// # Errors
    /// When there is no server, no response in time, or none that can be used.
    pub fn wait(self) -> Result<Response<R::Received>, CallError> {
        /// The result of a call that takes too long comes by itself, a moment after its deadline.
        const MOMENT: Duration = Duration::from_secs(1);
        response::<R>(self.receiver.wait(self.deadline.and_then(|deadline| deadline.checked_add(MOMENT))))
    }
}

impl<R: Payload + ?Sized> Future for PendingCall<R> {
    type Output = Result<Response<R::Received>, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.receiver.poll(cx).map(response::<R>)
    }
}

impl<R: Payload + ?Sized> std::fmt::Debug for PendingCall<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingCall").finish_non_exhaustive()
    }
}
