//! The JSON schemas of documents and facts in the OpenAPI document, made from the domain's registry of kinds.
//!
//! Invariant: a field is described once, in `domain::schema`; what is refused on write and what the OpenAPI document says
//! come from the same line. Only what is laid over a kind by this node (a device's `last_seen`) is written here.

use domain::schema::Part;
use domain::{FactKind, FieldSpec, Kind, Merge, ValueSpec};
use serde_json::json;
use utoipa::openapi::schema::{
    ArrayBuilder, KnownFormat, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat,
    SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};

type SchemaOrRef = RefOr<Schema>;

/// Component names of one kind: what is read, what creates it, what changes it.
#[derive(Debug, Clone)]
pub struct Names {
    /// `Incident`.
    pub read: String,
    /// `IncidentCreate`.
    pub create: String,
    /// `IncidentPatch`.
    pub patch: String,
    /// `IncidentPage`.
    pub page: String,
}

impl Names {
    /// For a kind by its singular.
    pub fn of(singular: &str) -> Self {
        let mut letters = singular.chars();
        let read: String = letters
            .next()
            .into_iter()
            .flat_map(char::to_uppercase)
            .chain(letters)
            .collect();
        Names {
            create: format!("{read}Create"),
            patch: format!("{read}Patch"),
            page: format!("{read}Page"),
            read,
        }
    }
}

/// A reference to a component.
pub fn reference(name: &str) -> SchemaOrRef {
    RefOr::Ref(Ref::from_schema_name(name))
}

/// Every component of a kind of document: read, create, patch, page.
pub fn document_components(kind: Kind) -> Vec<(String, SchemaOrRef)> {
    let spec = domain::schema::spec(kind);
    let names = Names::of(spec.name);
    let shown = || spec.fields.iter().filter(|field| !field.secret);

    let mut read = ObjectBuilder::new()
        .description(Some(format!("One {}, as this node knows it.", spec.name)));
    read = with(read, "id", id_schema(None), true);
    let version = described("The heads that this answer shows: send it back in If-Match.");
    // A device that was only heard has no document yet: approving it (POST) makes one.
    read = with(
        read,
        "version",
        nullable_if(kind == Kind::Device, version),
        true,
    );
    for field in shown() {
        read = with(read, field.name, field_schema(field, Direction::Read), true);
    }
    for (name, schema) in overlays(kind) {
        read = with(read, name, schema, true);
    }
    for (name, schema, required) in common_fields() {
        read = with(read, name, schema, required);
    }

    let mut create = ObjectBuilder::new()
        .description(Some(format!(
            "A new {}. A field that is left out has its default.",
            spec.name
        )))
        .additional_properties(Some(
            utoipa::openapi::schema::AdditionalProperties::FreeForm(false),
        ));
    let mut patch = ObjectBuilder::new()
        .description(Some(
            "A merge patch (RFC 7396): what is named is set, null clears, what is left out stays as it is.",
        ))
        .additional_properties(Some(utoipa::openapi::schema::AdditionalProperties::FreeForm(false)));
    for field in shown().filter(|field| field.writable) {
        create = with(
            create,
            field.name,
            field_schema(field, Direction::Create),
            field.required,
        );
        patch = with(
            patch,
            field.name,
            field_schema(field, Direction::Patch),
            false,
        );
    }
    vec![
        (names.page, page(&names.read)),
        (names.read, read.into()),
        (names.create, create.into()),
        (names.patch, patch.into()),
    ]
}

