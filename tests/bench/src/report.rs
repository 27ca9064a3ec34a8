//! Measurements as JSON lines and as a table: target, figure and verdict, with the load of the machine beside them.

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
    /// What the issue asks for, and whether the figure is there; `None` where it asks for nothing.
    reach: Option<(String, bool)>,
}

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub enum Reach {
    AtMost(f64),
    AtLeast(f64),
}

impl Reach {
    fn met_by(self, figure: f64) -> bool {
        match self {
            Reach::AtMost(bound) => figure <= bound,
            Reach::AtLeast(bound) => figure >= bound,
        }
    }
}

impl Report {
    /// One measurement, for the JSON lines.
    pub fn line(&mut self, measurement: Value) {
        self.lines.push(measurement);
    }

    /// One row of the table, of a figure that nobody has asked to be of a certain size.
    pub fn row(&mut self, what: impl Into<String>, value: impl Into<String>) {
        self.rows.push(Row {
            what: what.into(),
            value: value.into(),
            reach: None,
        });
    }

    /// One row with its verdict: `value` and `target` are `figure` and `reach` as people read them. A figure that is no
    /// number has missed its target.
    pub fn judged(
        &mut self,
        what: impl Into<String>,
        value: impl Into<String>,
        figure: f64,
        reach: Reach,
        target: impl Into<String>,
    ) {
        self.rows.push(Row {
            what: what.into(),
            value: value.into(),
            reach: Some((target.into(), reach.met_by(figure))),
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
            let verdict = match &row.reach {
                None => String::new(),
                Some((target, true)) => format!("   reach {target}: met"),
                Some((target, false)) => format!("   reach {target}: MISSED"),
            };
            println!("  {:<what$}  {:>value$}{verdict}", row.what, row.value);
        }
        for note in &self.notes {
            println!("  {note}");
        }
        for row in &self.rows {
            let mut line = json!({"row": row.what, "value": row.value});
            if let Some((target, met)) = &row.reach {
                line["reach"] = json!(target);
                line["met"] = json!(met);
            }
            self.lines.push(line);
        }
        let load = load_average();
        println!("  {}; load {load}", machine_words());
        let path = directory().join(format!("{scenario}.jsonl"));
        create_dir_all(directory())?;
        let mut file = File::create(&path)?;
        let machine = machine();
        for line in self.lines {
            let mut object = Map::new();
            object.insert("scenario".into(), scenario.into());
            object.insert("machine".into(), machine.clone());
            object.insert("load".into(), load.clone().into());
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

fn machine_words() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores")
}

/// Over the last 1, 5 and 15 minutes: how many wanted a processor, ourselves included.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
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
    fn a_figure_on_its_bound_is_met_and_none_is_missed() {
        assert!(Reach::AtMost(50.0).met_by(50.0));
        assert!(!Reach::AtMost(50.0).met_by(50.1));
        assert!(!Reach::AtLeast(50.0).met_by(49.9));
        assert!(!Reach::AtMost(50.0).met_by(f64::NAN));
    }

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
