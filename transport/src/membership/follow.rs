//! Follows the machine's interfaces on a thread of its own.

use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use super::changes::{Changes, Stopper, changes};
use super::choice::Chooser;
use super::{Choice, Refusals};
use crate::config::Config;
use crate::sync::lock;

/// How often the interfaces are looked at, besides when the system reports a change (Linux).
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// Adapts to the machine's interfaces.
pub(crate) trait Follow: Send + Sync {
    /// Called regularly, and soon after a change.
    fn follow(&self, choice: &Choice);
}

/// The thread that keeps everything a transport opened up to date with the machine's interfaces.
///
/// It starts with the first member, and ends with the last handle. Nobody waits for its end, so that dropping a handle
/// in a forked child, which has no such thread, does not hang.
pub(crate) struct Follower {
    chooser: Arc<Chooser>,
    refusals: Arc<Refusals>,
    members: Arc<Members>,
    stopper: OnceLock<Option<Stopper>>,
}

type Members = Mutex<Vec<Weak<dyn Follow>>>;

impl Follower {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            chooser: Arc::new(Chooser::new(config)),
            refusals: Arc::default(),
            members: Arc::default(),
            stopper: OnceLock::new(),
        }
    }

    /// Looks at the machine's interfaces.
    pub(crate) fn look(&self) -> Choice {
        self.chooser.look()
    }

    /// Returns what the transport's groups share.
    pub(crate) fn refusals(&self) -> Arc<Refusals> {
        self.refusals.clone()
    }

    /// Keeps `member` up to date for as long as it lives.
    pub(crate) fn add(&self, member: &Arc<impl Follow + 'static>) {
        let member = Arc::downgrade(member);
        let mut members = lock(&self.members);
        members.retain(|member| member.strong_count() > 0);
        members.push(member);
        drop(members);
        self.stopper.get_or_init(|| self.start());
    }

    fn start(&self) -> Option<Stopper> {
        let started = changes().and_then(|(stopper, changes)| {
            let (chooser, refusals) = (self.chooser.clone(), self.refusals.clone());
            let members = Arc::downgrade(&self.members);
            // At most 15 characters, or Linux cuts it.
            thread::Builder::new()
                .name("ferrocal-follow".into())
                .spawn(move || run(&chooser, &refusals, &members, &changes))?;
            Ok(stopper)
        });
        started.inspect_err(|error| log::warn!("changes of interfaces are not followed: {error}")).ok()
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

fn run(chooser: &Chooser, refusals: &Refusals, members: &Weak<Members>, changes: &Changes) {
    loop {
        let choice = chooser.look();
        refusals.keep_those_on(choice.interfaces());
        // Neither the list nor its lock is held while a member works.
        let Some(all) = members.upgrade().map(|members| lock(&members).clone()) else { return };
        for member in all.iter().filter_map(Weak::upgrade) {
            member.follow(&choice);
        }
        if !changes.wait(FOLLOW_EVERY) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::mpsc;

    use super::super::Place;
    use super::*;

    struct Reporter(mpsc::Sender<()>);

    impl Follow for Reporter {
        fn follow(&self, _: &Choice) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn members_are_called_and_not_kept() {
        let (sender, receiver) = mpsc::channel();
        let follower = Follower::new(&Config::default());
        let member = Arc::new(Reporter(sender));
        follower.add(&member);
        receiver.recv().expect("it is called at once");
        drop(member);
        // The channel ends as nobody else holds the member.
        while receiver.recv().is_ok() {}
    }

    #[test]
    fn refusals_at_an_interface_that_is_gone_are_forgotten() {
        let (sender, receiver) = mpsc::channel();
        let follower = Follower::new(&Config::default());
        let gone = Place { index: u32::MAX, address: Ipv4Addr::new(192, 0, 2, 1) };
        assert!(follower.refusals().add(gone, false));
        let member = Arc::new(Reporter(sender));
        follower.add(&member);
        receiver.recv().expect("it is called at once");
        assert!(follower.refusals().add(gone, false), "it is new again");
    }

    #[test]
    fn the_thread_ends_with_its_follower() {
        let (sender, receiver) = mpsc::channel();
        let follower = Follower::new(&Config::default());
        let member = Arc::new(Reporter(sender));
        follower.add(&member);
        receiver.recv().expect("it is called at once");
        let members = Arc::downgrade(&follower.members);
        drop(follower);
        while members.strong_count() > 0 {
            thread::yield_now();
        }
    }
}
