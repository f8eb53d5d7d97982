//! A program that has few descriptors left.

use std::fs::File;
use std::os::fd::AsRawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many connections from and to others leave.
const LEFT: u64 = 64;

/// A limit of this process' descriptors, until it is dropped.
pub struct Limited {
    before: Rlimit,
    _taken: Vec<File>,
}

impl Limited {
    /// None is left. Those that are open stay so.
    pub fn none_left() -> Self {
        let limited = Self::to(3, Vec::new());
        assert!(File::open("/dev/null").is_err(), "none is left");
        limited
    }

    /// The next one is one of the last. If something is closed meanwhile, as many more as that.
    pub fn the_last() -> Self {
        let mut taken: Vec<File> = Vec::new();
        // The system gives the lowest number that is free. With fewer in all, connections would leave fewer, too.
        let number = |file: &File| u64::from(file.as_raw_fd().unsigned_abs());
        while taken.last().is_none_or(|file| number(file) < 4 * LEFT) {
            taken.push(File::open("/dev/null").expect("there are more"));
        }
        let newest = taken.last().map_or(0, number);
        Self::to(newest + LEFT, taken)
    }

    fn to(limit: u64, taken: Vec<File>) -> Self {
        let before = getrlimit(Resource::Nofile);
        let current = Rlimit { current: Some(limit), ..before };
        setrlimit(Resource::Nofile, current).expect("the limit can be lowered");
        Self { before, _taken: taken }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.before).expect("the limit can be raised again");
    }
}