/// Every component of a kind of fact: read, create, page.
pub fn fact_components(kind: FactKind) -> Vec<(String, SchemaOrRef)> {
    use domain::facts::{MESSAGE_TEXT_BYTES_MAX, MESSAGE_TO_BYTES_MAX, NOTE_TEXT_BYTES_MAX};
    let names = Names::of(kind.name());
    let text = |bytes_max: usize, what: &str| -> SchemaOrRef {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(bytes_max))
            .description(Some(what))
            .into()
    };
    let about = (
        "about",
        nullable_if(true, reference("RecordReference")),
        false,
    );
    // What people write, and what only a node does: name, schema, always there.
    let (what, written, of_the_node) = match kind {
        FactKind::Note => {
            let text = text(NOTE_TEXT_BYTES_MAX, "What is to be remembered.");
            (
                "A remark; nobody edits it.",
                vec![("text", text, true), about],
                vec![],
            )
        }
        FactKind::Message => {
            let to = text(
                MESSAGE_TO_BYTES_MAX,
                "To whom: a device, a user or a group, as the writer spells it; null for everybody.",
            );
            let written = vec![
                ("text", text(MESSAGE_TEXT_BYTES_MAX, "What it says."), true),
                ("to", nullable_if(true, to), false),
                about,
            ];
            let what = "Words to others, from a person, or from a device that carries them; nobody edits it.";
            (what, written, device_message_fields())
        }
        _ => return Vec::new(),
    };
    let mut read = ObjectBuilder::new().description(Some(what));
    read = with(read, "id", id_schema(None), true);
    let mut create = ObjectBuilder::new().additional_properties(Some(
        utoipa::openapi::schema::AdditionalProperties::FreeForm(false),
    ));
    for (name, schema, required) in written {
        read = with(read, name, schema.clone(), required);
        create = with(create, name, schema, required);
    }
    for (name, schema) in of_the_node {
        read = with(read, name, schema, false);
    }
    for (name, schema, required) in common_fields() {
        // Nobody edits a fact, so it has no newer state, no conflicts and no end.
        if !matches!(
            name,
            "conflicts" | "updated_at" | "deleted" | "unknown_fields"
        ) {
            read = with(read, name, schema, required);
        }
    }
    vec![
        (names.page, page(&names.read)),
        (names.read, read.into()),
        (names.create, create.into()),
    ]
}

/// What a message of a device has beside its words.
fn device_message_fields() -> Vec<(&'static str, SchemaOrRef)> {
    let of = |kind: Type, what: &str| -> SchemaOrRef {
        ObjectBuilder::new()
            .schema_type(kind)
            .description(Some(what))
            .into()
    };
    vec![
        ("device", described("The device that sent it.")),
        ("channel", of(Type::Integer, "The radio's channel.")),
        ("received_at", time_schema().into()),
        ("sent_at", time_schema().into()),
        (
            "unapproved",
            of(
                Type::Boolean,
                "True while nobody has approved the device: only this node has the message.",
            ),
        ),
        (
            "also_heard_by",
            ArrayBuilder::new()
                .items(described("A node."))
                .description(Some("Other nodes that wrote down the same message."))
                .into(),
        ),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Create,
    Patch,
}

fn field_schema(field: &FieldSpec, direction: Direction) -> SchemaOrRef {
    let mut value = value_schema(&field.value, direction);
    // A name or title that must be there cannot be empty either.
    if direction != Direction::Read
        && field.required
        && let RefOr::T(Schema::Object(object)) = &mut value
        && matches!(field.value, ValueSpec::Str { .. })
    {
        object.min_length = Some(1);
    }
    match field.merge {
        Merge::Set => ArrayBuilder::new()
            .items(value)
            .unique_items(true)
            .description(Some("A set: additions of both sides stand."))
            .into(),
        Merge::Text => match value {
            RefOr::T(Schema::Object(mut text)) => {
                text.description =
                    Some("A text: insertions and deletions of both sides stand.".into());
                text.into()
            }
            other => other,
        },
        Merge::Register => {
            let unset_is_null = field.default_json().is_null();
            let nullable = match direction {
                Direction::Read => unset_is_null,
                Direction::Create | Direction::Patch => !field.required,
            };
            let mut schema = nullable_if(nullable, value);
            if direction == Direction::Create
                && !unset_is_null
                && !field.required
                && let RefOr::T(Schema::Object(object)) = &mut schema
            {
                object.default = Some(field.default_json());
            }
            schema
        }
    }
}

fn value_schema(value: &ValueSpec, direction: Direction) -> SchemaOrRef {
    let of = |kind: Type| ObjectBuilder::new().schema_type(kind);
    match *value {
        ValueSpec::Str { max_bytes } => match direction {
            // Bytes are counted, JSON Schema counts characters: the number is a bound, not the exact rule.
            Direction::Create | Direction::Patch => {
                of(Type::String).max_length(Some(max_bytes)).into()
            }
            Direction::Read => of(Type::String).into(),
        },
        // Words of newer nodes are kept and shown, so a reader must expect more than these; a writer may use only these.
        ValueSpec::Enum(words) => of(Type::String)
            .enum_values(Some(words.iter().copied()))
            .into(),
        ValueSpec::Bool => of(Type::Boolean).into(),
        ValueSpec::Int { min, max } => of(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(min as isize))
            .maximum(Some(max as isize))
            .into(),
        ValueSpec::Float => of(Type::Number)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Double)))
            .into(),
        ValueSpec::Location => reference("Location"),
        ValueSpec::Id(kind) => id_schema(Some(kind)),
        ValueSpec::Time => time_schema().into(),
        ValueSpec::Object(parts) => object_schema(parts, direction),
        ValueSpec::List { parts, max } => ArrayBuilder::new()
            .items(object_schema(parts, direction))
            .max_items((direction != Direction::Read).then_some(max))
            .into(),
        ValueSpec::Any => ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .into(),
    }
}

