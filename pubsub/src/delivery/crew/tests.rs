use super::super::callback::{Callback, Handler};
use super::super::waiting::tests::message;
use super::*;
use crate::SubscriberConfig;
use crate::layer::{Incoming, Sink};

/// Bounds a hang. No test takes as long unless it fails.
const HANG: Duration = Duration::from_secs(60);

enum Event {
    Push(Arc<dyn Sink>, Incoming),
    Fail,
    Stop,
}

/// Brings what is sent to it.
struct Channel(mpsc::Receiver<Event>);

impl Source for Channel {
    fn receive(&mut self, ready: &mut Ready) -> Flow {
        match self.0.recv() {
            Ok(Event::Push(sink, message)) => sink.push(&mut std::iter::once(message), ready),
            Ok(Event::Fail) => panic!("on purpose"),
            Ok(Event::Stop) | Err(_) => return Flow::Pause(Duration::from_millis(1)),
        }
        Flow::Continue
    }
}

struct Stop(mpsc::Sender<Event>);

impl Interrupt for Stop {
    fn interrupt(&self) {
        let _ = self.0.send(Event::Stop);
    }
}

fn crew(on_failure: impl Fn() + Send + Sync + 'static) -> (Crew, mpsc::Sender<Event>) {
    let (events, source) = mpsc::channel();
    let interrupt: Arc<dyn Interrupt> = Arc::new(Stop(events.clone()));
    let settings = ReceiveThreadConfig::default();
    let crew = Crew::start(settings, Box::new(on_failure)).unwrap();
    crew.open(Box::new(|| None));
    crew.open(Box::new(move || Some((Box::new(Channel(source)), interrupt))));
    crew.watch().unwrap();
    (crew, events)
}

fn callback(inline: bool, handler: impl FnMut(Incoming) + Send + 'static) -> Arc<Callback> {
    let config = SubscriberConfig::default().inline(inline);
    let handler = Handler::Owning(Box::new(handler));
    Callback::new(&config, 8, Arc::default(), Arc::default(), handler)
}

fn push(events: &mpsc::Sender<Event>, callback: &Arc<Callback>, clock: i64) {
    events.send(Event::Push(callback.clone(), message(1, clock, 1))).unwrap();
}

#[test]
fn quick_callbacks_need_no_other_thread() {
    let (crew, events) = crew(|| {});
    // Without the watcher, which a busy computer has take the lead.
    let state = lock(&crew.shared.state);
    crew.shared.is_watched.store(true, Ordering::SeqCst);
    let (called, calls) = mpsc::channel();
    let [default, inline] = [false, true].map(|inline| {
        let called = called.clone();
        callback(inline, move |_| called.send(thread::current().id()).unwrap())
    });
    push(&events, &default, 1);
    push(&events, &inline, 1);
    let [first, second] = [(); 2].map(|()| calls.recv_timeout(HANG).unwrap());
    assert_eq!(first, second);
    drop(state);
}

#[test]
fn callbacks_that_block_delay_nobody_else() {
    let (_crew, events) = crew(|| {});
    let (entered, wait_entered) = mpsc::channel();
    let (leave, blocking): (Vec<_>, Vec<_>) = (0..3)
        .map(|number| {
            let (leave, wait_leave) = mpsc::channel::<()>();
            let entered = entered.clone();
            let callback = callback(false, move |message| {
                entered.send((number, message.clock)).unwrap();
                wait_leave.recv_timeout(HANG).unwrap();
            });
            (leave, callback)
        })
        .unzip();
    let (called, calls) = mpsc::channel();
    let quick = callback(false, move |message: Incoming| called.send(message.clock).unwrap());
    for (clock, blocking) in (1..).zip(&blocking) {
        push(&events, blocking, 1);
        wait_entered.recv_timeout(HANG).unwrap();
        push(&events, &quick, clock);
        assert_eq!(calls.recv_timeout(HANG), Ok(clock), "{clock} callbacks block");
    }
    // The messages of each are passed on in their order, one at a time.
    for clock in 2..=4 {
        push(&events, &blocking[0], clock);
    }
    assert!(wait_entered.try_recv().is_err());
    for clock in 2..=4 {
        leave[0].send(()).unwrap();
        assert_eq!(wait_entered.recv_timeout(HANG), Ok((0, clock)));
        assert!(wait_entered.try_recv().is_err());
    }
    leave.iter().for_each(|leave| leave.send(()).unwrap());
}

#[test]
fn few_threads_wait_for_slow_callbacks() {
    const BLOCKING: usize = 5 * MAX_IDLE;
    let (crew, events) = crew(|| {});
    let (entered, wait_entered) = mpsc::channel();
    let leave: Vec<_> = (0..BLOCKING)
        .map(|_| {
            let (leave, wait_leave) = mpsc::channel::<()>();
            let entered = entered.clone();
            let callback = callback(false, move |_| {
                entered.send(()).unwrap();
                let _ = wait_leave.recv_timeout(HANG);
            });
            push(&events, &callback, 1);
            wait_entered.recv_timeout(HANG).unwrap();
            (leave, callback)
        })
        .collect();
    let running = |state: &State| state.threads.iter().filter(|thread| !thread.is_finished()).count();
    assert!(running(&lock(&crew.shared.state)) >= BLOCKING);
    drop(leave);
    let start = Instant::now();
    loop {
        let state = lock(&crew.shared.state);
        assert!(state.idle <= MAX_IDLE, "{} threads wait", state.idle);
        // Beside them, one receives, and one watches.
        if running(&state) <= MAX_IDLE + 2 {
            break;
        }
        drop(state);
        assert!(start.elapsed() < HANG, "they do not end");
        thread::yield_now();
    }
}

#[test]
fn a_slow_callback_runs_elsewhere_until_it_is_quick_again() {
    let (_crew, events) = crew(|| {});
    let (called, calls) = mpsc::channel();
    let called_slow = called.clone();
    let slow =
        callback(false, move |_| called_slow.send(thread::current().name().map(str::to_owned)).unwrap());
    slow.took(Duration::from_secs(1));
    push(&events, &slow, 1);
    assert_eq!(calls.recv_timeout(HANG).unwrap().as_deref(), Some("ferrocal-callback"));
    let quick = callback(false, move |_| called.send(thread::current().name().map(str::to_owned)).unwrap());
    push(&events, &quick, 1);
    assert_eq!(calls.recv_timeout(HANG).unwrap().as_deref(), Some("ferrocal-receive"));
}

#[test]
fn a_crew_can_be_dropped_inside_a_callback() {
    for inline in [false, true] {
        let (crew, events) = crew(|| {});
        let (done, wait_done) = mpsc::channel();
        let mut crew = Some(crew);
        let callback = callback(inline, move |_| {
            drop(crew.take());
            done.send(()).unwrap();
        });
        push(&events, &callback, 1);
        wait_done.recv_timeout(HANG).unwrap();
    }
}

#[test]
fn a_failure_of_the_receiving_thread_is_reported() {
    let (failed, wait_failed) = mpsc::channel();
    let (_crew, events) = crew(move || failed.send(()).unwrap());
    events.send(Event::Fail).unwrap();
    wait_failed.recv_timeout(HANG).unwrap();
}
