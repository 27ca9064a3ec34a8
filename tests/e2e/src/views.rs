//! The rows of the views as they lie in the file, read past the program: what `rebuild` must give back.

use std::path::Path;

use anyhow::Context as _;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

/// Each with its rows in an order of its own; `no` is a number that a rebuild may give anew.
const VIEWS: [&str; 6] = [
    "SELECT * FROM document ORDER BY id",
    "SELECT document.id AS of, document_past.* FROM document_past JOIN document USING (no) ORDER BY of, from_commit",
    "SELECT document.id AS of, document_log.* FROM document_log JOIN document USING (no) ORDER BY of, log_no",
    "SELECT * FROM row_facet ORDER BY kind, facet, created_wall_ms, id",
    "SELECT * FROM fact ORDER BY id",
    "SELECT * FROM conflict ORDER BY id",
];

/// Every row of every view, one line each. The node on `data_dir` must not run.
///
/// # Errors
/// The file cannot be read.
pub fn dump(data_dir: &Path) -> anyhow::Result<Vec<String>> {
    let connection = open(data_dir)?;
    let mut lines = Vec::new();
    for sql in VIEWS {
        let mut statement = connection.prepare(sql).with_context(|| sql.to_owned())?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut line = String::new();
            for (column, name) in names.iter().enumerate().filter(|(_, name)| *name != "no") {
                line.push_str(&format!("{name}={} ", show(row.get_ref(column)?)));
            }
            lines.push(line);
        }
    }
    Ok(lines)
}

/// muster.db of a node that does not run.
///
/// # Errors
/// The file, or the key beside it, cannot be read.
pub fn open(data_dir: &Path) -> anyhow::Result<Connection> {
    let key = std::fs::read(data_dir.join("key"))?;
    let hex: String = match std::str::from_utf8(&key) {
        Ok(text) if text.trim().len() == 64 => text.trim().to_owned(),
        _ => key.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let connection = Connection::open_with_flags(
        data_dir.join("muster.db"),
        OpenFlags::SQLITE_OPEN_READ_WRITE,
    )?;
    connection.execute_batch(&format!("PRAGMA key = \"x'{hex}'\""))?;
    Ok(connection)
}

fn show(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".into(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
