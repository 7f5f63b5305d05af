//! The figures as tables: the goals with what was measured against each, then everything that was measured.

use std::fmt::Write as _;
use std::time::Duration;

use crate::process::Usage;

/// A goal and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    /// What is measured.
    pub(crate) what: String,
    /// What good means.
    pub(crate) wanted: &'static str,
    /// evpnd's figure.
    pub(crate) ours: String,
    /// With whom it is compared, and that one's figure.
    pub(crate) theirs: String,
    /// The ratio, in words that say which way round.
    pub(crate) ratio: String,
    /// What is known about it, should it not be reached.
    pub(crate) missing: &'static str,
    /// Was it reached? `None`: there is no goal, only a figure.
    pub(crate) met: Option<bool>,
}

/// A table with a title.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) note: &'static str,
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// All there is to say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) goals: Vec<Goal>,
    pub(crate) tables: Vec<Table>,
    /// Measurements that did not come about.
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        if !self.goals.is_empty() {
            let rows = self.goals.iter().map(|g| {
                let met = match g.met {
                    Some(true) => "yes",
                    Some(false) => "**no**",
                    None => "–",
                };
                vec![
                    g.what.clone(),
                    g.wanted.into(),
                    g.ours.clone(),
                    g.theirs.clone(),
                    g.ratio.clone(),
                    met.into(),
                ]
            });
            let head = ["what", "goal", "evpnd", "beside it", "ratio", "met"];
            text += &aligned(&head, &rows.collect::<Vec<_>>());
            for missed in self.goals.iter().filter(|g| g.met == Some(false)) {
                let _ = write!(
                    text,
                    "\nMissed: {}, {}: {}. {}\n",
                    missed.what, missed.wanted, missed.ratio, missed.missing
                );
            }
        }
        for table in &self.tables {
            let _ = write!(text, "\n## {}\n\n{}\n\n", table.title, table.note);
            text += &aligned(&table.head, &table.rows);
        }
        if !self.failures.is_empty() {
            text += "\n## What could not be measured\n\n";
            for failure in &self.failures {
                let _ = writeln!(text, "- {}", failure.lines().next().unwrap_or_default());
            }
        }
        text
    }
}

/// A Markdown table whose columns also line up in a terminal.
fn aligned(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = line(head);
    text += &line(&rule.iter().map(String::as_str).collect::<Vec<_>>());
    for row in rows {
        text += &line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text
}

/// The middle one; a run that did not finish is longer than any.
pub(crate) fn median(times: impl IntoIterator<Item = Option<Duration>>) -> Option<Duration> {
    let mut times: Vec<_> = times.into_iter().map(|t| t.unwrap_or(Duration::MAX)).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().filter(|t| *t != Duration::MAX)
}

/// The middle one of numbers.
pub(crate) fn middle(numbers: impl IntoIterator<Item = u64>) -> u64 {
    let mut numbers: Vec<_> = numbers.into_iter().collect();
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or(0)
}

/// Component by component.
pub(crate) fn middle_usage(all: &[Usage]) -> Usage {
    Usage {
        resident: middle(all.iter().map(|u| u.resident)),
        peak: middle(all.iter().map(|u| u.peak)),
        cpu: median(all.iter().map(|u| Some(u.cpu))).unwrap_or_default(),
        system: median(all.iter().map(|u| Some(u.system))).unwrap_or_default(),
    }
}

/// `0.123 s`, with as many digits as make sense.
pub(crate) fn seconds(time: Duration) -> String {
    let s = time.as_secs_f64();
    match s {
        _ if s < 0.001 => format!("{:.0} µs", s * 1e6),
        _ if s < 0.01 => format!("{:.2} ms", s * 1e3),
        _ if s < 1.0 => format!("{s:.3} s"),
        _ => format!("{s:.2} s"),
    }
}

/// The median, and from where to where it went.
pub(crate) fn spread(times: &[Option<Duration>], limit: Duration) -> String {
    let Some(middle) = median(times.iter().copied()) else {
        return format!("not within {} s", limit.as_secs());
    };
    let (least, most) = (times.iter().flatten().min(), times.iter().flatten().max());
    match (least, most) {
        (Some(least), Some(most)) if least != most => {
            format!("{} ({}–{})", seconds(middle), seconds(*least), seconds(*most))
        }
        _ => seconds(middle),
    }
}

/// `12.3 MB` of kilobytes as the kernel counts them.
pub(crate) fn megabytes(kilobytes: u64) -> String {
    format!("{:.1} MB", kilobytes as f64 * 1024.0 / 1e6)
}

/// How many times `b` goes into `a`.
pub(crate) fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64().max(1e-9)
}

/// `1M`, `100k`, or the number.
pub(crate) fn count(n: usize) -> String {
    match n {
        _ if n > 0 && n.is_multiple_of(1_000_000) => format!("{}M", n / 1_000_000),
        _ if n > 0 && n.is_multiple_of(1000) => format!("{}k", n / 1000),
        _ => n.to_string(),
    }
}
