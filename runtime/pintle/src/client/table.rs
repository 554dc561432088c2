//! Prints `metav1.Table` the way kubectl does: columns as wide as their widest
//! cell, three spaces between them.

use serde_json::Value;

/// Keeps the columns and widths over several tables, for watches.
#[derive(Default)]
pub struct Printer {
    pub wide: bool,
    pub with_namespace: bool,
    /// Stands before the names, as in `deployment.apps/web`, when several kinds are printed.
    pub kind: Option<String>,
    columns: Vec<(usize, String)>,
    widths: Vec<usize>,
}

impl Printer {
    pub fn new(wide: bool, with_namespace: bool) -> Self {
        Self { wide, with_namespace, ..Self::default() }
    }

    /// The table as text; the header comes with the first one only.
    pub fn render(&mut self, table: &Value) -> String {
        let mut lines: Vec<Vec<String>> = Vec::new();
        if self.columns.is_empty() {
            let definitions = table["columnDefinitions"].as_array();
            self.columns = definitions
                .into_iter()
                .flatten()
                .enumerate()
                .filter(|(_, d)| self.wide || d["priority"].as_i64().unwrap_or(0) == 0)
                .map(|(at, d)| (at, d["name"].as_str().unwrap_or("").to_uppercase()))
                .collect();
            if self.columns.is_empty() {
                return String::new();
            }
            let mut header: Vec<String> = self.columns.iter().map(|(_, n)| n.clone()).collect();
            if self.with_namespace {
                header.insert(0, "NAMESPACE".into());
            }
            lines.push(header);
        }
        for row in table["rows"].as_array().into_iter().flatten() {
            let mut cells: Vec<String> =
                self.columns.iter().map(|(at, _)| cell(&row["cells"][*at])).collect();
            if let (Some(kind), Some(name)) = (&self.kind, cells.first_mut()) {
                name.insert_str(0, &format!("{kind}/"));
            }
            if self.with_namespace {
                cells.insert(0, cell(&row["object"]["metadata"]["namespace"]));
            }
            lines.push(cells);
        }
        for line in &lines {
            self.widths.resize(line.len().max(self.widths.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for line in lines {
            let mut out = String::new();
            for (cell, width) in line.iter().zip(&self.widths) {
                out.push_str(&format!("{cell:<width$}   "));
            }
            text.push_str(out.trim_end());
            text.push('\n');
        }
        text
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "<none>".into(),
        Value::String(text) => text.replace('\n', "\\n"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_line_up_and_wide_ones_wait_for_wide() {
        let table = json!({
            "columnDefinitions": [
                {"name": "Name", "priority": 0},
                {"name": "Ready", "priority": 0},
                {"name": "IP", "priority": 1},
            ],
            "rows": [
                {"cells": ["web-1", "1/1", "10.0.0.1"], "object": {"metadata": {"namespace": "a"}}},
                {"cells": ["w", null, "10.0.0.2"], "object": {"metadata": {"namespace": "b"}}},
            ],
        });
        let narrow = Printer::new(false, false).render(&table);
        assert_eq!(narrow, "NAME    READY\nweb-1   1/1\nw       <none>\n");
        let mut of_kind = Printer { kind: Some("pod".into()), ..Printer::default() };
        assert!(of_kind.render(&table).contains("\npod/web-1   1/1\n"));
        let wide = Printer::new(true, true).render(&table);
        assert!(wide.starts_with("NAMESPACE   NAME    READY    IP\na           web-1"), "{wide}");
    }
}
