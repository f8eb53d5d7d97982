//! How full the receive buffers of this host's sockets are, by sock_diag(7).

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::socket::ReceiveQueue;

/// The netlink family and messages of include/uapi/linux/netlink.h and sock_diag.h.
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
/// Of include/uapi/linux/inet_diag.h: the attribute with a socket's memory, and its second number, the buffer's size.
const INET_DIAG_SKMEMINFO: u16 = 7;
const SK_MEMINFO_RCVBUF: usize = 1;

/// Lengths of `struct nlmsghdr`, `inet_diag_req_v2`, `inet_diag_msg` and `nlattr`.
const HEADER_LEN: usize = 16;
const REQUEST_LEN: usize = 56;
const ANSWER_LEN: usize = 72;
const ATTRIBUTE_LEN: usize = 4;

/// Looks at the receive buffers of the UDP sockets in this network namespace, of all its processes.
#[derive(Debug)]
pub struct ReceiveQueues {
    socket: Socket,
    /// The number of the latest request.
    sequence: u32,
    answers: Vec<u8>,
}

impl ReceiveQueues {
    /// Opens the way to look.
    ///
    /// # Errors
    /// If this kernel or sandbox has no sock_diag.
    pub fn new() -> io::Result<Self> {
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::DGRAM,
            Some(Protocol::from(NETLINK_SOCK_DIAG)),
        )?;
        // The kernel answers at once; a sandbox may not.
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut queues = Self { socket, sequence: 0, answers: vec![0; 32 * 1024] };
        // Not every kernel that has the socket knows UDP.
        queues.of_port(1, |_| ())?;
        Ok(queues)
    }

    /// Calls `each` for every socket that is bound to `port`, which is not 0. Takes some 20 to 40 us.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn of_port(&mut self, port: u16, mut each: impl FnMut(ReceiveQueue)) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        (&self.socket).write_all(&request(port, self.sequence))?;
        loop {
            let len = (&self.socket).read(&mut self.answers)?;
            let mut rest = &self.answers[..len];
            while let Some(message_len) = u32_at(rest, 0).map(|len| len as usize) {
                if message_len < HEADER_LEN || message_len > rest.len() {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                // What is left of a request that failed has another number.
                match u16_at(rest, 4).filter(|_| u32_at(rest, 8) == Some(self.sequence)) {
                    Some(NLMSG_DONE) => return Ok(()),
                    Some(NLMSG_ERROR) => {
                        let code =
                            u32_at(rest, HEADER_LEN).map_or(0, |code| code.cast_signed().wrapping_neg());
                        return Err(io::Error::from_raw_os_error(code));
                    }
                    Some(SOCK_DIAG_BY_FAMILY) => {
                        answer(&rest[HEADER_LEN..message_len]).into_iter().for_each(&mut each);
                    }
                    _ => {}
                }
                rest = rest.get(message_len.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// The sockets of a process, as [`ReceiveQueue::inode`] numbers them; none if this process may not look at it.
pub fn sockets_of(process: u32) -> HashSet<u32> {
    let Ok(files) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return HashSet::new() };
    files
        .filter_map(|file| {
            let target = std::fs::read_link(file.ok()?.path()).ok()?;
            target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

fn request(port: u16, sequence: u32) -> [u8; HEADER_LEN + REQUEST_LEN] {
    let mut bytes = [0; HEADER_LEN + REQUEST_LEN];
    bytes[0..4].copy_from_slice(&((HEADER_LEN + REQUEST_LEN) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    let request = &mut bytes[HEADER_LEN..];
    request[0] = libc::AF_INET as u8;
    request[1] = libc::IPPROTO_UDP as u8;
    request[2] = 1 << (INET_DIAG_SKMEMINFO - 1);
    // Sockets in every state.
    request[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    request[8..10].copy_from_slice(&port.to_be_bytes());
    bytes
}

fn answer(bytes: &[u8]) -> Option<ReceiveQueue> {
    let used = u32_at(bytes, 56)? as usize;
    let inode = u32_at(bytes, 68)?;
    let mut attributes = bytes.get(ANSWER_LEN..)?;
    loop {
        let (len, kind) = (usize::from(u16_at(attributes, 0)?), u16_at(attributes, 2)?);
        if kind == INET_DIAG_SKMEMINFO {
            let size = u32_at(attributes, ATTRIBUTE_LEN + 4 * SK_MEMINFO_RCVBUF)? as usize;
            return Some(ReceiveQueue { inode, used, size });
        }
        attributes = attributes.get(len.max(ATTRIBUTE_LEN).next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    fn look_at(queues: &mut ReceiveQueues, port: u16) -> io::Result<Vec<ReceiveQueue>> {
        let mut seen = Vec::new();
        queues.of_port(port, |queue| seen.push(queue))?;
        Ok(seen)
    }

    #[test]
    fn what_waits_in_a_socket_is_seen() -> io::Result<()> {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = receiver.local_addr()?.port();
        let mut queues = ReceiveQueues::new()?;
        let [empty] = look_at(&mut queues, port)?[..] else { panic!("one socket has that port") };
        assert_eq!(empty.used, 0);
        assert!(empty.size > 0);
        assert!(sockets_of(std::process::id()).contains(&empty.inode));
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.send_to(&[0; 1000], receiver.local_addr()?)?;
        let [filled] = look_at(&mut queues, port)?[..] else { panic!("one socket has that port") };
        assert!((1000..10_000).contains(&filled.used), "{filled:?}");
        receiver.recv(&mut [0; 1000])?;
        assert_eq!(look_at(&mut queues, port)?, [empty]);
        assert!(sockets_of(u32::MAX).is_empty());
        // What an earlier request left behind is passed over.
        (&queues.socket).write_all(&request(port, queues.sequence))?;
        let _busy = look_at(&mut queues, port);
        assert_eq!(look_at(&mut queues, port)?, [empty]);
        Ok(())
    }

    #[test]
    fn cut_answers_are_none() {
        assert_eq!(answer(&[0; ANSWER_LEN]), None);
        assert_eq!(answer(&[0; ANSWER_LEN + 3]), None);
        // An attribute of no length, and another one behind it, without the size.
        assert_eq!(answer(&[0; ANSWER_LEN + 8]), None);
    }
}
