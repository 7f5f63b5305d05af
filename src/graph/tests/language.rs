//! Small checkers for what is written: XML, and Graphviz' language.

use std::collections::BTreeSet;

use super::*;

/// Whether a text is well-formed XML as far as we use it: one root, tags that match, quoted attributes, known entities,
/// no forbidden character, no id twice.
pub(super) fn xml(text: &str) -> Result<(), String> {
    let mut rest = text;
    let mut open: Vec<&str> = Vec::new();
    let (mut roots, mut ids) = (0, BTreeSet::new());
    while let Some(at) = rest.find('<') {
        characters(&rest[..at])?;
        if open.is_empty() && !rest[..at].trim().is_empty() {
            return Err(format!("{:?} outside of the root", &rest[..at]));
        }
        let end = at + rest[at..].find('>').ok_or("a tag without an end")?;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> ends what it did not begin"));
            }
            continue;
        }
        let (tag, single) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err(format!("<{name}>"));
        }
        let mut seen = BTreeSet::new();
        while !attributes.is_empty() {
            let (key, value) = attributes.split_once("=\"").ok_or_else(|| format!("in <{tag}>"))?;
            let (value, after) = value.split_once('"').ok_or_else(|| format!("in <{tag}>"))?;
            characters(value)?;
            if !seen.insert(key) || (key == "id" && !ids.insert(value)) {
                return Err(format!("{key}={value:?} twice"));
            }
            attributes = after.trim_start();
        }
        if open.is_empty() {
            roots += 1;
        }
        if !single {
            open.push(name);
        }
    }
    if roots == 1 && open.is_empty() && rest.trim().is_empty() {
        Ok(())
    } else {
        Err(format!("{roots} roots, {open:?} open, {rest:?} after them"))
    }
}

fn characters(text: &str) -> Result<(), String> {
    if let Some(c) =
        text.chars().find(|c| (c.is_control() && *c != '\n') || matches!(c, '\u{fffe}' | '\u{ffff}'))
    {
        return Err(format!("{c:?} in {text:?}"));
    }
    for entity in text.split('&').skip(1) {
        let name = entity.split_once(';').map(|(name, _)| name);
        if !matches!(name, Some("amp" | "lt" | "gt" | "quot")) {
            return Err(format!("&{entity:?}"));
        }
    }
    Ok(())
}

/// What Graphviz' language is made of.
#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted,
    Sign(char),
    Edge,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut chars = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            c if c.is_whitespace() => continue,
            '{' | '}' | '[' | ']' | '=' | ',' => Token::Sign(c),
            '-' if chars.next_if_eq(&'-').is_some() => Token::Edge,
            '"' => {
                loop {
                    match chars.next().ok_or("a quote that stays open")? {
                        '"' => break,
                        // Ours have these escapes only.
                        '\\' if !matches!(chars.next(), Some('"' | '\\' | 'n' | 'l')) => {
                            return Err("an unknown escape".to_owned());
                        }
                        c if c.is_control() => return Err(format!("{c:?} in a quote")),
                        _ => {}
                    }
                }
                Token::Quoted
            }
            c if c.is_ascii_alphabetic() => {
                let mut word = c.to_string();
                while let Some(c) = chars.next_if(char::is_ascii_alphanumeric) {
                    word.push(c);
                }
                Token::Word(word)
            }
            c => return Err(format!("{c:?} at {:?}", chars.take(20).collect::<String>())),
        });
    }
    Ok(tokens)
}

/// Whether a text is a graph in the part of the language that we use.
pub(super) fn dot(text: &str) -> Result<(), String> {
    let tokens = tokens(text)?;
    let Some(([Token::Word(graph), Token::Quoted, Token::Sign('{')], mut rest)) = tokens.split_first_chunk()
    else {
        return Err("no graph".to_owned());
    };
    if graph != "graph" {
        return Err(format!("a {graph}"));
    }
    let mut depth = 1;
    while depth > 0 {
        rest = match rest {
            [Token::Sign('}'), rest @ ..] => {
                depth -= 1;
                rest
            }
            [Token::Word(word), Token::Quoted, Token::Sign('{'), rest @ ..] if word == "subgraph" => {
                depth += 1;
                rest
            }
            [Token::Word(word), Token::Sign('='), Token::Quoted, rest @ ..] if word == "label" => rest,
            [Token::Word(word), Token::Sign('['), rest @ ..]
                if matches!(word.as_str(), "graph" | "node" | "edge") =>
            {
                attributes(rest)?
            }
            [Token::Quoted, Token::Edge, Token::Quoted, Token::Sign('['), rest @ ..]
            | [Token::Quoted, Token::Sign('['), rest @ ..] => attributes(rest)?,
            [first, ..] => return Err(format!("{first:?} begins no statement")),
            [] => return Err("it has no end".to_owned()),
        };
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("{rest:?} after the end")) }
}

fn attributes(mut rest: &[Token]) -> Result<&[Token], String> {
    loop {
        rest = match rest {
            [Token::Word(_), Token::Sign('='), Token::Quoted, Token::Sign(']'), rest @ ..] => {
                return Ok(rest);
            }
            [Token::Word(_), Token::Sign('='), Token::Quoted, Token::Sign(','), rest @ ..] => rest,
            _ => return Err(format!("attributes at {:?}", rest.first())),
        };
    }
}

#[test]
fn the_checkers_see_mistakes() {
    assert_eq!(xml("<a b=\"c\"><d/>&amp;</a>\n"), Ok(()));
    for bad in [
        "",
        "<a>",
        "<a></b>",
        "<a b=c/>",
        "<a b=\"c\" b=\"c\"/>",
        "<a>&x;</a>",
        "<a>\u{1}</a>",
        "<a/><a/>",
        "<a/>x",
        "<a><b id=\"x\"/><c id=\"x\"/></a>",
    ] {
        assert!(xml(bad).is_err(), "{bad}");
    }
    assert_eq!(dot("graph \"a\" { graph [label=\"x\\n\"] \"b\" -- \"c\" [label=\"\"] }"), Ok(()));
    for bad in [
        "",
        "graph \"a\" {",
        "graph \"a\" {}}",
        "graph \"a\" { \"b\" -> \"c\" [label=\"\"] }",
        "graph \"a\" { \"b }",
        "graph \"a\" { \"b\" [label=\"\\x\"] }",
        "graph \"a\" { b [label=\"\"] }",
    ] {
        assert!(dot(bad).is_err(), "{bad}");
    }
}

#[test]
fn names_from_elsewhere_are_only_text() {
    let name = "<script>&\"'\\\\N\u{0}\u{1b}]]>\u{ffff}</text>";
    let facts = Facts {
        observer: None,
        only: None,
        names: BTreeMap::from([([10, 0, 0, 1].into(), name.to_owned())]),
        vlans: BTreeMap::new(),
    };
    let model = model_with(&[flood(10, "10.0.0.1", 0)], &facts);
    for view in View::ALL {
        let picture = svg(&model, view, Limits::FOLDED);
        assert_eq!(xml(&picture), Ok(()), "{view:?}");
        assert!(!picture.contains("<script"), "{view:?}");
        assert_eq!(super::language::dot(&dot_text(&model, view)), Ok(()), "{view:?}");
    }
}

fn dot_text(model: &Model, view: View) -> String {
    super::dot(model, view, Limits::FOLDED)
}
