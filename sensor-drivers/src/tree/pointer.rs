//! JSON pointers (RFC 6901).

use super::Value;

/// Longest pointer in bytes, and its most tokens: a payload is not nested deeper.
const POINTER_BYTES_MAX: usize = 512;

/// A pointer, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    tokens: Vec<String>,
    written: String,
}

impl Pointer {
    /// Takes a pointer apart: empty for the whole document, else `/` before each token, `~0` for `~`, `~1` for `/`.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > POINTER_BYTES_MAX {
            return Err("a JSON pointer has at most 512 bytes");
        }
        let tokens = match text.strip_prefix('/') {
            None if text.is_empty() => Vec::new(),
            None => return Err("a JSON pointer begins with /, such as /main/temp"),
            Some(rest) => rest.split('/').map(unescape).collect::<Result<_, _>>()?,
        };
        Ok(Self {
            tokens,
            written: text.to_owned(),
        })
    }

    /// The value there, if there is one; `null` counts as none.
    pub(crate) fn find<'v, 'a>(&self, value: &'v Value<'a>) -> Option<&'v Value<'a>> {
        let found = self.tokens.iter().try_fold(value, |at, token| match at {
            Value::Object(members) => members.get(token.as_str()),
            Value::Array(elements) => elements.get(index(token)?),
            _ => None,
        })?;
        (*found != Value::Null).then_some(found)
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.written
    }
}

/// RFC 6901 §4: digits without leading zeros. (`-` is the element behind the last, which never exists.)
fn index(token: &str) -> Option<usize> {
    let canonical =
        token.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if canonical { token.parse().ok() } else { None }
}

fn unescape(token: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(token.len());
    let mut rest = token.chars();
    while let Some(c) = rest.next() {
        match c {
            '~' => out.push(match rest.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err("in a JSON pointer ~ is written ~0 and / is written ~1"),
            }),
            other => out.push(other),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tree::from_json;

    /// RFC 6901 §5.
    #[test]
    fn the_examples_of_the_standard_find_what_they_should() {
        let document = from_json(
            br#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#,
        )
        .unwrap();
        for (pointer, expected) in [
            ("/", 0.0),
            ("/a~1b", 1.0),
            ("/c%d", 2.0),
            ("/e^f", 3.0),
            ("/g|h", 4.0),
            ("/i\\j", 5.0),
            ("/k\"l", 6.0),
            ("/ ", 7.0),
            ("/m~0n", 8.0),
        ] {
            let found = Pointer::parse(pointer).unwrap();
            assert_eq!(
                found.find(&document),
                Some(&Value::Number(expected)),
                "{pointer}"
            );
        }
        let find = |pointer| Pointer::parse(pointer).unwrap().find(&document).cloned();
        assert_eq!(find(""), Some(document.clone()));
        assert_eq!(find("/foo/0"), Some(Value::Text("bar".into())));
        for nowhere in ["/foo/00", "/foo/-", "/foo/2", "/foo/0/x", "/bar", "/foo/+1"] {
            assert_eq!(find(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn a_pointer_that_is_none_says_why() {
        assert!(
            Pointer::parse("main/temp")
                .unwrap_err()
                .contains("begins with /")
        );
        assert!(Pointer::parse("/a~").is_err());
        assert!(Pointer::parse("/a~2").is_err());
        assert!(Pointer::parse(&"/a".repeat(300)).is_err());
    }

    #[test]
    fn null_counts_as_nothing() {
        let document = from_json(br#"{"a":null}"#).unwrap();
        assert_eq!(Pointer::parse("/a").unwrap().find(&document), None);
    }
}
