//! What commands print: tables for people, JSON and YAML for programs.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::exit::{Failure, Kind};

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table.
    #[default]
    Text,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

impl Format {
    /// Prints `data` as JSON or YAML; for people, `text` is printed instead.
    pub(crate) fn print<T: Serialize>(self, data: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let rendered = match self {
            Self::Text => text(),
            Self::Json => serde_json::to_string_pretty(data).map_err(|error| Failure::from_error("output", &error))?,
            Self::Yaml => serde_saphyr::to_string(data).map_err(|error| Failure::from_error("output", &error))?,
        };
        print(&rendered)
    }
}

/// Writes to standard output. A reader that has gone away is not an error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{newline}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Kind::Failed, format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Columns aligned with three spaces, as kubectl prints them.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            text.push_str(cell);
            let padding = width + 3 - cell.chars().count();
            text.extend(std::iter::repeat_n(' ', padding));
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut headings.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// Green, yellow or red on a terminal; plain text elsewhere and when `NO_COLOR` is set.
pub(crate) fn colored(text: &str, good: bool, bad: bool) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stdout().is_terminal();
    match (plain, good, bad) {
        (true, ..) => text.to_owned(),
        (_, true, _) => format!("\u{1b}[32m{text}\u{1b}[0m"),
        (_, _, true) => format!("\u{1b}[31m{text}\u{1b}[0m"),
        _ => format!("\u{1b}[33m{text}\u{1b}[0m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_space() {
        let rows = vec![vec!["a".to_owned(), "b".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "X"], &rows), "NAME     X\na        b\nlonger\n");
    }
}
