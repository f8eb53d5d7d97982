//! One interface's capture.

use ferrocal_pcap_lazy::pcap::{Active, Capture, Device, Error};

use crate::error::CaptureError;
use crate::raw::Unavailable;

/// Room for the largest frame there is: loopback and segmentation offload make frames longer than any MTU.
const SNAP_LEN: i32 = 262_144;

/// How long the kernel gathers frames before it hands them over, in milliseconds. Handing over each frame at once
/// (immediate mode) would make Linux cut the buffer into slots of [`SNAP_LEN`], one for each frame. This way, a slot has
/// room for the frames of that time: when the program does not run, the buffer lasts for as many milliseconds as it has slots.
const GATHER_MS: i32 = 1;

/// Opens a device for capturing what it is sent, not what it overhears (no promiscuous mode). The buffer is twice what
/// is asked for, as Linux makes that of a socket, to have room for headers and gaps.
pub(super) fn open(device: &str, buffer_len: usize) -> Result<Capture<Active>, Error> {
    let capture = Capture::from_device(device)?
        .promisc(false)
        .snaplen(SNAP_LEN)
        .buffer_size(i32::try_from(buffer_len.saturating_mul(2)).unwrap_or(i32::MAX))
        .timeout(GATHER_MS);
    // Npcap has no such slots, but waits for its timeout even when frames are there.
    #[cfg(windows)]
    let capture = capture.immediate_mode(true);
    capture.open()
}

/// Opens a device for sending frames only.
pub(super) fn open_for_sending(device: &str) -> Result<Capture<Active>, CaptureError> {
    const LEAST_BUFFER_LEN: usize = 1 << 20;
    let mut capture = open(device, LEAST_BUFFER_LEN)?;
    // Nothing is to be received on it.
    capture.filter("less 1", true)?;
    Ok(capture)
}

/// Whether this program may capture at all.
pub(in crate::raw) fn probe() -> Result<(), Unavailable> {
    const LEAST_BUFFER_LEN: usize = 1 << 20;
    let devices = Device::list().map_err(|error| Unavailable::NoDevices(error.into()))?;
    let mut failure = Unavailable::NoDevices(CaptureError("no device is up".into()));
    // A device may be gone before it is opened.
    for device in devices.iter().filter(|device| device.flags.is_up() || cfg!(windows)) {
        match open(&device.name, LEAST_BUFFER_LEN) {
            Ok(_) => return Ok(()),
            // libpcap has a code of its own for this (PCAP_ERROR_PERM_DENIED), of which the crate keeps the text.
            Err(error) if error.to_string().to_lowercase().contains("permi") => {
                return Err(Unavailable::NotPermitted(error.into()));
            }
            Err(error) => failure = Unavailable::NoDevices(error.into()),
        }
    }
    Err(failure)
}
