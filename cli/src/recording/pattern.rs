//! Which topics are meant.

use regex::Regex;

/// Which topics are meant: those named, or else those that a pattern of `include` matches, or else all; without those that
/// a pattern of `exclude` matches. A pattern may match any part of the name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patterns {
    pub(crate) names: Vec<String>,
    pub(crate) include: Vec<Regex>,
    pub(crate) exclude: Vec<Regex>,
}

impl Patterns {
    pub(crate) fn matches(&self, topic: &str) -> bool {
        let is_all = self.names.is_empty() && self.include.is_empty();
        let is_included = is_all
            || self.names.iter().any(|name| name == topic)
            || self.include.iter().any(|pattern| pattern.is_match(topic));
        is_included && !self.exclude.iter().any(|pattern| pattern.is_match(topic))
    }
}

/// Options that say which topics are meant.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TopicArgs {
    /// Topics of which this regular expression matches a part of the name; can be repeated.
    #[arg(short = 'e', long = "regex", value_name = "REGEX")]
    pub(crate) include: Vec<Regex>,
    /// Without topics of which this regular expression matches a part of the name; can be repeated.
    #[arg(short = 'x', long, value_name = "REGEX")]
    pub(crate) exclude: Vec<Regex>,
}

impl TopicArgs {
    /// With these names.
    pub(crate) fn patterns(&self, names: &[String]) -> Patterns {
        let Self { include, exclude } = self.clone();
        Patterns { names: names.to_owned(), include, exclude }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(names: &[&str], include: &[&str], exclude: &[&str]) -> String {
        let regexes = |texts: &[&str]| texts.iter().map(|text| Regex::new(text).unwrap()).collect();
        let patterns = Patterns {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            include: regexes(include),
            exclude: regexes(exclude),
        };
        ["a", "ab", "b"].into_iter().filter(|topic| patterns.matches(topic)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_and_patterns_add_up_and_exclusions_win() {
        assert_eq!(matched(&[], &[], &[]), "a ab b");
        assert_eq!(matched(&[], &["a"], &[]), "a ab");
        assert_eq!(matched(&["b"], &["^a$"], &[]), "a b");
        assert_eq!(matched(&["a"], &[], &[]), "a");
        assert_eq!(matched(&[], &[], &["^a"]), "b");
        assert_eq!(matched(&["a", "b"], &[], &["a"]), "b");
    }
}
