//! What `pcap` means by `pcap_setmintocopy`.
//!
//! Built on Windows, `pcap` believes that the library is as old as WinPcap and has no `pcap_set_immediate_mode`. So
//! `Capture::immediate_mode` asks for a least amount to copy of zero, or of the default to end the mode. It does so
//! before the capture is active, when that has no effect at best.

use std::ffi::c_int;

use crate::missing::PCAP_ERROR;
use crate::types::pcap_t;

/// `PCAP_ERROR_ACTIVATED`: the operation has to come before activation.
const ERROR_ACTIVATED: c_int = -4;
/// The default of WinPcap and Npcap, in bytes.
const DEFAULT: c_int = 16_000;

type SetInt = unsafe extern "C" fn(*mut pcap_t, c_int) -> c_int;

/// Sets the immediate mode of a capture that is not active yet, and the least amount to copy of one that is.
///
/// # Safety
///
/// The functions must be `pcap_set_immediate_mode` and `pcap_setmintocopy` of a library, the pointer a handle of it.
pub(crate) unsafe fn set(
    immediate: Option<SetInt>,
    genuine: Option<SetInt>,
    p: *mut pcap_t,
    size: c_int,
) -> c_int {
    if size == 0 || size == DEFAULT {
        // Without that function there is no telling whether the capture is active, and if it is not, the other one can
        // crash.
        let Some(immediate) = immediate else { return PCAP_ERROR };
        // SAFETY: as promised by the caller.
        let status = unsafe { immediate(p, c_int::from(size == 0)) };
        if status != ERROR_ACTIVATED {
            return status;
        }
    }
    let Some(genuine) = genuine else { return PCAP_ERROR };
    // SAFETY: as promised by the caller.
    unsafe { genuine(p, size) }
}

#[cfg(test)]
mod tests {
    use std::ptr::null_mut;

    use super::*;

    const INACTIVE: SetInt = {
        unsafe extern "C" fn immediate(_: *mut pcap_t, on: c_int) -> c_int {
            100 + on
        }
        immediate
    };
    const ACTIVE: SetInt = {
        unsafe extern "C" fn immediate(_: *mut pcap_t, _: c_int) -> c_int {
            ERROR_ACTIVATED
        }
        immediate
    };
    const GENUINE: SetInt = {
        unsafe extern "C" fn genuine(_: *mut pcap_t, size: c_int) -> c_int {
            size
        }
        genuine
    };

    fn answer(immediate: Option<SetInt>, genuine: Option<SetInt>, size: c_int) -> c_int {
        // SAFETY: the functions above do not look at the pointer.
        unsafe { set(immediate, genuine, null_mut(), size) }
    }

    #[test]
    fn before_activation_the_immediate_mode_is_meant() {
        assert_eq!(answer(Some(INACTIVE), Some(GENUINE), 0), 101);
        assert_eq!(answer(Some(INACTIVE), Some(GENUINE), DEFAULT), 100);
    }

    #[test]
    fn what_else_is_said_is_meant() {
        assert_eq!(answer(Some(ACTIVE), Some(GENUINE), 0), 0);
        assert_eq!(answer(Some(ACTIVE), Some(GENUINE), DEFAULT), DEFAULT);
        assert_eq!(answer(Some(INACTIVE), Some(GENUINE), 4096), 4096);
    }

    #[test]
    fn a_missing_function_is_an_error() {
        assert_eq!(answer(None, Some(GENUINE), 0), PCAP_ERROR);
        assert_eq!(answer(Some(ACTIVE), None, 0), PCAP_ERROR);
    }
}
