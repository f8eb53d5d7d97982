//! Registrations through shared memory: a file for each process with all that it has to say, and one in which they all
//! post that theirs has changed.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ferrocal_proto::{
    Action, Announcement, Broadcast, BroadcastEvent, BroadcastKind, DropReason, EntityId, FileHead,
    FileLayout, MAX_REGISTRATION_LEN, Registration,
};
use ferrocal_shm::{MemoryFile, NamedLock, OpenError, RobustLock, monotonic_ns, unlink};

use crate::{RegistrationConfig, lock};

/// How long a registration waits for others that read or write, as in eCAL.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);
/// The first length of a process's file, as in eCAL.
const MIN_LEN: u64 = 1024;
/// How long an end stays posted, so that everybody reads it.
const KEEP_END: Duration = Duration::from_secs(3);
const LAYOUT: FileLayout = FileLayout::HOST;
const HEAD_LEN: u64 = LAYOUT.head_len() as u64;

pub(crate) struct HostBoard {
    domain: String,
    capacity: u64,
    lock: RobustLock,
    process_id: i32,
    own: Mutex<Own>,
    /// The file that all share. Windows keeps one only while somebody has it open.
    shared: Mutex<Option<MemoryFile>>,
}

/// What this node posts.
#[derive(Default)]
struct Own {
    page: Option<Page>,
    registrations: Vec<Posted>,
}

struct Posted {
    key: Key,
    registration: Registration,
    /// When it ended.
    ended: Option<Instant>,
}

/// What a registration is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Process,
    Publisher(EntityId),
    Subscriber(EntityId),
    Server(EntityId),
    Client(EntityId),
}

/// A file with registrations. Dropping it removes it.
struct Page {
    event_id: u64,
    name: String,
    file: MemoryFile,
    lock: NamedLock,
    /// A forked child leaves the files of its parent alone.
    owner: u32,
}

/// Why something was not posted.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the lock of registrations: {0}")]
    Lock(#[from] ferrocal_shm::LockError),
    #[error("somebody damaged a file of registrations, or it is of another version")]
    Damaged,
}

/// What was seen of the board.
#[derive(Default)]
pub(super) struct Look {
    /// Up to this event everything was seen.
    newest_ns: i64,
    /// What was in the files of other processes, to be ended with them. A process may be gone before anybody has read its
    /// farewell.
    known: HashMap<u64, Vec<u8>>,
}

/// As much is kept of other processes, in files and in bytes.
const MAX_KNOWN: usize = 1024;
const MAX_KNOWN_BYTES: usize = 16 * 1024 * 1024;

impl Look {
    /// Keeps what is in a file. If there is no room, all others are forgotten, those of killed processes among them: who
    /// is there posts again within a refresh.
    fn remember(&mut self, event_id: u64, list: Vec<u8>) {
        self.known.remove(&event_id);
        let held: usize = self.known.values().map(Vec::len).sum();
        if self.known.len() >= MAX_KNOWN || held.saturating_add(list.len()) > MAX_KNOWN_BYTES {
            self.known = HashMap::new();
        }
        if list.len() <= MAX_KNOWN_BYTES {
            self.known.insert(event_id, list);
        }
    }

    /// From `ago` on.
    pub(super) fn since(ago: Duration) -> Self {
        let ago = i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX);
        Self { newest_ns: now_ns().saturating_sub(ago), known: HashMap::new() }
    }
}

fn now_ns() -> i64 {
    i64::try_from(monotonic_ns()).unwrap_or(i64::MAX)
}

impl HostBoard {
    /// # Errors
    /// When the lock that all share cannot be opened.
    pub(crate) fn open(config: &RegistrationConfig) -> Result<Self, OpenError> {
        let domain = config.local_shm_domain.clone();
        Ok(Self {
            lock: RobustLock::open(&format!("{domain}_mtx"))?,
            domain,
            capacity: (config.local_shm_queue_len as u64).clamp(1, Broadcast::MAX_CAPACITY),
            process_id: std::process::id().cast_signed(),
            own: Mutex::default(),
            shared: Mutex::default(),
        })
    }

    /// Stores a registration of this node, for the next [`post`](Self::post).
    pub(super) fn put(&self, registration: &Registration) {
        let key = match &registration.announcement {
            Announcement::Process(_) => Key::Process,
            Announcement::Publisher(info) => Key::Publisher(info.topic_id),
            Announcement::Subscriber(info) => Key::Subscriber(info.topic_id),
            Announcement::Server(info) => Key::Server(info.service_id),
            Announcement::Client(info) => Key::Client(info.service_id),
            _ => return,
        };
        let mut own = lock(&self.own);
        own.registrations.retain(|posted| posted.key != key);
        let ended = (registration.action == Action::Unregister).then(Instant::now);
        own.registrations.push(Posted { key, registration: registration.clone(), ended });
    }

