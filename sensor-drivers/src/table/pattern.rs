//! Topic filters of MQTT (5.0 §4.7) as patterns for decoders.

/// Longest pattern in bytes: MQTT's own bound for a topic.
const PATTERN_BYTES_MAX: usize = 65_535;

/// A filter, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    levels: Vec<Level>,
    /// It ends in `#`, which also stands for the level above it (§4.7.1.2).
    and_below: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Any,
    Named(String),
}

impl Pattern {
    /// Takes a filter apart.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("is empty: give a topic pattern such as sensors/+/temperature");
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err("is longer than any MQTT topic");
        }
        if text.contains('\0') {
            return Err("contains U+0000, which no topic may");
        }
        let (body, and_below) = match text {
            "#" => (None, true),
            _ => match text.strip_suffix("/#") {
                Some(body) => (Some(body), true),
                None => (Some(text), false),
            },
        };
        let levels = body.map(|body| body.split('/').map(level).collect());
        Ok(Self {
            levels: levels.transpose()?.unwrap_or_default(),
            and_below,
        })
    }

    /// Whether a topic is covered. Topics that begin with `$` belong to the server: no wildcard at the first level
    /// covers them (§4.7.2).
    pub(crate) fn covers(&self, topic: &str) -> bool {
        let named_first = matches!(self.levels.first(), Some(Level::Named(_)));
        if topic.starts_with('$') && !named_first {
            return false;
        }
        let mut rest = topic.split('/');
        let own = self.levels.iter().all(|level| match (level, rest.next()) {
            (_, None) => false,
            (Level::Any, Some(_)) => true,
            (Level::Named(name), Some(found)) => name == found,
        });
        own && (self.and_below || rest.next().is_none())
    }

    /// Levels that every topic has that it covers; exact where it does not end in `#`.
    pub(crate) fn level_count(&self) -> (usize, bool) {
        (self.levels.len(), !self.and_below)
    }

    /// Whether everything that `other` covers is covered here.
    pub(crate) fn includes(&self, other: &Pattern) -> bool {
        let named_first = |p: &Pattern| matches!(p.levels.first(), Some(Level::Named(_)));
        // Only a named first level can mean `$…`.
        if let (false, Some(Level::Named(name))) = (named_first(self), other.levels.first())
            && name.starts_with('$')
        {
            return false;
        }
        let long_enough = other.levels.len() >= self.levels.len();
        let covered = self
            .levels
            .iter()
            .zip(&other.levels)
            .all(|pair| match pair {
                (Level::Any, _) => true,
                (Level::Named(a), Level::Named(b)) => a == b,
                (Level::Named(_), Level::Any) => false,
            });
        let same_length = other.levels.len() == self.levels.len() && !other.and_below;
        covered && long_enough && (self.and_below || same_length)
    }
}

fn level(text: &str) -> Result<Level, &'static str> {
    match text {
        "+" => Ok(Level::Any),
        _ if text.contains('#') => Err("has # elsewhere than as its last level"),
        _ if text.contains('+') => {
            Err("has + beside other characters: it stands for a whole level")
        }
        _ => Ok(Level::Named(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    /// The examples of MQTT 5.0 §4.7.
    #[test]
    fn wildcards_are_those_of_the_standard() {
        for (filter, covered, not) in [
            (
                "sport/tennis/player1/#",
                &[
                    "sport/tennis/player1",
                    "sport/tennis/player1/ranking",
                    "sport/tennis/player1/score/wimbledon",
                ][..],
                &["sport/tennis", "sport/tennis/player2/x"][..],
            ),
            (
                "sport/#",
                &["sport", "sport/", "sport/a"],
                &["sports", "/sport"],
            ),
            ("#", &["a", "a/b", "/", "/finance"], &["$SYS", "$SYS/x"]),
            (
                "sport/tennis/+",
                &["sport/tennis/player1"],
                &["sport/tennis/player1/ranking", "sport/tennis"],
            ),
            ("sport/+", &["sport/"], &["sport"]),
            ("+/+", &["/finance"], &["finance"]),
            ("/+", &["/finance"], &["finance", "a/finance"]),
            ("+", &["finance"], &["/finance", "$SYS"]),
            (
                "+/monitor/Clients",
                &["a/monitor/Clients"],
                &["$SYS/monitor/Clients"],
            ),
            ("$SYS/#", &["$SYS", "$SYS/monitor"], &["SYS"]),
            ("$SYS/monitor/+", &["$SYS/monitor/Clients"], &["$SYS/x"]),
        ] {
            for topic in covered {
                assert!(pattern(filter).covers(topic), "{filter} covers {topic}");
            }
            for topic in not {
                assert!(
                    !pattern(filter).covers(topic),
                    "{filter} does not cover {topic}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for bad in [
            "",
            "sport/tennis#",
            "sport/tennis/#/ranking",
            "sport+",
            "+a/b",
            "a/#b",
            "##",
            "a\0",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn one_that_can_never_be_reached_is_known() {
        for (first, later) in [
            ("a/#", "a/b/+"),
            ("a/#", "a"),
            ("a/#", "a/#"),
            ("a/+", "a/b"),
            ("#", "+/x/#"),
        ] {
            assert!(pattern(first).includes(&pattern(later)), "{first} {later}");
        }
        for (first, later) in [
            ("a/+", "a/#"),
            ("a/b", "a/+"),
            ("a/+", "a/b/c"),
            ("#", "$SYS/x"),
            ("+/#", "$SYS/x"),
            ("a/+/#", "a/#"),
        ] {
            assert!(!pattern(first).includes(&pattern(later)), "{first} {later}");
        }
    }

    proptest! {
        #[test]
        fn inclusion_means_that_every_topic_is_covered(
            first in "([ab+]/){0,2}([ab+]|#)",
            later in "([ab+]/){0,2}([ab+]|#)",
            topic in "[ab](/[ab]){0,3}",
        ) {
            let (first, later) = (pattern(&first), pattern(&later));
            if first.includes(&later) && later.covers(&topic) {
                prop_assert!(first.covers(&topic));
            }
        }
    }
}
