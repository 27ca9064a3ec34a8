//! Who may do what: one table, role × subject × action, printed in a snapshot test.
//!
//! Invariant: what the table does not name is refused. A role that this version does not know may only read.

use crate::{FactKind, Kind};

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Look at it.
    Read,
    /// Make a new one.
    Create,
    /// Change its fields, resolve its conflicts.
    Edit,
    /// Mark it as deleted, or take the mark away.
    Delete,
    /// Decide about it: approve, replay, discard, release, rebuild.
    Administer,
}

impl Action {
    /// Every action, in the order of the table.
    pub const ALL: [Action; 5] = [
        Action::Read,
        Action::Create,
        Action::Edit,
        Action::Delete,
        Action::Administer,
    ];

    /// The word for messages: "may not {word} incidents".
    pub fn word(self) -> &'static str {
        match self {
            Action::Read => "read",
            Action::Create => "create",
            Action::Edit => "edit",
            Action::Delete => "delete",
            Action::Administer => "administer",
        }
    }
}

/// On what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A kind of document.
    Document(Kind),
    /// A kind of fact.
    Fact(FactKind),
    /// Conflicts between edits.
    Conflicts,
    /// Series and readings.
    Readings,
    /// Payloads that no decoder understood.
    DeadLetters,
    /// Entries that are kept but not applied.
    Quarantine,
    /// The record of who did what on this node.
    Audit,
    /// This node's state, its peers, its metrics.
    Node,
}

impl Subject {
    /// Every subject, in the order of the table.
    pub fn all() -> impl Iterator<Item = Subject> {
        Kind::all()
            .map(Subject::Document)
            .chain(FactKind::all().map(Subject::Fact))
            .chain([
                Subject::Conflicts,
                Subject::Readings,
                Subject::DeadLetters,
                Subject::Quarantine,
                Subject::Audit,
                Subject::Node,
            ])
    }

    /// The word for messages, plural.
    pub fn word(self) -> &'static str {
        match self {
            Subject::Document(kind) => kind.spec().plural,
            Subject::Fact(kind) => kind.plural(),
            Subject::Conflicts => "conflicts",
            Subject::Readings => "readings",
            Subject::DeadLetters => "dead letters",
            Subject::Quarantine => "quarantine",
            Subject::Audit => "audit",
            Subject::Node => "node",
        }
    }
}

/// The roles that this version knows.
pub const ROLES: [&str; 1] = ["admin"];

/// What a role that this version does not know may look at: operational data, nothing about people's accounts, the
/// audit record or raw payloads.
fn anyone_may_read(subject: Subject) -> bool {
    match subject {
        Subject::Document(Kind::User)
        | Subject::DeadLetters
        | Subject::Quarantine
        | Subject::Audit => false,
        Subject::Document(_)
        | Subject::Fact(_)
        | Subject::Conflicts
        | Subject::Readings
        | Subject::Node => true,
    }
}

/// Actions that make no sense on a subject are refused to everybody.
fn exists(action: Action, subject: Subject) -> bool {
    match subject {
        Subject::Document(_) => true,
        Subject::Fact(_) => matches!(action, Action::Read | Action::Create),
        Subject::Conflicts => matches!(action, Action::Read | Action::Edit),
        Subject::Readings | Subject::Audit => action == Action::Read,
        Subject::DeadLetters | Subject::Quarantine | Subject::Node => {
            matches!(action, Action::Read | Action::Administer)
        }
    }
}

/// Whether that role may do that to such a thing.
pub fn may(role: &str, action: Action, subject: Subject) -> bool {
    exists(action, subject)
        && match role {
            "admin" => true,
            _ => action == Action::Read && anyone_may_read(subject),
        }
}

/// The whole table as text: one line per subject and role.
pub fn table() -> String {
    let mut lines = vec![format!("{:<14} {:<10} actions", "subject", "role")];
    for subject in Subject::all() {
        for role in ROLES.into_iter().chain(["(unknown)"]) {
            let actions: Vec<&str> = Action::ALL
                .into_iter()
                .filter(|action| may(role, *action, subject))
                .map(Action::word)
                .collect();
            let actions = if actions.is_empty() {
                "-".to_owned()
            } else {
                actions.join(" ")
            };
            lines.push(format!("{:<14} {role:<10} {actions}", subject.word()));
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        insta::assert_snapshot!("authz", table());
    }

    #[test]
    fn an_unknown_role_changes_nothing() {
        for subject in Subject::all() {
            for action in Action::ALL
                .into_iter()
                .filter(|action| *action != Action::Read)
            {
                assert!(!may("observer", action, subject), "{action:?} {subject:?}");
                assert!(!may("", action, subject), "{action:?} {subject:?}");
            }
        }
    }
}
