//! Columns for people.

use std::borrow::Cow;
use std::io;

use crate::output::{HEAD, Output, clean};

/// The most characters of a cell. One long name would widen its column in all rows.
const MAX_WIDTH: usize = 200;

/// Rows whose columns are as wide as they need to be.
pub(crate) struct Table {
    heads: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
    /// As wide as the columns were printed; empty before that.
    printed: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

impl Table {
    pub(crate) fn new(heads: impl IntoIterator<Item = (&'static str, Align)>) -> Self {
        Self { heads: heads.into_iter().collect(), rows: Vec::new(), printed: Vec::new() }
    }

    /// Appends a row. Its texts may come from anywhere. An empty one is shown as `-`, and a long one is cut.
    pub(crate) fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cow<'a, str>>) {
        let shown = |cell: Cow<'_, str>| {
            if cell.is_empty() { "-".to_owned() } else { cut(clean(&cell)).into_owned() }
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Prints the rows that were appended since the last call. The first time, it prints the heads and decides how wide
    /// columns are.
    pub(crate) fn print(&mut self, out: &mut Output) -> io::Result<()> {
        if self.printed.is_empty() {
            let width = |(column, (head, _)): (usize, &(&str, Align))| {
                let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell));
                cells.chain([head.len()]).max().unwrap_or(0)
            };
            self.printed = self.heads.iter().enumerate().map(width).collect();
            let line = self.line(self.heads.iter().map(|&(head, _)| head));
            out.line(format_args!("{HEAD}{line}{HEAD:#}"))?;
        }
        for row in std::mem::take(&mut self.rows) {
            out.line(self.line(row.iter().map(String::as_str)))?;
        }
        Ok(())
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>) -> String {
        let mut line = String::new();
        for ((&column, &(_, align)), cell) in self.printed.iter().zip(&self.heads).zip(cells) {
            let space = column.saturating_sub(width(cell));
            let (before, behind) = if align == Align::Right { (space, 0) } else { (0, space) };
            line.extend(std::iter::repeat_n(' ', before));
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', behind + 2));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// The beginning of a text that is too long for a cell.
fn cut(text: Cow<'_, str>) -> Cow<'_, str> {
    const MARK: &str = "...";
    if width(&text) <= MAX_WIDTH {
        return text;
    }
    text.chars().take(MAX_WIDTH - MARK.len()).chain(MARK.chars()).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("name", Align::Left), ("n", Align::Right), ("end", Align::Left)]);
        table.printed = vec![5, 4, 3];
        assert_eq!(table.line(["über", "12", "-"].into_iter()), "über     12  -");
        assert_eq!(table.line(["a"].into_iter()), "a");
        table.row(["a\x1bb".into(), "".into()]);
        assert_eq!(table.rows, [["a\\u{1b}b", "-"]]);
    }

    #[test]
    fn a_long_cell_is_cut() {
        let mut table = Table::new([("name", Align::Left)]);
        table.row(["\x1b".repeat(64_000).into()]);
        table.row(["ü".repeat(MAX_WIDTH).into()]);
        assert_eq!(width(&table.rows[0][0]), MAX_WIDTH);
        assert!(table.rows[0][0].ends_with("..."), "{}", table.rows[0][0]);
        assert_eq!(table.rows[1][0], "ü".repeat(MAX_WIDTH));
    }
}
