//! The crate [`pcap`] with libpcap (Windows: Npcap's `wpcap.dll`) bound at run time.
//!
//! By itself `pcap` asks the linker for libpcap: building needs its development files, and a program does not even
//! start where the library is missing. With this crate in its dependencies a program builds everywhere, starts
//! everywhere, and learns from [`load`] what there is. Where there is nothing, every function of `pcap` that can fail
//! does so with an error that says why.
//!
//! ```
//! use ferrocal_pcap_lazy::pcap::Capture;
//!
//! match ferrocal_pcap_lazy::load() {
//!     Ok(library) => println!("{library}"),
//!     Err(reason) => {
//!         println!("no capture here: {reason}");
//!         assert!(Capture::from_device("lo").is_err());
//!     }
//! }
//! ```
//!
//! # How it works
//!
//! The build script leads the linker to an empty libpcap. The functions come from here instead: each public `pcap_*`
//! function is defined as a jump to that of the real library, which is looked for once, at the first call of any of
//! them. It is never unloaded.
//!
//! - Linux and other Unix systems: `libpcap.so.1`, `libpcap.so.0.8`, `libpcap.so`, where the dynamic linker finds them.
//! - Windows: `Npcap\wpcap.dll` and `wpcap.dll` in the system directory, and nowhere else, since whoever can write to
//!   another folder of the search path could put a library of their own there.
//! - macOS: nothing of all this. libpcap is a part of the system and linked as usual.
//!
//! # Rules
//!
//! - Use `pcap` through [this crate's re-export](pcap) only. A target that names `pcap` alone does not link.
//! - Do not link a static libpcap into the same program: both define the same functions. For the same reason a program
//!   can contain one version of this crate only; cargo sees to that.
//! - On Windows do not rely on time stamp types and precisions, nor on appending to savefiles: `pcap` decides while
//!   building whether it offers them.
//! - A statically linked musl program has no dynamic linker: the library always counts as unusable there.

pub use pcap;

mod error;
mod library;

#[cfg(target_os = "macos")]
mod linked;
#[cfg(not(target_os = "macos"))]
mod loaded;
#[cfg(not(target_os = "macos"))]
mod loader;
#[cfg(any(windows, all(test, not(target_os = "macos"))))]
mod min_to_copy;
#[cfg(not(target_os = "macos"))]
mod missing;
#[cfg(not(target_os = "macos"))]
mod table;
#[cfg(not(target_os = "macos"))]
mod trampoline;
#[cfg(not(target_os = "macos"))]
mod types;

pub use error::{LoadError, LoaderError};
pub use library::{Library, Location};

#[cfg(target_os = "macos")]
use linked as backend;
#[cfg(not(target_os = "macos"))]
use loaded as backend;

/// Looks for the library and tells what there is.
///
/// The first call, or the first use of [`pcap`], decides for the life of the process: a library that is installed
/// later is not seen.
///
/// # Errors
///
/// The reason why there is no library to use. The functions of [`pcap`] tell the same.
pub fn load() -> Result<&'static Library, &'static LoadError> {
    backend::load()
}
