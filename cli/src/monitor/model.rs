//! What the screen shows, without a terminal.

use std::time::{Instant, SystemTime};

use ferrocal::{LogLevel, LogMessage, SubscriberStats};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::data::{Data, Log, Registered};
use super::details::{Arrived, Details, Topic};
use super::look::Look;
use super::sheet::{Key, Sheet};
use super::tabs::{Fact, Tab};
use crate::time;

/// What the screen shows.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) look: Look,
    /// Where is looked: at this computer, or at the network.
    pub(crate) place: &'static str,
    pub(crate) data: Data,
    pub(crate) tab: Tab,
    sheets: [Sheet; Tab::ALL.len()],
    pub(crate) details: Option<Details>,
    pub(crate) has_help: bool,
    /// The first line of the help that is shown, and the largest that this may be, as drawn last.
    pub(crate) help_top: usize,
    pub(crate) help_last_top: usize,
    pub(crate) is_paused: bool,
    /// Log lines that came during a pause.
    waiting: Log,
    pub(crate) input: Option<Input>,
    /// What was searched for last.
    search: String,
    /// What to say of the last key.
    pub(crate) notice: Option<String>,
    /// How many lines a page has, as drawn last.
    pub(crate) page: usize,
}

/// A line that is typed.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) kind: InputKind,
    pub(crate) text: String,
    /// The filter, or the selected row, from before.
    before: Before,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputKind {
    Search,
    Filter,
}

#[derive(Debug)]
enum Before {
    Filter(String),
    Index(usize),
}

/// What a key asks of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    /// To draw the whole screen anew.
    Redraw,
    Quit,
}

/// The longest text that can be typed.
const MAX_INPUT: usize = 200;

impl Model {
    pub(crate) fn new(look: Look, place: &'static str) -> Self {
        Self {
            look,
            place,
            data: Data::new(),
            tab: Tab::Topics,
            sheets: Tab::ALL.map(|tab| Sheet::new(tab.columns(), tab.sort())),
            details: None,
            has_help: false,
            help_top: 0,
            help_last_top: 0,
            is_paused: false,
            waiting: Log::default(),
            input: None,
            search: String::new(),
            notice: None,
            page: 10,
        }
    }

    pub(crate) fn sheet(&self) -> &Sheet {
        &self.sheets[self.tab as usize]
    }

    pub(crate) fn sheet_mut(&mut self) -> &mut Sheet {
        &mut self.sheets[self.tab as usize]
    }

    /// Takes what is registered now.
    pub(crate) fn update(&mut self, now: Instant, registered: Registered, facts: Vec<Fact>) {
        if self.is_paused {
            return;
        }
        self.data.set(now, registered);
        self.data.facts = facts;
        self.refresh();
    }

    /// Takes log lines.
    pub(crate) fn log(&mut self, lines: impl IntoIterator<Item = LogMessage>) {
        let before = self.data.log.count;
        for line in lines {
            if self.is_paused {
                self.waiting.push(line);
            } else {
                self.data.log.push(line);
            }
        }
        if self.tab == Tab::Log && self.data.log.count > before {
            self.refresh();
        }
    }

    /// Takes what this program itself logged.
    pub(crate) fn own_log(&mut self, lines: impl IntoIterator<Item = (log::Level, String)>) {
        let line = |(level, content)| LogMessage {
            time_us: time::us(SystemTime::now()),
            host_name: String::new(),
            process_id: std::process::id().cast_signed(),
            process_name: String::new(),
            unit_name: "ferrocal monitor".to_owned(),
            level: match level {
                log::Level::Error => LogLevel::Error,
                log::Level::Warn => LogLevel::Warning,
                log::Level::Info => LogLevel::Info,
                log::Level::Debug => LogLevel::Debug1,
                log::Level::Trace => LogLevel::Debug2,
            },
            content,
        };
        self.log(lines.into_iter().map(line));
    }

    /// Takes how many log lines were lost.
    pub(crate) fn log_lost(&mut self, lost: u64) {
        self.data.log.lost = lost;
    }

    /// Takes why log lines cannot be received.
    pub(crate) fn no_log(&mut self, error: String) {
        self.data.log.error = Some(error);
    }

    /// How many log lines came.
    pub(crate) fn log_count(&self) -> u64 {
        self.data.log.count
    }

    /// Makes the rows of the tab on the screen anew.
    fn refresh(&mut self) {
        let rows = self.tab.rows(&self.data, self.look);
        self.sheet_mut().set(rows);
        if let Some(details) = &mut self.details {
            details.set(self.tab, &self.data, self.look);
        }
    }

    /// The topic whose messages are shown. Nothing else needs to be received.
    pub(crate) fn topic(&self) -> Option<&str> {
        match &self.details {
            Some(Details::Topic(topic)) => Some(&topic.name),
            _ => None,
        }
    }

