//! A day of readings as a Parquet file: for programs that know nothing of Muster.
//!
//! Columns: `device`, `channel`, `unit` (UCUM; empty where none was said), `at` and `received` (timestamps in milliseconds,
//! UTC), `value`, `flags` (see [`super::flags`]; the file names its bits too). One series stands after the other; a series' readings stand in
//! the order of time, but for late ones, which may stand behind.
//!
//! Always holds: a file with its final name is whole and on the disk; what was broken off has the name with `.partial`
//! behind it, and is begun anew the next time. Every reading that was acknowledged before the export began is in it once.
//! A file is never replaced by one with fewer readings: what retention has dropped here since is in that file alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use rusqlite::Connection;

use super::block::{DAY_MS, Kind};
use super::catalogue::Catalogue;
use super::flags;
use super::types::{SeriesId, StoredReading};
use super::writer::{Shared, meta_i64};
use super::{blocks, query};
use crate::error::{Doing, StoreError};
use crate::pool::Pool;

const SCHEMA: &str = "message readings {
  required binary device (STRING);
  required binary channel (STRING);
  required binary unit (STRING);
  required int64 at (TIMESTAMP(MILLIS, true));
  required int64 received (TIMESTAMP(MILLIS, true));
  required double value;
  required int32 flags (INTEGER(8, false));
}";
/// Key of the file's metadata under which the bits of `flags` are named.
const FLAGS_KEY: &str = "muster.flags";
/// Rows of a row group: what is held in memory at once, some 10 MB.
const GROUP_ROWS: usize = 131_072;
/// Readings of the day that may still be in the tail: normally a few late ones. They are held in memory.
const TAIL_MAX: usize = 1_000_000;

/// What became of a day's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchivedDay {
    /// It holds what is here of the day.
    Written { readings: u64, bytes: u64 },
    /// It was there before and holds more than what is here of the day: it was left as it is.
    HoldsMore { readings: u64, here: u64 },
}

/// Writes the readings of a UTC day (counted from 1970) to `path`, unless a file there holds more of them.
pub(crate) fn day(
    shared: &Shared,
    pool: &Pool,
    day: i64,
    path: &Path,
) -> Result<ArchivedDay, StoreError> {
    let from_ms = day.saturating_mul(DAY_MS);
    let range = (from_ms, from_ms.saturating_add(DAY_MS - 1));
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let in_tail = pool.read(|connection| tail_rows(connection, range))?;
    let file = File::create(&partial).map_err(at_path("create", &partial))?;
    let mut out = Out::new(file, &partial, &shared.catalogue)?;
    for number in 1..=shared.catalogue.series_count() {
        let series = SeriesId(number);
        // One series at a time: a snapshot that is held for minutes would keep the write-ahead log from beginning anew.
        pool.read(|connection| {
            for kind in [Kind::Readings, Kind::Unapproved] {
                blocks::oldest_first(connection, series, kind, range, |row| {
                    let readings = row.readings(series)?;
                    let of_day = readings
                        .iter()
                        .filter(|reading| (range.0..=range.1).contains(&reading.at_ms));
                    of_day.into_iter().try_for_each(|reading| out.push(reading))
                })?;
            }
            let compacted_to = meta_i64(connection, "compacted_to")?.unwrap_or(0);
            in_tail
                .get(&series)
                .into_iter()
                .flatten()
                // What has become blocks since is in this snapshot's blocks.
                .filter(|reading| reading.position > compacted_to)
                .try_for_each(|reading| out.push(reading))
        })?;
    }
    let readings = out.finish()?;
    let there = readings_in(path)?;
    if there > readings {
        std::fs::remove_file(&partial).map_err(at_path("remove", &partial))?;
        return Ok(ArchivedDay::HoldsMore {
            readings: there,
            here: readings,
        });
    }
    std::fs::rename(&partial, path).map_err(at_path("rename", &partial))?;
    // The name is on the disk when its directory is.
    if let Some(directory) = path.parent().filter(|path| !path.as_os_str().is_empty()) {
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(at_path("sync", directory))?;
    }
    let bytes = path.metadata().map_err(at_path("look at", path))?.len();
    Ok(ArchivedDay::Written { readings, bytes })
}

/// How many readings the file holds; none where there is no file, or one that is no Parquet file and so no day's.
fn readings_in(path: &Path) -> Result<u64, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(at_path("open", path)(error)),
    };
    match SerializedFileReader::new(file) {
        Ok(reader) => {
            let rows = reader.metadata().file_metadata().num_rows();
            Ok(u64::try_from(rows).unwrap_or(0))
        }
        // The disk failed, not the file.
        Err(error @ ParquetError::External(_)) => Err(parquet_failed("read", path)(error)),
        Err(_) => Ok(0),
    }
}

fn at_path(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    crate::error::io(what, path)
}

