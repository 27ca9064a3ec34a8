//! Just enough of Rust's syntax to see which paths a file names: tokens without comments and literals, `use` trees
//! unfolded, what is compiled for tests only left out.
//!
//! Macros are read as the tokens they are written with. A path that only a macro's expansion names stays unseen; no
//! macro of ours does that.

use std::collections::BTreeMap;

/// A token that can be part of a path, or matters for finding where an item ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Ident(String),
    /// `::`
    Sep,
    Punct(char),
}

/// A token and its line, counted from 1.
pub type Spanned = (Token, usize);

/// A path that a file names, imports resolved, with its line: `["std", "time", "Instant"]`. A glob ends in `*`.
pub type NamedPath = (Vec<String>, usize);

/// Splits a source into tokens; comments, strings, characters, numbers and lifetimes are left out.
pub fn tokens(source: &str) -> Vec<Spanned> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut out, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let start = i;
        match chars[i] {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && chars[i] != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => i = after_block_comment(&chars, i),
            '"' => i = after_string(&chars, i),
            '\'' => i = after_quote(&chars, i),
            c if c.is_alphabetic() || c == '_' => {
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
                let word: String = chars[start..i].iter().collect();
                let prefix = matches!(word.as_str(), "r" | "b" | "br" | "c" | "cr");
                if prefix && at(i) == '"' && !word.contains('r') {
                    i = after_string(&chars, i);
                } else if prefix && word.contains('r') && raw_string_hashes(&chars, i).is_some() {
                    i = after_raw_string(&chars, i);
                } else if word == "b" && at(i) == '\'' {
                    i = after_quote(&chars, i);
                } else if word == "r" && at(i) == '#' {
                    i += 1; // r#type is the identifier type
                } else {
                    out.push((Token::Ident(word), line));
                }
            }
            c if c.is_ascii_digit() => {
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
            }
            ':' if at(i + 1) == ':' => {
                out.push((Token::Sep, line));
                i += 2;
            }
            c => {
                if !c.is_whitespace() {
                    out.push((Token::Punct(c), line));
                }
                i += 1;
            }
        }
        line += chars[start..i].iter().filter(|&&c| c == '\n').count();
    }
    out
}

fn after_block_comment(chars: &[char], mut i: usize) -> usize {
    let mut depth = 0_usize;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                i += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    i
}

