//! Topic names and filters (MQTT 5 §4.7), and a trie of filters for finding who wants a topic.
//!
//! Invariant: finding the takers of a topic costs its number of levels times the wildcards that fit, not the number of
//! subscriptions.

use std::collections::HashMap;

use sensor_drivers::TOPIC_PREFIX;

/// Longest topic name and filter in bytes. The longest name of ours has 272; the standard's 65,535 would let one client
/// fill memory and disk with names.
pub const TOPIC_BYTES_MAX: usize = 1_024;

/// Deepest filter: the trie is walked recursively.
const LEVELS_MAX: usize = 32;

/// Why a filter cannot be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterRefused {
    /// It is no filter, or longer than anything here.
    Invalid,
    /// `$share/…`
    Shared,
    /// The account has no right to it.
    NotAllowed,
    /// The session has as many as it may.
    TooMany,
}

/// Whether a message can be published under it: no wildcard, nothing that belongs to the server.
pub(in crate::app) fn is_publishable(topic: &str) -> bool {
    !topic.is_empty()
        && topic.len() <= TOPIC_BYTES_MAX
        && !topic.starts_with('$')
        && !topic.contains(['+', '#', '\0'])
}

/// Checks a filter by §4.7.1, and by what this node serves.
pub(in crate::app) fn check_filter(filter: &str) -> Result<(), FilterRefused> {
    if filter.starts_with("$share/") {
        return Err(FilterRefused::Shared);
    }
    let fits = !filter.is_empty()
        && filter.len() <= TOPIC_BYTES_MAX
        && !filter.starts_with('$')
        && !filter.contains('\0');
    let mut levels = filter.split('/').peekable();
    let mut depth = 0;
    while let Some(level) = levels.next() {
        depth += 1;
        let wildcard = level.contains(['+', '#']);
        if (wildcard && level.len() > 1) || (level == "#" && levels.peek().is_some()) {
            return Err(FilterRefused::Invalid);
        }
    }
    if fits && depth <= LEVELS_MAX {
        Ok(())
    } else {
        Err(FilterRefused::Invalid)
    }
}

/// Whether a topic fits a filter.
pub(in crate::app) fn fits(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

/// Whether every topic that fits `filter` fits `pattern`.
pub(in crate::app) fn covers(pattern: &str, filter: &str) -> bool {
    let mut wanted = filter.split('/');
    for level in pattern.split('/') {
        match (level, wanted.next()) {
            ("#", _) => return true,
            (_, None | Some("#")) => return false,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    wanted.next().is_none()
}

/// Filters with what is subscribed under them.
#[derive(Debug)]
pub(in crate::app) struct Trie<T> {
    root: Level<T>,
}

#[derive(Debug)]
struct Level<T> {
    names: HashMap<Box<str>, Level<T>>,
    any: Option<Box<Level<T>>>,
    /// Under `#` from here on.
    rest: Vec<T>,
    /// Under the filter that ends here.
    here: Vec<T>,
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Trie {
            root: Level::default(),
        }
    }
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Level {
            names: HashMap::new(),
            any: None,
            rest: Vec::new(),
            here: Vec::new(),
        }
    }
}

impl<T> Level<T> {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.any.is_none() && self.rest.is_empty() && self.here.is_empty()
    }
}

impl<T> Trie<T> {
    /// Adds an entry under a filter that passed [`check_filter`].
    pub(in crate::app) fn insert(&mut self, filter: &str, entry: T) {
        let mut level = &mut self.root;
        for name in filter.split('/') {
            level = match name {
                "#" => {
                    level.rest.push(entry);
                    return;
                }
                "+" => level.any.get_or_insert_default(),
                name => level.names.entry(name.into()).or_default(),
            };
        }
        level.here.push(entry);
    }

    /// Takes out the entries under exactly this filter that `gone` names.
    pub(in crate::app) fn remove(&mut self, filter: &str, gone: impl Fn(&T) -> bool) {
        let levels: Vec<&str> = filter.split('/').collect();
        remove(&mut self.root, &levels, &gone);
    }

    /// Calls `found` for every entry whose filter the topic fits.
    pub(in crate::app) fn each(&self, topic: &str, mut found: impl FnMut(&T)) {
        if topic.split('/').count() > LEVELS_MAX {
            // Deeper than any filter: only `#` can fit.
            each_rest(&self.root, topic, &mut found);
        } else {
            each(&self.root, Some(topic), !topic.starts_with('$'), &mut found);
        }
    }
}

fn remove<T>(level: &mut Level<T>, names: &[&str], gone: &impl Fn(&T) -> bool) {
    match names {
        [] => level.here.retain(|entry| !gone(entry)),
        ["#"] => level.rest.retain(|entry| !gone(entry)),
        ["+", rest @ ..] => {
            if let Some(any) = &mut level.any {
                remove(any, rest, gone);
                if any.is_empty() {
                    level.any = None;
                }
            }
        }
        [name, rest @ ..] => {
            if let Some(below) = level.names.get_mut(*name) {
                remove(below, rest, gone);
                if below.is_empty() {
                    level.names.remove(*name);
                }
            }
        }
    }
}