    /// Posts all that this node has to say, and has the others know.
    ///
    /// # Errors
    /// When files cannot be had, or somebody has their locks for too long.
    pub(super) fn post(&self) -> Result<(), PostError> {
        let mut own = lock(&self.own);
        own.registrations.retain(|posted| posted.ended.is_none_or(|ended| ended.elapsed() < KEEP_END));
        let mut list = Vec::new();
        own.registrations.iter().for_each(|posted| posted.registration.encode_into_list(&mut list));
        let needed = HEAD_LEN + list.len() as u64;
        let mut events = Vec::new();
        if own.page.as_ref().is_none_or(|page| page.file.len() < needed || !page.file.is_intact()) {
            if let Some(old) = own.page.take() {
                events.push((old.event_id, BroadcastKind::Removed));
            }
            let page = Page::create(&self.domain, (2 * needed).max(MIN_LEN))?;
            events.push((page.event_id, BroadcastKind::Created));
            own.page = Some(page);
        }
        let Some(page) = &own.page else { return Ok(()) };
        let written = page.lock.lock(LOCK_TIMEOUT).map(|()| {
            let is_written = page.write(&list);
            page.lock.unlock();
            is_written
        });
        if written != Ok(true) {
            // Whoever has the lock may be dead: the next one is another file's.
            own.page = None;
            return Err(written.map_or_else(PostError::Lock, |_| PostError::Damaged));
        }
        events.push((page.event_id, BroadcastKind::Updated));
        self.tell(&events)
    }

    /// Appends to the file that all share.
    fn tell(&self, events: &[(u64, BroadcastKind)]) -> Result<(), PostError> {
        self.lock.with(LOCK_TIMEOUT, |_| {
            let (file, mut broadcast) = self.broadcast()?;
            for &(event_id, kind) in events {
                let newest_ns = broadcast.events.last().map_or(0, |event| event.timestamp_ns);
                let timestamp_ns = now_ns().max(newest_ns.saturating_add(1));
                let process_id = self.process_id;
                broadcast.events.push(BroadcastEvent { process_id, timestamp_ns, event_id, kind });
            }
            let is_written = file.write(0, &broadcast.encode(LAYOUT));
            *lock(&self.shared) = Some(file);
            if is_written { Ok(()) } else { Err(PostError::Damaged) }
        })?
    }

    /// The file that all share, made if it is not there, and what it holds: nothing if it is damaged.
    fn broadcast(&self) -> Result<(MemoryFile, Broadcast), PostError> {
        let empty = || Broadcast { events: Vec::new(), capacity: self.capacity };
        let full_len = Broadcast::file_len(LAYOUT, self.capacity);
        let file = match MemoryFile::open_to_write(&self.domain) {
            Ok(file) => file,
            Err(error) if error.is_absent() => {
                return Ok((MemoryFile::create(&self.domain, full_len, full_len)?, empty()));
            }
            // Whoever made it was killed before it had its length.
            Err(OpenError::TooShort(_)) => {
                return Ok((MemoryFile::open_at_least(&self.domain, full_len)?, empty()));
            }
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        let len = file.len().min(Broadcast::file_len(LAYOUT, Broadcast::MAX_CAPACITY));
        if !file.append_to(0, usize::try_from(len).unwrap_or(usize::MAX), &mut bytes) {
            return Err(PostError::Damaged);
        }
        match Broadcast::decode(&bytes, LAYOUT) {
            Ok(broadcast) if broadcast.capacity > 0 => Ok((file, broadcast)),
            Err(DropReason::UnknownVersion) => Err(PostError::Damaged),
            _ => Ok((MemoryFile::open_at_least(&self.domain, full_len)?, empty())),
        }
    }

    /// Passes what others, and this node, have posted since the last look to `take`, each with why it cannot be used.
    ///
    /// # Errors
    /// When the file that all share cannot be read.
    pub(super) fn look(
        &self,
        look: &mut Look,
        mut take: impl FnMut(Result<Registration, DropReason>),
    ) -> Result<(), PostError> {
        let broadcast = self.lock.with(LOCK_TIMEOUT, |_| match MemoryFile::open(&self.domain) {
            Err(error) if error.is_absent() => Ok(None),
            _ => self.broadcast().map(|(_, broadcast)| Some(broadcast)),
        })??;
        let Some(broadcast) = broadcast else { return Ok(()) };
        let mut latest = HashMap::new();
        let mut grown = Vec::new();
        for event in broadcast.events.iter().filter(|event| event.timestamp_ns > look.newest_ns) {
            latest.insert(event.event_id, (event.process_id, event.kind));
            if event.kind == BroadcastKind::Created {
                grown.push(event.process_id);
            }
        }
        if let Some(newest) = broadcast.events.iter().map(|event| event.timestamp_ns).max() {
            look.newest_ns = look.newest_ns.max(newest.min(now_ns()));
        }
        for (event_id, (process_id, kind)) in latest {
            if kind == BroadcastKind::Removed {
                let known = look.known.remove(&event_id).filter(|_| !grown.contains(&process_id));
                for mut registration in Registration::decode_list(&known.unwrap_or_default()).flatten() {
                    registration.action = Action::Unregister;
                    take(Ok(registration));
                }
                continue;
            }
            match read_page(&page_name(&self.domain, event_id)) {
                Ok(list) => {
                    Registration::decode_list(&list).for_each(&mut take);
                    look.remember(event_id, list);
                }
                Err(None) => {}
                Err(Some(reason)) => take(Err(reason)),
            }
        }
        Ok(())
    }
}

fn page_name(domain: &str, event_id: u64) -> String {
    format!("{domain}_{event_id}")
}

/// What a process has posted. `None` if its file is gone.
fn read_page(name: &str) -> Result<Vec<u8>, Option<DropReason>> {
    let refused = |error: OpenError| (!error.is_absent()).then_some(DropReason::BadMemoryFile);
    let file = MemoryFile::open(name).map_err(refused)?;
    let lock_name = format!("{name}_mtx");
    let lock = NamedLock::open(&lock_name).map_err(refused)?;
    if MemoryFile::open(name).is_err() {
        // It was removed meanwhile, and the lock made anew.
        unlink(&lock_name);
        return Err(None);
    }
    lock.lock(LOCK_TIMEOUT).map_err(|_| DropReason::Locked)?;
    let content = (|| {
        let mut head = [0; FileHead::MAX_LEN];
        if !file.read(0, &mut head) {
            return Err(DropReason::Truncated);
        }
        let head = FileHead::decode(&head, file.len())?;
        if head.used > MAX_REGISTRATION_LEN as u64 {
            return Err(DropReason::TooLong);
        }
        let mut list = Vec::new();
        let is_read = file.append_to(head.layout.head_len() as u64, head.used as usize, &mut list);
        if is_read { Ok(list) } else { Err(DropReason::MemoryFileLost) }
    })();
    lock.unlock();
    Ok(content?)
}

impl Page {
    fn create(domain: &str, len: u64) -> Result<Self, OpenError> {
        let event_id = monotonic_ns();
        let name = page_name(domain, event_id);
        let file = MemoryFile::create(&name, len, len)?;
        let lock = NamedLock::open(&format!("{name}_mtx")).inspect_err(|_| unlink(&name))?;
        Ok(Self { event_id, name, file, lock, owner: std::process::id() })
    }

