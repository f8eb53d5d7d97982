//! Rows and columns: sorting, filtering, searching, and what fits on the screen.

use std::cmp::Ordering;

use ferrocal::Text;
use unicode_width::UnicodeWidthStr;

use super::look::{Align, Look, Tone};

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) head: &'static str,
    pub(crate) align: Align,
    /// The least width with which it is shown.
    pub(crate) min: usize,
    /// Columns of a higher rank are left out first where the screen is too narrow.
    pub(crate) rank: u8,
}

impl Column {
    pub(crate) const fn left(head: &'static str, min: usize, rank: u8) -> Self {
        Self { head, align: Align::Left, min, rank }
    }

    pub(crate) const fn right(head: &'static str, min: usize, rank: u8) -> Self {
        Self { head, align: Align::Right, min, rank }
    }
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    /// What is shown, and sorted by unless there is a number.
    pub(crate) text: String,
    pub(crate) number: Option<f64>,
    pub(crate) tone: Tone,
}

impl Cell {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), number: None, tone: Tone::Plain }
    }

    pub(crate) fn number(number: f64, text: impl Into<String>) -> Self {
        Self { text: text.into(), number: Some(number), tone: Tone::Plain }
    }

    pub(crate) fn count(count: i64) -> Self {
        Self::number(count as f64, count.to_string())
    }

    pub(crate) fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self.number, other.number) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            (Some(_), None) => Ordering::Greater,
            (None, Some(_)) => Ordering::Less,
            (None, None) => self.text.to_lowercase().cmp(&other.text.to_lowercase()),
        }
    }
}

/// A publisher, subscriber, server or client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Entity {
    pub(crate) kind: &'static str,
    pub(crate) host: Text,
    pub(crate) pid: i32,
    pub(crate) id: u64,
}

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A publisher or subscriber.
    Topic(Entity),
    Process(Text, i32),
    Host(Text),
    /// A method of a server or client.
    Service(Entity, usize),
    /// The number of a log line.
    Line(u64),
    /// All hosts together.
    Network,
    /// What the node of this program says of itself.
    Fact(&'static str),
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) cells: Vec<Cell>,
}

impl Row {
    fn compare_texts(&self, other: &Self) -> Ordering {
        let both = self.cells.iter().zip(&other.cells);
        let texts = both.filter(|(one, other)| one.number.is_none() && other.number.is_none());
        texts.map(|(one, other)| one.compare(other)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Whether a part of a cell is this text, which is in small letters.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.cells.iter().any(|cell| cell.text.to_lowercase().contains(text))
    }
}

/// The rows of a tab, and what of them is shown.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub(crate) columns: &'static [Column],
    /// In the order of the screen.
    pub(crate) rows: Vec<Row>,
    /// How many there are without the filter.
    pub(crate) total: usize,
    /// The column by which rows are sorted. `None` leaves them as they come.
    pub(crate) sort: Option<usize>,
    pub(crate) is_descending: bool,
    /// Whether rows have an order of their own, which is that of `sort` `None`.
    has_order: bool,
    /// Rows without this text are not shown. In small letters.
    pub(crate) filter: String,
    /// What is selected. `None` follows the last row.
    selected: Option<Key>,
    /// Where the selected row is or was.
    index: usize,
    /// The first row on the screen.
    pub(crate) top: usize,
    /// How many columns behind the first one are moved out of the screen.
    pub(crate) skip: usize,
    /// The widest text of each column so far, so that columns do not jump.
    widths: Vec<usize>,
}

impl Sheet {
    pub(crate) fn new(columns: &'static [Column], sort: Option<usize>) -> Self {
        Self {
            columns,
            rows: Vec::new(),
            total: 0,
            sort,
            is_descending: false,
            has_order: sort.is_none(),
            filter: String::new(),
            selected: None,
            index: 0,
            top: 0,
            skip: 0,
            widths: columns.iter().map(|column| column.min.max(column.head.width() + 1)).collect(),
        }
    }

    /// Whether the last row is followed: that of a table that is not sorted.
    fn follows(&self) -> bool {
        self.sort.is_none()
    }

    pub(crate) fn is_following(&self) -> bool {
        self.follows() && self.selected.is_none()
    }

    /// Sorts by the next column.
    pub(crate) fn sort_next(&mut self) {
        let next = self.sort.map_or(0, |column| column + 1);
        self.sort = match next < self.columns.len() {
            true => Some(next),
            false => (!self.has_order).then_some(0),
        };
    }

    /// Sorts by the column before.
    pub(crate) fn sort_previous(&mut self) {
        self.sort = match self.sort {
            Some(0) if self.has_order => None,
            Some(0) | None => Some(self.columns.len() - 1),
            Some(column) => Some(column - 1),
        };
    }

