//! Measurements as JSON lines and as a table.

use std::fs::{File, create_dir_all};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// What one scenario saw.
#[derive(Default)]
pub struct Report {
    lines: Vec<Value>,
    rows: Vec<Row>,
    notes: Vec<String>,
}

struct Row {
    what: String,
    value: String,
    reach: String,
}

impl Report {
    /// One measurement, for the JSON lines.
    pub fn line(&mut self, measurement: Value) {
        self.lines.push(measurement);
    }

    /// One row of the table; `reach` is what the issue asks for, or empty.
    pub fn row(
        &mut self,
        what: impl Into<String>,
        value: impl Into<String>,
        reach: impl Into<String>,
    ) {
        self.rows.push(Row {
            what: what.into(),
            value: value.into(),
            reach: reach.into(),
        });
    }

    /// A sentence under the table.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Prints the table and writes `target/bench/<scenario>.jsonl`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self, scenario: &str) -> anyhow::Result<()> {
        let width = |of: fn(&Row) -> &str| {
            self.rows
                .iter()
                .map(|row| of(row).chars().count())
                .max()
                .unwrap_or(0)
        };
        let (what, value) = (width(|r| &r.what), width(|r| &r.value));
        for row in &self.rows {
            let reach = if row.reach.is_empty() {
                String::new()
            } else {
                format!("   (reach {})", row.reach)
            };
            println!("  {:<what$}  {:>value$}{reach}", row.what, row.value);
        }
        for note in &self.notes {
            println!("  {note}");
        }
        for row in &self.rows {
            self.lines
                .push(json!({"row": row.what, "value": row.value, "reach": row.reach}));
        }
        let path = directory().join(format!("{scenario}.jsonl"));
        create_dir_all(directory())?;
        let mut file = File::create(&path)?;
        let machine = machine();
        for line in self.lines {
            let mut object = Map::new();
            object.insert("scenario".into(), scenario.into());
            object.insert("machine".into(), machine.clone());
            if let Value::Object(fields) = line {
                object.extend(fields);
            }
            writeln!(file, "{}", Value::Object(object))?;
        }
        println!("  → {}", path.display());
        Ok(())
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench")
}

fn machine() -> Value {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({"cores": cores, "arch": std::env::consts::ARCH, "os": std::env::consts::OS})
}

/// The middle one; of an even number the lower, so that it is a value that was measured. 0 for none.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// Nearest-rank percentile; 0 for no values.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// `123456` as `123,456`.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(median(&values), 50.0);
        assert_eq!(percentile(&values, 99.0), 99.0);
        assert_eq!(percentile(&[7.0], 99.0), 7.0);
        assert_eq!(median(&[]), 0.0);
        assert_eq!(thousands(1_234_567.0), "1,234,567");
    }
}