    fn write(&self, list: &[u8]) -> bool {
        let (used, max) = (list.len() as u64, self.file.len() - HEAD_LEN);
        let head = FileHead { layout: LAYOUT, used, max };
        self.file.write(0, head.encode(&mut [0; FileHead::MAX_LEN])) && self.file.write(HEAD_LEN, list)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            unlink(&self.name);
            unlink(&format!("{}_mtx", self.name));
        }
    }
}

impl Drop for HostBoard {
    fn drop(&mut self) {
        let page = lock(&self.own).page.take();
        if let Some(page) = page.filter(|page| page.owner == std::process::id()) {
            // Nobody waits for it: whoever reads the last registrations has a moment.
            let _ = self.tell(&[(page.event_id, BroadcastKind::Removed)]);
        }
    }
}

impl fmt::Debug for HostBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBoard").field("domain", &self.domain).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_list_that_somebody_cut_is_made_anew() {
        if !ferrocal_shm::is_available() {
            return;
        }
        let domain = format!("ferrocal_cut_{}", std::process::id());
        let config = RegistrationConfig { local_shm_domain: domain.clone(), ..RegistrationConfig::default() };
        let board = HostBoard::open(&config).unwrap();
        for len in [0, 1, 100] {
            std::fs::write(format!("/dev/shm/{domain}"), vec![0; len]).unwrap();
            board.post().unwrap();
            let (_, broadcast) = board.broadcast().unwrap();
            assert!(!broadcast.events.is_empty(), "{len}");
        }
        drop(board);
        [domain.clone(), format!("{domain}_mtx")].iter().for_each(|name| unlink(name));
    }

    #[test]
    fn what_is_kept_of_other_processes_is_bounded_and_renewed() {
        const LEN: usize = MAX_KNOWN_BYTES / 4;
        let mut look = Look::since(Duration::ZERO);
        for event_id in 0..4 {
            look.remember(event_id, vec![0; LEN]);
        }
        look.remember(0, vec![0; LEN]);
        assert_eq!(look.known.len(), 4, "an update takes the place of the one before");
        look.remember(4, vec![0; LEN]);
        assert_eq!(look.known.keys().collect::<Vec<_>>(), [&4]);
        look.remember(5, vec![0; MAX_KNOWN_BYTES + 1]);
        assert!(look.known.is_empty(), "it is too long for any room");
        for event_id in 0..=MAX_KNOWN as u64 {
            look.remember(event_id, Vec::new());
        }
        assert_eq!(look.known.len(), 1);
    }
}
