//! What is called, when, and what becomes of it when it ends.

use std::panic::resume_unwind;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use super::super::waiting::tests::message;
use super::*;
use crate::payload::Memory;

fn callback(config: SubscriberConfig, handler: impl FnMut(Incoming) + Send + 'static) -> Arc<Callback> {
    let handler = Handler::Owning(Box::new(handler));
    Callback::new(&config, 2, Arc::default(), Arc::default(), handler)
}

/// Pushes messages and runs what became ready.
fn push(callback: &Callback, clocks: impl IntoIterator<Item = i64>) {
    let mut ready = Ready::new();
    callback.push(&mut clocks.into_iter().map(|clock| message(1, clock, 1)), &mut ready);
    ready.iter().for_each(|task| task.run());
}

#[test]
fn it_is_ready_once_however_much_comes() {
    let callback = callback(SubscriberConfig::default(), |_| {});
    let mut ready = Ready::new();
    for clock in 1..=3 {
        callback.push(&mut std::iter::once(message(1, clock, 1)), &mut ready);
    }
    assert_eq!(ready.len(), 1);
    ready[0].run();
    callback.push(&mut std::iter::once(message(1, 4, 1)), &mut ready);
    assert_eq!(ready.len(), 2);
}

#[test]
fn inline_callbacks_get_all_that_came_together() {
    let clocks = Arc::new(Mutex::new(Vec::new()));
    let config = SubscriberConfig::default().queue_len(2).inline(true);
    let callback = callback(config, {
        let clocks = clocks.clone();
        move |message| lock(&clocks).push(message.clock)
    });
    push(&callback, 1..=5);
    assert_eq!(*lock(&clocks), [1, 2, 3, 4, 5]);
    callback.close();
    push(&callback, [6]);
    assert_eq!(Arc::strong_count(&clocks), 1, "the function is dropped");
}

#[test]
fn closing_waits_for_a_call() {
    let (entered, wait_entered) = mpsc::channel();
    let (leave, wait_leave) = mpsc::channel::<()>();
    let done = Arc::new(AtomicBool::new(false));
    let callback = callback(SubscriberConfig::default(), {
        let done = done.clone();
        move |_| {
            entered.send(()).unwrap();
            wait_leave.recv().unwrap();
            done.store(true, Ordering::SeqCst);
        }
    });
    thread::scope(|scope| {
        scope.spawn(|| push(&callback, [1, 2]));
        wait_entered.recv().unwrap();
        scope.spawn(|| {
            callback.close();
            assert!(done.load(Ordering::SeqCst));
            assert_eq!(Arc::strong_count(&done), 1, "the function is dropped");
        });
        while !callback.is_closed.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        leave.send(()).unwrap();
    });
    assert!(wait_entered.try_recv().is_err(), "the second message is not delivered");
}

#[test]
fn closing_inside_a_call_does_not_wait() {
    let count = Arc::new(AtomicUsize::new(0));
    let own = Arc::new(Mutex::new(None::<Arc<Callback>>));
    let callback = callback(SubscriberConfig::default(), {
        let (own, count) = (own.clone(), count.clone());
        move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            if let Some(callback) = lock(&own).take() {
                callback.close();
            }
        }
    });
    *lock(&own) = Some(callback.clone());
    push(&callback, [1, 2]);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(Arc::strong_count(&count), 1, "the function is dropped");
}

#[test]
fn a_handler_that_panics_is_dropped_and_reported() {
    for inline in [false, true] {
        let count = Arc::new(AtomicUsize::new(0));
        let callback = callback(SubscriberConfig::default().inline(inline), {
            let count = count.clone();
            move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                resume_unwind(Box::new("on purpose"));
            }
        });
        let reported = Arc::new(AtomicBool::new(false));
        callback.set_on_panic({
            let reported = reported.clone();
            Box::new(move || reported.store(true, Ordering::SeqCst))
        });
        push(&callback, [1, 2]);
        push(&callback, [3]);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert_eq!(Arc::strong_count(&count), 1, "the function is dropped");
        assert!(reported.load(Ordering::SeqCst) && callback.is_finished());
    }
}

#[test]
fn a_panic_before_anybody_asked_for_it_is_reported() {
    let callback = callback(SubscriberConfig::default(), |_| resume_unwind(Box::new("on purpose")));
    push(&callback, [1]);
    let (report, reported) = mpsc::channel();
    callback.set_on_panic(Box::new(move || report.send(()).unwrap()));
    assert!(reported.try_recv().is_ok());
}

/// The report calls code of the program.
#[test]
fn a_report_of_a_panic_that_panics_ends_the_run_all_the_same() {
    let callback = callback(SubscriberConfig::default(), |_| resume_unwind(Box::new("on purpose")));
    callback.set_on_panic(Box::new(|| resume_unwind(Box::new("on purpose"))));
    push(&callback, [1]);
    assert!(callback.is_finished());
}

/// The clocks of messages, and whether they lay in place.
type Seen = Arc<Mutex<Vec<(i64, bool)>>>;

