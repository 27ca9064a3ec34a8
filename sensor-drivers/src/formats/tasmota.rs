//! Tasmota: `tele/<device>/SENSOR`, `STATE`, `LWT` and `INFO1`, in the default order of topics or with the device first.
//!
//! `Time` is the device's local time without a zone unless it is told otherwise, so it counts only where the
//! configuration says which offset it has.

use serde::{Deserialize, Serialize};

use super::{add_leaves, object, online_of, switch_of};
use crate::decoded::DeviceAt;
use crate::tree::{Members, Value, from_json};
use crate::{DecodeError, Decoded, Decoder, Message, UnitString, time, ucum};

/// Options of the format `tasmota`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TasmotaOptions {
    /// Offset of the devices' clocks, `Z` or `+01:00` (command `Timezone`, without summer time). Without it their time is
    /// not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utc_offset: Option<String>,
}

pub(crate) struct Tasmota {
    pub(crate) utc_offset: Option<String>,
}

const FORMAT: &str = "Tasmota";

/// The prefix of telemetry, a level of the topic.
const TELEMETRY: &str = "tele";

/// Prefixes of commands and of answers to them.
const OTHERS: [&str; 2] = ["cmnd", "stat"];

impl Decoder for Tasmota {
    fn decode(&self, message: &Message<'_>) -> Result<Decoded, DecodeError> {
        let form = DecodeError::TopicForm {
            form: "tele/<device>/SENSOR (or STATE, LWT, INFO1)",
        };
        let (path, what) = message.topic.rsplit_once('/').ok_or_else(|| form.clone())?;
        let has = |prefix: &str| path.split('/').any(|level| level == prefix);
        if !has(TELEMETRY) {
            return if OTHERS.into_iter().any(has) {
                Ok(Decoded::noise("command or its answer"))
            } else {
                Err(form)
            };
        }
        let mut levels: Vec<&str> = path.split('/').collect();
        levels.retain(|level| *level != TELEMETRY);
        let name = levels.join("/");
        let mut decoded = Decoded::default();
        match what {
            "LWT" => {
                let word = std::str::from_utf8(message.payload).ok();
                let device = decoded.device(&name)?;
                decoded.facts(device).online = Some(
                    word.and_then(online_of)
                        .ok_or_else(|| refused("LWT is neither Online nor Offline"))?,
                );
            }
            "SENSOR" => self.sensor(&name, message.payload, &mut decoded)?,
            "STATE" => self.state(&name, message.payload, &mut decoded)?,
            "INFO1" => info(&name, message.payload, &mut decoded)?,
            // Addresses, restart reasons, results of rules, discovery.
            _ => return Ok(Decoded::noise("telemetry without readings")),
        }
        Ok(decoded)
    }
}

impl Tasmota {
    fn sensor(&self, name: &str, payload: &[u8], decoded: &mut Decoded) -> Result<(), DecodeError> {
        let tree = from_json(payload)?;
        let members = members(&tree)?;
        let units = Units::of(members);
        let device = decoded.device(name)?;
        let time_ms = self.time(members);
        let mut values = members.clone();
        values.retain(|name, _| name != "Time" && !name.ends_with("Unit"));
        // Addresses of one-wire sensors, and the date since when energy is counted.
        for sensor in values.values_mut() {
            if let Value::Object(inner) = sensor {
                inner.retain(|name, _| name != "Id" && name != "TotalStartTime");
            }
        }
        add_leaves(decoded, device, &Value::Object(values), time_ms, &|path| {
            units.of_path(path)
        })
    }

    fn state(&self, name: &str, payload: &[u8], decoded: &mut Decoded) -> Result<(), DecodeError> {
        let tree = from_json(payload)?;
        let members = members(&tree)?;
        let device = decoded.device(name)?;
        let time_ms = self.time(members);
        for (name, value) in members {
            let (value, unit) = match (name.as_ref(), value) {
                ("Vcc", Value::Number(volts)) => (*volts, ucum::unit("V")),
                ("UptimeSec", Value::Number(seconds)) => (*seconds, ucum::unit("s")),
                ("Dimmer", Value::Number(pct)) => (*pct, ucum::unit("%")),
                (name, Value::Text(word)) if name.starts_with("POWER") => match switch_of(word) {
                    Some(on) => (on, None),
                    None => {
                        // `StateText` may be set to any words.
                        decoded.skip();
                        continue;
                    }
                },
                _ => continue,
            };
            decoded.sample(device, name, value, unit, time_ms)?;
        }
        // `RSSI` is a quality in percent there, `Signal` is dBm.
        let signal = members.get("Wifi").and_then(|wifi| wifi.get("Signal"));
        let facts = decoded.facts(device);
        facts.rssi_dbm = signal.and_then(Value::number);
        facts.online = Some(true);
        Ok(())
    }

