//! A real terminal, without a window: tmux.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use crate::netns::run;
use crate::process::HANG;

/// Checks that tmux can be run.
///
/// # Errors
/// A sentence on what is missing.
pub fn available() -> Result<(), String> {
    run(Command::new("tmux").arg("-V")).map(drop)
}

/// A terminal with a program in it. Both end when it is dropped.
#[derive(Debug)]
pub struct Terminal {
    folder: PathBuf,
}

/// What the shell prints when the program has ended, before its exit code.
const ENDED: &str = "exit code";

impl Terminal {
    /// Starts a program by a line of shell in a terminal of this size, on the host of the test.
    ///
    /// # Panics
    /// When tmux does not start.
    #[track_caller]
    pub fn start(width: u16, height: u16, line: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("ferrocal-tmux-{}-{number}", process::id()));
        fs::create_dir(&folder).expect("the temporary folder can be written to");
        let terminal = Self { folder };
        let (width, height) = (width.to_string(), height.to_string());
        // A shell has no settings of the terminal of its own, and waits for the test to look at what the program left.
        let line = format!("{line}\necho {ENDED} $?; stty -a; exec cat >/dev/null");
        terminal.tmux(&["new-session", "-d", "-x", &width, "-y", &height, "sh", "-c", &line]);
        terminal
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(self.folder.join("socket")).args(["-f", "/dev/null"]).args(arguments);
        // Those of whoever runs the tests would change what programs show.
        for name in [
            "TMUX",
            "NO_COLOR",
            "CLICOLOR",
            "CLICOLOR_FORCE",
            "COLORTERM",
            "ECAL_DATA",
            "TRANSPORT",
            "FERROCAL_TRANSPORT",
        ] {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C.UTF-8").env("HOME", "/nonexistent").env("SHELL", "/bin/sh");
        command
    }

    #[track_caller]
    fn tmux(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Presses keys, each named as tmux does: `q`, `Enter`, `Escape`, `C-c`.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Changes the size.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    pub fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Empties the screen without the program's knowledge, as a message of another program would overwrite it.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    pub fn clear(&self) {
        self.tmux(&["send-keys", "-R"]);
    }

    /// Closes it, as if its window was closed.
    ///
    /// # Panics
    /// When it is gone already.
    #[track_caller]
    pub fn close(self) {
        self.tmux(&["kill-server"]);
    }

    /// What is on the screen, a line a row.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// What is on the screen, with the sequences of colours and the like.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    pub fn styled_screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Whether the program has the screen for itself.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    pub fn is_taken(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }

    /// Waits for a screen that `wanted` accepts, and returns it.
    ///
    /// # Panics
    /// When it does not come; shows the last one.
    #[track_caller]
    pub fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.await_shown(what, || self.screen(), wanted)
    }

    #[track_caller]
    fn await_shown(&self, what: &str, shown: impl Fn() -> String, wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let screen = shown();
            if wanted(&screen) {
                return screen;
            }
            assert!(start.elapsed() < HANG, "the screen does not show {what}, but\n{screen}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a screen with all of these texts, and returns it.
    ///
    /// # Panics
    /// When it does not come; shows the last one.
    #[track_caller]
    pub fn until_text(&self, texts: &[&str]) -> String {
        self.until(&format!("{texts:?}"), |screen| texts.iter().all(|text| screen.contains(text)))
    }

    /// Waits until the program has ended, checks that the terminal is as it was before, and returns the exit code and
    /// what is on the screen.
    ///
    /// # Panics
    /// When it does not end, or the terminal is not as it was.
    #[track_caller]
    pub fn until_end(&self) -> (i32, String) {
        // The settings of the terminal, after which nothing comes. On a small screen they push the exit code out of it.
        let screen = self.await_shown(
            "the end of the program",
            || self.tmux(&["capture-pane", "-p", "-S", "-"]),
            |screen| [ENDED, "extproc"].iter().all(|text| screen.contains(text)),
        );
        assert!(!self.is_taken(), "the screen was not given back\n{screen}");
        assert_eq!(
            self.tmux(&["display-message", "-p", "#{cursor_flag}"]).trim(),
            "1",
            "the cursor is hidden"
        );
        for setting in ["icanon", "echo", "isig", "opost", "icrnl"] {
            let has = |setting: &str| screen.split([' ', ';', '\n']).any(|word| word == setting);
            assert!(has(setting) && !has(&format!("-{setting}")), "the terminal has -{setting}\n{screen}");
        }
        let (_, rest) = screen.rsplit_once(ENDED).expect("the text was found");
        let code = rest.split_whitespace().next().and_then(|code| code.parse().ok());
        (code.unwrap_or_else(|| panic!("no exit code in\n{screen}")), screen)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if thread::panicking()
            && let Ok(screen) = run(&mut self.command(&["capture-pane", "-p"]))
        {
            eprintln!("--- the screen ---\n{screen}---");
        }
        let _ = run(&mut self.command(&["kill-server"]));
        let _ = fs::remove_dir_all(&self.folder);
    }
}