    fn topic_mut(&mut self) -> Option<&mut Topic> {
        match &mut self.details {
            Some(Details::Topic(topic)) => Some(topic),
            _ => None,
        }
    }

    /// Takes what was received of the [topic](Self::topic). Returns whether that changes the screen.
    pub(crate) fn received(
        &mut self,
        now: Instant,
        message: Option<Arrived>,
        stats: SubscriberStats,
    ) -> bool {
        if self.is_paused {
            return false;
        }
        let Some(topic) = self.topic_mut() else { return false };
        topic.reception.set(now, stats);
        let Some(message) = message else { return false };
        topic.arrived(message);
        true
    }

    /// Takes why the [topic](Self::topic) cannot be subscribed to.
    pub(crate) fn not_subscribed(&mut self, error: String) {
        if let Some(topic) = self.topic_mut() {
            topic.error = Some(error);
        }
    }

    /// Shows a tab.
    pub(crate) fn show(&mut self, tab: Tab) {
        (self.tab, self.details) = (tab, None);
        self.refresh();
    }

    /// Shows a topic.
    pub(crate) fn show_topic(&mut self, name: String) {
        self.show(Tab::Topics);
        self.details = Some(Details::Topic(Box::new(Topic::new(name, &self.data, self.look))));
    }

    /// Shows only rows with this text.
    pub(crate) fn filter(&mut self, text: &str) {
        self.sheet_mut().filter = text.to_lowercase();
        self.refresh();
    }