fn object_schema(parts: &[Part], direction: Direction) -> SchemaOrRef {
    let mut object = ObjectBuilder::new();
    for part in parts {
        object = with(
            object,
            part.name,
            value_schema(&part.value, direction),
            part.required,
        );
    }
    object.into()
}

/// What this node lays over a kind at reading time; never written.
fn overlays(kind: Kind) -> Vec<(&'static str, SchemaOrRef)> {
    let number = |text: &str| -> SchemaOrRef {
        nullable_if(
            true,
            ObjectBuilder::new()
                .schema_type(Type::Number)
                .description(Some(text))
                .into(),
        )
    };
    let yes_or_no = |text: &str| -> SchemaOrRef {
        let yes_or_no = ObjectBuilder::new().schema_type(Type::Boolean);
        nullable_if(true, yes_or_no.description(Some(text)).into())
    };
    let time = || nullable_if(true, time_schema().into());
    match kind {
        Kind::Device => vec![
            ("last_seen", time()),
            ("age_s", number("Seconds since then.")),
            (
                "stale",
                yes_or_no(
                    "Whether what it said last is to be doubted: it has missed three of the intervals at which it is expected to send, or is gone. Null where nobody has said how often it sends.",
                ),
            ),
            ("battery_pct", number("Charge of its battery in percent.")),
            ("battery_at", time()),
            ("rssi_dbm", number("Strength of its signal in dBm.")),
            ("rssi_at", time()),
            (
                "firmware",
                nullable_if(true, described("Its firmware's version, as it says.")),
            ),
            (
                "label",
                nullable_if(
                    true,
                    described(
                        "What it calls itself, as this node heard it: its own word, which anybody can give a device, and never in the place of its name.",
                    ),
                ),
            ),
            (
                "reported_location",
                nullable_if(true, reference("Location")),
            ),
            ("reported_location_at", time()),
            (
                "online",
                yes_or_no(
                    "Whether it is there: by its own MQTT connection, else as its gateway or another node said last; null where none of them is known.",
                ),
            ),
            (
                "heard_by",
                ArrayBuilder::new()
                    .items(reference("DeviceHeardBy"))
                    .description(Some(
                        "The nodes that heard it, whoever heard it last first: this one and, by what they say, at most 16 others. What the device shows of battery, signal and firmware is the newest of them all.",
                    ))
                    .into(),
            ),
        ],
        Kind::Incident => vec![
            (
                "folded_into",
                nullable_if(
                    true,
                    described(
                        "Another incident that shows this one: a node raised it about the same thing.",
                    ),
                ),
            ),
            (
                "folds",
                ArrayBuilder::new()
                    .items(id_schema(Some(Kind::Incident)))
                    .description(Some(
                        "Incidents that this one shows; their evidence stands here, too.",
                    ))
                    .into(),
            ),
        ],
        Kind::Calibration => vec![(
            "superseded_by",
            nullable_if(
                true,
                described(
                    "Another calibration of this channel that is valid from the same time and counts instead.",
                ),
            ),
        )],
        Kind::Resource => vec![(
            "status",
            ObjectBuilder::new()
                .schema_type(Type::String)
                .enum_values(Some(["available", "assigned", "out_of_service"]))
                .description(Some("Follows from assignments and out_of_service."))
                .into(),
        )],
        _ => Vec::new(),
    }
}

