//! Which readings the rules have evaluated, as their cursor says: read past the program.

use std::path::Path;

use anyhow::ensure;

use crate::views;

/// The row of the rules' cursor.
#[derive(Debug, Clone, Copy)]
pub struct Evaluated {
    /// The newest of them.
    position: i64,
    /// How many, in all the node's life.
    pub readings: u64,
    /// Made of their positions, in the order of evaluation.
    sequence: u64,
}

impl Evaluated {
    /// The node on `data_dir` must not run.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(data_dir: &Path) -> anyhow::Result<Evaluated> {
        let connection = views::open(data_dir)?;
        let sql = "SELECT position, evaluated, sequence FROM rule_cursor";
        let evaluated = connection.query_row(sql, [], |row| {
            Ok(Evaluated {
                position: row.get(0)?,
                readings: row.get::<_, i64>(1)?.cast_unsigned(),
                sequence: row.get::<_, i64>(2)?.cast_unsigned(),
            })
        })?;
        Ok(evaluated)
    }

    /// That they are the readings 1 to `stored`, each once and in this order.
    ///
    /// # Errors
    /// One was left out, evaluated twice, or out of turn.
    pub fn are_all_of(self, stored: u64) -> anyhow::Result<()> {
        ensure!(
            self.position.cast_unsigned() == stored && self.readings == stored,
            "{stored} readings are stored, {} evaluations were made up to reading {}",
            self.readings,
            self.position
        );
        let sequence = (1..=stored).fold(0_u64, |sequence, position| {
            (sequence ^ position)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        });
        ensure!(
            self.sequence == sequence,
            "{stored} evaluations were made, but not one of each reading"
        );
        Ok(())
    }
}
