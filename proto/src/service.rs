//! Calls of services over a stream, as eCAL's protocol version 1 has them: frames, requests and responses.
//!
//! A client connects, and both sides say which versions they speak. Then it sends a request and waits for its response,
//! as often as it likes: nothing in a frame says which request a response is of.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::wire::{Fields, put_len_prefix, put_text_field, put_varint_field};
use crate::{DropReason, EntityId, MAX_NAME_LEN, MAX_TEXT_LEN, Text};

/// The version of the protocol.
pub const SERVICE_VERSION: u8 = 1;

/// The length of a frame's header in bytes.
pub const SERVICE_HEADER_LEN: usize = 16;

/// The longest header that is read: a later version may append to it. This limit is this crate's own; eCAL has none.
const MAX_HEADER_LEN: usize = 1024;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceFrameKind {
    /// The first frame of a client: the versions that it speaks.
    HandshakeRequest,
    /// The server's answer to it: the version that both will speak.
    HandshakeResponse,
    /// A request.
    Request,
    /// A response.
    Response,
}

impl ServiceFrameKind {
    const fn to_wire(self) -> u8 {
        match self {
            Self::HandshakeRequest => 1,
            Self::HandshakeResponse => 2,
            Self::Request => 3,
            Self::Response => 4,
        }
    }

    const fn from_wire(kind: u8) -> Result<Self, DropReason> {
        match kind {
            1 => Ok(Self::HandshakeRequest),
            2 => Ok(Self::HandshakeResponse),
            3 => Ok(Self::Request),
            4 => Ok(Self::Response),
            _ => Err(DropReason::UnknownKind),
        }
    }
}

/// A whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFrame {
    /// What it is.
    pub kind: ServiceFrameKind,
    /// What is behind its header.
    pub payload: Bytes,
}

impl ServiceFrame {
    /// Encodes a client's first frame.
    pub fn handshake_request() -> Vec<u8> {
        frame(ServiceFrameKind::HandshakeRequest, |out| out.extend([SERVICE_VERSION; 2])).unwrap_or_default()
    }

    /// Encodes a server's answer to the first frame.
    pub fn handshake_response() -> Vec<u8> {
        frame(ServiceFrameKind::HandshakeResponse, |out| out.push(SERVICE_VERSION)).unwrap_or_default()
    }

    /// Whether this is a handshake of the other side that leaves a version to speak. As eCAL, takes what is missing as
    /// zeros and ignores what is too much.
    pub fn agrees(&self) -> bool {
        let byte = |at: usize| self.payload.get(at).copied().unwrap_or(0);
        match self.kind {
            ServiceFrameKind::HandshakeRequest => (byte(0)..=byte(1)).contains(&SERVICE_VERSION),
            ServiceFrameKind::HandshakeResponse => byte(0) == SERVICE_VERSION,
            ServiceFrameKind::Request | ServiceFrameKind::Response => false,
        }
    }
}

