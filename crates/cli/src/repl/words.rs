//! Lines as words, quoted as in a shell: `'…'` as it stands, `"…"` and bare words with `\`.

/// A quote that is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclosed(pub(super) char);

/// A word, and where in the line it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    start: usize,
    text: String,
}

/// A line up to the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Typed {
    /// The words before the one that the cursor stands in.
    pub(super) before: Vec<String>,
    /// Where that one begins.
    pub(super) start: usize,
    /// What there is of it.
    pub(super) partial: String,
}

/// The words of a line; none of one that begins with `#`.
pub(super) fn split(line: &str) -> Result<Vec<String>, Unclosed> {
    if line.trim_start().starts_with('#') {
        return Ok(Vec::new());
    }
    let (words, open) = read(line);
    match open {
        Open::Quote(quote) => Err(Unclosed(quote)),
        Open::Word | Open::Nothing => Ok(words.into_iter().map(|word| word.text).collect()),
    }
}

/// The commands of what was entered: many lines come at once where they are pasted. A line that ends
/// inside of quotes goes on in the next one.
pub(super) fn commands(entered: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut begun = String::new();
    for line in entered.lines() {
        if !begun.is_empty() {
            begun.push('\n');
        }
        begun.push_str(line);
        if split(&begun).is_ok() {
            commands.push(std::mem::take(&mut begun));
        }
    }
    if !begun.is_empty() {
        commands.push(begun);
    }
    commands
}

/// What stands before the cursor at the end of `line`.
pub(super) fn typed(line: &str) -> Typed {
    let (mut words, open) = read(line);
    let last = match open {
        Open::Nothing => None,
        Open::Word | Open::Quote(_) => words.pop(),
    };
    let (start, partial) = last.map_or((line.len(), String::new()), |word| (word.start, word.text));
    Typed {
        before: words.into_iter().map(|word| word.text).collect(),
        start,
        partial,
    }
}

/// A word as it must be typed.
pub(super) fn escape(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    for (at, one) in word.chars().enumerate() {
        if one.is_whitespace() || matches!(one, '\\' | '\'' | '"') || (at == 0 && one == '#') {
            text.push('\\');
        }
        text.push(one);
    }
    if text.is_empty() {
        text.push_str("''");
    }
    text
}

/// What a line ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Word,
    Quote(char),
}

fn read(line: &str) -> (Vec<Word>, Open) {
    let mut words: Vec<Word> = Vec::new();
    let mut open = Open::Nothing;
    let mut chars = line.char_indices();
    while let Some((at, one)) = chars.next() {
        if open == Open::Nothing {
            if one.is_whitespace() {
                continue;
            }
            words.push(Word {
                start: at,
                text: String::new(),
            });
            open = Open::Word;
        }
        let text = &mut words.last_mut().expect("one was begun").text;
        match (open, one) {
            (Open::Quote(quote), one) if one == quote => open = Open::Word,
            (Open::Quote('"'), '\\') => match chars.next() {
                Some((_, one @ ('"' | '\\'))) => text.push(one),
                Some((_, one)) => text.extend(['\\', one]),
                None => text.push('\\'),
            },
            (Open::Quote(_), one) => text.push(one),
            (_, '\'' | '"') => open = Open::Quote(one),
            (_, '\\') => text.extend(chars.next().map(|(_, one)| one)),
            (_, one) if one.is_whitespace() => open = Open::Nothing,
            (_, one) => text.push(one),
        }
    }
    (words, open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_pasted_together_are_commands_of_their_own() {
        let pasted = "get a\n\nput b 'one\ntwo'\n# it's done\nget \"c";
        let expected = ["get a", "", "put b 'one\ntwo'", "# it's done", "get \"c"];
        assert_eq!(commands(pasted), expected);
        assert!(commands("").is_empty());
    }

    #[test]
    fn words_are_split_as_in_a_shell() {
        for (line, words) in [
            ("", &[][..]),
            ("  put a  b ", &["put", "a", "b"]),
            (r#"put 'a b' "c \"d\" \n""#, &["put", "a b", r#"c "d" \n"#]),
            (r"put a\ b ''", &["put", "a b", ""]),
            ("get a#b # c", &["get", "a#b", "#", "c"]),
            ("  # get a", &[]),
            ("get ü'漢 字'x", &["get", "ü漢 字x"]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        assert_eq!(split("put 'a"), Err(Unclosed('\'')));
        assert_eq!(split("put \"a\\\""), Err(Unclosed('"')));
    }

    #[test]
    fn the_word_at_the_cursor_is_told_apart() {
        let typed = |line| {
            let typed = typed(line);
            (typed.before.join("|"), typed.start, typed.partial)
        };
        assert_eq!(typed(""), (String::new(), 0, String::new()));
        assert_eq!(typed("get ph"), ("get".into(), 4, "ph".into()));
        assert_eq!(typed("get "), ("get".into(), 4, String::new()));
        assert_eq!(typed("get 'my do"), ("get".into(), 4, "my do".into()));
        assert_eq!(typed(r"get my\ do"), ("get".into(), 4, "my do".into()));
    }

    #[test]
    fn what_is_escaped_is_one_word_again() {
        for word in ["a", "", "a b", "#x", "it's \"\\", "ü 漢"] {
            assert_eq!(
                split(&format!("get {}", escape(word))).unwrap(),
                ["get", word]
            );
        }
        assert_eq!(escape("photos/2026 05/"), "photos/2026\\ 05/");
    }
}
