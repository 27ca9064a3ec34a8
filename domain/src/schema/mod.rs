//! The schema: every kind of document, its fields, and how each field merges.
//!
//! Invariants: a kind's `code` and a field's `name` and `merge` never change once released, because entries of old
//! versions stay in logs for ever. A kind is added by one file under `kinds/`, its variant in [`Kind`] and its line in
//! the registry below (the compiler asks for the rest); containers
//! (texts and sets) that a later version adds carry that version in `since`, and `genesis_version` rises with it.

mod check;
mod kinds;
mod value;

pub(crate) use check::DELETED_KEY;
pub use check::{Edit, FieldError, check_create, check_node_fields, check_patch, check_resolution};
pub(crate) use check::{FieldChange, What};
pub use value::canonical_json;
pub(crate) use value::{Scalar, fits_when_read, json_of_scalar, reads_back};

/// A kind of document that people edit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Something that happened and needs people.
    Incident,
    /// A vehicle, team or piece of equipment.
    Resource,
    /// A resource sent to an incident.
    Assignment,
    /// A sensor that publishes readings.
    Device,
    /// When readings open an incident.
    Rule,
    /// A person who signs in.
    User,
    /// What raw values of a channel mean in truth, from a time on.
    Calibration,
}

/// A kind of immutable record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FactKind {
    /// A remark, possibly about a document.
    Note,
    /// Words from a person or a device to others.
    Message,
}

/// Every kind, in the order of their codes: the registry.
static KINDS: &[&KindSpec] = &[
    &kinds::incident::SPEC,
    &kinds::resource::SPEC,
    &kinds::assignment::SPEC,
    &kinds::device::SPEC,
    &kinds::rule::SPEC,
    &kinds::user::SPEC,
    &kinds::calibration::SPEC,
];

/// What there is to know about a kind of document.
#[derive(Debug)]
pub struct KindSpec {
    /// Which kind.
    pub kind: Kind,
    /// Number on the wire, 0x0101 and up, for ever.
    pub code: u16,
    /// Singular, as in `incident.changed`.
    pub name: &'static str,
    /// Plural, as in `/v1/incidents`.
    pub plural: &'static str,
    /// Urgency lane of every entry of this kind (DESIGN §2).
    pub lane: u8,
    /// The fields, in the order in which they are shown.
    pub fields: &'static [FieldSpec],
    /// How many genesis changes a document of this kind starts with (DESIGN §7); at least 1.
    pub genesis_version: u16,
    /// Rules over several fields at once, given the fields as they would be after the edit.
    pub check: fn(&serde_json::Map<String, serde_json::Value>) -> Vec<FieldError>,
}

/// How concurrent edits of one field come together, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// One value; two set apart are a conflict until a person chooses.
    Register,
    /// Characters; both sides' insertions and deletions stand.
    Text,
    /// Strings; an addition wins over a concurrent removal.
    Set,
}

/// What a value may be when a person writes it.
#[derive(Debug, Clone, Copy)]
pub enum ValueSpec {
    /// UTF-8 of at most that many bytes, without control characters other than line breaks and tabs.
    Str {
        /// Bound on the bytes.
        max_bytes: usize,
    },
    /// One of these words. Unknown ones from newer nodes are kept and shown.
    Enum(&'static [&'static str]),
    /// true or false.
    Bool,
    /// A whole number within bounds.
    Int {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A finite number.
    Float,
    /// `{"lat","lon"}` in WGS 84 degrees.
    Location,
    /// The id of a document of that kind.
    Id(Kind),
    /// RFC 3339, kept in UTC.
    Time,
    /// An object with exactly these parts. Kept as one register, because its parts only make sense together: two
    /// people who each set a whole value get a conflict between two whole values, never a mixture of both.
    Object(&'static [Part]),
    /// A list of objects with exactly these parts, in the order in which a person put them; one register, for the same
    /// reason.
    List {
        /// Of each object.
        parts: &'static [Part],
        /// Bound on their number.
        max: usize,
    },
    /// Any JSON of at most 4 KiB, as one register.
    Any,
}

/// One part of a [`ValueSpec::Object`].
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Its key.
    pub name: &'static str,
    /// What it may be.
    pub value: ValueSpec,
    /// Whether it must be there.
    pub required: bool,
}

/// What is shown while nobody has set a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fallback {
    /// `null`.
    Null,
    /// A word.
    Str(&'static str),
    /// true or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
}

/// One field of a kind.
#[derive(Debug)]
pub struct FieldSpec {
    /// Its name in the API and, for ever, its key in the document.
    pub name: &'static str,
    /// How it merges, for ever.
    pub merge: Merge,
    /// What a person may write.
    pub value: ValueSpec,
    /// It must be given on create and cannot be cleared.
    pub required: bool,
    /// False: only the node itself sets it (`source`, `peak` …); the API refuses it.
    pub writable: bool,
    /// Never shown by the API and never a conflict (`password_hash`).
    pub secret: bool,
    /// Shown while unset. It is not written into the document, so it can never conflict.
    pub default: Fallback,
    /// The genesis version that made its container; only read for texts and sets.
    pub since: u16,
}

