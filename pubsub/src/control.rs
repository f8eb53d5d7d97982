//! Registration: tells the others what this node has, and learns what they have.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use ferrocal_proto::{
    Action, Announcement, DropReason, Limits, MAX_REGISTRATION_LEN, Registration, TopicInfo,
};
use ferrocal_transport::{Datagram, ReceiveHalf};
use tokio::time::MissedTickBehavior;

use crate::Mode;
use crate::entity::{Entity, Role};
use crate::identity;
use crate::intake::{Failing, Intake};
use crate::node::Shared;
use crate::topics::{Changed, TooManyPeers};
use crate::worker::Stop;

/// A new entity is announced twice, as eCAL does: the second registration is what makes the connection.
const NEW_ENTITY_ANNOUNCEMENTS: usize = 2;

/// Sends and receives registrations until it is stopped.
pub(crate) async fn run(shared: Arc<Shared>, mut half: Box<dyn ReceiveHalf>, mut stop: Stop) {
    let limits = Limits { max_message_len: MAX_REGISTRATION_LEN, ..shared.config.limits.reassembly };
    let mut intake = Intake::new(limits, shared.start);
    let mut control = Control { shared, clock: 0 };
    let mut refresh = tokio::time::interval(control.shared.config.registration.refresh);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = Failing::default();
    let mut ended = false;
    loop {
        let mut changed = Changed::new();
        tokio::select! {
            () = &mut stop => break,
            _ = refresh.tick() => {
                let now = Instant::now();
                intake.expire(now);
                // Whose connections end by this is about to be announced anyway.
                control.shared.topics.expire(now, control.shared.config.registration.timeout);
                control.announce(&control.shared.topics.entities());
            }
            () = control.shared.announcements.wanted.notified() => {
                let new = control.shared.announcements.take();
                for _ in 0..NEW_ENTITY_ANNOUNCEMENTS {
                    control.announce(&new);
                }
            }
            result = poll_fn(|cx| {
                half.poll_recv(cx, &mut |datagram| control.receive(&mut intake, datagram, &mut changed))
            }), if !ended => ended = !failing.after_batch(result).await,
        }
        if !changed.is_empty() {
            control.announce(&changed);
        }
        intake.report(&control.shared.drops.registration, &*half);
    }
    control
        .shared
        .send_registration(&control.shared.identity.registration(Action::Unregister, control.clock));
}

struct Control {
    shared: Arc<Shared>,
    /// Counts the registrations of the process.
    clock: i32,
}

impl Control {
    /// Announces the process and some of what it has.
    fn announce(&mut self, entities: &[Arc<Entity>]) {
        let Self { shared, clock } = self;
        *clock = clock.wrapping_add(1);
        shared.send_registration(&shared.identity.registration(Action::Register, *clock));
        for entity in entities {
            entity.announce(&shared.identity, Instant::now(), |registration| {
                shared.send_registration(&registration);
            });
        }
    }

    fn receive(&self, intake: &mut Intake, datagram: Datagram<'_>, changed: &mut Changed) {
        let now = datagram.received;
        intake.each_message(datagram, |message| {
            let registration = Registration::decode(message.as_slice())?;
            changed.extend(self.shared.registered(now, registration)?);
            Ok(())
        });
    }
}

impl Shared {
    /// Takes in a registration of any node; tells which entities of this node it connected or disconnected.
    fn registered(&self, now: Instant, registration: Registration) -> Result<Changed, DropReason> {
        let Registration { action, announcement } = registration;
        let (role, info) = match announcement {
            Announcement::Publisher(info) => (Role::Publisher, info),
            Announcement::Subscriber(info) => (Role::Subscriber, info),
            Announcement::Process(process) if action == Action::Register => {
                let takes_runs = identity::takes_runs(&process.runtime_version);
                return self
                    .topics
                    .process_seen(now, &process.host_name, process.process_id, takes_runs)
                    .map(|()| Changed::new())
                    .map_err(|TooManyPeers| DropReason::RegistryFull);
            }
            // Not even the end of a process is one of its publishers and subscribers: each of them tells its own, and
            // those of another node in the same process go on.
            _ => return Ok(Changed::new()),
        };
        if !self.accepts(&info) {
            return Ok(Changed::new());
        }
        let local = info.host_name == self.identity.host_name;
        match action {
            Action::Register => {
                self.topics.seen(now, role, &info, local).map_err(|TooManyPeers| DropReason::RegistryFull)
            }
            Action::Unregister => Ok(self.topics.gone(role, &info)),
        }
    }

    fn accepts(&self, info: &TopicInfo) -> bool {
        let same_host = info.host_name == self.identity.host_name;
        let own = same_host && info.process_id == self.identity.process_id;
        let reachable = match self.config.mode {
            Mode::Local => same_host || info.shm_transport_domain == self.identity.domain,
            Mode::Network => true,
        };
        reachable && (self.config.registration.loopback || !own)
    }
}