/// Encodes a frame whose payload `write` appends.
///
/// # Errors
/// [`DropReason::TooLong`] when its length does not fit its header.
fn frame(kind: ServiceFrameKind, write: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<u8>, DropReason> {
    let mut out = vec![0; SERVICE_HEADER_LEN];
    write(&mut out);
    let len = u32::try_from(out.len() - SERVICE_HEADER_LEN).map_err(|_| DropReason::TooLong)?;
    out[..4].copy_from_slice(&len.to_be_bytes());
    out[4] = SERVICE_VERSION;
    out[5] = kind.to_wire();
    out[6..8].copy_from_slice(&(SERVICE_HEADER_LEN as u16).to_be_bytes());
    Ok(out)
}

/// Takes a stream apart into frames. Stores what has come of one frame, and no more.
///
/// After an error, where the next frame starts is not known.
#[derive(Debug)]
pub struct ServiceFrames {
    max_len: usize,
    header: [u8; SERVICE_HEADER_LEN],
    /// How many bytes of the header have come, those that are ignored included.
    header_len: usize,
    payload: Vec<u8>,
}

impl ServiceFrames {
    /// The payload of a frame has `max_len` bytes at most.
    pub const fn new(max_len: usize) -> Self {
        Self { max_len, header: [0; SERVICE_HEADER_LEN], header_len: 0, payload: Vec::new() }
    }

    /// Whether a frame has begun that has not ended.
    pub const fn has_begun(&self) -> bool {
        self.header_len > 0
    }

    /// The memory that the frame takes, in bytes.
    pub const fn buffered(&self) -> usize {
        self.payload.capacity()
    }

    /// Takes bytes from the front of `input`, up to the end of a frame. Returns the frame if that was among them.
    ///
    /// # Errors
    /// [`DropReason::TooLong`] when its header or payload is longer than allowed, [`DropReason::UnknownKind`] when it is
    /// none of those that are known.
    pub fn take(&mut self, input: &mut &[u8]) -> Result<Option<ServiceFrame>, DropReason> {
        while self.header_len < self.wanted_header()? {
            let known = self.header_len < SERVICE_HEADER_LEN;
            // The size of the header is known once its first eight bytes are.
            let end = match self.header_len {
                len if len < 8 => 8,
                _ => self.wanted_header()?.min(if known { SERVICE_HEADER_LEN } else { usize::MAX }),
            };
            let Some((taken, rest)) = split(input, end - self.header_len) else { return Ok(None) };
            if known {
                self.header[self.header_len..self.header_len + taken.len()].copy_from_slice(taken);
            }
            self.header_len += taken.len();
            *input = rest;
        }
        let [a, b, c, d, _, kind, ..] = self.header;
        let kind = ServiceFrameKind::from_wire(kind)?;
        let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| DropReason::TooLong)?;
        if len > self.max_len {
            return Err(DropReason::TooLong);
        }
        if let Some((taken, rest)) = split(input, len - self.payload.len()) {
            let came = self.payload.len() + taken.len();
            if came > self.payload.capacity() {
                // Twice as much as came before, so that nobody gets memory for a length alone.
                let room = len.min(came.max(2 * self.payload.len()));
                self.payload.reserve_exact(room - self.payload.len());
            }
            self.payload.extend_from_slice(taken);
            *input = rest;
        }
        if self.payload.len() < len {
            return Ok(None);
        }
        self.header_len = 0;
        Ok(Some(ServiceFrame { kind, payload: core::mem::take(&mut self.payload).into() }))
    }

    /// As eCAL, reads the whole header even if it is said to be shorter.
    fn wanted_header(&self) -> Result<usize, DropReason> {
        if self.header_len < 8 {
            return Ok(SERVICE_HEADER_LEN);
        }
        let told = usize::from(u16::from_be_bytes([self.header[6], self.header[7]]));
        if told > MAX_HEADER_LEN { Err(DropReason::TooLong) } else { Ok(told.max(SERVICE_HEADER_LEN)) }
    }
}

/// Splits off `len` bytes, or as many as there are; `None` if there are none to split off.
fn split(input: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    let len = len.min(input.len());
    (len > 0).then(|| input.split_at(len))
}

/// A request to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRequest {
    /// The method that is called.
    pub method: Text,
    /// What is asked.
    pub payload: Bytes,
}

/// What a server answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceResponse {
    /// The name of the server's host.
    pub host_name: Text,
    /// The service's name.
    pub service_name: Text,
    /// The server's id.
    pub service_id: Option<EntityId>,
    /// The method that was called.
    pub method: Text,
    /// Whether the method was called, and did not fail.
    pub state: CallState,
    /// Why it failed.
    pub error: Text,
    /// What the method returned beside the payload; its meaning is the service's own.
    pub ret_state: i64,
    /// What is answered.
    pub payload: Bytes,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CallState {
    /// Not told, or a number without a meaning here.
    #[default]
    None,
    /// The method was called.
    Executed,
    /// The method is not known, or failed.
    Failed,
}

/// Fields of `eCAL.pb.ServiceHeader`.
mod header {
    pub(super) const HOST_NAME: u32 = 1;
    pub(super) const SERVICE_NAME: u32 = 2;
    pub(super) const METHOD_NAME: u32 = 3;
    pub(super) const ERROR: u32 = 4;
    pub(super) const STATE: u32 = 6;
    pub(super) const SERVICE_ID: u32 = 7;
}

/// Fields of `eCAL.pb.Request` and `eCAL.pb.Response`.
const HEADER: u32 = 1;
const PAYLOAD: u32 = 2;
const RET_STATE: u32 = 3;