    /// Takes the rows as they are now.
    pub(crate) fn set(&mut self, mut rows: Vec<Row>) {
        self.total = rows.len();
        if !self.filter.is_empty() {
            rows.retain(|row| row.contains(&self.filter));
        }
        if let Some(column) = self.sort {
            rows.sort_by(|a, b| {
                let order = a.cells[column].compare(&b.cells[column]);
                let order = if self.is_descending { order.reverse() } else { order };
                // What is equal has the order of its texts, which do not change all the time as numbers do.
                order.then_with(|| a.compare_texts(b))
            });
        }
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(cell.text.width());
            }
        }
        self.rows = rows;
        let found = self.selected.as_ref().and_then(|key| self.rows.iter().position(|row| row.key == *key));
        let last = self.rows.len().saturating_sub(1);
        self.index = if self.is_following() { last } else { found.unwrap_or(self.index).min(last) };
        if found.is_none() && self.selected.is_some() {
            self.selected = self.rows.get(self.index).map(|row| row.key.clone());
        }
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn selected(&self) -> Option<&Row> {
        self.rows.get(self.index)
    }

    pub(crate) fn select(&mut self, index: usize) {
        let last = self.rows.len().saturating_sub(1);
        self.index = index.min(last);
        let key = self.rows.get(self.index).map(|row| row.key.clone());
        self.selected = key.filter(|_| !(self.follows() && self.index == last));
    }

    /// Moves the selection down, or up.
    pub(crate) fn step(&mut self, rows: isize) {
        self.select(self.index.saturating_add_signed(rows));
    }

    /// Selects the next row with a text in one of its main columns, or the one before. Returns whether there is one.
    pub(crate) fn search(&mut self, text: &str, is_forward: bool, from: usize) -> bool {
        let len = self.rows.len();
        let text = text.to_lowercase();
        let mut steps = 0..len;
        let found = steps.find_map(|step| {
            let index = if is_forward { from + step } else { from + len - step } % len;
            let main = self.rows[index].cells.iter().zip(self.columns);
            let mut main = main.filter(|(_, column)| column.rank <= MAIN);
            main.any(|(cell, _)| cell.text.to_lowercase().contains(&text)).then_some(index)
        });
        if let Some(index) = found {
            self.select(index);
        }
        found.is_some()
    }

    /// Moves the window of `height` rows so that the selected one is in it. Returns the rows in it.
    pub(crate) fn window(&mut self, height: usize) -> std::ops::Range<usize> {
        let last_top = self.rows.len().saturating_sub(height);
        let lowest = (self.index + 1).saturating_sub(height);
        self.top = self.top.clamp(lowest, self.index.max(lowest)).min(last_top);
        self.top..(self.top + height).min(self.rows.len())
    }

    /// The columns that fit, with their widths.
    pub(crate) fn layout(&self, width: usize) -> Vec<(usize, usize)> {
        let mut shown = vec![0];
        let mut left = width.saturating_sub(self.columns[0].min);
        let mut order: Vec<_> = (1 + self.skip..self.columns.len()).collect();
        if self.skip == 0 {
            order.sort_by_key(|&column| self.columns[column].rank);
        }
        for &column in &order {
            let need = self.columns[column].min + GAP;
            if need <= left {
                left -= need;
                shown.push(column);
            } else if self.skip > 0 {
                break;
            }
        }
        // What is left goes to the columns whose texts need it, the most important ones first.
        let mut widths: Vec<_> = shown.iter().map(|&column| (column, self.columns[column].min)).collect();
        widths.sort_by_key(|&(column, _)| self.columns[column].rank);
        for (column, width) in &mut widths {
            let more = self.widths[*column].saturating_sub(*width).min(left);
            *width += more;
            left -= more;
        }
        widths.sort_unstable();
        widths
    }

    /// The most columns that can be moved out of the screen.
    pub(crate) fn max_skip(&self) -> usize {
        self.columns.len() - 2
    }

    /// The line of heads, for the columns of a [layout](Self::layout).
    pub(crate) fn heads(&self, layout: &[(usize, usize)], look: Look) -> String {
        let head = |&(column, width): &(usize, usize)| {
            let Column { head, align, .. } = self.columns[column];
            match self.sort == Some(column) {
                true => look.fit(&format!("{head}{}", look.order(self.is_descending)), width, align),
                false => look.fit(head, width, align),
            }
        };
        layout.iter().map(head).collect::<Vec<_>>().join(&" ".repeat(GAP))
    }
}