fn tail_rows(
    connection: &Connection,
    (from_ms, to_ms): (i64, i64),
) -> Result<BTreeMap<SeriesId, Vec<StoredReading>>, StoreError> {
    let compacted_to = meta_i64(connection, "compacted_to")?.unwrap_or(0);
    let mut by_series: BTreeMap<SeriesId, Vec<StoredReading>> = BTreeMap::new();
    let mut statement = connection
        .prepare_cached(
            "SELECT position, series, at_ms, received_ms, value, flags FROM reading \
             WHERE position > ?1 AND at_ms BETWEEN ?2 AND ?3 ORDER BY position",
        )
        .doing("prepare tail")?;
    let mut rows = statement
        .query((compacted_to, from_ms, to_ms))
        .doing("read tail")?;
    let mut count = 0;
    while let Some(row) = rows.next().doing("read tail")? {
        count += 1;
        if count > TAIL_MAX {
            return Err(StoreError::Busy(
                "readings that the rules have not seen yet: export the day later",
            ));
        }
        let reading = query::stored_reading(row).doing("read tail")?;
        by_series.entry(reading.series).or_default().push(reading);
    }
    for readings in by_series.values_mut() {
        readings.sort_by_key(|reading| reading.at_ms);
    }
    Ok(by_series)
}

/// What the bits mean, for whoever has nothing but the file: `1 approved, 2 redelivered, …`.
fn named_flags() -> String {
    let named = flags::WORDS.map(|(bit, word)| format!("{bit} {word}"));
    named.join(", ")
}

/// The file being written.
struct Out<'a> {
    writer: SerializedFileWriter<File>,
    path: &'a Path,
    catalogue: &'a Catalogue,
    /// Rows of the row group that is being gathered.
    rows: Vec<StoredReading>,
    readings: u64,
}

impl<'a> Out<'a> {
    fn new(file: File, path: &'a Path, catalogue: &'a Catalogue) -> Result<Self, StoreError> {
        let failed = parquet_failed("write", path);
        let schema = parse_message_type(SCHEMA).map_err(&failed)?;
        let times = [ColumnPath::from("at"), ColumnPath::from("received")];
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("muster ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_key_value_metadata(Some(vec![KeyValue::new(
                FLAGS_KEY.to_owned(),
                named_flags(),
            )]));
        for column in times {
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
        let writer =
            SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties.build()))
                .map_err(&failed)?;
        Ok(Out {
            writer,
            path,
            catalogue,
            rows: Vec::with_capacity(GROUP_ROWS),
            readings: 0,
        })
    }

    fn push(&mut self, reading: &StoredReading) -> Result<(), StoreError> {
        self.rows.push(*reading);
        if self.rows.len() >= GROUP_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.readings += self.rows.len() as u64;
        let written = self.row_group();
        self.rows.clear();
        written.map_err(parquet_failed("write", self.path))
    }

    fn row_group(&mut self) -> Result<(), ParquetError> {
        let rows = &self.rows;
        let mut texts: [Vec<ByteArray>; 3] = [const { Vec::new() }; 3];
        for of_series in rows.chunk_by(|a, b| a.series == b.series) {
            let names = of_series.first().and_then(|reading| {
                self.catalogue.with_names(reading.series, |names| {
                    [
                        names.device.clone(),
                        names.channel.clone(),
                        names.unit.clone(),
                    ]
                })
            });
            // A stored reading names a series that is there; a name that is not is an empty one.
            let names = names.unwrap_or_else(|| std::array::from_fn(|_| "".into()));
            for (column, name) in texts.iter_mut().zip(names) {
                let bytes = ByteArray::from(&*name);
                column.extend(std::iter::repeat_n(bytes, of_series.len()));
            }
        }
        let integers = |of: fn(&StoredReading) -> i64| rows.iter().map(of).collect::<Vec<i64>>();
        let (at, received) = (
            integers(|reading| reading.at_ms),
            integers(|reading| reading.received_ms),
        );
        let values: Vec<f64> = rows.iter().map(|reading| reading.value).collect();
        let flags: Vec<i32> = rows
            .iter()
            .map(|reading| i32::from(reading.flags))
            .collect();
        let mut group = self.writer.next_row_group()?;
        let mut number = 0;
        while let Some(mut column) = group.next_column()? {
            match number {
                0..=2 => {
                    let texts = &texts[number];
                    column
                        .typed::<ByteArrayType>()
                        .write_batch(texts, None, None)?
                }
                3 => column.typed::<Int64Type>().write_batch(&at, None, None)?,
                4 => column
                    .typed::<Int64Type>()
                    .write_batch(&received, None, None)?,
                5 => column
                    .typed::<DoubleType>()
                    .write_batch(&values, None, None)?,
                _ => column
                    .typed::<Int32Type>()
                    .write_batch(&flags, None, None)?,
            };
            column.close()?;
            number += 1;
        }
        group.close().map(|_| ())
    }

    /// Writes what is left and waits until all of it is on the disk; answers how many readings there are.
    fn finish(mut self) -> Result<u64, StoreError> {
        self.flush()?;
        let file = self
            .writer
            .into_inner()
            .map_err(parquet_failed("write", self.path))?;
        file.sync_all().map_err(at_path("sync", self.path))?;
        Ok(self.readings)
    }
}

fn parquet_failed(what: &'static str, path: &Path) -> impl Fn(ParquetError) -> StoreError {
    let path = path.to_owned();
    move |error| match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => crate::error::io(what, &path)(*source),
            Err(source) => crate::error::io(what, &path)(io::Error::other(source)),
        },
        other => crate::error::io(what, &path)(io::Error::other(other)),
    }
}
