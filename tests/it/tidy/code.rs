//! Just enough of a reader of Rust for the house rules: no comments, no texts, all paths whole.

/// The code without comments and without what texts say; lines stay where they are.
pub(super) fn bare(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let keep_lines = |part: &str| "\n".repeat(part.matches('\n').count());
    while at < bytes.len() {
        let rest = &text[at..];
        let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block(rest)
        } else if rest.starts_with('"') {
            text_end(rest, 0)
        } else if !word_before && (rest.starts_with("b\"") || rest.starts_with("c\"")) {
            text_end(rest, 1)
        } else if let Some(length) = raw(rest).filter(|_| !word_before) {
            length
        } else if let Some(length) = letter(rest) {
            length
        } else {
            let c = rest.chars().next().unwrap();
            out.push(c);
            at += c.len_utf8();
            continue;
        };
        out.push_str(&keep_lines(&rest[..length]));
        out.push(' ');
        at += length;
    }
    out
}

fn block(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().unwrap().len_utf8();
        }
    }
    rest.len()
}

fn text_end(rest: &str, prefix: usize) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(prefix + 1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    body[hashes..].strip_prefix('"')?;
    let open = rest.len() - body.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len()))
}

/// A character in ticks, and not a lifetime.
fn letter(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    let mut chars = body.char_indices();
    match chars.next()?.1 {
        '\\' => Some(body[2..].find('\'')? + 4),
        _ => chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 2),
    }
}

/// Every path of bare code with its line, the branches of a `use` written out.
pub(super) fn paths(bare: &str) -> Vec<(usize, String)> {
    let mut reader = Reader { chars: bare.chars().collect(), at: 0, line: 1, found: Vec::new() };
    while reader.at < reader.chars.len() {
        if reader.peek().is_some_and(|c| c.is_alphabetic() || c == '_') {
            reader.path("");
        } else {
            reader.step();
        }
    }
    reader.found
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
    found: Vec<(usize, String)>,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn step(&mut self) {
        self.line += usize::from(self.chars[self.at] == '\n');
        self.at += 1;
    }

    fn space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.step();
        }
    }

    fn colons(&mut self) -> bool {
        let is = self.chars[self.at..].starts_with(&[':', ':']);
        self.at += if is { 2 } else { 0 };
        is
    }

    fn path(&mut self, prefix: &str) {
        let (mut path, line) = (prefix.to_owned(), self.line);
        loop {
            while let Some(c) = self.peek().filter(|c| c.is_alphanumeric() || *c == '_') {
                path.push(c);
                self.at += 1;
            }
            if !self.colons() {
                break;
            }
            path.push_str("::");
            match self.peek() {
                Some('{') => return self.branches(&path),
                Some(c) if c.is_alphabetic() || c == '_' => {}
                _ => break,
            }
        }
        self.found.push((line, path));
    }

    fn branches(&mut self, prefix: &str) {
        self.step();
        loop {
            self.space();
            match self.peek() {
                None | Some('}') => break,
                Some(c) if c.is_alphabetic() || c == '_' => self.path(prefix),
                Some('*') => self.found.push((self.line, format!("{prefix}*"))),
                Some(_) => {}
            }
            // What follows `as`, commas and stars.
            while self.peek().is_some_and(|c| c != ',' && c != '}') {
                self.step();
            }
            if self.peek() == Some(',') {
                self.step();
            }
        }
        if self.at < self.chars.len() {
            self.step();
        }
    }
}

#[test]
fn code_is_read_without_comments_and_texts() {
    let code = "a // sqlx::x\n/* sqlx /* y */ */ b \"sqlx \\\" \n::z\" r#\"sqlx \" x\"# c 'q' '\\'' '\\u{41}' &'a d::e b'x'";
    let bare = bare(code);
    assert!(!bare.contains("sqlx"), "{bare}");
    let found: Vec<String> = paths(&bare).into_iter().map(|(_, path)| path).collect();
    assert_eq!(found, ["a", "b", "c", "a", "d::e", "b"]);
}

#[test]
fn paths_are_written_out() {
    let code = "use crate::{\n    api::{self, http},\n    store as s,\n    lab::*,\n};\nfn f() { x::y(z) }";
    let found = paths(code);
    let expected = [
        (1, "use"),
        (2, "crate::api::self"),
        (2, "crate::api::http"),
        (3, "crate::store"),
        (4, "crate::lab::"),
        (6, "fn"),
        (6, "f"),
        (6, "x::y"),
        (6, "z"),
    ];
    let expected: Vec<(usize, String)> = expected.map(|(line, path)| (line, path.to_owned())).into();
    assert_eq!(found, expected);
}
