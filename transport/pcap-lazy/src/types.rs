//! The types in the signatures of libpcap, under its own names.
//!
//! Nothing here looks into them: all that matters is how they are passed.

#![allow(non_camel_case_types, clippy::upper_case_acronyms)]

use std::ffi::{c_int, c_uchar};

/// Declares types that exist behind pointers only.
macro_rules! opaque {
    ($($name:ident)*) => {$(
        #[repr(C)]
        pub(crate) struct $name {
            _private: [u8; 0],
        }
    )*};
}

opaque! {
    addrinfo bpf_program FILE hostent pcap_dumper_t pcap_etherent pcap_if_t pcap_pkthdr pcap_rmtauth pcap_samp
    pcap_stat pcap_t
}

#[cfg(not(windows))]
opaque! { timeval }
#[cfg(windows)]
opaque! { pcap_send_queue airpcap_handle }

pub(crate) type bpf_u_int32 = u32;

/// An enumeration in C.
pub(crate) type pcap_direction_t = c_int;

pub(crate) type pcap_handler = Option<unsafe extern "C" fn(*mut c_uchar, *const pcap_pkthdr, *const c_uchar)>;

#[cfg(windows)]
pub(crate) type HANDLE = *mut std::ffi::c_void;

#[cfg(not(windows))]
pub(crate) type SOCKET = c_int;
#[cfg(windows)]
pub(crate) type SOCKET = usize;
