//! The terminal: taken, and given back as it was, whatever happens.

use std::io::{self, Stdout, Write};
use std::mem::ManuallyDrop;
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{execute, style};
use ratatui::layout::{Position, Rect, Size};
use ratatui::prelude::CrosstermBackend;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

/// The terminal, in which only this program writes. Given back when dropped, and after a panic.
pub(crate) struct Screen {
    /// Not dropped: it would tell on standard error that it cannot show the cursor, and panic if that is gone, too. What
    /// [gives the terminal back](give_back) shows the cursor.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
    /// What is drawn on.
    area: Rect,
    _taken: Taken,
}

/// The largest size that is drawn. What a terminal says of its size is not trusted: each character takes memory.
const MAX_SIZE: Size = Size::new(1000, 500);

/// The part of a terminal of this size that is drawn.
fn drawn(size: Size) -> Rect {
    let Size { width, height } = size;
    Rect::from((Position::ORIGIN, Size::new(width.min(MAX_SIZE.width), height.min(MAX_SIZE.height))))
}

impl Screen {
    /// Takes the terminal of standard output. `has_colour` overrides the environment.
    ///
    /// # Errors
    /// When there is none, or it cannot be set up.
    pub(crate) fn take(has_colour: bool) -> io::Result<Self> {
        let taken = Taken::new()?;
        style::force_color_output(has_colour);
        let (backend, area) = (CrosstermBackend::new(io::stdout()), Rect::ZERO);
        let options = TerminalOptions { viewport: Viewport::Fixed(area) };
        let terminal = ManuallyDrop::new(Terminal::with_options(backend, options)?);
        let mut screen = Self { terminal, area, _taken: taken };
        screen.clear()?;
        Ok(screen)
    }

    /// Draws all of it the next time, in case something else was written to the terminal.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        // ratatui's own `clear` asks the terminal where its cursor is. The answer would come as a key.
        self.area = drawn(self.terminal.size()?);
        self.terminal.resize(self.area)
    }

    /// Draws what has changed.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        if drawn(self.terminal.size()?) != self.area {
            self.clear()?;
        }
        self.terminal.draw(draw).map(drop)
    }
}

type Hook = dyn Fn(&PanicHookInfo<'_>) + Send + Sync;

/// That the terminal is taken.
struct Taken {
    is_taken: Arc<AtomicBool>,
    hook: Arc<Hook>,
}

impl Taken {
    fn new() -> io::Result<Self> {
        let is_taken = Arc::new(AtomicBool::new(true));
        let hook: Arc<Hook> = panic::take_hook().into();
        let owner = thread::current().id();
        panic::set_hook({
            let (is_taken, hook) = (is_taken.clone(), hook.clone());
            Box::new(move |info| {
                // This program goes on if a thread of the library panics: its message must not be written over the screen.
                if thread::current().id() == owner {
                    give_back(&is_taken);
                    hook(info);
                } else {
                    log::error!("a thread panicked: {info}");
                }
            })
        });
        let taken = Self { is_taken, hook };
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back(&self.is_taken);
        // A panic has its hook already.
        if !thread::panicking() {
            drop(panic::take_hook());
            let hook = self.hook.clone();
            panic::set_hook(Box::new(move |info| hook(info)));
        }
    }
}

/// Gives the terminal back, once. That it is gone is no reason to fail.
fn give_back(is_taken: &AtomicBool) {
    if is_taken.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        let _ = execute!(out, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_drawn_is_bounded() {
        use super::{MAX_SIZE, Rect, Size, drawn};
        assert_eq!(drawn(Size::new(80, 24)), Rect::new(0, 0, 80, 24));
        assert_eq!(drawn(Size::new(u16::MAX, u16::MAX)).as_size(), MAX_SIZE);
        assert_eq!(drawn(Size::new(u16::MAX, 24)), Rect::new(0, 0, MAX_SIZE.width, 24));
    }
}
