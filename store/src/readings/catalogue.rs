//! Names to numbers: series, devices, MQTT client ids. In memory for the hot path, in the file with the first reading.
//!
//! Always holds: a number is given once; its row is written in the transaction of the first batch after it, so no stored
//! reading names a series that is not there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;

use super::types::{
    DeviceSeen, NAME_BYTES_MAX, SERIES_MAX, SERIES_OF_UNAPPROVED_MAX, SERIES_PER_DEVICE_MAX,
    SERIES_PER_UNAPPROVED_MAX, SeriesId, SeriesKey, SeriesNames, SeriesOwner, SeriesRefused,
    SessionNo,
};
use crate::error::{Doing, StoreError};

/// Client ids remembered. Past it the one that connected longest ago is forgotten, with its duplicate keys.
const SESSIONS_MAX: usize = 10_000;

pub(crate) struct Names {
    pub(crate) device: Arc<str>,
    pub(crate) channel: Arc<str>,
    pub(crate) unit: Arc<str>,
    pub(crate) device_no: u32,
    pub(crate) key: SeriesKey,
}

pub(crate) struct Device {
    pub(crate) seen: DeviceSeen,
    series: u32,
    /// Whether the file does not know `last_seen_ms` yet.
    dirty: bool,
}

#[derive(Default)]
struct Inner {
    by_name: HashMap<Box<str>, SeriesId>,
    by_key: HashMap<SeriesKey, SeriesId>,
    /// Series n stands at index n - 1.
    series: Vec<Names>,
    devices: Vec<Device>,
    device_no: HashMap<Arc<str>, u32>,
    /// Series up to this number are in the file.
    written: u32,
}

struct Sessions {
    by_client: LruCache<Box<str>, SessionNo>,
    last: u32,
    /// Client id, and when it connected: not in the file yet. Keyed, so that a client that reconnects in a loop while the
    /// disk is full takes no more room.
    fresh: BTreeMap<SessionNo, (Box<str>, i64)>,
    forgotten: Vec<SessionNo>,
    /// Not to be forgotten.
    pinned: HashSet<SessionNo>,
}

pub(crate) struct Catalogue {
    inner: RwLock<Inner>,
    sessions: Mutex<Sessions>,
}

/// What a transaction wrote, to be noted when it stands.
pub(crate) struct Written {
    series: u32,
    fresh: BTreeMap<SessionNo, (Box<str>, i64)>,
    pub(crate) forgotten: Vec<SessionNo>,
    devices: Vec<u32>,
}

fn key(device: &str, channel: &str, unit: &str) -> String {
    let mut key = String::with_capacity(device.len() + channel.len() + unit.len() + 2);
    for (number, part) in [device, channel, unit].into_iter().enumerate() {
        if number > 0 {
            key.push('\0');
        }
        key.push_str(part);
    }
    key
}

