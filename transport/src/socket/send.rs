//! The sender: one blocking socket that all publishers share.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ferrocal_proto::MAX_DATAGRAM_LEN;
use socket2::Socket;

use super::sys;
use crate::config::{Config, Mode};
use crate::error::SendError;
use crate::membership::{Choice, Follow, Follower};
use crate::seam::{self, SendLimits, Transmit};
use crate::sync::lock;

pub(crate) struct Sender {
    socket: Socket,
    route: sys::Route,
    /// What the system grants.
    receive_buffer_len: usize,
    /// Whether there is an interface to send by, as far as the settings name any.
    has_interface: AtomicBool,
    choice: Mutex<Choice>,
    _follower: Arc<Follower>,
}

impl Sender {
    pub(super) fn open(
        config: &Config,
        follower: &Arc<Follower>,
        socket: Socket,
        receive_buffer_len: usize,
    ) -> Arc<Self> {
        let sender = Arc::new(Self {
            route: sys::Route::new(config.group),
            socket,
            receive_buffer_len,
            has_interface: AtomicBool::new(false),
            choice: Mutex::default(),
            _follower: follower.clone(),
        });
        sender.follow(&follower.look());
        // On other systems, loopback is always there.
        if config.mode == Mode::Network || cfg!(target_os = "linux") {
            follower.add(&sender);
        }
        sender
    }

    /// Returns another handle to its socket.
    #[cfg(feature = "raw")]
    pub(crate) fn try_clone(&self) -> io::Result<Socket> {
        self.socket.try_clone()
    }

    /// Returns the port that its datagrams come from.
    #[cfg(feature = "raw")]
    pub(crate) fn port(&self) -> io::Result<u16> {
        let address = self.socket.local_addr()?.as_socket_ipv4();
        Ok(address.map_or(0, |address| address.port()))
    }

    fn missing(&self) -> io::Error {
        match lock(&self.choice).outgoing() {
            Err(missing) => missing.into(),
            Ok(_) => io::ErrorKind::NetworkDown.into(),
        }
    }
}

impl seam::Sender for Sender {
    fn limits(&self) -> SendLimits {
        SendLimits {
            max_datagram_len: MAX_DATAGRAM_LEN,
            segment_len: self.route.segment_len(),
            receive_buffer_len: Some(self.receive_buffer_len),
        }
    }

    fn send(&self, batch: &[Transmit<'_>]) -> Result<(), SendError> {
        let mut sent = 0;
        while let Some(next) = batch.get(sent) {
            let result = if self.has_interface.load(Ordering::Relaxed) {
                sys::send(&self.socket, &self.route, &batch[sent..])
            } else {
                Err(self.missing())
            };
            match result {
                Ok(count) => sent += count,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(SendError { sent, destination: next.destination, len: next.len(), source });
                }
            }
        }
        Ok(())
    }
}

impl Follow for Sender {
    fn follow(&self, choice: &Choice) {
        let mut current = lock(&self.choice);
        let is_set = self.has_interface.load(Ordering::Relaxed);
        if is_set && *current == *choice {
            return;
        }
        current.clone_from(choice);
        let has_interface = match choice.outgoing() {
            // A removed interface that is made anew is another one to the system, though its address is the same.
            Ok(Some(address)) => self.socket.set_multicast_if_v4(&address).is_ok(),
            Ok(None) => true,
            Err(_) => false,
        };
        self.has_interface.store(has_interface, Ordering::Relaxed);
        self.route.look_up(&self.socket);
    }
}
