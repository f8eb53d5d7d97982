//! Columns for people.

use std::borrow::Cow;
use std::io;

use crate::output::{HEAD, Output, clean};

/// Rows whose columns are as wide as they need to be.
pub(crate) struct Table {
    heads: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

impl Table {
    pub(crate) fn new(heads: impl IntoIterator<Item = (&'static str, Align)>) -> Self {
        Self { heads: heads.into_iter().collect(), rows: Vec::new() }
    }

    /// Appends a row. Its texts may come from anywhere. An empty one is shown as `-`.
    pub(crate) fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cow<'a, str>>) {
        let shown =
            |cell: Cow<'_, str>| if cell.is_empty() { "-".to_owned() } else { clean(&cell).into_owned() };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Prints a line of heads and one for each row.
    pub(crate) fn print(&self, out: &mut Output) -> io::Result<()> {
        let width = |column: usize, head: &str| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell));
            cells.chain([head.len()]).max().unwrap_or(0)
        };
        let columns: Vec<_> =
            self.heads.iter().enumerate().map(|(n, &(head, align))| (width(n, head), align)).collect();
        let heads = self.heads.iter().map(|&(head, _)| head);
        out.line(format_args!("{HEAD}{}{HEAD:#}", line(&columns, heads)))?;
        self.rows.iter().try_for_each(|row| out.line(line(&columns, row.iter().map(String::as_str))))
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn line<'a>(columns: &[(usize, Align)], cells: impl Iterator<Item = &'a str>) -> String {
    let mut line = String::new();
    for (&(column, align), cell) in columns.iter().zip(cells) {
        let space = column.saturating_sub(width(cell));
        let (before, behind) = if align == Align::Right { (space, 0) } else { (0, space) };
        line.extend(std::iter::repeat_n(' ', before));
        line.push_str(cell);
        line.extend(std::iter::repeat_n(' ', behind + 2));
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let columns = [(5, Align::Left), (4, Align::Right), (1, Align::Left)];
        assert_eq!(line(&columns, ["über", "12", "-"].into_iter()), "über     12  -");
        assert_eq!(line(&columns, ["a"].into_iter()), "a");
    }
}