    fn time(&self, members: &Members<'_>) -> Option<i64> {
        let local = members.get("Time")?.text()?;
        // A device with a zone in its time format says it itself.
        let own = time::from_rfc3339(local).ok();
        own.or_else(|| time::from_rfc3339(&format!("{local}{}", self.utc_offset.as_ref()?)).ok())
    }
}

/// INFO1 at start: `{"Info1":{"Module","Version",…}}`, before 9.5 without the outer object.
fn info(name: &str, payload: &[u8], decoded: &mut Decoded) -> Result<(), DecodeError> {
    let tree = from_json(payload)?;
    let inner = object(FORMAT, &tree)?.get("Info1").unwrap_or(&tree);
    let device: DeviceAt = decoded.device(name)?;
    if let Some(Value::Text(version)) = inner.get("Version") {
        decoded.facts(device).firmware = decoded.label(version);
    }
    Ok(())
}

/// The units that a device says it uses.
struct Units {
    temperature: Option<UnitString>,
    pressure: Option<UnitString>,
    speed: Option<UnitString>,
}

impl Units {
    fn of(members: &Members<'_>) -> Self {
        let said = |name| {
            let unit = members.get(name)?.text()?;
            // Here, and here alone, C and F are temperatures.
            let code = match (name, unit) {
                ("TempUnit", "C") => "Cel",
                ("TempUnit", "F") => "[degF]",
                _ => ucum::ucum_code(unit).unwrap_or(unit),
            };
            ucum::unit(code)
        };
        Self {
            temperature: said("TempUnit"),
            pressure: said("PressureUnit"),
            speed: said("SpeedUnit"),
        }
    }

    /// By the name that Tasmota's drivers share; energy is in kWh and its like by the documentation.
    fn of_path(&self, path: &str) -> Option<UnitString> {
        let mut levels = path.rsplit('.');
        // Of several phases the last level is a number.
        let name = levels.find(|level| level.parse::<usize>().is_err())?;
        // Their names have a dot of their own.
        if path.ends_with(".PM2.5") || path.ends_with(".CF2.5") {
            return ucum::unit("ug/m3");
        }
        let energy = path.starts_with("ENERGY.");
        let code = match name {
            "Temperature" | "DewPoint" => return self.temperature.clone(),
            "Pressure" | "SeaPressure" => return self.pressure.clone(),
            "Speed" | "WindSpeed" => return self.speed.clone(),
            "Humidity" => "%",
            "Illuminance" => "lx",
            "CarbonDioxide" | "eCO2" => "[ppm]",
            "TVOC" => "[ppb]",
            "Distance" => "cm",
            "PM1" | "PM10" | "CF1" | "CF10" => "ug/m3",
            "Total" | "Yesterday" | "Today" if energy => "kW.h",
            "Period" if energy => "W.h",
            "Power" if energy => "W",
            "ApparentPower" if energy => "V.A",
            // UCUM has none for reactive power.
            "ReactivePower" if energy => "var",
            "Voltage" if energy => "V",
            "Current" if energy => "A",
            "Frequency" if energy => "Hz",
            _ => return None,
        };
        ucum::unit(code)
    }
}

fn members<'v, 'a>(tree: &'v Value<'a>) -> Result<&'v Members<'a>, DecodeError> {
    match tree {
        Value::Object(members) => Ok(members),
        other => Err(refused(&format!(
            "it is {}, it must be an object",
            other.kind()
        ))),
    }
}

