//! The one library of the process, and the choice of it.

use std::borrow::Cow;
use std::ffi::CStr;
use std::sync::OnceLock;

use crate::loader::{self, Candidate, NotOpened};
use crate::table::Functions;
use crate::{Library, LoadError};

static LOADED: OnceLock<Result<Loaded, LoadError>> = OnceLock::new();

struct Loaded {
    functions: Functions,
    library: Library,
    /// What the functions point into, so it lives as long as the process.
    _handle: loader::Handle,
}

pub(crate) fn load() -> Result<&'static Library, &'static LoadError> {
    loaded().as_ref().map(|loaded| &loaded.library)
}

/// The functions of the library, looked for at the first call.
pub(crate) fn functions() -> Result<&'static Functions, &'static LoadError> {
    loaded().as_ref().map(|loaded| &loaded.functions)
}

fn loaded() -> &'static Result<Loaded, LoadError> {
    LOADED.get_or_init(choose)
}

/// The first candidate that can be used, or else what is wrong with the first that exists.
fn choose() -> Result<Loaded, LoadError> {
    let mut error = None;
    let mut tried = Vec::new();
    for candidate in loader::candidates() {
        match open(&candidate) {
            Ok(loaded) => return Ok(loaded),
            Err(None) => {}
            Err(Some(reason)) => error = error.or(Some(reason)),
        }
        tried.push(candidate.path);
    }
    Err(error.unwrap_or(LoadError::Absent { tried }))
}

/// Loads one candidate; the error is `None` where there is none.
fn open(candidate: &Candidate) -> Result<Loaded, Option<LoadError>> {
    // SAFETY: the names and places are those of libpcap, whose loading has no preconditions.
    let handle = unsafe { loader::open(candidate) }.map_err(|error| match error {
        NotOpened::Absent => None,
        NotOpened::Unusable(source) => {
            Some(LoadError::Unusable { path: candidate.path.clone(), source: source.into() })
        }
    })?;
    let (handle, path) = loader::locate(handle, &candidate.path);
    // SAFETY: a library under this name that has all the required functions is libpcap.
    let functions = unsafe { Functions::resolve(&handle) }
        .map_err(|symbol| LoadError::Incomplete { path: path.clone(), symbol })?;
    let library = Library::new(version(&functions), path, candidate.location);
    Ok(Loaded { functions, library, _handle: handle })
}

fn version(functions: &Functions) -> String {
    let text = functions.pcap_lib_version.map_or(std::ptr::null(), |pcap_lib_version| {
        // SAFETY: the function takes nothing and has no preconditions.
        unsafe { pcap_lib_version() }
    });
    if text.is_null() {
        return String::new();
    }
    // SAFETY: it answers with a string that lives as long as the library.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    Cow::into_owned(text)
}