fn after_string(chars: &[char], mut i: usize) -> usize {
    i += 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

fn raw_string_hashes(chars: &[char], i: usize) -> Option<usize> {
    let hashes = chars.get(i..)?.iter().take_while(|&&c| c == '#').count();
    (chars.get(i + hashes) == Some(&'"')).then_some(hashes)
}

fn after_raw_string(chars: &[char], i: usize) -> usize {
    let hashes = raw_string_hashes(chars, i).unwrap_or_default();
    let mut end = i + hashes + 1;
    while end < chars.len() {
        if chars[end] == '"' && chars[end + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
        {
            return end + 1 + hashes;
        }
        end += 1;
    }
    end
}

/// After a character, or after the quote of a lifetime (whose name is then read as an identifier, which does no harm).
fn after_quote(chars: &[char], i: usize) -> usize {
    match (chars.get(i + 1), chars.get(i + 2)) {
        (Some('\\'), _) => {
            let mut end = i + 3;
            while end < chars.len() && chars[end] != '\'' {
                end += 1;
            }
            (end + 1).min(chars.len())
        }
        (Some(_), Some('\'')) => i + 3,
        _ => i + 1,
    }
}

/// A file's tokens without the items that are compiled for tests only, and the names of its test-only file modules
/// (`#[cfg(test)] mod tests;`).
pub fn without_tests(tokens: &[Spanned]) -> (Vec<Spanned>, Vec<String>) {
    let (mut kept, mut modules, mut i) = (Vec::new(), Vec::new(), 0);
    while i < tokens.len() {
        match attribute(tokens, i) {
            Some((end, true)) => {
                let item_end = after_item(tokens, end);
                modules.extend(file_module(&tokens[end..item_end]));
                i = item_end;
            }
            Some((end, false)) => {
                kept.extend_from_slice(&tokens[i..end]);
                i = end;
            }
            None => {
                kept.push(tokens[i].clone());
                i += 1;
            }
        }
    }
    (kept, modules)
}

/// The end of the outer attribute at `i`, and whether it keeps its item out of an ordinary build.
fn attribute(tokens: &[Spanned], i: usize) -> Option<(usize, bool)> {
    let is = |j: usize, c| tokens.get(j).is_some_and(|(t, _)| *t == Token::Punct(c));
    if !is(i, '#') || !is(i + 1, '[') {
        return None;
    }
    let end = after_group(tokens, i + 1);
    let words: Vec<&str> = tokens[i..end]
        .iter()
        .filter_map(|(t, _)| {
            if let Token::Ident(word) = t {
                Some(word.as_str())
            } else {
                None
            }
        })
        .collect();
    let test_only = match words.as_slice() {
        ["cfg", rest @ ..] => rest.contains(&"test") && !rest.contains(&"not"),
        ["test"] => true,
        _ => false,
    };
    Some((end, test_only))
}

fn after_group(tokens: &[Spanned], mut i: usize) -> usize {
    let mut depth = 0_usize;
    while i < tokens.len() {
        match tokens[i].0 {
            Token::Punct('(' | '[' | '{') => depth += 1,
            Token::Punct(')' | ']' | '}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return i + 1;
                }
            }
            _ => {}
        }
        i += 1;
    }
    i
}

fn after_item(tokens: &[Spanned], mut i: usize) -> usize {
    while let Some((end, _)) = attribute(tokens, i) {
        i = end;
    }
    let ends_at_semicolon = tokens[i..]
        .iter()
        .take(3)
        .any(|(t, _)| matches!(t, Token::Ident(w) if matches!(w.as_str(), "use" | "let" | "static" | "type")));
    while i < tokens.len() {
        match tokens[i].0 {
            Token::Punct(';') => return i + 1,
            Token::Punct('{') if !ends_at_semicolon => return after_group(tokens, i),
            Token::Punct('(' | '[' | '{') => i = after_group(tokens, i),
            // The end of what holds the item: a field or a variant that was the last one.
            Token::Punct(')' | ']' | '}') => return i,
            _ => i += 1,
        }
    }
    i
}

fn file_module(item: &[Spanned]) -> Option<String> {
    let [
        ..,
        (Token::Ident(keyword), _),
        (Token::Ident(name), _),
        (Token::Punct(';'), _),
    ] = item
    else {
        return None;
    };
    (keyword == "mod").then(|| name.clone())
}

/// Every path that the tokens name, with what their imports stand for put in.
pub fn paths(tokens: &[Spanned]) -> Vec<NamedPath> {
    let (mut imports, mut spoken, mut i) = (Vec::new(), Vec::new(), 0);
    while i < tokens.len() {
        match &tokens[i].0 {
            Token::Ident(word) if word == "use" && !is_capture(tokens, i) => {
                i = use_tree(tokens, i + 1, &[], &mut imports);
            }
            Token::Ident(word) if word == "extern" && ident(tokens, i + 1) == Some("crate") => {
                if let Some(name) = ident(tokens, i + 2) {
                    spoken.push((vec![name.to_owned()], tokens[i].1));
                }
                i += 3;
            }
            Token::Ident(first) => {
                let (mut path, line) = (vec![first.clone()], tokens[i].1);
                i += 1;
                while tokens.get(i).is_some_and(|(t, _)| *t == Token::Sep) {
                    let Some(next) = ident(tokens, i + 1) else {
                        break;
                    };
                    path.push(next.to_owned());
                    i += 2;
                }
                spoken.push((path, line));
            }
            _ => i += 1,
        }
    }

    let names: BTreeMap<&str, &[String]> = imports
        .iter()
        .map(|import: &Import| (import.name.as_str(), import.path.as_slice()))
        .collect();
    let resolve = |path: &[String]| -> Vec<String> {
        match path
            .split_first()
            .and_then(|(first, rest)| Some((names.get(first.as_str())?, rest)))
        {
            // An import of itself (`use serde;`) must not be put in again.
            Some((full, rest)) if full[0] != path[0] || full.len() == 1 => [full, rest].concat(),
            _ => path.to_vec(),
        }
    };
    let mut all: Vec<NamedPath> = imports
        .iter()
        .map(|import| (resolve(&import.path), import.line))
        .collect();
    all.extend(spoken.iter().map(|(path, line)| (resolve(path), *line)));
    all
}

/// `use<'a>` in a return type is no import.
fn is_capture(tokens: &[Spanned], i: usize) -> bool {
    tokens
        .get(i + 1)
        .is_some_and(|(t, _)| *t == Token::Punct('<'))
}

fn ident(tokens: &[Spanned], i: usize) -> Option<&str> {
    match tokens.get(i) {
        Some((Token::Ident(word), _)) => Some(word),
        _ => None,
    }
}

struct Import {
    name: String,
    path: Vec<String>,
    line: usize,
}

/// Reads one branch of a `use` tree and gives the place after it.
fn use_tree(tokens: &[Spanned], mut i: usize, prefix: &[String], out: &mut Vec<Import>) -> usize {
    let mut path = prefix.to_vec();
    let line = tokens.get(i).map_or(0, |(_, line)| *line);
    loop {
        match tokens.get(i).map(|(t, _)| t) {
            Some(Token::Ident(word)) if word == "as" => {
                let name = ident(tokens, i + 1).unwrap_or("_").to_owned();
                out.push(Import { name, path, line });
                return i + 2;
            }
            Some(Token::Ident(word)) => {
                // `self` in braces means what is before the braces.
                if word != "self" || path.is_empty() {
                    path.push(word.clone());
                }
                i += 1;
            }
            Some(Token::Sep) => i += 1,
            Some(Token::Punct('*')) => {
                path.push("*".to_owned());
                out.push(Import {
                    name: "*".to_owned(),
                    path,
                    line,
                });
                return i + 1;
            }
            Some(Token::Punct('{')) => {
                i += 1;
                while !matches!(
                    tokens.get(i).map(|(t, _)| t),
                    None | Some(Token::Punct('}'))
                ) {
                    i = use_tree(tokens, i, &path, out);
                    if matches!(tokens.get(i).map(|(t, _)| t), Some(Token::Punct(','))) {
                        i += 1;
                    }
                }
                return i + 1;
            }
            _ => {
                if let Some(name) = path.last().cloned() {
                    out.push(Import { name, path, line });
                }
                // A token that belongs to no use tree must not stop the walk.
                return if matches!(
                    tokens.get(i).map(|(t, _)| t),
                    Some(Token::Punct(',' | '}' | ';')) | None
                ) {
                    i
                } else {
                    i + 1
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(source: &str) -> Vec<String> {
        let (tokens, _) = without_tests(&tokens(source));
        paths(&tokens)
            .into_iter()
            .map(|(path, _)| path.join("::"))
            .collect()
    }

    #[test]
    fn use_trees_are_unfolded() {
        let seen = named("use std::{fs, net::{self, TcpStream as T}, time::*};\n");
        assert_eq!(
            seen,
            ["std::fs", "std::net", "std::net::TcpStream", "std::time::*"]
        );
    }

    #[test]
    fn imports_are_put_into_the_paths_that_use_them() {
        assert!(
            named("use std::time; fn f() { time::Instant::now(); }")
                .contains(&"std::time::Instant::now".to_owned())
        );
        assert!(
            named("use std::time::Instant as I; fn f() { I::now(); }")
                .contains(&"std::time::Instant::now".to_owned())
        );
    }

    #[test]
    fn comments_and_literals_name_nothing() {
        let source = r##"
            // tokio::spawn
            /* tokio /* tokio */ tokio */
            const A: &str = "tokio \" tokio"; const B: &str = r#"tokio " tokio"#; const C: &[u8] = b"tokio";
            const D: char = '"'; const E: char = '\''; fn f<'tokio_life>(x: &'tokio_life str) {}
        "##;
        assert!(!named(source).iter().any(|p| p == "tokio"));
        assert_eq!(
            tokens("a\n\"x\ny\"\nb").last(),
            Some(&(Token::Ident("b".to_owned()), 4))
        );
    }

    #[test]
    fn what_is_for_tests_only_is_left_out() {
        let source = "
            #[cfg(test)] use std::fs;
            #[cfg(test)] mod tests { fn f() { std::net::x(); } }
            #[cfg(any(test, feature = \"x\"))] #[allow(dead_code)] fn g(a: [u8; 3]) -> u8 { rand::x() }
            #[cfg(not(test))] fn h() { kept::one(); }
            fn i() { kept::two(); }
            #[cfg(test)] mod far;
        ";
        let (kept, modules) = without_tests(&tokens(source));
        let seen: Vec<_> = paths(&kept)
            .into_iter()
            .map(|(p, _)| p.join("::"))
            .collect();
        assert!(seen.contains(&"kept::one".to_owned()) && seen.contains(&"kept::two".to_owned()));
        assert!(
            !seen
                .iter()
                .any(|p| p.starts_with("std") || p.starts_with("rand")),
            "{seen:?}"
        );
        assert_eq!(modules, ["far"]);
    }
}
