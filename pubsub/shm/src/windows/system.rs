//! The calls of Windows, each with what it returns checked.
#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{self, NonNull};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_ALREADY_EXISTS, HANDLE, INVALID_HANDLE_VALUE, SetLastError, WAIT_ABANDONED,
    WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, MEM_COMMIT, MEMORY_BASIC_INFORMATION,
    MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile, OpenFileMappingW, PAGE_READWRITE, UnmapViewOfFile,
    VirtualQuery,
};
use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};
use windows_sys::Win32::System::ProcessStatus::K32GetMappedFileNameW;
use windows_sys::Win32::System::Threading::{
    CreateEventExW, CreateMutexExW, EVENT_MODIFY_STATE, GetCurrentProcess, INFINITE, MUTEX_MODIFY_STATE,
    OpenEventW, OpenProcess, PROCESS_SYNCHRONIZE, ReleaseMutex, SYNCHRONIZATION_SYNCHRONIZE, SetEvent,
    WaitForSingleObject,
};

use crate::OpenError;

const MUTEX_ACCESS: u32 = SYNCHRONIZATION_SYNCHRONIZE | MUTEX_MODIFY_STATE;
const EVENT_ACCESS: u32 = SYNCHRONIZATION_SYNCHRONIZE | EVENT_MODIFY_STATE;

/// A name as the system takes it. `\` would lead to the objects of other sessions.
fn wide(name: &str) -> Vec<u16> {
    name.replace(['/', '\\', '\0'], "_").encode_utf16().chain([0]).collect()
}

/// # Safety
/// The handle is null, or of a new object, or newly opened.
unsafe fn owned(handle: HANDLE) -> Result<OwnedHandle, OpenError> {
    if handle.is_null() {
        return Err(OpenError::System(io::Error::last_os_error()));
    }
    // SAFETY: nobody else has this handle, as the caller promises.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Opens a mutex, or makes it. It is not taken.
pub(super) fn mutex(name: &str) -> Result<OwnedHandle, OpenError> {
    // SAFETY: the name ends with 0; the handle is a new one.
    unsafe { owned(CreateMutexExW(ptr::null(), wide(name).as_ptr(), 0, MUTEX_ACCESS)) }
}

/// Opens an event that ends one wait, or makes it. It is not set.
pub(super) fn event(name: &str) -> Result<OwnedHandle, OpenError> {
    // SAFETY: the name ends with 0; the handle is a new one.
    unsafe { owned(CreateEventExW(ptr::null(), wide(name).as_ptr(), 0, EVENT_ACCESS)) }
}

pub(super) fn existing_event(name: &str) -> Result<OwnedHandle, OpenError> {
    // SAFETY: the name ends with 0; the handle is a new one.
    unsafe { owned(OpenEventW(EVENT_ACCESS, 0, wide(name).as_ptr())) }
}

/// How a wait has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// This thread has the mutex, or has taken the event back.
    Taken,
    /// This thread has the mutex. Whoever had it before ended without leaving it.
    Abandoned,
    TimedOut,
    Failed,
}

/// Waits for a mutex or an event.
pub(super) fn wait(object: &OwnedHandle, timeout: Duration) -> Waited {
    // Not less than what was asked for, and never for ever.
    let millis = u32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(INFINITE);
    // SAFETY: the handle is open.
    match unsafe { WaitForSingleObject(object.as_raw_handle(), millis.min(INFINITE - 1)) } {
        WAIT_OBJECT_0 => Waited::Taken,
        WAIT_ABANDONED => Waited::Abandoned,
        WAIT_TIMEOUT => Waited::TimedOut,
        _ => Waited::Failed,
    }
}

/// Leaves a mutex, if this thread has it.
pub(super) fn release(mutex: &OwnedHandle) {
    // SAFETY: the handle is open.
    unsafe { ReleaseMutex(mutex.as_raw_handle()) };
}

/// Sets an event. Returns whether it is one.
pub(super) fn set(event: &OwnedHandle) -> bool {
    // SAFETY: the handle is open.
    unsafe { SetEvent(event.as_raw_handle()) != 0 }
}

/// A mapping of the page file, mapped here as a whole.
#[derive(Debug)]
pub(super) struct View {
    start: NonNull<u8>,
    len: usize,
    is_writable: bool,
    /// As long as somebody has it, others find the mapping by its name.
    _mapping: OwnedHandle,
}

