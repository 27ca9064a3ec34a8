//! The units, each as a fraction of its quantity's base unit.
//!
//! Factors: SI prefixes and UCUM's own definitions (UCUM 2.2 §4, tables 3 to 8 and 17). International yard, pound and
//! nautical mile are exact by definition; UCUM's metre of mercury is 133.3220 kPa, of water 9.80665 kPa.

/// What a unit measures; only units of one quantity convert into each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    Acceleration,
    Activity,
    ActivityConcentration,
    AmountOfSubstance,
    Angle,
    ApparentPower,
    ApparentEnergy,
    Area,
    Capacitance,
    CatalyticActivity,
    Charge,
    Conductance,
    Conductivity,
    Current,
    Data,
    DataRate,
    DoseAbsorbed,
    DoseEquivalent,
    DoseRate,
    Energy,
    EnergyPerLength,
    ExposureRate,
    Flow,
    Flux,
    Force,
    Fraction,
    Frequency,
    Illuminance,
    Inductance,
    Irradiance,
    Length,
    Level,
    LevelOfPower,
    LevelOfSound,
    Luminance,
    LuminousFlux,
    LuminousIntensity,
    MagneticField,
    Mass,
    MassConcentration,
    Acidity,
    PlaneAngle,
    Power,
    Pressure,
    Resistance,
    SolidAngle,
    Speed,
    Temperature,
    Time,
    Voltage,
    Volume,
}

/// An exact number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fraction {
    numerator: i128,
    denominator: i128,
}

impl Fraction {
    const fn new(numerator: i128, denominator: i128) -> Self {
        let divisor = gcd(numerator, denominator);
        Self {
            numerator: numerator / divisor,
            denominator: denominator / divisor,
        }
    }

    /// Both are of the table: numerators and denominators below 2⁵³, so that products fit 128 bits.
    pub(super) const fn divided_by(self, other: Self) -> Self {
        Self::new(
            self.numerator * other.denominator,
            self.denominator * other.numerator,
        )
    }

    pub(super) const fn minus(self, other: Self) -> Self {
        Self::new(
            self.numerator * other.denominator - other.numerator * self.denominator,
            self.denominator * other.denominator,
        )
    }

    /// `(scale numerator, constant numerator, denominator)`.
    pub(super) fn on_one_denominator(scale: Self, constant: Self) -> (f64, f64, f64) {
        let divisor = gcd(scale.denominator, constant.denominator);
        (
            (scale.numerator * (constant.denominator / divisor)) as f64,
            (constant.numerator * (scale.denominator / divisor)) as f64,
            (scale.denominator / divisor * constant.denominator) as f64,
        )
    }
}

/// Never 0: a denominator is not.
const fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    if a == 0 { 1 } else { a }
}

/// One unit: `base = value × scale + offset`.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) code: &'static str,
    pub(super) measures: Quantity,
    pub(super) scale: Fraction,
    pub(super) offset: Fraction,
}

const fn unit(code: &'static str, measures: Quantity, numerator: i128, denominator: i128) -> Unit {
    Unit {
        code,
        measures,
        scale: Fraction::new(numerator, denominator),
        offset: Fraction::new(0, 1),
    }
}

const fn shifted(unit: Unit, numerator: i128, denominator: i128) -> Unit {
    Unit {
        offset: Fraction::new(numerator, denominator),
        ..unit
    }
}

const E3: i128 = 1_000;
const E6: i128 = 1_000_000;
const E9: i128 = 1_000_000_000;
const E12: i128 = 1_000_000_000_000;

use Quantity as Q;

