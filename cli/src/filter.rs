//! Conditions on messages: `a.b > 3 && name == "x"`.

use std::cmp::Ordering;
use std::str::FromStr;

use serde_json::Value;

use crate::path::Path;

/// A condition on a message.
#[derive(Debug, Clone)]
pub(crate) enum Filter {
    Or(Vec<Self>),
    And(Vec<Self>),
    Not(Box<Self>),
    /// The value is there, and is none of false, 0 and empty.
    Is(Operand),
    Compare(Operand, Comparison, Operand),
    Matches(Operand, regex::Regex),
}

#[derive(Debug, Clone)]
pub(crate) enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What is written, and what it means. Those that begin like others come first.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// How deep parentheses and `!` may be nested.
const MAX_DEPTH: usize = 64;

impl Filter {
    /// Whether a message is wanted; `get` returns the value of a field.
    pub(crate) fn accepts(&self, get: &dyn Fn(&Path) -> Option<Value>) -> bool {
        match self {
            Self::Or(all) => all.iter().any(|one| one.accepts(get)),
            Self::And(all) => all.iter().all(|one| one.accepts(get)),
            Self::Not(one) => !one.accepts(get),
            Self::Is(operand) => match operand.value(get) {
                Value::Null => false,
                Value::Bool(value) => value,
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::String(text) => !text.is_empty(),
                Value::Array(values) => !values.is_empty(),
                Value::Object(fields) => !fields.is_empty(),
            },
            Self::Compare(a, comparison, b) => compare(&a.value(get), *comparison, &b.value(get)),
            Self::Matches(operand, pattern) => {
                operand.value(get).as_str().is_some_and(|text| pattern.is_match(text))
            }
        }
    }

    /// The fields that it looks at.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Or(all) | Self::And(all) => all.iter().flat_map(Self::paths).collect(),
            Self::Not(one) => one.paths(),
            Self::Is(operand) | Self::Matches(operand, _) => operand.path().into_iter().collect(),
            Self::Compare(a, _, b) => [a, b].into_iter().filter_map(Operand::path).collect(),
        }
    }
}

impl Operand {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Literal(_) => None,
        }
    }

    fn value(&self, get: &dyn Fn(&Path) -> Option<Value>) -> Value {
        match self {
            Self::Path(path) => get(path).unwrap_or(Value::Null),
            Self::Literal(value) => value.clone(),
        }
    }
}