/// What every record has (DESIGN §8): name, schema, always there.
fn common_fields() -> Vec<(&'static str, SchemaOrRef, bool)> {
    let list = |item: &str| -> SchemaOrRef { ArrayBuilder::new().items(reference(item)).into() };
    vec![
        (
            "unknown_fields",
            ObjectBuilder::new()
                .additional_properties(Some(
                    utoipa::openapi::schema::AdditionalProperties::FreeForm(true),
                ))
                .description(Some(
                    "Fields that only a newer version knows: kept, and shown apart.",
                ))
                .into(),
            false,
        ),
        (
            "deleted",
            ObjectBuilder::new()
                .schema_type(Type::Boolean)
                .description(Some("Only there, and true, where it was deleted."))
                .into(),
            false,
        ),
        ("created_at", time_schema().into(), true),
        ("updated_at", time_schema().into(), true),
        (
            "author",
            nullable_if(
                true,
                described("Who changed it last; null where the node itself did."),
            ),
            true,
        ),
        (
            "node",
            described("Node on which it was changed last."),
            true,
        ),
        (
            "node_name",
            nullable_if(true, described("That node's name.")),
            true,
        ),
        ("conflicts", list("OpenConflict"), true),
        ("seen_by", list("SeenBy"), true),
        ("_links", reference("Links"), true),
    ]
}

fn page(item: &str) -> SchemaOrRef {
    let mut object = ObjectBuilder::new();
    object = with(
        object,
        "items",
        ArrayBuilder::new().items(reference(item)).into(),
        true,
    );
    object = with(
        object,
        "next",
        nullable_if(true, described("Cursor of the next page; null at the end.")),
        true,
    );
    object = with(
        object,
        "since",
        described("This node's position: send it as since= to get what came after."),
        true,
    );
    object.into()
}

fn id_schema(kind: Option<Kind>) -> SchemaOrRef {
    let text = kind.map(|kind| format!("Id of the {}.", domain::schema::spec(kind).name));
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uuid".into())))
        .description(text)
        .into()
}

fn time_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .build()
}

fn described(text: &str) -> SchemaOrRef {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(text))
        .into()
}

fn with(object: ObjectBuilder, name: &str, schema: SchemaOrRef, required: bool) -> ObjectBuilder {
    let object = object.property(name, schema);
    if required {
        object.required(name)
    } else {
        object
    }
}

/// `schema`, or null too.
fn nullable_if(nullable: bool, schema: SchemaOrRef) -> SchemaOrRef {
    if !nullable {
        return schema;
    }
    match schema {
        RefOr::T(Schema::Object(mut object))
            if !matches!(object.schema_type, SchemaType::AnyValue) =>
        {
            if let SchemaType::Type(kind) = object.schema_type.clone() {
                object.schema_type = SchemaType::from_iter([kind, Type::Null]);
            }
            // JSON Schema checks enum beside type: null must be among the values.
            if let Some(values) = &mut object.enum_values {
                values.push(json!(null));
            }
            object.into()
        }
        RefOr::T(Schema::Object(any)) => any.into(),
        other => OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::Null))
            .item(other)
            .into(),
    }
}