/// Base units are SI's, but for data (bytes), angle (degrees) and dose rate (Sv/h).
pub(super) const UNITS: &[Unit] = &[
    unit("K", Q::Temperature, 1, 1),
    shifted(unit("Cel", Q::Temperature, 1, 1), 27_315, 100),
    shifted(unit("[degF]", Q::Temperature, 5, 9), 45_967, 180),
    unit("m", Q::Length, 1, 1),
    unit("km", Q::Length, E3, 1),
    unit("dm", Q::Length, 1, 10),
    unit("cm", Q::Length, 1, 100),
    unit("mm", Q::Length, 1, E3),
    unit("um", Q::Length, 1, E6),
    unit("nm", Q::Length, 1, E9),
    unit("[in_i]", Q::Length, 254, 10_000),
    unit("[ft_i]", Q::Length, 3_048, 10_000),
    unit("[mi_i]", Q::Length, 1_609_344, E3),
    unit("[nmi_i]", Q::Length, 1_852, 1),
    unit("m/s", Q::Speed, 1, 1),
    unit("cm/s", Q::Speed, 1, 100),
    unit("mm/s", Q::Speed, 1, E3),
    unit("um/s", Q::Speed, 1, E6),
    unit("km/h", Q::Speed, E3, 3_600),
    unit("m/h", Q::Speed, 1, 3_600),
    unit("cm/h", Q::Speed, 1, 360_000),
    unit("mm/h", Q::Speed, 1, 3_600_000),
    unit("mm/min", Q::Speed, 1, 60_000),
    unit("mm/d", Q::Speed, 1, 86_400_000),
    unit("[in_i]/h", Q::Speed, 254, 36_000_000),
    unit("[ft_i]/s", Q::Speed, 3_048, 10_000),
    unit("[mi_i]/h", Q::Speed, 1_609_344, 3_600_000),
    unit("[kn_i]", Q::Speed, 1_852, 3_600),
    unit("m/s2", Q::Acceleration, 1, 1),
    unit("mm/s2", Q::Acceleration, 1, E3),
    unit("Gal", Q::Acceleration, 1, 100),
    unit("[g]", Q::Acceleration, 980_665, 100_000),
    unit("m[g]", Q::Acceleration, 980_665, 100_000_000),
    unit("Pa", Q::Pressure, 1, 1),
    unit("hPa", Q::Pressure, 100, 1),
    unit("kPa", Q::Pressure, E3, 1),
    unit("MPa", Q::Pressure, E6, 1),
    unit("mbar", Q::Pressure, 100, 1),
    unit("bar", Q::Pressure, 100_000, 1),
    unit("mm[Hg]", Q::Pressure, 133_322, E3),
    unit("[in_i'Hg]", Q::Pressure, 33_863_788, 10_000),
    unit("mm[H2O]", Q::Pressure, 980_665, 100_000),
    unit("cm[H2O]", Q::Pressure, 980_665, 10_000),
    unit("m[H2O]", Q::Pressure, 980_665, 100),
    unit("atm", Q::Pressure, 101_325, 1),
    // Pound-force (0.45359237 kg × 9.80665 m/s²) on a square inch (0.00064516 m²).
    unit("[psi]", Q::Pressure, 44_482_216_152_605, 6_451_600_000),
    unit("s", Q::Time, 1, 1),
    unit("ms", Q::Time, 1, E3),
    unit("us", Q::Time, 1, E6),
    unit("min", Q::Time, 60, 1),
    unit("h", Q::Time, 3_600, 1),
    unit("d", Q::Time, 86_400, 1),
    unit("wk", Q::Time, 604_800, 1),
    unit("kg", Q::Mass, 1, 1),
    unit("g", Q::Mass, 1, E3),
    unit("mg", Q::Mass, 1, E6),
    unit("ug", Q::Mass, 1, E9),
    unit("t", Q::Mass, E3, 1),
    unit("[lb_av]", Q::Mass, 45_359_237, 100_000_000),
    unit("[oz_av]", Q::Mass, 45_359_237, 1_600_000_000),
    unit("m3", Q::Volume, 1, 1),
    unit("dm3", Q::Volume, 1, E3),
    unit("cm3", Q::Volume, 1, E6),
    unit("L", Q::Volume, 1, E3),
    unit("mL", Q::Volume, 1, E6),
    unit("hL", Q::Volume, 1, 10),
    unit("[gal_us]", Q::Volume, 3_785_411_784, E12),
    unit("[gal_br]", Q::Volume, 454_609, 100_000_000),
    unit("[cft_i]", Q::Volume, 28_316_846_592, E12),
    unit("m3/s", Q::Flow, 1, 1),
    unit("m3/min", Q::Flow, 1, 60),
    unit("m3/h", Q::Flow, 1, 3_600),
    unit("L/s", Q::Flow, 1, E3),
    unit("L/min", Q::Flow, 1, 60_000),
    unit("L/h", Q::Flow, 1, 3_600_000),
    unit("mL/min", Q::Flow, 1, 60_000_000),
    unit("[gal_us]/min", Q::Flow, 3_785_411_784, 60 * E12),
    unit("[cft_i]/s", Q::Flow, 28_316_846_592, E12),
    unit("m2", Q::Area, 1, 1),
    unit("cm2", Q::Area, 1, 10_000),
    unit("km2", Q::Area, E6, 1),
    unit("har", Q::Area, 10_000, 1),
    unit("W", Q::Power, 1, 1),
    unit("mW", Q::Power, 1, E3),
    unit("kW", Q::Power, E3, 1),
    unit("MW", Q::Power, E6, 1),
    unit("V.A", Q::ApparentPower, 1, 1),
    unit("kV.A", Q::ApparentPower, E3, 1),
    unit("V.A.s", Q::ApparentEnergy, 1, 1),
    unit("kV.A.h", Q::ApparentEnergy, 3_600_000, 1),
    unit("J", Q::Energy, 1, 1),
    unit("kJ", Q::Energy, E3, 1),
    unit("MJ", Q::Energy, E6, 1),
    unit("W.h", Q::Energy, 3_600, 1),
    unit("kW.h", Q::Energy, 3_600_000, 1),
    unit("MW.h", Q::Energy, 3_600_000_000, 1),
    unit("J/m", Q::EnergyPerLength, 1, 1),
    unit("W.h/km", Q::EnergyPerLength, 3_600, E3),
    unit("C", Q::Charge, 1, 1),
    unit("A.h", Q::Charge, 3_600, 1),
    unit("mA.h", Q::Charge, 36, 10),
    unit("V", Q::Voltage, 1, 1),
    unit("mV", Q::Voltage, 1, E3),
    unit("uV", Q::Voltage, 1, E6),
    unit("kV", Q::Voltage, E3, 1),
    unit("A", Q::Current, 1, 1),
    unit("mA", Q::Current, 1, E3),
    unit("uA", Q::Current, 1, E6),
    unit("Ohm", Q::Resistance, 1, 1),
    unit("kOhm", Q::Resistance, E3, 1),
    unit("MOhm", Q::Resistance, E6, 1),
    unit("S", Q::Conductance, 1, 1),
    unit("mS", Q::Conductance, 1, E3),
    unit("uS", Q::Conductance, 1, E6),
    unit("S/m", Q::Conductivity, 1, 1),
    unit("mS/m", Q::Conductivity, 1, E3),
    unit("S/cm", Q::Conductivity, 100, 1),
    unit("mS/cm", Q::Conductivity, 1, 10),
    unit("uS/cm", Q::Conductivity, 1, 10_000),
    unit("F", Q::Capacitance, 1, 1),
    unit("H", Q::Inductance, 1, 1),
    unit("Wb", Q::Flux, 1, 1),
    unit("T", Q::MagneticField, 1, 1),
    unit("mT", Q::MagneticField, 1, E3),
    unit("uT", Q::MagneticField, 1, E6),
    unit("nT", Q::MagneticField, 1, E9),
    unit("G", Q::MagneticField, 1, 10_000),
    unit("N", Q::Force, 1, 1),
    unit("kN", Q::Force, E3, 1),
    unit("Hz", Q::Frequency, 1, 1),
    unit("kHz", Q::Frequency, E3, 1),
    unit("MHz", Q::Frequency, E6, 1),
    unit("GHz", Q::Frequency, E9, 1),
    unit("/s", Q::Frequency, 1, 1),
    unit("/min", Q::Frequency, 1, 60),
    unit("/h", Q::Frequency, 1, 3_600),
    unit("1", Q::Fraction, 1, 1),
    unit("%", Q::Fraction, 1, 100),
    unit("[ppth]", Q::Fraction, 1, E3),
    unit("[ppm]", Q::Fraction, 1, E6),
    unit("[ppb]", Q::Fraction, 1, E9),
    unit("kg/m3", Q::MassConcentration, 1, 1),
    unit("g/m3", Q::MassConcentration, 1, E3),
    unit("mg/m3", Q::MassConcentration, 1, E6),
    unit("ug/m3", Q::MassConcentration, 1, E9),
    unit("ng/m3", Q::MassConcentration, 1, E12),
    unit("g/L", Q::MassConcentration, 1, 1),
    unit("mg/L", Q::MassConcentration, 1, E3),
    unit("ug/L", Q::MassConcentration, 1, E6),
    unit("lx", Q::Illuminance, 1, 1),
    unit("klx", Q::Illuminance, E3, 1),
    unit("lm", Q::LuminousFlux, 1, 1),
    unit("cd", Q::LuminousIntensity, 1, 1),
    unit("cd/m2", Q::Luminance, 1, 1),
    unit("W/m2", Q::Irradiance, 1, 1),
    unit("mW/m2", Q::Irradiance, 1, E3),
    unit("mW/cm2", Q::Irradiance, 10, 1),
    unit("uW/cm2", Q::Irradiance, 1, 100),
    unit("deg", Q::Angle, 1, 1),
    unit("'", Q::Angle, 1, 60),
    unit("''", Q::Angle, 1, 3_600),
    // π is no fraction: radians stay radians.
    unit("rad", Q::PlaneAngle, 1, 1),
    unit("sr", Q::SolidAngle, 1, 1),
    unit("mol", Q::AmountOfSubstance, 1, 1),
    unit("kat", Q::CatalyticActivity, 1, 1),
    unit("[pH]", Q::Acidity, 1, 1),
    unit("Bq", Q::Activity, 1, 1),
    unit("kBq", Q::Activity, E3, 1),
    unit("Bq/m3", Q::ActivityConcentration, 1, 1),
    // A curie is 3.7 × 10¹⁰ Bq.
    unit("pCi/L", Q::ActivityConcentration, 37, 1),
    unit("Gy", Q::DoseAbsorbed, 1, 1),
    unit("Sv", Q::DoseEquivalent, 1, 1),
    unit("mSv", Q::DoseEquivalent, 1, E3),
    unit("uSv", Q::DoseEquivalent, 1, E6),
    unit("Sv/h", Q::DoseRate, 1, 1),
    unit("mSv/h", Q::DoseRate, 1, E3),
    unit("uSv/h", Q::DoseRate, 1, E6),
    unit("nSv/h", Q::DoseRate, 1, E9),
    unit("R/h", Q::ExposureRate, 1, 1),
    unit("mR/h", Q::ExposureRate, 1, E3),
    unit("uR/h", Q::ExposureRate, 1, E6),
    unit("By", Q::Data, 1, 1),
    unit("kBy", Q::Data, E3, 1),
    unit("MBy", Q::Data, E6, 1),
    unit("GBy", Q::Data, E9, 1),
    unit("KiBy", Q::Data, 1_024, 1),
    unit("MiBy", Q::Data, 1_048_576, 1),
    unit("bit", Q::Data, 1, 8),
    unit("By/s", Q::DataRate, 1, 1),
    unit("MBy/s", Q::DataRate, E6, 1),
    unit("bit/s", Q::DataRate, 1, 8),
    unit("kbit/s", Q::DataRate, E3, 8),
    unit("Mbit/s", Q::DataRate, E6, 8),
    // Logarithms convert into those of the same quantity only.
    unit("dB", Q::Level, 1, 1),
    unit("dB[W]", Q::LevelOfPower, 1, 1),
    // Not of UCUM, which has levels over a watt and a kilowatt and none over a milliwatt: the code of the SenML registry.
    shifted(unit("dBm", Q::LevelOfPower, 1, 1), -30, 1),
    unit("B[SPL]", Q::LevelOfSound, 1, 1),
];