// SAFETY: it is memory without a thread of its own. All access goes through raw pointers, since other processes change it
// at any time.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    /// Makes a mapping, which must not be there yet, of `len` zeros; rounded up to whole pages.
    pub(super) fn create(name: &str, len: u64) -> Result<Self, OpenError> {
        let (high, low) = ((len >> 32) as u32, len as u32);
        // SAFETY: the name ends with 0, and no handle of a file is given; the handle is a new one. The error is that of this
        // call alone.
        let (mapping, error) = unsafe {
            SetLastError(0);
            let name = wide(name);
            let mapping = CreateFileMappingW(
                INVALID_HANDLE_VALUE,
                ptr::null(),
                PAGE_READWRITE,
                high,
                low,
                name.as_ptr(),
            );
            let error = io::Error::last_os_error();
            (owned(mapping)?, error)
        };
        if error.raw_os_error() == Some(ERROR_ALREADY_EXISTS.cast_signed()) {
            return Err(OpenError::System(error));
        }
        Self::of(mapping, true)
    }

    /// Opens a mapping that somebody has made.
    pub(super) fn open(name: &str, is_writable: bool) -> Result<Self, OpenError> {
        // SAFETY: the name ends with 0; the handle is a new one.
        let mapping = unsafe { owned(OpenFileMappingW(access(is_writable), 0, wide(name).as_ptr()))? };
        Self::of(mapping, is_writable)
    }

    fn of(mapping: OwnedHandle, is_writable: bool) -> Result<Self, OpenError> {
        // SAFETY: the handle is open, and of a mapping. A new view overlaps nothing.
        let view = unsafe { MapViewOfFile(mapping.as_raw_handle(), access(is_writable), 0, 0, 0) };
        let start =
            NonNull::new(view.Value.cast()).ok_or_else(|| OpenError::System(io::Error::last_os_error()))?;
        let mut view = Self { start, len: 0, is_writable, _mapping: mapping };
        view.len = view.committed_len()?;
        if view.is_of_a_file() {
            return Err(OpenError::System(io::Error::other("it maps a file, which may become unreadable")));
        }
        Ok(view)
    }

    /// How much of it has memory, from its start on. That stays so as long as the view.
    fn committed_len(&self) -> Result<usize, OpenError> {
        let mut region = MEMORY_BASIC_INFORMATION::default();
        // SAFETY: the structure is as long as it is said to be.
        let written =
            unsafe { VirtualQuery(self.start.as_ptr().cast(), &raw mut region, size_of_val(&region)) };
        if written == 0 {
            return Err(OpenError::System(io::Error::last_os_error()));
        }
        if region.State == MEM_COMMIT { Ok(region.RegionSize) } else { Err(OpenError::TooShort(0)) }
    }

    /// Whether it is of a file, and not of the page file. A file on a network may be gone at any time, and then the next
    /// access would end the program.
    fn is_of_a_file(&self) -> bool {
        let mut name = [0_u16; 260];
        // SAFETY: the buffer is as long as it is said to be; the handle is that of this process.
        let len = unsafe {
            K32GetMappedFileNameW(
                GetCurrentProcess(),
                self.start.as_ptr().cast(),
                name.as_mut_ptr(),
                name.len() as u32,
            )
        };
        len > 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Copies a part into a buffer. Returns whether the view has that part.
    pub(super) fn read(&self, offset: usize, into: &mut [u8]) -> bool {
        if !self.contains(offset, into.len()) {
            return false;
        }
        // SAFETY: the range was checked, and the buffer is not of this view. Others may write meanwhile: any bytes are
        // allowed in the buffer.
        unsafe { ptr::copy_nonoverlapping(self.start.as_ptr().add(offset), into.as_mut_ptr(), into.len()) };
        true
    }

    /// Appends a part to a buffer. Returns whether the view has that part; nothing is appended otherwise.
    pub(super) fn append_to(&self, offset: usize, len: usize, into: &mut Vec<u8>) -> bool {
        if !self.contains(offset, len) {
            return false;
        }
        into.reserve(len);
        // SAFETY: as in `read`; the buffer has room for so many bytes behind its own, and they are set before its length.
        unsafe {
            let room = into.spare_capacity_mut().as_mut_ptr().cast();
            ptr::copy_nonoverlapping(self.start.as_ptr().add(offset), room, len);
            into.set_len(into.len() + len);
        }
        true
    }

    /// Copies a buffer into a part. Returns whether the view has that part, and can be written.
    pub(super) fn write(&self, offset: usize, from: &[u8]) -> bool {
        if !self.is_writable || !self.contains(offset, from.len()) {
            return false;
        }
        // SAFETY: the range was checked, can be written, and is not of the buffer.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.start.as_ptr().add(offset), from.len()) };
        true
    }

    fn contains(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let view = MEMORY_MAPPED_VIEW_ADDRESS { Value: self.start.as_ptr().cast() };
        // SAFETY: the view is this one's own, and nothing refers to it any more.
        unsafe { UnmapViewOfFile(view) };
    }
}

const fn access(is_writable: bool) -> u32 {
    if is_writable { FILE_MAP_READ | FILE_MAP_WRITE } else { FILE_MAP_READ }
}

/// Whether there is a process of this id, of whatever user, that has not ended.
pub fn lives(process_id: u32) -> Option<bool> {
    // SAFETY: no pointers are given; the handle is a new one.
    Some(match unsafe { owned(OpenProcess(PROCESS_SYNCHRONIZE, 0, process_id)) } {
        // One that has ended is there as long as somebody has it open.
        Ok(process) => wait(&process, Duration::ZERO) == Waited::TimedOut,
        Err(OpenError::System(error)) => error.raw_os_error() == Some(ERROR_ACCESS_DENIED.cast_signed()),
        Err(_) => false,
    })
}

/// The time of the system's monotonic clock in nanoseconds, as eCAL orders its news by.
pub fn monotonic_ns() -> u64 {
    const NANOS: u64 = 1_000_000_000;
    let (mut count, mut frequency) = (0, 0);
    // SAFETY: the pointers are valid. Neither call fails on a Windows that this program runs on.
    unsafe {
        QueryPerformanceCounter(&raw mut count);
        QueryPerformanceFrequency(&raw mut frequency);
    }
    let (count, frequency) = (count.cast_unsigned(), frequency.cast_unsigned().max(1));
    count / frequency * NANOS + count % frequency * NANOS / frequency
}

/// A mapping of a file, to be read.
#[cfg(test)]
pub(super) fn mapping_of(file: &std::fs::File, name: &str) -> Result<OwnedHandle, OpenError> {
    use windows_sys::Win32::System::Memory::PAGE_READONLY;
    // SAFETY: the name ends with 0, and the file is open; the handle is a new one.
    unsafe {
        owned(CreateFileMappingW(file.as_raw_handle(), ptr::null(), PAGE_READONLY, 0, 0, wide(name).as_ptr()))
    }
}
