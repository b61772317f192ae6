//! `NAME.env`: one key as `NAME=VALUE` lines.
//!
//! The grammar is the plain part that all dotenv readers share: comments, `export`, single and
//! double quotes, a comment after a blank and `#`. Nothing is expanded: a `$` in a key is a `$`.
//! An empty value counts as not given.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::super::{
    fields::{Field, Value, Vocabulary, Written, identify},
    problem::Fault,
};

pub(super) fn parse(text: &str) -> Result<Vec<Field>, Vec<Fault>> {
    let (mut written, mut faults) = (Vec::new(), Vec::new());
    for (number, line) in (1u32..).zip(text.lines()) {
        match assignment(line.trim()) {
            Ok(None) => {}
            Ok(Some((name, value))) => written.push(Written {
                name: name.to_owned(),
                line: Some(number),
                value: Value::Word(Zeroizing::new(value.into_owned())),
            }),
            Err(fault) => faults.push(fault.on(number)),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut fields = identify(written, Vocabulary::Variables)?;
    fields.retain(|field| !matches!(&field.value, Value::Word(text) if text.is_empty()));
    Ok(fields)
}

fn assignment(line: &str) -> Result<Option<(&str, Cow<'_, str>)>, Fault> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let Some((name, value)) = line.split_once('=') else {
        return Err(Fault::refused(
            "the line is not NAME=VALUE",
            "write NAME=VALUE, or begin a comment with #",
        ));
    };
    Ok(Some((name.trim(), unquote(value.trim())?)))
}

fn unquote(value: &str) -> Result<Cow<'_, str>, Fault> {
    let open = || {
        let hint = "close the quote on the same line, or write the value without quotes";
        Fault::refused("the closing quote is missing", hint)
    };
    if let Some(rest) = value.strip_prefix('\'') {
        let (inside, after) = rest.split_once('\'').ok_or_else(open)?;
        return nothing_but_comment(after).map(|()| Cow::Borrowed(inside));
    }
    if let Some(rest) = value.strip_prefix('"') {
        let (inside, after) = double_quoted(rest)?.ok_or_else(open)?;
        return nothing_but_comment(after).map(|()| Cow::Owned(inside));
    }
    // A `#` belongs to the value unless a blank stands before it.
    let comment = value
        .char_indices()
        .find(|(at, c)| *c == '#' && (*at == 0 || value[..*at].ends_with(char::is_whitespace)));
    Ok(Cow::Borrowed(comment.map_or(value, |(at, _)| value[..at].trim_end())))
}

fn double_quoted(rest: &str) -> Result<Option<(String, &str)>, Fault> {
    let (mut inside, mut chars) = (String::with_capacity(rest.len()), rest.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok(Some((inside, &rest[at + 1..]))),
            '\\' => match chars.next() {
                Some((_, c @ ('"' | '\'' | '\\' | '$' | '`'))) => inside.push(c),
                _ => {
                    return Err(Fault::refused(
                        "unknown escape after a backslash",
                        "use single quotes: nothing is special inside them",
                    ));
                }
            },
            c => inside.push(c),
        }
    }
    Ok(None)
}

fn nothing_but_comment(after: &str) -> Result<(), Fault> {
    let after = after.trim_start();
    if after.is_empty() || after.starts_with('#') {
        return Ok(());
    }
    let hint = "put the whole value into one pair of quotes";
    Err(Fault::refused("there is text after the closing quote", hint))
}
