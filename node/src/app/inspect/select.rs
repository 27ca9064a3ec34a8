//! How a person names a log: `North`, `North/life`, `kq3f/life`, or the whole name that the table prints with `--json`.
//!
//! A name is `AUTHOR[/INCARNATION[/GROUP]]/LANE`. The author is a node's name (its letters' case does not matter), its id
//! or the beginning of it; incarnation and group may be cut short too.

use std::fmt;

use sync_engine::{Lane, LogId, Trust};

use super::super::AppError;
use super::{LogQuery, node_name};

/// As short a beginning of a node's id as `muster sync` takes.
pub(super) const ID_CHARACTERS_MIN: usize = 4;

/// Which logs are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selection {
    author: Option<String>,
    incarnation: Option<String>,
    group: Option<String>,
    lane: Option<Lane>,
}

impl Selection {
    /// What the query picks.
    pub(super) fn read(query: &LogQuery) -> Result<Self, AppError> {
        let mut selection = match &query.log {
            None => Self::default(),
            Some(name) => Self::of_name(name)?,
        };
        if let Some(author) = &query.author {
            selection.author = Some(author.clone());
        }
        if let Some(word) = &query.lane {
            selection.lane = Some(lane(word)?);
        }
        Ok(selection)
    }

    fn of_name(name: &str) -> Result<Self, AppError> {
        let parts: Vec<&str> = name.split('/').collect();
        let (author, incarnation, group, lane_word) = match parts[..] {
            [author] => (author, None, None, None),
            [author, lane] => (author, None, None, Some(lane)),
            [author, incarnation, lane] => (author, Some(incarnation), None, Some(lane)),
            [author, incarnation, group, lane] => {
                (author, Some(incarnation), Some(group), Some(lane))
            }
            _ => {
                return Err(AppError::Unreadable(format!(
                    "{name:?} names no log: write AUTHOR, AUTHOR/LANE or AUTHOR/INCARNATION/GROUP/LANE"
                )));
            }
        };
        Ok(Self {
            author: Some(author.to_owned()),
            incarnation: incarnation.map(str::to_owned),
            group: group.map(str::to_owned),
            lane: lane_word.map(lane).transpose()?,
        })
    }

    /// Whether nothing was said.
    pub(super) fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn fits(&self, log: &LogId, trust: &Trust) -> bool {
        let begins = |wanted: &Option<String>, shown: String| {
            wanted.as_ref().is_none_or(|wanted| {
                !wanted.is_empty() && shown.starts_with(&wanted.to_lowercase())
            })
        };
        let author = self.author.as_ref().is_none_or(|wanted| {
            let named = trust
                .grant(log.author)
                .is_some_and(|grant| grant.name.to_lowercase() == wanted.to_lowercase());
            named
                || wanted.len() >= ID_CHARACTERS_MIN
                    && log.author.to_string().starts_with(&wanted.to_lowercase())
        });
        author
            && begins(&self.incarnation, log.incarnation.to_string())
            && begins(&self.group, log.group.to_string())
            && self.lane.is_none_or(|lane| lane == log.lane)
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lane = self.lane.map(|lane| lane.to_string());
        let parts: Vec<&str> = [&self.author, &self.incarnation, &self.group, &lane]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        f.write_str(&parts.join("/"))
    }
}

fn lane(word: &str) -> Result<Lane, AppError> {
    Lane::ALL
        .into_iter()
        .find(|lane| lane.to_string() == word.to_lowercase() || u8::from(*lane).to_string() == word)
        .ok_or_else(|| {
            let all: Vec<String> = Lane::ALL.iter().map(Lane::to_string).collect();
            AppError::Unreadable(format!(
                "{word:?} is no lane: the lanes are {}",
                all.join(", ")
            ))
        })
}

/// How a person would write each of these logs: `North/life` where that tells it from the others, else its whole name.
pub(super) fn names(logs: &[LogId], trust: &Trust) -> Vec<String> {
    let short = |log: &LogId| format!("{}/{}", node_name(&log.author, trust), log.lane);
    let all: Vec<String> = logs.iter().map(short).collect();
    let is_unique = |name: &String| all.iter().filter(|other| *other == name).count() == 1;
    let write = |(log, short): (&LogId, &String)| match is_unique(short) {
        true => short.clone(),
        false => log.to_string(),
    };
    logs.iter().zip(&all).map(write).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ed25519_dalek::SigningKey;
    use sync_engine::{Genesis, Grant, GroupId, Incarnation, NodeId, Role, TrustRecord};

    use super::*;

    /// An operation whose only member is called North.
    fn trust() -> (Trust, NodeId) {
        let root = SigningKey::from_bytes(&[1; 32]);
        let genesis = Genesis {
            title: "Flood".into(),
            root_key: root.verifying_key().to_bytes(),
            successor_hash: [2; 32],
            created_wall_ms: 3,
            nonce: [4; 16],
        };
        let node = NodeId(SigningKey::from_bytes(&[5; 32]).verifying_key().to_bytes());
        let grant = Grant {
            operation: genesis.id(),
            node,
            name: "North".into(),
            role: Role::Field,
            organisation: None,
            groups: Vec::new(),
            field_classes: Vec::new(),
            lanes: Lane::ALL.to_vec(),
            may_enrol: false,
            serial: 1,
        };
        let mut trust = Trust::new(genesis);
        trust.insert(TrustRecord::Grant(grant.sign(&root))).unwrap();
        (trust, node)
    }

    fn picks(name: &str, log: &LogId, trust: &Trust) -> bool {
        Selection::of_name(name).unwrap().fits(log, trust)
    }

    #[test]
    fn a_log_answers_to_its_authors_name_and_to_the_beginning_of_its_own() {
        let (trust, author) = trust();
        let log = LogId {
            author,
            incarnation: Incarnation(0xf00d),
            group: GroupId::SHARED,
            lane: Lane::Life,
        };
        let id = author.to_string();
        for name in [
            "North",
            "north/life",
            "north/2",
            "NORTH/000000000000f/life",
            &id,
            &id[..4],
            &format!("{}/life", &id[..6]),
            &log.to_string(),
        ] {
            assert!(picks(name, &log, &trust), "{name}");
        }
        for name in [
            "South",
            "north/flash",
            "north/1/life",
            "north//life",
            &id[..3],
            "",
        ] {
            assert!(!picks(name, &log, &trust), "{name}");
        }
        assert_eq!(names(&[log], &trust), ["North/life"]);
        let restored = LogId {
            incarnation: Incarnation(7),
            ..log
        };
        let flash = LogId {
            lane: Lane::Flash,
            ..log
        };
        let told_apart = names(&[log, restored, flash], &trust);
        let whole = [log.to_string(), restored.to_string()];
        assert_eq!(told_apart, [&whole[0], &whole[1], "North/flash"]);
    }

    #[test]
    fn a_lane_that_is_none_and_too_many_parts_are_refused_in_words() {
        let refused = |name: &str| Selection::of_name(name).unwrap_err().to_string();
        assert!(refused("north/lief").contains("the lanes are trust, flash, life"));
        assert!(refused("a/b/c/d/e").contains("AUTHOR/LANE"));
    }
}
