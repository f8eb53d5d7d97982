//! What a check found.

use serde::Serialize;

/// What a check found. The keys and the names of their values are a promise to scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The name of the check.
    pub(crate) check: &'static str,
    pub(crate) status: Status,
    /// What it is about: an interface, a port, a topic. Texts of others in it may hold anything.
    pub(crate) subject: String,
    /// What was found, and what follows from it.
    pub(crate) meaning: String,
    pub(crate) sure: Sure,
    /// The command that mends it, or the line of `ecal.yaml` that does; empty if there is none. It never holds a text of
    /// the network.
    pub(crate) mend: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Something keeps messages from arriving.
    Failed,
    /// Something may keep messages from arriving.
    Warning,
    /// Good to know.
    Note,
    /// It could not be looked at, which does not mean that it is fine.
    NotChecked,
    /// All is well.
    Ok,
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sure {
    Certain,
    Likely,
    Possible,
}

impl Finding {
    fn new(
        check: &'static str,
        status: Status,
        subject: impl Into<String>,
        meaning: impl Into<String>,
    ) -> Self {
        let (subject, meaning) = (subject.into(), meaning.into());
        Self { check, status, subject, meaning, sure: Sure::Certain, mend: String::new() }
    }

    pub(crate) fn failed(
        check: &'static str,
        subject: impl Into<String>,
        meaning: impl Into<String>,
    ) -> Self {
        Self::new(check, Status::Failed, subject, meaning)
    }

    pub(crate) fn warning(
        check: &'static str,
        subject: impl Into<String>,
        meaning: impl Into<String>,
    ) -> Self {
        Self::new(check, Status::Warning, subject, meaning)
    }

    pub(crate) fn note(check: &'static str, subject: impl Into<String>, meaning: impl Into<String>) -> Self {
        Self::new(check, Status::Note, subject, meaning)
    }

    pub(crate) fn not_checked(check: &'static str, why: impl Into<String>) -> Self {
        Self::new(check, Status::NotChecked, "", why)
    }

    pub(crate) fn ok(check: &'static str, subject: impl Into<String>, meaning: impl Into<String>) -> Self {
        Self::new(check, Status::Ok, subject, meaning)
    }

    pub(crate) fn sure(self, sure: Sure) -> Self {
        Self { sure, ..self }
    }

    pub(crate) fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: mend.into(), ..self }
    }

    /// Whether something is or may be wrong.
    pub(crate) fn is_trouble(&self) -> bool {
        self.status <= Status::Warning
    }
}

impl Status {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Warning => "warning",
            Self::Note => "note",
            Self::NotChecked => "not checked",
            Self::Ok => "ok",
        }
    }
}

impl Sure {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Possible => "possible",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_as_documented() {
        let finding = Finding::failed("route", "239.0.0.1", "no route").sure(Sure::Likely).mend("ip route");
        let json = serde_json::to_value(&finding).unwrap();
        let expected = serde_json::json!({
            "check": "route", "status": "failed", "subject": "239.0.0.1", "meaning": "no route",
            "sure": "likely", "mend": "ip route",
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::to_value(Status::NotChecked).unwrap(), "not_checked");
    }
}
