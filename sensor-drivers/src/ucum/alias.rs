//! What sensors and people call units, as UCUM codes.

use super::table::UNITS;

/// Spellings that mean one thing whoever writes them. What depends on the writer (`C`, `F`, `B`) is left to the formats.
const ALIASES: &[(&str, &str)] = &[
    ("°C", "Cel"),
    ("ºC", "Cel"),
    ("℃", "Cel"),
    ("degC", "Cel"),
    ("celsius", "Cel"),
    ("Celsius", "Cel"),
    ("°F", "[degF]"),
    ("ºF", "[degF]"),
    ("℉", "[degF]"),
    ("degF", "[degF]"),
    ("fahrenheit", "[degF]"),
    ("Fahrenheit", "[degF]"),
    ("kelvin", "K"),
    ("inch", "[in_i]"),
    ("ft", "[ft_i]"),
    ("feet", "[ft_i]"),
    ("mi", "[mi_i]"),
    ("nmi", "[nmi_i]"),
    ("µm", "um"),
    ("μm", "um"),
    ("mph", "[mi_i]/h"),
    ("kn", "[kn_i]"),
    ("kt", "[kn_i]"),
    ("kts", "[kn_i]"),
    ("knots", "[kn_i]"),
    ("kph", "km/h"),
    ("kmh", "km/h"),
    ("ft/s", "[ft_i]/s"),
    ("in/h", "[in_i]/h"),
    ("m/s²", "m/s2"),
    ("mmHg", "mm[Hg]"),
    ("inHg", "[in_i'Hg]"),
    ("mmH2O", "mm[H2O]"),
    ("cmH2O", "cm[H2O]"),
    ("psi", "[psi]"),
    ("µs", "us"),
    ("sec", "s"),
    ("lb", "[lb_av]"),
    ("lbs", "[lb_av]"),
    ("oz", "[oz_av]"),
    ("µg", "ug"),
    ("l", "L"),
    ("ml", "mL"),
    ("m³", "m3"),
    ("ft³", "[cft_i]"),
    ("gal", "[gal_us]"),
    ("m³/h", "m3/h"),
    ("m³/s", "m3/s"),
    ("l/s", "L/s"),
    ("l/min", "L/min"),
    ("l/h", "L/h"),
    ("gal/min", "[gal_us]/min"),
    ("gpm", "[gal_us]/min"),
    ("m²", "m2"),
    ("ha", "har"),
    ("VA", "V.A"),
    ("kVA", "kV.A"),
    ("Wh", "W.h"),
    ("kWh", "kW.h"),
    ("MWh", "MW.h"),
    ("Ah", "A.h"),
    ("mAh", "mA.h"),
    ("µA", "uA"),
    ("µV", "uV"),
    // The sign of its own in Unicode, besides the Greek letter.
    ("\u{2126}", "Ohm"),
    ("Ω", "Ohm"),
    ("ohm", "Ohm"),
    ("kΩ", "kOhm"),
    ("MΩ", "MOhm"),
    ("µS/cm", "uS/cm"),
    ("μS/cm", "uS/cm"),
    ("µT", "uT"),
    ("rpm", "/min"),
    ("RPM", "/min"),
    ("bpm", "/min"),
    ("%RH", "%"),
    ("%rH", "%"),
    ("‰", "[ppth]"),
    ("ppm", "[ppm]"),
    ("ppb", "[ppb]"),
    ("µg/m³", "ug/m3"),
    ("μg/m³", "ug/m3"),
    ("µg/m3", "ug/m3"),
    ("ug/m³", "ug/m3"),
    ("mg/m³", "mg/m3"),
    ("g/m³", "g/m3"),
    ("mg/l", "mg/L"),
    ("µg/L", "ug/L"),
    ("lux", "lx"),
    ("W/m²", "W/m2"),
    ("°", "deg"),
    ("pH", "[pH]"),
    ("dBmW", "dBm"),
    ("dB[mW]", "dBm"),
    ("Bq/m³", "Bq/m3"),
    ("pCi/l", "pCi/L"),
    ("µSv", "uSv"),
    ("µSv/h", "uSv/h"),
    ("μSv/h", "uSv/h"),
    ("µR/h", "uR/h"),
];

