//! The table.

/// One figure.
pub(crate) struct Row {
    what: String,
    ours: String,
    peer: String,
    goal: String,
    met: Option<bool>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, ours: impl Into<String>) -> Self {
        Self { what: what.into(), ours: ours.into(), peer: "-".to_owned(), goal: "-".to_owned(), met: None }
    }

    /// What the peer needs for the same.
    pub(crate) fn peer(mut self, peer: impl Into<String>) -> Self {
        self.peer = peer.into();
        self
    }

    /// What is to be reached, and whether it is.
    pub(crate) fn goal(mut self, goal: impl Into<String>, met: bool) -> Self {
        self.goal = goal.into();
        self.met = Some(met);
        self
    }
}

/// Prints rows as a Markdown table whose columns line up.
pub(crate) fn print(rows: &[Row]) {
    let mut lines = vec![["what", "ours", "peer", "goal", "met"].map(str::to_owned)];
    for row in rows {
        let met = match row.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        lines.push([row.what.clone(), row.ours.clone(), row.peer.clone(), row.goal.clone(), met.to_owned()]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    for (number, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("| {} |", cells.join(" | "));
        if number == 0 {
            println!("|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
        }
    }
}
