//! Statements that write many rows at once.

/// How many rows one statement writes, greatest first. Few sizes, so that each statement is prepared
/// once; 64 of the widest row need 640 of SQLite's 32,766 parameters, and more gain little.
const ROWS_PER_STATEMENT: [usize; 3] = [64, 8, 1];

/// A statement in all its sizes.
#[derive(Debug)]
pub(crate) struct Bulk {
    texts: [String; 3],
}

impl Bulk {
    /// What stands before the values, how many columns a row has, and what stands behind the values.
    pub(crate) fn new(head: &str, columns: usize, tail: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        let text = |rows| {
            format!(
                "{head} VALUES {} {tail}",
                vec![row.as_str(); rows].join(", ")
            )
        };
        Self {
            texts: ROWS_PER_STATEMENT.map(text),
        }
    }

    /// Cuts rows into parts, each with the statement that writes it.
    pub(crate) fn parts<'s, 'r, T>(&'s self, rows: &'r [T]) -> Vec<(&'s str, &'r [T])> {
        let mut parts = Vec::with_capacity(rows.len() / 64 + 14);
        let mut rest = rows;
        for (size, text) in ROWS_PER_STATEMENT.into_iter().zip(&self.texts) {
            while let Some((part, behind)) = rest.split_at_checked(size) {
                parts.push((text.as_str(), part));
                rest = behind;
            }
        }
        parts
    }
}