impl Catalogue {
    pub(crate) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let mut inner = Inner::default();
        let mut statement = connection
            .prepare("SELECT name, first_seen_ms, last_seen_ms FROM device_seen ORDER BY name")
            .doing("prepare devices")?;
        let mut rows = statement.query([]).doing("read devices")?;
        while let Some(row) = rows.next().doing("read devices")? {
            let name: Arc<str> = row.get::<_, String>(0).doing("read devices")?.into();
            let seen = DeviceSeen {
                name: name.clone(),
                first_seen_ms: row.get(1).doing("read devices")?,
                last_seen_ms: row.get(2).doing("read devices")?,
            };
            inner.add_device(name, seen, false);
        }
        let mut statement = connection
            .prepare("SELECT id, device, channel, unit FROM series ORDER BY id")
            .doing("prepare series")?;
        let mut rows = statement.query([]).doing("read series")?;
        while let Some(row) = rows.next().doing("read series")? {
            let read =
                |row: &rusqlite::Row<'_>| -> rusqlite::Result<(u32, String, String, String)> {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                };
            let (id, device, channel, unit) = read(row).doing("read series")?;
            // Numbers are given without gaps and never taken back.
            if id as usize != inner.series.len() + 1 {
                return Err(StoreError::Unreadable { what: "series" });
            }
            inner.add_series(&device, &channel, &unit, 0);
        }
        inner.written = inner.series.len() as u32;
        let mut sessions = Sessions {
            by_client: LruCache::new(NonZeroUsize::new(SESSIONS_MAX).unwrap_or(NonZeroUsize::MIN)),
            last: 0,
            fresh: BTreeMap::new(),
            forgotten: Vec::new(),
            pinned: HashSet::new(),
        };
        let mut statement = connection
            .prepare("SELECT no, client_id FROM mqtt_session ORDER BY last_seen_ms, no")
            .doing("prepare client ids")?;
        let mut rows = statement.query([]).doing("read client ids")?;
        while let Some(row) = rows.next().doing("read client ids")? {
            let no = SessionNo(row.get(0).doing("read client ids")?);
            let client: String = row.get(1).doing("read client ids")?;
            sessions.last = sessions.last.max(no.0);
            sessions.by_client.put(client.into(), no);
        }
        Ok(Catalogue {
            inner: RwLock::new(inner),
            sessions: Mutex::new(sessions),
        })
    }

    /// The number of a series; a new one when it was never heard of.
    pub(crate) fn intern_series(
        &self,
        names: &SeriesNames<'_>,
        owner: SeriesOwner,
        now_ms: i64,
    ) -> Result<SeriesId, SeriesRefused> {
        let SeriesNames {
            device,
            channel,
            unit,
        } = *names;
        if [device, channel, unit]
            .iter()
            .any(|name| name.len() > NAME_BYTES_MAX)
        {
            return Err(SeriesRefused::NameTooLong);
        }
        let key = key(device, channel, unit);
        if let Some(id) = self.inner.read().by_name.get(key.as_str()) {
            return Ok(*id);
        }
        let mut inner = self.inner.write();
        if let Some(id) = inner.by_name.get(key.as_str()) {
            return Ok(*id);
        }
        let count = inner.series.len();
        if count >= SERIES_MAX as usize {
            return Err(SeriesRefused::Full);
        }
        let of_device = inner
            .device_no
            .get(device)
            .and_then(|no| inner.devices.get(*no as usize));
        let of_device = of_device.map_or(0, |device| device.series);
        if of_device >= SERIES_PER_DEVICE_MAX {
            return Err(SeriesRefused::DeviceFull);
        }
        if owner == SeriesOwner::Stranger
            && (of_device >= SERIES_PER_UNAPPROVED_MAX || count >= SERIES_OF_UNAPPROVED_MAX)
        {
            return Err(SeriesRefused::Unapproved);
        }
        Ok(inner.add_series(device, channel, unit, now_ms))
    }

    /// The number of a client id, which has just connected, and whether it was known before.
    pub(crate) fn intern_session(&self, client_id: &str, now_ms: i64) -> (SessionNo, bool) {
        let mut sessions = self.sessions.lock();
        if let Some(no) = sessions.by_client.get(client_id).copied() {
            // Its time goes to the file too: what is forgotten is what connected longest ago, also after a restart.
            sessions.fresh.insert(no, (client_id.into(), now_ms));
            return (no, true);
        }
        sessions.last += 1;
        let no = SessionNo(sessions.last);
        sessions.make_room();
        if let Some((_, old)) = sessions.by_client.push(client_id.into(), no) {
            sessions.forgotten.push(old);
        }
        sessions.fresh.insert(no, (client_id.into(), now_ms));
        (no, false)
    }

    /// See [`super::Readings::pin_session`].
    pub(crate) fn pin_session(&self, session: SessionNo, pinned: bool) {
        let mut sessions = self.sessions.lock();
        if pinned {
            sessions.pinned.insert(session);
        } else {
            sessions.pinned.remove(&session);
        }
    }

    /// The series that every node calls so, if it was heard here.
    pub(crate) fn by_key(&self, key: &SeriesKey) -> Option<SeriesId> {
        self.inner.read().by_key.get(key).copied()
    }

    pub(crate) fn series_count(&self) -> u32 {
        self.inner.read().series.len() as u32
    }

    /// Names of a series.
    pub(crate) fn with_names<T>(&self, id: SeriesId, f: impl FnOnce(&Names) -> T) -> Option<T> {
        let inner = self.inner.read();
        let index = (id.0 as usize).checked_sub(1)?;
        inner.series.get(index).map(f)
    }

    /// Calls `each` for every series after `after`, until it answers `false`.
    pub(crate) fn each_series(&self, after: u32, mut each: impl FnMut(SeriesId, &Names) -> bool) {
        let inner = self.inner.read();
        for (number, names) in (after + 1..).zip(inner.series.iter().skip(after as usize)) {
            if !each(SeriesId(number), names) {
                return;
            }
        }
    }

    pub(crate) fn devices(&self) -> Vec<DeviceSeen> {
        let mut devices: Vec<_> = self
            .inner
            .read()
            .devices
            .iter()
            .map(|device| device.seen.clone())
            .collect();
        devices.sort_by(|a, b| a.name.cmp(&b.name));
        devices
    }

    pub(crate) fn device(&self, name: &str) -> Option<DeviceSeen> {
        let inner = self.inner.read();
        let no = *inner.device_no.get(name)?;
        inner
            .devices
            .get(no as usize)
            .map(|device| device.seen.clone())
    }

    /// Notes when the devices of these series were heard.
    pub(crate) fn touch(&self, heard: impl Iterator<Item = (SeriesId, i64)>) {
        let mut inner = self.inner.write();
        for (series, received_ms) in heard {
            let index = (series.0 as usize).wrapping_sub(1);
            let Some(device_no) = inner.series.get(index).map(|names| names.device_no) else {
                continue;
            };
            if let Some(device) = inner.devices.get_mut(device_no as usize)
                && received_ms > device.seen.last_seen_ms
            {
                device.seen.last_seen_ms = received_ms;
                device.dirty = true;
            }
        }
    }

    /// Writes what the file does not know: series and client ids always, `last_seen` of devices when asked to.
    pub(crate) fn write(
        &self,
        connection: &Connection,
        devices_too: bool,
    ) -> Result<Written, rusqlite::Error> {
        let inner = self.inner.read();
        let mut written = Written {
            series: inner.series.len() as u32,
            fresh: BTreeMap::new(),
            forgotten: Vec::new(),
            devices: Vec::new(),
        };
        for (number, names) in
            (inner.written + 1..).zip(inner.series.iter().skip(inner.written as usize))
        {
            connection
                .prepare_cached(
                    "INSERT INTO series (id, device, channel, unit) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((number, &*names.device, &*names.channel, &*names.unit))?;
        }
        if devices_too {
            for (number, device) in (0u32..)
                .zip(&inner.devices)
                .filter(|(_, device)| device.dirty)
            {
                connection
                    .prepare_cached(
                        "INSERT INTO device_seen (name, first_seen_ms, last_seen_ms) VALUES (?1, ?2, ?3) \
                         ON CONFLICT DO UPDATE SET last_seen_ms = excluded.last_seen_ms",
                    )?
                    .execute((&*device.seen.name, device.seen.first_seen_ms, device.seen.last_seen_ms))?;
                written.devices.push(number);
            }
        }
        drop(inner);
        {
            let mut sessions = self.sessions.lock();
            written.fresh = std::mem::take(&mut sessions.fresh);
            written.forgotten = std::mem::take(&mut sessions.forgotten);
        }
        let result = written.write_sessions(connection);
        if let Err(error) = result {
            self.give_back(written);
            return Err(error);
        }
        Ok(written)
    }

    /// The transaction stands.
    pub(crate) fn settle(&self, written: &Written) {
        let mut inner = self.inner.write();
        inner.written = inner.written.max(written.series);
        for number in &written.devices {
            if let Some(device) = inner.devices.get_mut(*number as usize) {
                device.dirty = false;
            }
        }
    }

    /// The transaction failed: the next one writes it.
    pub(crate) fn give_back(&self, mut written: Written) {
        let mut sessions = self.sessions.lock();
        for (no, client) in written.fresh {
            // What has come meanwhile is newer.
            sessions.fresh.entry(no).or_insert(client);
        }
        written.forgotten.append(&mut sessions.forgotten);
        sessions.forgotten = written.forgotten;
    }

    /// Whether series or client ids wait to be written.
    pub(crate) fn has_news(&self) -> bool {
        let inner = self.inner.read();
        inner.written < inner.series.len() as u32 || !self.sessions.lock().fresh.is_empty()
    }
}