fn refused(detail: &str) -> DecodeError {
    DecodeError::Form {
        format: FORMAT,
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::formats::samples::{decode, lines};

    const LOCAL: Tasmota = Tasmota { utc_offset: None };

    const SENSOR: &str = r#"{"Time":"2026-03-01T13:00:00","DS18B20":{"Id":"01131B123456","Temperature":67.5},
        "BME280":{"Temperature":68.0,"Humidity":41.5,"DewPoint":43.7,"Pressure":987.2},
        "ENERGY":{"TotalStartTime":"2025-01-01T00:00:00","Total":12.345,"Power":[10,20],"ReactivePower":3,"Factor":0.95},
        "PMS5003":{"PM2.5":12},"Switch1":"ON","PressureUnit":"hPa","TempUnit":"F"}"#;

    #[test]
    fn sensors_have_the_units_that_the_device_says() {
        let decoded = decode(&LOCAL, "tele/pump-house/SENSOR", SENSOR).unwrap();
        assert_eq!(
            lines(&decoded),
            [
                "pump-house/BME280.DewPoint 43.7 [degF]",
                "pump-house/BME280.Humidity 41.5 %",
                "pump-house/BME280.Pressure 987.2 hPa",
                "pump-house/BME280.Temperature 68 [degF]",
                "pump-house/DS18B20.Temperature 67.5 [degF]",
                "pump-house/ENERGY.Factor 0.95",
                "pump-house/ENERGY.Power.0 10 W",
                "pump-house/ENERGY.Power.1 20 W",
                "pump-house/ENERGY.ReactivePower 3 var",
                "pump-house/ENERGY.Total 12.345 kW.h",
                "pump-house/PMS5003.PM2.5 12 ug/m3",
                "pump-house/Switch1 1",
            ]
        );
        assert_eq!(decoded.skipped, 0);
    }

    #[test]
    fn local_time_counts_only_where_its_offset_is_known() {
        let time = |tasmota: &Tasmota, payload: &str| {
            decode(tasmota, "tele/p/SENSOR", payload).unwrap().devices[0].samples[0].device_time_ms
        };
        let berlin = Tasmota {
            utc_offset: Some("+01:00".into()),
        };
        assert_eq!(time(&LOCAL, SENSOR), None);
        assert_eq!(time(&berlin, SENSOR), Some(1_772_366_400_000));
        assert_eq!(
            time(&berlin, r#"{"Time":"2026-03-01T12:00:00Z","A":1}"#),
            Some(1_772_366_400_000)
        );
        assert_eq!(time(&berlin, r#"{"Time":"soon","A":1}"#), None);
    }

    #[test]
    fn state_tells_power_and_signal() {
        let decoded = decode(
            &LOCAL,
            "home/p1/tele/STATE",
            r#"{"Time":"2026-03-01T13:00:00","Uptime":"0T00:10:11","UptimeSec":611,"Vcc":3.45,"Heap":24,"POWER1":"OFF",
               "POWER2":"AN","Wifi":{"AP":1,"RSSI":44,"Signal":-78}}"#,
        )
        .unwrap();
        assert_eq!(
            lines(&decoded),
            [
                "home_p1/POWER1 0",
                "home_p1/UptimeSec 611 s",
                "home_p1/Vcc 3.45 V"
            ]
        );
        let facts = &decoded.devices[0].facts;
        assert_eq!((facts.rssi_dbm, facts.online), (Some(-78.0), Some(true)));
        assert_eq!(decoded.skipped, 1);
    }

    #[test]
    fn a_will_and_the_firmware_are_facts() {
        for (payload, online) in [("Online", true), ("Offline", false)] {
            let decoded = decode(&LOCAL, "tele/p/LWT", payload).unwrap();
            assert_eq!(decoded.devices[0].facts.online, Some(online));
        }
        assert!(decode(&LOCAL, "tele/p/LWT", "").is_err());
        for payload in [
            r#"{"Info1":{"Module":"Sonoff Basic","Version":"14.2.0(release-tasmota)"}}"#,
            r#"{"Module":"Sonoff Basic","Version":"14.2.0(release-tasmota)"}"#,
        ] {
            let decoded = decode(&LOCAL, "tele/p/INFO1", payload).unwrap();
            assert_eq!(
                decoded.devices[0].facts.firmware.as_deref(),
                Some("14.2.0(release-tasmota)")
            );
        }
    }

    #[test]
    fn other_telemetry_is_noise_and_what_is_broken_is_not() {
        for topic in [
            "stat/p/RESULT",
            "cmnd/p/POWER",
            "tele/p/INFO2",
            "tele/p/RESULT",
        ] {
            assert!(
                decode(&LOCAL, topic, "x").unwrap().noise.is_some(),
                "{topic}"
            );
        }
        assert_eq!(
            decode(&LOCAL, "p/SENSOR", "{}").unwrap_err().code(),
            "topic-form"
        );
        assert_eq!(
            decode(&LOCAL, "tele/SENSOR", "{}").unwrap_err().code(),
            "name-empty"
        );
        assert_eq!(
            decode(&LOCAL, "tele/p/SENSOR", "[]").unwrap_err().code(),
            "wrong-form"
        );
        assert_eq!(
            decode(&LOCAL, "tele/p/SENSOR", r#"{"A":{"Temperature":nan}}"#)
                .unwrap_err()
                .code(),
            "invalid-json"
        );
    }
}
