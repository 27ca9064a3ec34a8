//! What is known about a reading besides its value, wherever the reading is kept.

use parquet::file::reader::{FileReader, SerializedFileReader};

use super::*;
use crate::readings::flags::{self, Coming};

#[test]
fn what_a_reading_is_flagged_with_is_in_blocks_and_in_the_file_of_its_day() {
    let dir = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), small());
    let level = readings
        .intern_series(&names("gauge", "level", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let came = |at_ms, value, coming: Coming| NewReading {
        flags: coming.flags(),
        ..reading(level, at_ms, value)
    };
    let approved = Coming {
        approved: true,
        ..Coming::default()
    };
    let suspect = Coming {
        suspect: true,
        ..approved
    };
    let retained = Coming {
        retained: true,
        ..approved
    };
    ingest(
        &readings,
        vec![
            came(START_MS, 1.0, approved),
            came(START_MS, 2.0, approved),
            came(START_MS + 1, 3.0, suspect),
            came(START_MS + 2, 4.0, retained),
        ],
    );
    let kept = || -> Vec<(f64, u8)> {
        let page = readings.points(level, i64::MIN, i64::MAX, POINTS_MAX);
        let points = page.unwrap().points.into_iter();
        points.map(|point| (point.value, point.flags)).collect()
    };
    let expected = [
        (1.0, flags::APPROVED | flags::DEVICE_TIME),
        (
            2.0,
            flags::APPROVED | flags::DEVICE_TIME | flags::CONTRADICTS,
        ),
        (3.0, flags::KEPT | flags::DEVICE_TIME | flags::SUSPECT),
        (4.0, flags::KEPT | flags::DEVICE_TIME | flags::RETAINED),
    ];
    assert_eq!(kept(), expected, "as they came");
    settle(&readings, START_MS + 3 * DAY_MS, FOR_EVER);
    let in_blocks = "SELECT sum(count) FROM block WHERE kind <= 2";
    assert_eq!(number(dir.path(), in_blocks), 4);
    assert_eq!(kept(), expected, "in blocks");

    // The last value of a series is known without its blocks.
    readings.close();
    let readings = open(dir.path(), small());
    let last = readings.series_info(level).unwrap().last.unwrap();
    assert_eq!((last.value, last.flags), expected[3]);

    let path = out.path().join("day.parquet");
    readings.archive_day(START_MS / DAY_MS, &path).unwrap();
    let in_file: Vec<(f64, i64)> = archived(&path)
        .into_iter()
        .map(|row| (row.5, row.6))
        .collect();
    assert_eq!(
        in_file,
        expected.map(|(value, flags)| (value, i64::from(flags)))
    );
    let file = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
    let metadata = file.metadata().file_metadata().key_value_metadata();
    let named = metadata.and_then(|pairs| pairs.iter().find(|pair| pair.key == "muster.flags"));
    assert_eq!(
        named.and_then(|pair| pair.value.as_deref()),
        Some(
            "1 approved, 2 redelivered, 4 contradicts, 8 device-time, 16 not-news, 32 suspect, 64 retained"
        )
    );
}