/// The SenML units registry (RFC 8428 §12.1, with the secondary units of RFC 8798 §3 and RFC 9193) where it says it
/// otherwise than UCUM. Those without a UCUM code (`var`, `NTU`) stay what they are.
const SENML: &[(&str, &str)] = &[
    ("l", "L"),
    ("l/s", "L/s"),
    ("lat", "deg"),
    ("lon", "deg"),
    ("pH", "[pH]"),
    ("dBW", "dB[W]"),
    ("Bspl", "B[SPL]"),
    ("count", "1"),
    ("/", "1"),
    ("%RH", "%"),
    ("%EL", "%"),
    ("EL", "s"),
    ("1/s", "/s"),
    ("1/min", "/min"),
    ("beat/min", "/min"),
    ("beats", "1"),
    ("B", "By"),
    ("VA", "V.A"),
    ("VAs", "V.A.s"),
    ("kVA", "kV.A"),
    ("Ah", "A.h"),
    ("Wh", "W.h"),
    ("kWh", "kW.h"),
    ("kVAh", "kV.A.h"),
    ("Wh/km", "W.h/km"),
    ("KiB", "KiBy"),
    ("GB", "GBy"),
    ("B/s", "By/s"),
    ("MB/s", "MBy/s"),
    ("ppm", "[ppm]"),
    ("/100", "%"),
    ("/1000", "[ppth]"),
];

/// The unit of a series: what a sensor says as it is, but for what has been written in two ways by this program itself.
pub fn one_spelling(unit: &str) -> &str {
    match unit {
        // UCUM has levels over a watt and a kilowatt, and none over a milliwatt.
        "dB[mW]" => "dBm",
        other => other,
    }
}

/// The UCUM code of a unit as sensors write it; `None` for one that we do not know.
pub fn ucum_code(said: &str) -> Option<&'static str> {
    let said = said.trim();
    let code = UNITS
        .iter()
        .map(|unit| unit.code)
        .find(|code| *code == said);
    code.or_else(|| in_table(ALIASES, said))
}

/// The UCUM code of a SenML unit.
pub fn ucum_code_of_senml(unit: &str) -> Option<&'static str> {
    // First: `B` is a byte there and a bel in UCUM.
    in_table(SENML, unit).or_else(|| {
        UNITS
            .iter()
            .map(|known| known.code)
            .find(|code| *code == unit)
    })
}

fn in_table(table: &[(&'static str, &'static str)], said: &str) -> Option<&'static str> {
    table
        .iter()
        .find(|(alias, _)| *alias == said)
        .map(|(_, code)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_leads_to_a_unit_of_the_table() {
        for (alias, code) in ALIASES.iter().chain(SENML) {
            assert!(
                UNITS.iter().any(|unit| unit.code == *code),
                "{alias} leads to {code}"
            );
        }
        for (at, (alias, _)) in ALIASES.iter().enumerate() {
            assert_eq!(in_table(&ALIASES[..at], alias), None, "{alias} twice");
            assert!(
                UNITS.iter().all(|unit| unit.code != *alias),
                "{alias} is a code already"
            );
        }
    }

    #[test]
    fn what_nobody_knows_is_not_guessed() {
        assert_eq!(ucum_code("°C"), Some("Cel"));
        assert_eq!(ucum_code(" hPa "), Some("hPa"));
        assert_eq!(ucum_code("lumens-ish"), None);
        assert_eq!(ucum_code(""), None);
        assert_eq!(ucum_code_of_senml("B"), Some("By"));
        assert_eq!(ucum_code_of_senml("Cel"), Some("Cel"));
        assert_eq!(ucum_code_of_senml("var"), None);
        assert_eq!([one_spelling("dB[mW]"), one_spelling("°C")], ["dBm", "°C"]);
    }
}