impl Sessions {
    /// Moves what is pinned out of the way, so that the next to be forgotten is not.
    fn make_room(&mut self) {
        if self.by_client.len() < self.by_client.cap().get() {
            return;
        }
        for _ in 0..self.by_client.len() {
            match self.by_client.pop_lru() {
                Some((client_id, no)) if self.pinned.contains(&no) => {
                    self.by_client.push(client_id, no);
                }
                Some((_, no)) => {
                    self.forgotten.push(no);
                    return;
                }
                None => return,
            }
        }
    }
}

impl Written {
    fn write_sessions(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        for (no, (client_id, at_ms)) in &self.fresh {
            connection
                .prepare_cached(
                    "INSERT INTO mqtt_session (no, client_id, last_seen_ms) VALUES (?1, ?2, ?3) \
                     ON CONFLICT DO UPDATE SET last_seen_ms = excluded.last_seen_ms",
                )?
                .execute((no.0, client_id, at_ms))?;
        }
        for no in &self.forgotten {
            connection
                .prepare_cached("DELETE FROM mqtt_session WHERE no = ?1")?
                .execute([no.0])?;
            connection
                .prepare_cached("DELETE FROM delivery_key WHERE session = ?1")?
                .execute([no.0])?;
            super::mqtt::forget_session(connection, *no)?;
        }
        Ok(())
    }
}

impl Inner {
    fn add_device(&mut self, name: Arc<str>, seen: DeviceSeen, dirty: bool) -> u32 {
        let number = self.devices.len() as u32;
        self.devices.push(Device {
            seen,
            series: 0,
            dirty,
        });
        self.device_no.insert(name, number);
        number
    }

    fn add_series(&mut self, device: &str, channel: &str, unit: &str, now_ms: i64) -> SeriesId {
        let device_no = match self.device_no.get(device) {
            Some(number) => *number,
            None => {
                let name: Arc<str> = device.into();
                let seen = DeviceSeen {
                    name: name.clone(),
                    first_seen_ms: now_ms,
                    last_seen_ms: now_ms,
                };
                self.add_device(name, seen, true)
            }
        };
        let Some(owner) = self.devices.get_mut(device_no as usize) else {
            unreachable!("a device number stands for a place in the list")
        };
        owner.series += 1;
        let names = Names {
            device: owner.seen.name.clone(),
            channel: channel.into(),
            unit: unit.into(),
            device_no,
            key: SeriesKey::of(device, channel, unit),
        };
        let series_key = names.key;
        self.series.push(names);
        let id = SeriesId(self.series.len() as u32);
        self.by_key.insert(series_key, id);
        self.by_name.insert(key(device, channel, unit).into(), id);
        id
    }
}
