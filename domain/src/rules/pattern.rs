//! Names with `*` in them.

/// A name in which `*` stands for any characters, also none. Compared byte by byte, so `é` must be typed as the device
/// sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern from its text; every text is one.
    pub fn new(text: &str) -> Self {
        Pattern(text.to_owned())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name fits. Time grows with the product of both lengths at most, whatever the pattern is.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where the last star was, and how much of the name it takes so far.
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            if pattern.get(p) == Some(&b'*') {
                star = Some((p, n));
                p += 1;
            } else if pattern.get(p) == Some(&name[n]) {
                p += 1;
                n += 1;
            } else if let Some((star_p, star_n)) = star {
                star = Some((star_p, star_n + 1));
                p = star_p + 1;
                n = star_n + 1;
            } else {
                return false;
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, fits) in [
            ("gauge-1", "gauge-1", true),
            ("gauge-1", "gauge-10", false),
            ("*", "", true),
            ("*", "anything", true),
            ("gauge-*", "gauge-7", true),
            ("gauge-*", "rain-7", false),
            ("*-7", "gauge-7", true),
            ("g*-*7", "gauge-17", true),
            ("g**7", "g7", true),
            ("", "", true),
            ("", "x", false),
            ("a*b", "a", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                fits,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn many_stars_do_not_take_forever() {
        let pattern = Pattern::new(&"a*".repeat(60));
        assert!(!pattern.matches(&("a".repeat(50) + &"b".repeat(70))));
    }
}
