//! The table that is printed.

use std::time::Duration;

pub struct Report(Vec<[String; 4]>);

impl Report {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn row(&mut self, what: &str, measured: String, goal: &str, beside: String) {
        println!("{what}: {measured}  (goal {goal}; {beside})");
        self.0.push([what.to_owned(), measured, goal.to_owned(), beside]);
    }

    pub fn print(&self) {
        let header = ["", "measured", "goal", "floor or peer"].map(str::to_owned);
        let rows: Vec<&[String; 4]> = std::iter::once(&header).chain(&self.0).collect();
        let widths: [usize; 4] = std::array::from_fn(|column| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        });
        println!();
        for (at, row) in rows.iter().enumerate() {
            let cells: Vec<String> =
                row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            println!("| {} |", cells.join(" | "));
            if at == 0 {
                let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                println!("| {} |", rule.join(" | "));
            }
        }
    }
}

/// The value below which `percent` of all lie.
pub fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    if values.is_empty() {
        return Duration::ZERO;
    }
    values.sort_unstable();
    values[(values.len() - 1) * percent / 100]
}

pub fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
