//! Every public function of libpcap (pcap/pcap.h and pcap/namedb.h of 1.10, and what Npcap adds): its type, whether a
//! capture is possible without it, and what it answers when it is missing.
//!
//! None of them has variable arguments or passes a structure by value.

use std::ffi::{c_char, c_int, c_long, c_uchar, c_uint, c_void};
use std::ptr::{null, null_mut};

use crate::missing::{PCAP_ERROR, fail, no_devices, no_socket, reason_pointer};
use crate::trampoline::functions;
use crate::types::*;

functions! {
    // Finding devices
    required fn pcap_findalldevs(
        alldevsp: *mut *mut pcap_if_t, errbuf: *mut c_char
    ) -> c_int = no_devices(alldevsp, errbuf);
    required fn pcap_freealldevs(alldevs: *mut pcap_if_t) = ();
    optional fn pcap_lookupdev(errbuf: *mut c_char) -> *mut c_char = fail(errbuf);
    optional fn pcap_lookupnet(
        device: *const c_char, netp: *mut bpf_u_int32, maskp: *mut bpf_u_int32, errbuf: *mut c_char
    ) -> c_int = fail(errbuf);

    // Opening a capture
    optional fn pcap_init(opts: c_uint, errbuf: *mut c_char) -> c_int = fail(errbuf);
    required fn pcap_create(source: *const c_char, errbuf: *mut c_char) -> *mut pcap_t = fail(errbuf);
    required fn pcap_activate(p: *mut pcap_t) -> c_int = PCAP_ERROR;
    required fn pcap_close(p: *mut pcap_t) = ();
    optional fn pcap_open_live(
        device: *const c_char, snaplen: c_int, promisc: c_int, to_ms: c_int, errbuf: *mut c_char
    ) -> *mut pcap_t = fail(errbuf);
    optional fn pcap_open_dead(linktype: c_int, snaplen: c_int) -> *mut pcap_t = null_mut();
    optional fn pcap_open_dead_with_tstamp_precision(
        linktype: c_int, snaplen: c_int, precision: c_uint
    ) -> *mut pcap_t = null_mut();

    // Settings before activation
    required fn pcap_set_snaplen(p: *mut pcap_t, snaplen: c_int) -> c_int = PCAP_ERROR;
    required fn pcap_set_promisc(p: *mut pcap_t, promisc: c_int) -> c_int = PCAP_ERROR;
    required fn pcap_set_timeout(p: *mut pcap_t, to_ms: c_int) -> c_int = PCAP_ERROR;
    required fn pcap_set_buffer_size(p: *mut pcap_t, buffer_size: c_int) -> c_int = PCAP_ERROR;
    optional fn pcap_set_immediate_mode(p: *mut pcap_t, immediate_mode: c_int) -> c_int = PCAP_ERROR;
    optional fn pcap_can_set_rfmon(p: *mut pcap_t) -> c_int = PCAP_ERROR;
    optional fn pcap_set_rfmon(p: *mut pcap_t, rfmon: c_int) -> c_int = PCAP_ERROR;
    optional fn pcap_set_protocol_linux(p: *mut pcap_t, protocol: c_int) -> c_int = PCAP_ERROR;

    // Time stamps
    optional fn pcap_set_tstamp_type(p: *mut pcap_t, tstamp_type: c_int) -> c_int = PCAP_ERROR;
    optional fn pcap_set_tstamp_precision(p: *mut pcap_t, tstamp_precision: c_int) -> c_int = PCAP_ERROR;
    optional fn pcap_get_tstamp_precision(p: *mut pcap_t) -> c_int = PCAP_ERROR;
    optional fn pcap_list_tstamp_types(p: *mut pcap_t, tstamp_typesp: *mut *mut c_int) -> c_int = PCAP_ERROR;
    optional fn pcap_free_tstamp_types(tstamp_types: *mut c_int) = ();
    optional fn pcap_tstamp_type_name_to_val(name: *const c_char) -> c_int = PCAP_ERROR;
    optional fn pcap_tstamp_type_val_to_name(tstamp_type: c_int) -> *const c_char = null();
    optional fn pcap_tstamp_type_val_to_description(tstamp_type: c_int) -> *const c_char = null();

    // Receiving and sending
    required fn pcap_next_ex(
        p: *mut pcap_t, header: *mut *mut pcap_pkthdr, data: *mut *const c_uchar
    ) -> c_int = PCAP_ERROR;
    optional fn pcap_next(p: *mut pcap_t, header: *mut pcap_pkthdr) -> *const c_uchar = null();
    required fn pcap_dispatch(
        p: *mut pcap_t, count: c_int, callback: pcap_handler, user: *mut c_uchar
    ) -> c_int = PCAP_ERROR;
    required fn pcap_loop(
        p: *mut pcap_t, count: c_int, callback: pcap_handler, user: *mut c_uchar
    ) -> c_int = PCAP_ERROR;
    required fn pcap_breakloop(p: *mut pcap_t) = ();
    required fn pcap_sendpacket(p: *mut pcap_t, buffer: *const c_uchar, size: c_int) -> c_int = PCAP_ERROR;
    optional fn pcap_inject(p: *mut pcap_t, buffer: *const c_void, size: usize) -> c_int = PCAP_ERROR;
    required fn pcap_setnonblock(
        p: *mut pcap_t, nonblock: c_int, errbuf: *mut c_char
    ) -> c_int = fail(errbuf);
    optional fn pcap_getnonblock(p: *mut pcap_t, errbuf: *mut c_char) -> c_int = fail(errbuf);
    optional fn pcap_setdirection(p: *mut pcap_t, direction: pcap_direction_t) -> c_int = PCAP_ERROR;
    required fn pcap_stats(p: *mut pcap_t, ps: *mut pcap_stat) -> c_int = PCAP_ERROR;

    // Filters
    required fn pcap_compile(
        p: *mut pcap_t, program: *mut bpf_program, text: *const c_char, optimize: c_int, netmask: bpf_u_int32
    ) -> c_int = PCAP_ERROR;
    optional fn pcap_compile_nopcap(
        snaplen: c_int, linktype: c_int, program: *mut bpf_program, text: *const c_char, optimize: c_int,
        netmask: bpf_u_int32
    ) -> c_int = PCAP_ERROR;
    required fn pcap_setfilter(p: *mut pcap_t, program: *mut bpf_program) -> c_int = PCAP_ERROR;
    required fn pcap_freecode(program: *mut bpf_program) = ();
    optional fn pcap_offline_filter(
        program: *const bpf_program, header: *const pcap_pkthdr, data: *const c_uchar
    ) -> c_int = 0;

    // Link types
    required fn pcap_datalink(p: *mut pcap_t) -> c_int = PCAP_ERROR;
    optional fn pcap_datalink_ext(p: *mut pcap_t) -> c_int = PCAP_ERROR;
    optional fn pcap_list_datalinks(p: *mut pcap_t, dlt_buf: *mut *mut c_int) -> c_int = PCAP_ERROR;
    optional fn pcap_free_datalinks(dlt_list: *mut c_int) = ();
    optional fn pcap_set_datalink(p: *mut pcap_t, dlt: c_int) -> c_int = PCAP_ERROR;
    optional fn pcap_datalink_name_to_val(name: *const c_char) -> c_int = PCAP_ERROR;
    optional fn pcap_datalink_val_to_name(dlt: c_int) -> *const c_char = null();
    optional fn pcap_datalink_val_to_description(dlt: c_int) -> *const c_char = null();
    // It never answers with null.
    optional fn pcap_datalink_val_to_description_or_dlt(dlt: c_int) -> *const c_char = reason_pointer();

    // Properties of a capture
    optional fn pcap_snapshot(p: *mut pcap_t) -> c_int = PCAP_ERROR;
    optional fn pcap_is_swapped(p: *mut pcap_t) -> c_int = PCAP_ERROR;
    optional fn pcap_major_version(p: *mut pcap_t) -> c_int = PCAP_ERROR;
    optional fn pcap_minor_version(p: *mut pcap_t) -> c_int = PCAP_ERROR;
    optional fn pcap_bufsize(p: *mut pcap_t) -> c_int = PCAP_ERROR;
    optional fn pcap_file(p: *mut pcap_t) -> *mut FILE = null_mut();
    optional fn pcap_fileno(p: *mut pcap_t) -> c_int = PCAP_ERROR;
    #[cfg(not(windows))]
    required fn pcap_get_selectable_fd(p: *mut pcap_t) -> c_int = PCAP_ERROR;
    #[cfg(not(windows))]
    optional fn pcap_get_required_select_timeout(p: *mut pcap_t) -> *const timeval = null();

    // Errors and versions
    required fn pcap_geterr(p: *mut pcap_t) -> *mut c_char = reason_pointer();
    optional fn pcap_perror(p: *mut pcap_t, prefix: *const c_char) = ();
    optional fn pcap_strerror(error: c_int) -> *const c_char = reason_pointer();
    optional fn pcap_statustostr(error: c_int) -> *const c_char = reason_pointer();
    required fn pcap_lib_version() -> *const c_char = reason_pointer();

    // Savefiles
    optional fn pcap_open_offline(fname: *const c_char, errbuf: *mut c_char) -> *mut pcap_t = fail(errbuf);
    optional fn pcap_open_offline_with_tstamp_precision(
        fname: *const c_char, precision: c_uint, errbuf: *mut c_char
    ) -> *mut pcap_t = fail(errbuf);
    optional fn pcap_fopen_offline(file: *mut FILE, errbuf: *mut c_char) -> *mut pcap_t = fail(errbuf);
    optional fn pcap_fopen_offline_with_tstamp_precision(
        file: *mut FILE, precision: c_uint, errbuf: *mut c_char
    ) -> *mut pcap_t = fail(errbuf);
    optional fn pcap_dump_open(p: *mut pcap_t, fname: *const c_char) -> *mut pcap_dumper_t = null_mut();
    optional fn pcap_dump_open_append(
        p: *mut pcap_t, fname: *const c_char
    ) -> *mut pcap_dumper_t = null_mut();
    optional fn pcap_dump_fopen(p: *mut pcap_t, file: *mut FILE) -> *mut pcap_dumper_t = null_mut();
    optional fn pcap_dump_file(dumper: *mut pcap_dumper_t) -> *mut FILE = null_mut();
    optional fn pcap_dump_ftell(dumper: *mut pcap_dumper_t) -> c_long = -1;
    optional fn pcap_dump_ftell64(dumper: *mut pcap_dumper_t) -> i64 = -1;
    optional fn pcap_dump_flush(dumper: *mut pcap_dumper_t) -> c_int = PCAP_ERROR;
    optional fn pcap_dump_close(dumper: *mut pcap_dumper_t) = ();
    optional fn pcap_dump(user: *mut c_uchar, header: *const pcap_pkthdr, data: *const c_uchar) = ();

    // Remote capture
    optional fn pcap_open(
        source: *const c_char, snaplen: c_int, flags: c_int, read_timeout: c_int, auth: *mut pcap_rmtauth,
        errbuf: *mut c_char
    ) -> *mut pcap_t = fail(errbuf);
    optional fn pcap_createsrcstr(
        source: *mut c_char, kind: c_int, host: *const c_char, port: *const c_char, name: *const c_char,
        errbuf: *mut c_char
    ) -> c_int = fail(errbuf);
    optional fn pcap_parsesrcstr(
        source: *const c_char, kind: *mut c_int, host: *mut c_char, port: *mut c_char, name: *mut c_char,
        errbuf: *mut c_char
    ) -> c_int = fail(errbuf);
    optional fn pcap_findalldevs_ex(
        source: *const c_char, auth: *mut pcap_rmtauth, alldevs: *mut *mut pcap_if_t, errbuf: *mut c_char
    ) -> c_int = no_devices(alldevs, errbuf);
    optional fn pcap_setsampling(p: *mut pcap_t) -> *mut pcap_samp = null_mut();
    optional fn pcap_remoteact_accept(
        address: *const c_char, port: *const c_char, hostlist: *const c_char, connectinghost: *mut c_char,
        auth: *mut pcap_rmtauth, errbuf: *mut c_char
    ) -> SOCKET = no_socket(errbuf);
    optional fn pcap_remoteact_accept_ex(
        address: *const c_char, port: *const c_char, hostlist: *const c_char, connectinghost: *mut c_char,
        auth: *mut pcap_rmtauth, uses_ssl: c_int, errbuf: *mut c_char
    ) -> SOCKET = no_socket(errbuf);
    optional fn pcap_remoteact_list(
        hostlist: *mut c_char, sep: c_char, size: c_int, errbuf: *mut c_char
    ) -> c_int = fail(errbuf);
    optional fn pcap_remoteact_close(host: *const c_char, errbuf: *mut c_char) -> c_int = fail(errbuf);
    optional fn pcap_remoteact_cleanup() = ();

    // Names in filters (pcap/namedb.h): zero, null or PROTO_UNDEF (-1) mean unknown
    optional fn pcap_nametoaddr(name: *const c_char) -> *mut hostent = null_mut();
    optional fn pcap_nametoaddrinfo(name: *const c_char) -> *mut addrinfo = null_mut();
    optional fn pcap_nametonetaddr(name: *const c_char) -> bpf_u_int32 = 0;
    optional fn pcap_nametoport(name: *const c_char, port: *mut c_int, protocol: *mut c_int) -> c_int = 0;
    optional fn pcap_nametoportrange(
        name: *const c_char, port1: *mut c_int, port2: *mut c_int, protocol: *mut c_int
    ) -> c_int = 0;
    optional fn pcap_nametoproto(name: *const c_char) -> c_int = -1;
    optional fn pcap_nametoeproto(name: *const c_char) -> c_int = -1;
    optional fn pcap_nametollc(name: *const c_char) -> c_int = -1;
    optional fn pcap_ether_aton(text: *const c_char) -> *mut c_uchar = null_mut();
    optional fn pcap_ether_hostton(name: *const c_char) -> *mut c_uchar = null_mut();
    optional fn pcap_next_etherent(file: *mut FILE) -> *mut pcap_etherent = null_mut();

    // Windows only
    #[cfg(windows)]
    optional fn pcap_setbuff(p: *mut pcap_t, dim: c_int) -> c_int = PCAP_ERROR;
    #[cfg(windows)]
    optional fn pcap_setmode(p: *mut pcap_t, mode: c_int) -> c_int = PCAP_ERROR;
    #[cfg(windows)]
    replaced fn pcap_setmintocopy(p: *mut pcap_t, size: c_int) -> c_int = set_min_to_copy(p, size);
    #[cfg(windows)]
    required fn pcap_getevent(p: *mut pcap_t) -> HANDLE = null_mut();
    #[cfg(windows)]
    optional fn pcap_oid_get_request(
        p: *mut pcap_t, oid: bpf_u_int32, data: *mut c_void, len: *mut usize
    ) -> c_int = PCAP_ERROR;
    #[cfg(windows)]
    optional fn pcap_oid_set_request(
        p: *mut pcap_t, oid: bpf_u_int32, data: *const c_void, len: *mut usize
    ) -> c_int = PCAP_ERROR;
    #[cfg(windows)]
    optional fn pcap_sendqueue_alloc(memsize: c_uint) -> *mut pcap_send_queue = null_mut();
    #[cfg(windows)]
    optional fn pcap_sendqueue_destroy(queue: *mut pcap_send_queue) = ();
    #[cfg(windows)]
    optional fn pcap_sendqueue_queue(
        queue: *mut pcap_send_queue, header: *const pcap_pkthdr, data: *const c_uchar
    ) -> c_int = PCAP_ERROR;
    #[cfg(windows)]
    // The number of bytes sent
    optional fn pcap_sendqueue_transmit(
        p: *mut pcap_t, queue: *mut pcap_send_queue, sync: c_int
    ) -> c_uint = 0;
    #[cfg(windows)]
    optional fn pcap_stats_ex(p: *mut pcap_t, size: *mut c_int) -> *mut pcap_stat = null_mut();
    #[cfg(windows)]
    optional fn pcap_setuserbuffer(p: *mut pcap_t, size: c_int) -> c_int = PCAP_ERROR;
    #[cfg(windows)]
    optional fn pcap_live_dump(
        p: *mut pcap_t, filename: *mut c_char, maxsize: c_int, maxpacks: c_int
    ) -> c_int = PCAP_ERROR;
    #[cfg(windows)]
    optional fn pcap_live_dump_ended(p: *mut pcap_t, sync: c_int) -> c_int = PCAP_ERROR;
    #[cfg(windows)]
    optional fn pcap_start_oem(err_str: *mut c_char, flags: c_int) -> c_int = fail(err_str);
    #[cfg(windows)]
    optional fn pcap_get_airpcap_handle(p: *mut pcap_t) -> *mut airpcap_handle = null_mut();
    #[cfg(windows)]
    optional fn pcap_wsockinit() -> c_int = PCAP_ERROR;
    #[cfg(windows)]
    optional fn pcap_hopen_offline(handle: isize, errbuf: *mut c_char) -> *mut pcap_t = fail(errbuf);
    #[cfg(windows)]
    optional fn pcap_hopen_offline_with_tstamp_precision(
        handle: isize, precision: c_uint, errbuf: *mut c_char
    ) -> *mut pcap_t = fail(errbuf);
    #[cfg(windows)]
    optional fn pcap_dump_hopen(p: *mut pcap_t, handle: isize) -> *mut pcap_dumper_t = null_mut();
}

#[cfg(windows)]
unsafe fn set_min_to_copy(p: *mut pcap_t, size: c_int) -> c_int {
    let Ok(functions) = crate::loaded::functions() else { return PCAP_ERROR };
    // SAFETY: both functions belong to the library, and the caller promises that so does the handle.
    unsafe {
        crate::min_to_copy::set(functions.pcap_set_immediate_mode, functions.pcap_setmintocopy, p, size)
    }
}