    /// Takes a key.
    pub(crate) fn key(&mut self, key: KeyEvent) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::Nothing;
        }
        // That nothing was found is still to be seen when the text is accepted.
        if self.input.is_none() || key.code != KeyCode::Enter {
            self.notice = None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Action::Quit,
                KeyCode::Char('l') => return Action::Redraw,
                KeyCode::Char('f') => self.step(self.page as isize),
                KeyCode::Char('b') => self.step(-(self.page as isize)),
                KeyCode::Char('u') => {
                    if let Some(input) = &mut self.input {
                        input.text.clear();
                        self.typed();
                    }
                }
                _ => {}
            }
            return Action::Nothing;
        }
        if self.input.is_some() {
            self.input_key(key.code);
            return Action::Nothing;
        }
        if self.has_help {
            if self.help_last_top > 0 && moves(key.code) {
                return self.command(key.code);
            }
            self.has_help = false;
            // Any key closes the help, and those that quit still do.
            return if key.code == KeyCode::Char('q') { Action::Quit } else { Action::Nothing };
        }
        self.command(key.code)
    }

    fn command(&mut self, code: KeyCode) -> Action {
        let page = self.page as isize;
        match code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?') | KeyCode::F(1) => (self.has_help, self.help_top) = (true, 0),
            KeyCode::Char(digit @ '1'..='7') => self.show(Tab::ALL[digit as usize - '1' as usize]),
            KeyCode::Tab => self.turn(1),
            KeyCode::BackTab => self.turn(Tab::ALL.len() - 1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-page),
            KeyCode::PageDown => self.step(page),
            KeyCode::Home | KeyCode::Char('g') => self.step(-isize::MAX),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            KeyCode::Char('p' | ' ') => self.pause(),
            KeyCode::Char('/') => self.begin(InputKind::Search),
            KeyCode::Char('n') => self.search_next(true),
            KeyCode::Char('N') => self.search_next(false),
            KeyCode::Esc | KeyCode::Backspace if self.details.is_some() => {
                self.details = None;
                self.refresh();
            }
            _ => match &mut self.details {
                Some(Details::Topic(topic)) => {
                    if code == KeyCode::Char('v') {
                        topic.next_view();
                    }
                }
                Some(Details::Fields { .. }) => {}
                None => self.table_command(code),
            },
        }
        Action::Nothing
    }

    /// A key that only a table knows.
    fn table_command(&mut self, code: KeyCode) {
        let sheet = self.sheet_mut();
        match code {
            KeyCode::Enter => return self.open(),
            KeyCode::Char('f' | '\\') => return self.begin(InputKind::Filter),
            KeyCode::Char('s' | '>') => sheet.sort_next(),
            KeyCode::Char('S' | '<') => sheet.sort_previous(),
            KeyCode::Char('r') => sheet.is_descending ^= true,
            KeyCode::Right | KeyCode::Char('l') => sheet.skip = (sheet.skip + 1).min(sheet.max_skip()),
            KeyCode::Left | KeyCode::Char('h') => sheet.skip = sheet.skip.saturating_sub(1),
            KeyCode::Esc => sheet.filter.clear(),
            _ => return,
        }
        self.refresh();
    }

    fn turn(&mut self, tabs: usize) {
        self.show(Tab::ALL[(self.tab as usize + tabs) % Tab::ALL.len()]);
    }

    fn step(&mut self, lines: isize) {
        if self.has_help {
            self.help_top = self.help_top.saturating_add_signed(lines).min(self.help_last_top);
            return;
        }
        match &mut self.details {
            // Drawing knows where the end is.
            Some(details) => *details.scroll() = details.scroll().saturating_add_signed(lines),
            None => self.sheet_mut().step(lines),
        }
    }

    fn pause(&mut self) {
        self.is_paused = !self.is_paused;
        if !self.is_paused {
            let waiting = std::mem::take(&mut self.waiting);
            self.log(waiting.lines.into_iter().map(|(_, line)| line));
        }
    }

    /// Shows all that is known of the selected row.
    fn open(&mut self) {
        let Some(key) = self.sheet().selected().map(|row| row.key.clone()) else { return };
        match &key {
            Key::Topic(entity) => {
                let mut infos = self.data.entities();
                let info = infos.find(|(kind, info)| super::data::entity(kind, info) == *entity);
                let name = info.map(|(_, info)| String::from_utf8(info.topic_name.as_bytes().to_vec()));
                drop(infos);
                match name {
                    Some(Ok(name)) => self.show_topic(name),
                    Some(Err(_)) => self.notice = Some("the name of this topic is not UTF-8".to_owned()),
                    None => self.notice = Some("it is gone".to_owned()),
                }
            }
            _ => self.details = Some(Details::fields(self.tab, key, &self.data)),
        }
    }

    fn begin(&mut self, kind: InputKind) {
        let sheet = self.sheet();
        let (text, before) = match kind {
            InputKind::Search => (String::new(), Before::Index(sheet.index())),
            InputKind::Filter => (sheet.filter.clone(), Before::Filter(sheet.filter.clone())),
        };
        self.input = Some(Input { kind, text, before });
    }

    fn input_key(&mut self, code: KeyCode) {
        let Some(input) = &mut self.input else { return };
        match code {
            KeyCode::Char(char) => {
                if input.text.len() < MAX_INPUT {
                    input.text.push(char);
                }
            }
            KeyCode::Backspace => {
                input.text.pop();
            }
            KeyCode::Enter => {
                if let Some(Input { kind: InputKind::Search, text, .. }) = self.input.take()
                    && !text.is_empty()
                {
                    self.search = text;
                }
                return;
            }
            KeyCode::Esc => {
                match self.input.take().map(|input| input.before) {
                    Some(Before::Filter(before)) => self.filter(&before),
                    Some(Before::Index(index)) if self.details.is_none() => self.sheet_mut().select(index),
                    _ => {}
                }
                return;
            }
            _ => return,
        }
        self.typed();
    }

    /// Filters or searches by what is typed so far.
    fn typed(&mut self) {
        let Some(Input { kind, text, before }) = &self.input else { return };
        let text = text.clone();
        match (kind, before) {
            (InputKind::Filter, _) => self.filter(&text),
            (InputKind::Search, &Before::Index(index)) => self.search_from(&text, true, index),
            (InputKind::Search, Before::Filter(_)) => {}
        }
    }

    fn search_next(&mut self, is_forward: bool) {
        if self.search.is_empty() {
            return self.begin(InputKind::Search);
        }
        let search = self.search.clone();
        let len = self.sheet().rows.len().max(1);
        let index = self.sheet().index();
        self.search_from(&search, is_forward, if is_forward { index + 1 } else { index + len - 1 } % len);
    }

    fn search_from(&mut self, text: &str, is_forward: bool, index: usize) {
        let is_found = match &mut self.details {
            None => self.sheet_mut().search(text, is_forward, index),
            Some(Details::Topic(topic)) => {
                let small = text.to_lowercase();
                let has = |line: &super::message::Line| {
                    line.name.to_lowercase().contains(&small) || line.value.to_lowercase().contains(&small)
                };
                let found = match is_forward {
                    true => {
                        let behind = (topic.scroll + 1).min(topic.lines.len());
                        let later = topic.lines[behind..].iter().position(has).map(|line| behind + line);
                        later.or_else(|| topic.lines.iter().position(has))
                    }
                    false => topic.lines.iter().take(topic.scroll).rposition(has),
                };
                topic.scroll = found.unwrap_or(topic.scroll);
                found.is_some()
            }
            Some(Details::Fields { .. }) => return,
        };
        if !is_found && !text.is_empty() {
            self.notice = Some(format!("nothing has `{}` in it", self.look.text(text)));
        }
    }
}

/// Whether a key moves by lines.
fn moves(code: KeyCode) -> bool {
    use KeyCode::{Char, Down, End, Home, PageDown, PageUp, Up};
    matches!(code, Up | Down | PageUp | PageDown | Home | End | Char('j' | 'k' | 'g' | 'G'))
}

#[cfg(test)]
mod tests;