/// The highest rank of the main columns, which are on nearly every screen.
const MAIN: u8 = 4;
/// The space between columns.
pub(crate) const GAP: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] =
        &[Column::left("name", 4, 0), Column::right("n", 3, 2), Column::left("text", 6, 1)];
    const LOOK: Look = Look { has_colour: false, is_unicode: false };

    fn row(number: u64, name: &str, text: &str) -> Row {
        let cells = vec![Cell::text(name), Cell::count(number as i64), Cell::text(text)];
        Row { key: Key::Line(number), cells }
    }

    fn rows() -> Vec<Row> {
        vec![row(10, "b", "one"), row(9, "a", "two"), row(1, "C", "Three")]
    }

    fn order(sheet: &Sheet) -> Vec<u64> {
        let number = |row: &Row| match row.key {
            Key::Line(number) => number,
            _ => unreachable!(),
        };
        sheet.rows.iter().map(number).collect()
    }

    #[test]
    fn rows_are_sorted_by_numbers_and_texts() {
        let mut sheet = Sheet::new(COLUMNS, Some(1));
        sheet.set(rows());
        assert_eq!(order(&sheet), [1, 9, 10]);
        sheet.is_descending = true;
        sheet.set(rows());
        assert_eq!(order(&sheet), [10, 9, 1]);
        (sheet.sort, sheet.is_descending) = (Some(0), false);
        sheet.set(rows());
        assert_eq!(order(&sheet), [9, 10, 1], "small and capital letters are equal");
    }

    #[test]
    fn the_selected_row_stays_selected_where_it_goes() {
        let mut sheet = Sheet::new(COLUMNS, Some(1));
        sheet.set(rows());
        sheet.select(1);
        sheet.is_descending = true;
        sheet.set([rows(), vec![row(100, "new", "")]].concat());
        assert_eq!((sheet.index(), &sheet.selected().unwrap().key), (2, &Key::Line(9)));
        sheet.set(vec![row(10, "b", "one")]);
        assert_eq!(sheet.index(), 0, "it is gone");
        sheet.set(Vec::new());
        assert!(sheet.selected().is_none());
        sheet.step(-3);
    }

    #[test]
    fn the_end_of_unsorted_rows_is_followed() {
        let mut sheet = Sheet::new(COLUMNS, None);
        sheet.set(rows());
        sheet.set([rows(), vec![row(100, "new", "")]].concat());
        assert_eq!(sheet.index(), 3);
        sheet.step(-1);
        assert!(!sheet.is_following());
        sheet.set([rows(), vec![row(100, "new", ""), row(101, "newer", "")]].concat());
        assert_eq!(sheet.index(), 2);
        sheet.step(9);
        assert!(sheet.is_following());
    }

    #[test]
    fn filter_and_search_find_parts_of_cells() {
        let mut sheet = Sheet::new(COLUMNS, Some(1));
        sheet.filter = "t".into();
        sheet.set(rows());
        assert_eq!((order(&sheet), sheet.total), (vec![1, 9], 3));
        sheet.filter.clear();
        sheet.set(rows());
        assert!(sheet.search("THREE", true, 0) && sheet.index() == 0);
        assert!(sheet.search("o", true, 1) && sheet.index() == 1);
        assert!(sheet.search("o", true, 2) && sheet.index() == 2);
        assert!(sheet.search("o", false, 1) && sheet.index() == 1);
        assert!(sheet.search("three", false, 2) && sheet.index() == 0);
        assert!(!sheet.search("none", true, 0));
        const SELDOM: &[Column] =
            &[Column::left("name", 4, 0), Column::right("n", 3, 2), Column::left("text", 6, MAIN + 1)];
        sheet.columns = SELDOM;
        assert!(!sheet.search("three", true, 0), "not in a column that is seldom seen");
        sheet.set(Vec::new());
        assert!(!sheet.search("o", true, 0));
    }

    #[test]
    fn the_window_holds_the_selected_row() {
        let mut sheet = Sheet::new(COLUMNS, Some(1));
        sheet.set((0..10).map(|number| row(number, "x", "")).collect());
        assert_eq!(sheet.window(4), 0..4);
        sheet.select(5);
        assert_eq!(sheet.window(4), 2..6);
        sheet.select(3);
        assert_eq!(sheet.window(4), 2..6, "it moves only if it must");
        sheet.select(0);
        assert_eq!(sheet.window(4), 0..4);
        sheet.select(9);
        assert_eq!(sheet.window(20), 0..10);
        assert!(sheet.window(0).is_empty());
    }

    #[test]
    fn columns_of_low_rank_fit_first_and_take_what_they_need() {
        let mut sheet = Sheet::new(COLUMNS, Some(1));
        sheet.set(vec![row(1, "a longer name", "text")]);
        assert_eq!(sheet.layout(4), [(0, 4)]);
        assert_eq!(sheet.layout(12), [(0, 4), (2, 6)]);
        assert_eq!(sheet.layout(17), [(0, 4), (1, 3), (2, 6)]);
        assert_eq!(sheet.layout(100), [(0, 13), (1, 3), (2, 6)]);
        assert_eq!(sheet.heads(&sheet.layout(17), LOOK), "name   n^  text  ");
        sheet.skip = 1;
        assert_eq!(sheet.layout(12), [(0, 4), (2, 6)]);
        assert_eq!(sheet.layout(0), [(0, 4)], "drawing cuts it");
    }
}
