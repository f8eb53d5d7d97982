//! How things look: with or without colours, with Unicode or ASCII.

use std::borrow::Cow;

use ratatui::style::{Color, Modifier, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::output::clean;

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) has_colour: bool,
    pub(crate) is_unicode: bool,
}

/// What a text says about what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    /// It matters less.
    Dim,
    Good,
    /// It needs a look.
    Warn,
    /// It is wrong.
    Bad,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

impl Look {
    pub(crate) const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
    pub(crate) const DIM: Style = Style::new().add_modifier(Modifier::DIM);
    pub(crate) const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);

    pub(crate) fn style(self, tone: Tone) -> Style {
        let colour = |colour, modifier| match self.has_colour {
            true => Style::new().fg(colour),
            false => Style::new().add_modifier(modifier),
        };
        match tone {
            Tone::Plain => Style::new(),
            Tone::Dim => Self::DIM,
            Tone::Good => colour(Color::Green, Modifier::empty()),
            Tone::Warn => colour(Color::Yellow, Modifier::BOLD),
            Tone::Bad => colour(Color::Red, Modifier::BOLD),
        }
    }

    /// What is pressed or stands out.
    pub(crate) fn accent(self) -> Style {
        if self.has_colour { Style::new().fg(Color::Cyan) } else { Self::HEAD }
    }

    /// A text of others, which cannot control the terminal, and which the terminal can show.
    pub(crate) fn text(self, text: &str) -> Cow<'_, str> {
        let text = clean(text);
        if self.is_unicode || text.is_ascii() {
            return text;
        }
        text.chars().map(|char| if char.is_ascii() { char } else { '?' }).collect::<String>().into()
    }

    /// A text of exactly this width. One that is too long is cut.
    pub(crate) fn fit(self, text: &str, width: usize, align: Align) -> String {
        let cut = self.cut(text, width);
        let space = " ".repeat(width.saturating_sub(cut.width()));
        match align {
            Align::Left => format!("{cut}{space}"),
            Align::Right => format!("{space}{cut}"),
        }
    }

    /// A text of at most this width.
    pub(crate) fn cut(self, text: &str, width: usize) -> Cow<'_, str> {
        if text.width() <= width {
            return text.into();
        }
        let mark = if self.is_unicode { '…' } else { '~' };
        let mut cut = String::new();
        let mut left = width.saturating_sub(1);
        for char in text.chars() {
            let Some(rest) = left.checked_sub(char.width().unwrap_or(0)) else { break };
            left = rest;
            cut.push(char);
        }
        if width > 0 {
            cut.push(mark);
        }
        cut.into()
    }

    /// Lines of exactly this width that show values as bars, the newest at the right. The highest bar is the largest value.
    pub(crate) fn graph(self, values: &[f32], width: usize, height: usize) -> Vec<String> {
        const UNICODE: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const ASCII: [char; 9] = [' ', '_', '.', ':', '-', '=', '+', '*', '#'];
        let symbols = if self.is_unicode { UNICODE } else { ASCII };
        let values = &values[values.len().saturating_sub(width)..];
        let max = values.iter().copied().fold(0.0, f32::max);
        let steps = (height * 8) as f32;
        let line = |level: usize| {
            let bar = |&value: &f32| {
                // A value that is not 0 is seen, and so is that there is a value.
                let bar = if max > 0.0 { (value / max * steps).round().clamp(1.0, steps) } else { 1.0 };
                symbols[(bar as usize).saturating_sub(level * 8).min(8)]
            };
            let space = std::iter::repeat_n(' ', width.saturating_sub(values.len()));
            space.chain(values.iter().map(bar)).collect()
        };
        (0..height).rev().map(line).collect()
    }

    /// What a line across the screen is made of.
    pub(crate) fn rule(self) -> char {
        if self.is_unicode { '─' } else { '-' }
    }

    /// What is between parts of a line.
    pub(crate) fn separator(self) -> &'static str {
        if self.is_unicode { " · " } else { " | " }
    }

    /// Marks the column by which rows are sorted.
    pub(crate) fn order(self, is_descending: bool) -> char {
        match (self.is_unicode, is_descending) {
            (true, false) => '▲',
            (true, true) => '▼',
            (false, false) => '^',
            (false, true) => 'v',
        }
    }

    pub(crate) fn arrows(self) -> &'static str {
        if self.is_unicode { "↑↓" } else { "up/down" }
    }
}

/// Whether the system's locale, as these variables say it, is UTF-8.
pub(crate) fn is_utf8_locale(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &&str| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set).unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNICODE: Look = Look { has_colour: true, is_unicode: true };
    const ASCII: Look = Look { has_colour: false, is_unicode: false };

    #[test]
    fn texts_have_the_width_of_their_columns() {
        assert_eq!(UNICODE.fit("über", 6, Align::Right), "  über");
        assert_eq!(UNICODE.fit("abcdef", 4, Align::Left), "abc…");
        assert_eq!(UNICODE.fit("世界世界", 4, Align::Left), "世… ", "half of a wide one has no room");
        assert_eq!(ASCII.fit("abcdef", 4, Align::Left), "abc~");
        assert_eq!(ASCII.text("Grüße\x1b"), "Gr??e\\u{1b}");
        assert_eq!(UNICODE.fit("a", 0, Align::Left), "");
    }

    #[test]
    fn graphs_show_the_newest_values() {
        assert_eq!(UNICODE.graph(&[9.0, 0.0, 1.0, 4.0, 8.0], 4, 1), ["▁▁▄█"]);
        assert_eq!(UNICODE.graph(&[8.0, 4.0], 4, 2), ["  █ ", "  ██"]);
        assert_eq!(ASCII.graph(&[0.0, 4.0, 8.0], 4, 1), [" _-#"]);
        assert_eq!(ASCII.graph(&[0.0, 0.0], 3, 1), [" __"]);
        assert_eq!(ASCII.graph(&[], 3, 1), ["   "]);
    }

    #[test]
    fn the_first_variable_that_is_set_says_the_locale() {
        let locale = |set: &[(&str, &str)]| {
            let set = set.to_vec();
            is_utf8_locale(|name| set.iter().find(|one| one.0 == name).map(|one| one.1.to_owned()))
        };
        assert!(locale(&[("LANG", "de_DE.UTF-8")]) && locale(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]));
        assert!(!locale(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]) && !locale(&[]));
    }
}