impl FieldSpec {
    /// A register that people may write and leave out.
    const fn register(name: &'static str, value: ValueSpec) -> Self {
        FieldSpec {
            name,
            merge: Merge::Register,
            value,
            required: false,
            writable: true,
            secret: false,
            default: Fallback::Null,
            since: 1,
        }
    }

    /// A text that people may write.
    const fn text(name: &'static str, max_bytes: usize) -> Self {
        FieldSpec {
            merge: Merge::Text,
            ..Self::register(name, ValueSpec::Str { max_bytes })
        }
    }

    /// A set of short strings that people may write.
    const fn set(name: &'static str, max_bytes: usize) -> Self {
        FieldSpec {
            merge: Merge::Set,
            ..Self::register(name, ValueSpec::Str { max_bytes })
        }
    }

    const fn required(self) -> Self {
        FieldSpec {
            required: true,
            ..self
        }
    }

    const fn node_only(self) -> Self {
        FieldSpec {
            writable: false,
            ..self
        }
    }

    const fn secret(self) -> Self {
        FieldSpec {
            secret: true,
            ..self
        }
    }

    const fn default(self, default: Fallback) -> Self {
        FieldSpec { default, ..self }
    }

    /// The JSON shown while the field is unset.
    pub fn default_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match (self.merge, self.default) {
            (Merge::Text, _) => Value::String(String::new()),
            (Merge::Set, _) => Value::Array(Vec::new()),
            (Merge::Register, Fallback::Null) => Value::Null,
            (Merge::Register, Fallback::Str(word)) => Value::String(word.to_owned()),
            (Merge::Register, Fallback::Bool(yes)) => Value::Bool(yes),
            (Merge::Register, Fallback::Int(number)) => Value::from(number),
        }
    }
}

impl KindSpec {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&'static FieldSpec> {
        let fields: &'static [FieldSpec] = self.fields;
        fields.iter().find(|field| field.name == name)
    }
}

impl Kind {
    /// Every kind of document, in the order of their codes.
    pub fn all() -> impl Iterator<Item = Kind> {
        KINDS.iter().map(|spec| spec.kind)
    }

    /// What there is to know about this kind.
    pub fn spec(self) -> &'static KindSpec {
        spec(self)
    }
}

impl FactKind {
    /// Number on the wire, 0x0201 and up, for ever.
    pub fn code(self) -> u16 {
        match self {
            FactKind::Note => 0x0201,
            FactKind::Message => 0x0202,
        }
    }

    /// Singular.
    pub fn name(self) -> &'static str {
        match self {
            FactKind::Note => "note",
            FactKind::Message => "message",
        }
    }

    /// Plural, as in `/v1/notes`.
    pub fn plural(self) -> &'static str {
        match self {
            FactKind::Note => "notes",
            FactKind::Message => "messages",
        }
    }

    /// Urgency lane (DESIGN §2).
    pub fn lane(self) -> u8 {
        match self {
            FactKind::Note | FactKind::Message => 3,
        }
    }

    /// Every kind of fact.
    pub fn all() -> impl Iterator<Item = FactKind> {
        [FactKind::Note, FactKind::Message].into_iter()
    }

    /// The kind of fact with that number.
    pub fn by_code(code: u16) -> Option<FactKind> {
        Self::all().find(|kind| kind.code() == code)
    }

    /// The kind of fact with that plural.
    pub fn by_plural(plural: &str) -> Option<FactKind> {
        Self::all().find(|kind| kind.plural() == plural)
    }
}

/// What there is to know about a kind.
pub fn spec(kind: Kind) -> &'static KindSpec {
    match kind {
        Kind::Incident => &kinds::incident::SPEC,
        Kind::Resource => &kinds::resource::SPEC,
        Kind::Assignment => &kinds::assignment::SPEC,
        Kind::Device => &kinds::device::SPEC,
        Kind::Rule => &kinds::rule::SPEC,
        Kind::User => &kinds::user::SPEC,
        Kind::Calibration => &kinds::calibration::SPEC,
    }
}

/// The kind with that number; `None` for one that only a newer version knows.
pub fn spec_by_code(code: u16) -> Option<&'static KindSpec> {
    KINDS.iter().copied().find(|spec| spec.code == code)
}

/// The kind with that plural (`incidents`).
pub fn by_plural(plural: &str) -> Option<&'static KindSpec> {
    KINDS.iter().copied().find(|spec| spec.plural == plural)
}

/// The kind with that singular (`incident`).
pub fn by_name(name: &str) -> Option<&'static KindSpec> {
    KINDS.iter().copied().find(|spec| spec.name == name)
}

#[cfg(test)]
mod tests;
