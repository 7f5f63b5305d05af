//! A scene as SVG 1.1: one file, no script, no font but the viewer's own.

use std::fmt::{self, Write as _};

use super::font::Style;
use super::scene::{Anchor, INK, Item, Scene};

/// The picture as text.
pub(super) fn svg(scene: &Scene) -> String {
    let mut out = String::new();
    // Writing into a String does not fail.
    let _ = write(scene, &mut out);
    out
}

fn write(scene: &Scene, out: &mut String) -> fmt::Result {
    let (w, h) = (scene.width, scene.height);
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img">"#
    )?;
    writeln!(out, "<title>{}</title>", Escaped(&scene.title))?;
    writeln!(out, "<desc>{}</desc>", Escaped(&scene.about))?;
    writeln!(out, "<style>")?;
    writeln!(out, "text{{font-family:sans-serif;fill:{INK}}}")?;
    for style in [Style::Title, Style::Head, Style::Body, Style::Small, Style::Mono] {
        let more = match style {
            Style::Title | Style::Head => ";font-weight:bold",
            Style::Mono => ";font-family:monospace",
            Style::Body | Style::Small => "",
        };
        writeln!(out, ".{}{{font-size:{}px{more}}}", style.class(), style.size())?;
    }
    // What a link leads to, stands out.
    writeln!(out, "g:target>rect:first-of-type{{stroke:{INK};stroke-width:3}}")?;
    writeln!(out, "a:hover{{text-decoration:underline}}")?;
    writeln!(out, "</style>")?;
    writeln!(out, r##"<rect width="{w}" height="{h}" fill="#fff"/>"##)?;
    for item in &scene.items {
        write_item(item, out)?;
    }
    writeln!(out, "</svg>")
}

fn write_item(item: &Item, out: &mut String) -> fmt::Result {
    match item {
        Item::Open { id, tip } => {
            match id {
                Some(id) => write!(out, r#"<g id="{}">"#, Escaped(id))?,
                None => write!(out, "<g>")?,
            }
            writeln!(out, "<title>{}</title>", Escaped(tip))
        }
        Item::Close => writeln!(out, "</g>"),
        Item::Box { at, paint, .. } => {
            let (x, y, w, h) = (at.x, at.y, at.w, at.h);
            write!(out, r#"<rect x="{x}" y="{y}" width="{w}" height="{h}""#)?;
            if paint.round > 0 {
                write!(out, r#" rx="{}""#, paint.round)?;
            }
            write!(out, r#" fill="{}""#, paint.fill)?;
            if paint.width > 0 {
                write!(out, r#" stroke="{}" stroke-width="{}""#, paint.stroke, paint.width)?;
            }
            dash(paint.dash, out)?;
            writeln!(out, "/>")
        }
        Item::Text { x, y, anchor, style, words, to, .. } => {
            if let Some(to) = to {
                write!(out, r##"<a href="#{}">"##, Escaped(to))?;
            }
            write!(out, r#"<text class="{}" x="{x}" y="{y}""#, style.class())?;
            match anchor {
                Anchor::Start => {}
                Anchor::Middle => write!(out, r#" text-anchor="middle""#)?,
                Anchor::End => write!(out, r#" text-anchor="end""#)?,
            }
            // Blanks at the start of an address line are its indent.
            if words.starts_with(' ') || words.contains("  ") {
                write!(out, r#" xml:space="preserve""#)?;
            }
            write!(out, ">{}</text>", Escaped(words))?;
            writeln!(out, "{}", if to.is_some() { "</a>" } else { "" })
        }
        Item::Line { points, stroke, width, dash: pattern } => {
            let points: Vec<String> = points.iter().map(|(x, y)| format!("{x},{y}")).collect();
            write!(
                out,
                r#"<polyline points="{}" fill="none" stroke="{stroke}" stroke-width="{width}""#,
                points.join(" ")
            )?;
            dash(pattern, out)?;
            writeln!(out, "/>")
        }
    }
}

fn dash(pattern: &str, out: &mut String) -> fmt::Result {
    if pattern.is_empty() { Ok(()) } else { write!(out, r#" stroke-dasharray="{pattern}""#) }
}

/// Text inside an element or an attribute in double quotes. What XML 1.0 §2.2 allows nowhere is shown as U+FFFD.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\n' => f.write_char(c)?,
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
