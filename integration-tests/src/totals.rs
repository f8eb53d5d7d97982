//! What a subscriber received, ours or a real one.

use serde_json::Value;

/// What a subscriber received on one topic from one publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// The topic.
    pub topic: String,
    /// The publisher's entity id.
    pub topic_id: String,
    /// The publisher's host name. None if it is not UTF-8, and where the subscriber is ours, which does not tell it.
    pub host: Option<String>,
    /// Messages.
    pub received: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Those that were not the ramp's message of their clock.
    pub corrupt: u64,
    /// Gaps in the publisher's clock.
    pub dropped: u64,
    /// The clock of the first message received; a publisher's first message has clock 1.
    pub first_clock: i64,
    /// The different lengths seen.
    pub lens: Vec<u64>,
}

impl Totals {
    /// Reads a row of the peer script.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn from_row(row: &Value) -> Self {
        let number = |key: &str| row[key].as_u64().unwrap_or_else(|| panic!("{key} in {row}"));
        let text = |key: &str| row[key].as_str().unwrap_or_else(|| panic!("{key} in {row}")).to_owned();
        Self {
            topic: text("topic"),
            topic_id: text("topic_id"),
            host: row["host"].as_str().map(str::to_owned),
            received: number("received"),
            bytes: number("bytes"),
            corrupt: number("corrupt"),
            dropped: number("dropped"),
            first_clock: row["first_clock"].as_i64().unwrap_or_else(|| panic!("first_clock in {row}")),
            lens: row["sizes"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect(),
        }
    }

    /// Checks that these are `count` messages of `len` bytes, intact and without a gap from the very first.
    ///
    /// # Panics
    /// When they are not.
    #[track_caller]
    pub fn assert_all(&self, count: u64, len: usize) {
        let len = len as u64;
        let expected = Self {
            received: count,
            bytes: count * len,
            corrupt: 0,
            dropped: 0,
            first_clock: 1,
            lens: vec![len],
            ..self.clone()
        };
        assert_eq!(*self, expected);
    }
}