fn compare(a: &Value, comparison: Comparison, b: &Value) -> bool {
    let order = match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let int = |number: &serde_json::Number| {
                number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
            };
            match (int(a), int(b)) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
            }
        }
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) => (a == b).then_some(Ordering::Equal),
    };
    match comparison {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
        Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text.trim_start() };
        let filter = parser.or(MAX_DEPTH)?;
        if parser.rest.is_empty() { Ok(filter) } else { Err(format!("unexpected `{}`", parser.rest)) }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    /// Whether the rest begins with this, which is then taken.
    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn or(&mut self, depth: usize) -> Result<Filter, String> {
        let mut all = vec![self.and(depth)?];
        while self.take("||") {
            all.push(self.and(depth)?);
        }
        Ok(Filter::Or(all))
    }

    fn and(&mut self, depth: usize) -> Result<Filter, String> {
        let mut all = vec![self.not(depth)?];
        while self.take("&&") {
            all.push(self.not(depth)?);
        }
        Ok(Filter::And(all))
    }

    fn not(&mut self, depth: usize) -> Result<Filter, String> {
        let depth = depth.checked_sub(1).ok_or("it is nested too deeply")?;
        if self.take("!") {
            return Ok(Filter::Not(self.not(depth)?.into()));
        }
        if self.take("(") {
            let filter = self.or(depth)?;
            return if self.take(")") { Ok(filter) } else { Err("`(` without `)`".to_owned()) };
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Filter, String> {
        let left = self.operand()?;
        if self.take("=~") {
            let Operand::Literal(Value::String(pattern)) = self.operand()? else {
                return Err("behind `=~` stands a regular expression in quotes".to_owned());
            };
            let pattern = regex::Regex::new(&pattern).map_err(|error| error.to_string())?;
            return Ok(Filter::Matches(left, pattern));
        }
        for (text, comparison) in COMPARISONS {
            if self.take(text) {
                return Ok(Filter::Compare(left, comparison, self.operand()?));
            }
        }
        Ok(Filter::Is(left))
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let start = self.rest.chars().next().ok_or("something is missing at the end")?;
        if start == '"' || start == '-' || start.is_ascii_digit() {
            let len = if start == '"' { text_len(self.rest) } else { number_len(self.rest) };
            let (literal, rest) = self.rest.split_at(len);
            let value =
                serde_json::from_str(literal).map_err(|_| format!("not a number or text: `{literal}`"))?;
            self.rest = rest.trim_start();
            return Ok(Operand::Literal(value));
        }
        let (path, rest) = Path::parse(self.rest)?;
        let text = &self.rest[..self.rest.len() - rest.len()];
        let operand = match text {
            "true" => Operand::Literal(true.into()),
            "false" => Operand::Literal(false.into()),
            "null" => Operand::Literal(Value::Null),
            _ => Operand::Path(path),
        };
        self.rest = rest.trim_start();
        Ok(operand)
    }
}

/// The length of a text in quotes, which a text begins with.
fn text_len(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |position| position + 2)
}

/// The length of a number, which a text begins with.
fn number_len(text: &str) -> usize {
    let is_number = |char: char| char.is_ascii_alphanumeric() || matches!(char, '+' | '-' | '.');
    text.find(|char| !is_number(char)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn accepts(filter: &str) -> bool {
        let message = json!({
            "n": 5, "big": u64::MAX, "x": 0.5, "name": "Ada", "on": true, "list": [1], "none": [],
            "inner": {"n": -1},
        });
        let filter: Filter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
        filter.accepts(&|path| {
            let pointer: String = path.0.iter().map(|step| format!("/{step}")).collect();
            message.pointer(&pointer).cloned()
        })
    }

    #[test]
    fn conditions_hold_or_not() {
        for yes in [
            "n == 5",
            "n==5.0",
            "n != 4",
            "n > 4 && n < 6",
            "n >= 5 && n <= 5",
            "x < 1",
            "x == 5e-1",
            "big > 18446744073709551614",
            "inner.n == -1",
            "list[0] == 1",
            "name == \"Ada\"",
            "name != \"\\\"\" && on",
            "name < \"B\"",
            "name =~ \"^A\"",
            "on",
            "on == true",
            "!none",
            "list",
            "missing == null",
            "!missing",
            "missing != 3",
            "n == 1 || n == 5",
            "!(n == 1) && (on || n == 1)",
            " ( on ) ",
            "5 == n",
            "n == 1 && on || n == 5",
        ] {
            assert!(accepts(yes), "{yes}");
        }
        for no in [
            "n == 4",
            "n != 5",
            "n > 5",
            "x > 0.5",
            "big > 18446744073709551615",
            "name == 5",
            "name > 5",
            "missing",
            "missing > 0",
            "missing < 0",
            "!on",
            "none",
            "name =~ \"^d\"",
            "n =~ \"5\"",
            "on && (n == 1 || n == 2)",
        ] {
            assert!(!accepts(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for bad in [
            "",
            "n ==",
            "== 5",
            "(n",
            "n)",
            "n = 5",
            "n == 'x'",
            "n =~ 5",
            "n =~ \"(\"",
            "a b",
            "&& n",
            "\"x",
        ] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
        assert!("!".repeat(100_000).parse::<Filter>().is_err());
        assert!("(".repeat(100_000).parse::<Filter>().is_err());
    }
}