impl ServiceRequest {
    /// Encodes the frame of a request.
    ///
    /// # Errors
    /// [`DropReason::TooLong`] when its length does not fit its header.
    pub fn encode(method: &str, payload: &[u8]) -> Result<Vec<u8>, DropReason> {
        let mut header = Vec::new();
        put_text_field(&mut header, header::METHOD_NAME, method.as_bytes());
        frame(ServiceFrameKind::Request, |out| {
            out.reserve_exact(header.len() + payload.len() + 32);
            put_text_field(out, HEADER, &header);
            put_text_field(out, PAYLOAD, payload);
        })
    }

    /// Decodes the payload of a frame. The request's own payload is not copied.
    ///
    /// # Errors
    /// [`DropReason::BadSample`] when it is damaged, [`DropReason::TooLong`] when a name is longer than
    /// [`MAX_NAME_LEN`].
    pub fn decode(message: &Bytes) -> Result<Self, DropReason> {
        let mut request = Self::default();
        let mut fields = Fields(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                HEADER => {
                    let mut fields = Fields(value.bytes()?);
                    while let Some((number, value)) = fields.next()? {
                        if number == header::METHOD_NAME {
                            request.method = name(value.bytes()?)?;
                        }
                    }
                }
                PAYLOAD => request.payload = message.slice_ref(value.bytes()?),
                _ => {}
            }
        }
        Ok(request)
    }
}

impl ServiceResponse {
    /// Encodes the frame of a response.
    ///
    /// # Errors
    /// [`DropReason::TooLong`] when its length does not fit its header.
    pub fn encode(&self) -> Result<Vec<u8>, DropReason> {
        self.encode_with(&self.payload)
    }

    /// As [`encode`](Self::encode), with this payload in place of its own.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_with(&self, payload: &[u8]) -> Result<Vec<u8>, DropReason> {
        let mut header = Vec::new();
        put_text_field(&mut header, header::HOST_NAME, &self.host_name);
        put_text_field(&mut header, header::SERVICE_NAME, &self.service_name);
        if let Some(id) = self.service_id {
            put_text_field(&mut header, header::SERVICE_ID, id.to_string().as_bytes());
        }
        put_text_field(&mut header, header::METHOD_NAME, &self.method);
        put_text_field(&mut header, header::ERROR, &self.error);
        let state = match self.state {
            CallState::None => 0,
            CallState::Executed => 1,
            CallState::Failed => 2,
        };
        put_varint_field(&mut header, header::STATE, state);
        frame(ServiceFrameKind::Response, |out| {
            out.reserve_exact(header.len() + payload.len() + 48);
            put_len_prefix(out, HEADER, header.len());
            out.extend_from_slice(&header);
            put_text_field(out, PAYLOAD, payload);
            put_varint_field(out, RET_STATE, self.ret_state.cast_unsigned());
        })
    }

    /// Decodes the payload of a frame. The response's own payload is not copied.
    ///
    /// # Errors
    /// [`DropReason::BadSample`] when it is damaged, [`DropReason::TooLong`] when a text is longer than its limit.
    pub fn decode(message: &Bytes) -> Result<Self, DropReason> {
        let mut response = Self::default();
        let mut fields = Fields(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                HEADER => response.decode_header(value.bytes()?)?,
                PAYLOAD => response.payload = message.slice_ref(value.bytes()?),
                RET_STATE => response.ret_state = value.varint()?.cast_signed(),
                _ => {}
            }
        }
        Ok(response)
    }

    fn decode_header(&mut self, header: &[u8]) -> Result<(), DropReason> {
        let mut fields = Fields(header);
        while let Some((number, value)) = fields.next()? {
            match number {
                header::HOST_NAME => self.host_name = name(value.bytes()?)?,
                header::SERVICE_NAME => self.service_name = name(value.bytes()?)?,
                header::METHOD_NAME => self.method = name(value.bytes()?)?,
                header::SERVICE_ID => {
                    let id = value.bytes()?;
                    self.service_id = (!id.is_empty()).then(|| EntityId::from_wire(id));
                }
                header::ERROR => self.error = text(value.bytes()?, MAX_TEXT_LEN)?,
                header::STATE => {
                    self.state = match value.varint()? {
                        1 => CallState::Executed,
                        2 => CallState::Failed,
                        _ => CallState::None,
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn name(bytes: &[u8]) -> Result<Text, DropReason> {
    text(bytes, MAX_NAME_LEN)
}

/// Checks before anything is allocated.
fn text(bytes: &[u8], max_len: usize) -> Result<Text, DropReason> {
    if bytes.len() > max_len { Err(DropReason::TooLong) } else { Ok(bytes.into()) }
}

#[cfg(test)]
mod tests;
