//! Names made of a topic's levels: `river-{2}` is `river-` and the second level.

use super::pattern::Pattern;
use crate::DecodeError;

/// Longest template in bytes: twice the longest name.
const TEMPLATE_BYTES_MAX: usize = 256;

/// A template, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Counted from 1, as people count.
    Level(usize),
}

impl Template {
    /// Takes a template apart.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("is empty: give a name, or {2} for the topic's second level".into());
        }
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("has more than {TEMPLATE_BYTES_MAX} bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(open);
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let level = from
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'));
            let number = level
                .and_then(|(number, _)| number.parse().ok())
                .filter(|n| *n > 0);
            let (Some(number), Some((_, behind))) = (number, level) else {
                return Err("in { } stands the number of a level of the topic, from 1".into());
            };
            parts.push(Part::Level(number));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// Whether every topic of a pattern can have the levels named here.
    pub(crate) fn check_against(&self, pattern: &Pattern) -> Result<(), String> {
        let (levels, exact) = pattern.level_count();
        let beyond = self.parts.iter().find_map(|part| match part {
            Part::Level(level) if exact && *level > levels => Some(*level),
            _ => None,
        });
        match beyond {
            Some(level) => Err(format!(
                "names level {level}, but these topics have {levels}"
            )),
            None => Ok(()),
        }
    }

    /// The name for a topic.
    pub(crate) fn fill(&self, part: &'static str, topic: &str) -> Result<String, DecodeError> {
        let mut name = String::new();
        for piece in &self.parts {
            match piece {
                Part::Text(text) => name.push_str(text),
                Part::Level(level) => {
                    let found = topic.split('/').nth(level - 1);
                    name.push_str(found.ok_or_else(|| DecodeError::TopicLevelMissing {
                        part,
                        level: *level,
                        levels: topic.split('/').count(),
                    })?);
                }
            }
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn levels_are_counted_from_one() {
        let template = Template::parse("river {2}-{4}").unwrap();
        assert_eq!(
            template.fill("device", "a/sihl/b/7").unwrap(),
            "river sihl-7"
        );
        assert_eq!(
            Template::parse("fixed")
                .unwrap()
                .fill("device", "a")
                .unwrap(),
            "fixed"
        );
        assert_eq!(
            template.fill("device", "a/b"),
            Err(DecodeError::TopicLevelMissing {
                part: "device",
                level: 4,
                levels: 2
            })
        );
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for bad in ["", " ", "{}", "{0}", "{x}", "{1", "1}", "a{-1}", "{1.5}"] {
            assert!(Template::parse(bad).is_err(), "{bad:?}");
        }
        let template = Template::parse("{3}").unwrap();
        assert!(
            template
                .check_against(&Pattern::parse("a/+/+").unwrap())
                .is_ok()
        );
        assert!(
            template
                .check_against(&Pattern::parse("a/#").unwrap())
                .is_ok()
        );
        assert!(
            template
                .check_against(&Pattern::parse("a/+").unwrap())
                .is_err()
        );
    }
}
