//! Words that people are shown, put together in one place.

/// `1 MAC`, `2 MACs`.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
