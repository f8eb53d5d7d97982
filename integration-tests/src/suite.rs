//! The harness of the tests that need a prepared machine: inside namespaces, one test at a time, skipping by reason.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::ecal::Release;
use crate::memory_group::MemoryGroup;
use crate::{example, netns, tmux, wine};

/// Set to 1, this turns a test that cannot run into a failure.
const REQUIRE_ALL: &str = "FERROCAL_REQUIRE_ALL";

/// `2/3` in it has the program run the second of three parts of its tests, so that the parts can run side by side.
const PART: &str = "FERROCAL_TESTS_PART";

/// What a test needs besides the namespaces that every one of them needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The real eCAL.
    Ecal,
    /// The real eCAL in an older version, too.
    OldEcal,
    /// Raw frames through libpcap.
    RawFrames,
    /// The examples `pub` and `sub`, built in the profile of the tests.
    Examples,
    /// Control groups that limit memory. A test with this need is ignored where they cannot be made, even with
    /// `FERROCAL_REQUIRE_ALL`.
    MemoryGroup,
    /// A terminal in memory, tmux.
    Tmux,
    /// Wine and the examples for Windows. A test with this need is ignored unless it [is wanted](wine::is_wanted), even
    /// where everything has to run.
    Wine,
}

impl Need {
    fn check(self) -> Result<(), String> {
        match self {
            Self::Ecal => Release::Current.available(),
            Self::OldEcal => Release::Current.available().and_then(|()| Release::Old.available()),
            Self::RawFrames => match ferrocal::raw::detect() {
                ferrocal::raw::Detection::Present(_) => Ok(()),
                missing => Err(missing.to_string()),
            },
            Self::Wine => wine::available(),
            Self::MemoryGroup => MemoryGroup::available(),
            Self::Tmux => tmux::available(),
            Self::Examples => ["pub", "sub"].into_iter().try_for_each(|name| {
                let path = example::path(name);
                if path.exists() { Ok(()) } else { Err(format!("{} is not built", path.display())) }
            }),
        }
    }
}

/// A test: it passes when it returns, and fails when it panics.
pub struct Test {
    name: String,
    needs: &'static [Need],
    body: Box<dyn FnOnce() + Send>,
}

impl Test {
    /// A test of this name.
    pub fn new(
        name: impl Into<String>,
        needs: &'static [Need],
        body: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self { name: name.into(), needs, body: Box::new(body) }
    }
}

/// Runs the tests inside namespaces of their own and returns the exit code of the program.
///
/// Has to be called first thing in `main`, while the program has a single thread and nothing to lose: it runs the
/// whole program again.
pub fn main(tests: Vec<Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests share the first host and its ports.
    arguments.test_threads = Some(1);
    let entered = if arguments.list { Ok(()) } else { netns::enter() };
    let strict = std::env::var(REQUIRE_ALL).is_ok_and(|value| value == "1");
    let (part, parts) = part();
    let tests = tests.into_iter().skip(part - 1).step_by(parts);
    let trials = tests.map(|test| trial(test, entered.clone(), strict)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The number of the part that is to run, and how many there are.
fn part() -> (usize, usize) {
    let Ok(value) = std::env::var(PART) else { return (1, 1) };
    let numbers =
        value.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
    match numbers {
        Some((part, parts)) if (1..=parts).contains(&part) => (part, parts),
        _ => panic!("{PART} is {value}, and not as 2/3"),
    }
}

fn trial(test: Test, entered: Result<(), String>, strict: bool) -> Trial {
    let body = move || {
        if test.needs.contains(&Need::Wine) && !wine::is_wanted() {
            return Ok(Completion::ignored_with("`./ci.sh windows` runs it"));
        }
        // Not every container may make them, and nothing can be installed for that. A limit on the address space tests the same.
        let strict = strict && !test.needs.contains(&Need::MemoryGroup);
        let missing = entered.and_then(|()| test.needs.iter().try_for_each(|need| need.check()));
        match missing {
            Ok(()) => {
                (test.body)();
                Ok(Completion::Completed)
            }
            Err(reason) if strict => Err(Failed::from(format!("cannot run here: {reason}"))),
            Err(reason) => Ok(Completion::ignored_with(reason)),
        }
    };
    Trial::ignorable_test(test.name, body)
}