fn each<T>(level: &Level<T>, topic: Option<&str>, wild: bool, found: &mut impl FnMut(&T)) {
    if wild {
        // "sport/#" also fits "sport" (§4.7.1.2).
        level.rest.iter().for_each(&mut *found);
    }
    let Some(topic) = topic else {
        level.here.iter().for_each(&mut *found);
        return;
    };
    let (name, rest) = match topic.split_once('/') {
        Some((name, rest)) => (name, Some(rest)),
        None => (topic, None),
    };
    if let Some(below) = level.names.get(name) {
        each(below, rest, true, found);
    }
    if wild && let Some(any) = &level.any {
        each(any, rest, true, found);
    }
}

fn each_rest<T>(root: &Level<T>, topic: &str, found: &mut impl FnMut(&T)) {
    let mut levels = vec![root];
    let wild = !topic.starts_with('$');
    for (depth, name) in topic.split('/').take(LEVELS_MAX).enumerate() {
        let mut below = Vec::new();
        for level in levels {
            if wild || depth > 0 {
                level.rest.iter().for_each(&mut *found);
            }
            below.extend(level.names.get(name));
            if wild || depth > 0 {
                below.extend(level.any.as_deref());
            }
        }
        levels = below;
    }
    for level in levels {
        level.rest.iter().for_each(&mut *found);
    }
}

/// The device of `muster/v1/<device><suffix>`.
pub(super) fn reserved<'a>(topic: &'a str, suffix: &str) -> Option<&'a str> {
    let device = topic.strip_suffix(suffix)?.strip_prefix(TOPIC_PREFIX)?;
    let is_name = !device.is_empty()
        && device.len() <= sensor_drivers::LEVEL_BYTES_MAX
        && !device.contains(['/', '+', '#'])
        && !device.contains(char::is_control);
    is_name.then_some(device)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(filter: &str, topic: &str, expected: bool) {
        assert_eq!(fits(filter, topic), expected, "{filter} {topic}");
        let mut trie = Trie::default();
        trie.insert(filter, ());
        let mut found = false;
        trie.each(topic, |()| found = true);
        assert_eq!(found, expected, "{filter} {topic} by trie");
        trie.remove(filter, |()| true);
        assert!(trie.root.is_empty());
    }

    #[test]
    fn filters_fit_as_the_standard_says() {
        check("a/b", "a/b", true);
        check("a/b", "a/b/c", false);
        check("a/+", "a/b", true);
        check("a/+", "a", false);
        check("a/+", "a/", true);
        check("+", "/a", false);
        check("+/+", "/a", true);
        check("/+", "/a", true);
        check("a/#", "a", true);
        check("a/#", "a/b/c", true);
        check("#", "a/b", true);
        check("#", "$SYS/b", false);
        check("+/b", "$SYS/b", false);
        check("a/+/c", "a/b/c", true);
        check("A", "a", false);
    }

    #[test]
    fn a_topic_deeper_than_any_filter_still_finds_the_open_ones() {
        let deep = vec!["a"; 100].join("/");
        check("#", &deep, true);
        check("a/+/#", &deep, true);
        check("a/+", &deep, false);
    }

    #[test]
    fn filters_that_are_none_are_refused() {
        for filter in ["", "a#", "#/a", "a+/b", "$SYS/#", "a\0", &"a/".repeat(40)] {
            assert_eq!(
                check_filter(filter),
                Err(FilterRefused::Invalid),
                "{filter}"
            );
        }
        assert_eq!(check_filter("$share/g/a"), Err(FilterRefused::Shared));
        for filter in ["#", "+", "a/+/b/#", "/", "a b"] {
            assert_eq!(check_filter(filter), Ok(()), "{filter}");
        }
    }

    #[test]
    fn a_pattern_covers_what_is_narrower() {
        assert!(covers("muster/v1/+/cmd", "muster/v1/pump/cmd"));
        assert!(covers("muster/#", "muster/v1/+/cmd"));
        assert!(covers("a/+", "a/+"));
        assert!(!covers("a/+", "a/#"));
        assert!(!covers("a/b", "a/+"));
        assert!(!covers("a/b/c", "a/b"));
        assert!(!covers("a/b", "#"));
    }

    proptest! {
        #[test]
        fn the_trie_finds_what_fits(
            filters in proptest::collection::vec("[ab+#](/[ab+#]){0,3}", 1..12),
            topic in "[ab](/[ab]){0,4}",
        ) {
            let filters: Vec<String> = filters.into_iter().filter(|f| check_filter(f).is_ok()).collect();
            let mut trie = Trie::default();
            for (number, filter) in filters.iter().enumerate() {
                trie.insert(filter, number);
            }
            let mut found = Vec::new();
            trie.each(&topic, |&number| found.push(number));
            found.sort_unstable();
            let expected: Vec<usize> =
                (0..filters.len()).filter(|&number| fits(&filters[number], &topic)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