/// A borrowing callback, which reports what it has seen.
fn borrowing(mut handler: impl FnMut(&Lent<'_>) + Send + 'static) -> (Arc<Callback>, Seen) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handler = Handler::Borrowing(Box::new({
        let seen = seen.clone();
        move |message: Lent<'_>| {
            lock(&seen).push((message.clock, message.payload.is_in_place()));
            handler(&message);
        }
    }));
    let callback = Callback::new(&SubscriberConfig::default(), 2, Arc::default(), Arc::default(), handler);
    (callback, seen)
}

/// Lends messages and runs what became ready.
fn lend(callback: &Callback, clocks: impl IntoIterator<Item = i64>) {
    let memory = Memory::new(10);
    for clock in clocks {
        let mut ready = Ready::new();
        callback.lend(message(1, clock, 0).with(BorrowedPayload::in_place(&memory)), &mut ready);
        ready.iter().for_each(|task| task.run());
    }
}

#[test]
fn messages_are_lent_and_pushed_to_the_same_function() {
    let (callback, seen) = borrowing(|message| assert_eq!(message.payload.array(2).unwrap(), [2, 3]));
    lend(&callback, [1, 1, 3]);
    let copy = message(1, 4, 0).with(Memory::new(10).bytes.into());
    let mut ready = Ready::new();
    callback.push(&mut std::iter::once(copy), &mut ready);
    assert_eq!(ready.len(), 1);
    lend(&callback, [5]);
    ready.iter().for_each(|task| task.run());
    assert_eq!(*lock(&seen), [(1, true), (3, true), (4, false), (5, false)], "it does not overtake");
    lend(&callback, [6]);
    assert_eq!(lock(&seen).last(), Some(&(6, true)));
    assert_eq!(callback.discarded().duplicate, 1);
    let state = lock(&callback.state);
    assert_eq!(state.waiting.counters().lost.load(Ordering::Relaxed), 1);
    assert_eq!(state.waiting.counters().bytes.load(Ordering::Relaxed), 50);
}

#[test]
fn what_is_lent_while_the_function_is_busy_is_copied() {
    let (entered, wait_entered) = mpsc::channel();
    let (leave, wait_leave) = mpsc::channel::<()>();
    let (callback, seen) = borrowing(move |_| {
        entered.send(()).unwrap();
        wait_leave.recv().unwrap();
    });
    thread::scope(|scope| {
        scope.spawn(|| lend(&callback, [1]));
        wait_entered.recv().unwrap();
        // It returns though nobody left.
        lend(&callback, [2, 3]);
        assert_eq!(lock(&seen).len(), 1);
        (0..3).for_each(|_| leave.send(()).unwrap());
    });
    assert_eq!(*lock(&seen), [(1, true), (2, false), (3, false)]);
}

#[test]
fn a_function_that_keeps_the_memory_for_too_long_gets_copies() {
    let (callback, _) = borrowing(|message| {
        if message.clock == 1 {
            thread::sleep(LENT_SLOW + Duration::from_millis(1));
        }
    });
    assert!(callback.borrows());
    lend(&callback, [1]);
    assert!(!callback.borrows());
    // The memory's thread says so.
    (0..100).for_each(|_| callback.took(Duration::ZERO));
    assert!(callback.borrows());
}

#[test]
fn a_function_that_panics_or_closes_while_it_borrows_is_dropped() {
    let owned = Arc::new(());
    for panics in [true, false] {
        let own = Arc::new(Mutex::new(None::<Arc<Callback>>));
        let (callback, seen) = borrowing({
            let (own, owned) = (own.clone(), owned.clone());
            move |_| {
                let _owned = &owned;
                if panics {
                    resume_unwind(Box::new("on purpose"));
                }
                lock(&own).take().unwrap().close();
            }
        });
        *lock(&own) = Some(callback.clone());
        lend(&callback, [1, 2]);
        assert_eq!(lock(&seen).len(), 1);
        assert!(callback.is_finished());
        lock(&own).take();
        assert_eq!(Arc::strong_count(&owned), 1, "the function is dropped");
    }
}

#[test]
fn closing_waits_for_a_call_that_borrows() {
    let (entered, wait_entered) = mpsc::channel();
    let (leave, wait_leave) = mpsc::channel::<()>();
    let done = Arc::new(AtomicBool::new(false));
    let (callback, _) = borrowing({
        let done = done.clone();
        move |_| {
            entered.send(()).unwrap();
            wait_leave.recv().unwrap();
            done.store(true, Ordering::SeqCst);
        }
    });
    thread::scope(|scope| {
        scope.spawn(|| lend(&callback, [1]));
        wait_entered.recv().unwrap();
        scope.spawn(|| {
            callback.close();
            assert!(done.load(Ordering::SeqCst));
            assert_eq!(Arc::strong_count(&done), 1, "the function is dropped");
        });
        while !callback.is_closed.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        lend(&callback, [2]);
        leave.send(()).unwrap();
    });
    assert!(wait_entered.try_recv().is_err(), "nothing is delivered after it");
}
