//! QuickJS (through `rquickjs`) with limits: one runtime for one message.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use rquickjs::context::{EvalOptions, intrinsic};
use rquickjs::{Context, Ctx, Error, Exception, Function, Object, Runtime, Type, Value as JsValue};

use super::{
    ARRAY_LENGTH_MAX, BUDGET_STEPS, STACK_BYTES_MAX, Script, ScriptInput, ScriptOutput, WALL_MAX,
};
use crate::tree::{Members, NODES_MAX, Value};
use crate::{DEPTH_MAX, DecodeError, WARNINGS_MAX};

/// Besides the language: no `Proxy` (an array's length must be what it says), no clock, no weak references.
type Intrinsics = (
    intrinsic::Date,
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::MapSet,
    intrinsic::TypedArrays,
    // Without it `async function` would be a class that does not exist. Nothing ever runs its jobs.
    intrinsic::Promise,
);

const GUARD: &str = include_str!("guard.js");

/// QuickJS asks its interrupt handler after so many steps (`JS_INTERRUPT_COUNTER_INIT`).
const STEPS_PER_INTERRUPT: u64 = 10_000;

/// Longest text of an exception, an error or a warning that is kept.
const DETAIL_CHARS_MAX: usize = 300;

/// Text in a result, bytes: it becomes no value, but is copied.
const RESULT_TEXT_BYTES_MAX: usize = 64 * 1024;

/// Whether the script compiles and has `decodeUplink`.
pub(super) fn check(script: &Script) -> Result<(), DecodeError> {
    let input = ScriptInput {
        bytes: &[],
        f_port: 1,
        received_ms: 0,
    };
    contained(script, |meter| {
        with_context(meter, script.memory_bytes_max, |ctx| {
            load(ctx, meter, script, &input).map(|_| ())
        })
    })
}

pub(super) fn run(script: &Script, input: &ScriptInput<'_>) -> Result<ScriptOutput, DecodeError> {
    contained(script, |meter| {
        with_context(meter, script.memory_bytes_max, |ctx| {
            let (decode, make_input) = load(ctx, meter, script, input)?;
            let variables = Object::new(ctx.clone())?;
            for (name, value) in &script.variables {
                variables.set(name.as_str(), value.as_str())?;
            }
            let argument: JsValue<'_> =
                make_input.call((input.bytes.to_vec(), input.f_port, variables))?;
            let result: JsValue<'_> = decode.call((argument,))?;
            output(&result)
        })
    })
}

/// The engine's own faults, should it panic, stay with this message.
fn contained<T>(
    script: &Script,
    work: impl FnOnce(&Rc<Meter>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let meter = Rc::new(Meter::start(script.host.monotonic));
    catch_unwind(AssertUnwindSafe(|| work(&meter))).unwrap_or_else(|_| {
        Err(DecodeError::ScriptFailed {
            detail: "the script engine failed".into(),
        })
    })
}

/// What a script has used.
struct Meter {
    steps: Cell<u64>,
    clock: Option<(fn() -> Duration, Duration)>,
    stop: Cell<Option<Stop>>,
}

#[derive(Debug, Clone, Copy)]
enum Stop {
    Steps,
    Time,
}

impl Meter {
    fn start(monotonic: Option<fn() -> Duration>) -> Self {
        Self {
            steps: Cell::new(0),
            clock: monotonic.map(|now| (now, now())),
            stop: Cell::new(None),
        }
    }

    /// Counts steps; says whether that is enough. Once it was, it stays so: a script may catch what it is told.
    fn spend(&self, steps: u64) -> bool {
        let before = self.steps.get();
        let spent = before.saturating_add(steps);
        self.steps.set(spent);
        if self.stop.get().is_none() {
            // A look at the clock costs as much as some steps.
            let look = spent / STEPS_PER_INTERRUPT > before / STEPS_PER_INTERRUPT;
            let late =
                |(now, start): (fn() -> Duration, Duration)| now().saturating_sub(start) > WALL_MAX;
            if spent > BUDGET_STEPS {
                self.stop.set(Some(Stop::Steps));
            } else if look && self.clock.is_some_and(late) {
                self.stop.set(Some(Stop::Time));
            }
        }
        self.stop.get().is_some()
    }
}

/// Either what the engine says or what we say.
enum Failure {
    Engine(Error),
    Verdict(DecodeError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Verdict(error)
    }
}

fn with_context<T>(
    meter: &Rc<Meter>,
    memory_bytes_max: usize,
    work: impl FnOnce(&Ctx<'_>) -> Result<T, Failure>,
) -> Result<T, DecodeError> {
    let start = || -> Result<(Runtime, Context), Error> {
        let runtime = Runtime::new()?;
        runtime.set_memory_limit(memory_bytes_max);
        runtime.set_max_stack_size(STACK_BYTES_MAX);
        let handler = Rc::clone(meter);
        runtime.set_interrupt_handler(Some(Box::new(move || handler.spend(STEPS_PER_INTERRUPT))));
        let context = Context::custom::<Intrinsics>(&runtime)?;
        Ok((runtime, context))
    };
    let (_runtime, context) = start().map_err(|_| DecodeError::ScriptMemory)?;
    context.with(|ctx| work(&ctx).map_err(|failure| verdict(&ctx, meter, failure)))
}

/// Runs guard and script; gives `decodeUplink` and what makes its argument.
fn load<'js>(
    ctx: &Ctx<'js>,
    meter: &Rc<Meter>,
    script: &Script,
    input: &ScriptInput<'_>,
) -> Result<(Function<'js>, Function<'js>), Failure> {
    let guard: Function<'js> = ctx.eval(GUARD)?;
    let charged = Rc::clone(meter);
    let charge = Function::new(ctx.clone(), move |ctx: Ctx<'js>, steps: f64| {
        // As casts go: NaN and negative numbers are 0, large ones the largest.
        if charged.spend(steps as u64) {
            return Err(Exception::throw_range(&ctx, "interrupted"));
        }
        Ok(())
    })?;
    let make_input = guard.call((input.received_ms as f64, ARRAY_LENGTH_MAX, charge))?;
    // Not strict: published decoders assign to variables that nobody declared.
    let mut options = EvalOptions::default();
    options.strict = false;
    ctx.eval_with_options::<JsValue<'_>, _>(script.source.as_str(), options)?;
    let decode: JsValue<'js> = ctx.globals().get("decodeUplink")?;
    match decode.into_function() {
        Some(decode) => Ok((decode, make_input)),
        None => Err(DecodeError::ScriptFailed {
            detail: "it does not define function decodeUplink(input)".into(),
        }
        .into()),
    }
}

/// Takes `{ data, warnings, errors }` apart.
fn output(result: &JsValue<'_>) -> Result<ScriptOutput, Failure> {
    let Some(object) = result.as_object() else {
        return Err(not_a_result(format!("it is {}", result.type_name())).into());
    };
    let errors: JsValue<'_> = object.get("errors")?;
    let errors = list_of_words(&errors)?;
    if !errors.is_empty() {
        let detail = cut(&errors.join(", "));
        return Err(DecodeError::ScriptRefused { detail }.into());
    }
    let warnings: JsValue<'_> = object.get("warnings")?;
    let warnings = list_of_words(&warnings)?;
    let data: JsValue<'_> = object.get("data")?;
    if !matches!(data.type_of(), Type::Object) {
        return Err(not_a_result(format!("its data is {}", data.type_name())).into());
    }
    let mut walk = Walk {
        nodes: NODES_MAX,
        text_bytes: RESULT_TEXT_BYTES_MAX,
    };
    let data = walk.value(&data, 0)?;
    Ok(ScriptOutput { data, warnings })
}

/// The first [`WARNINGS_MAX`] elements of a list, each cut; none for no list.
fn list_of_words(value: &JsValue<'_>) -> Result<Vec<String>, Failure> {
    let Some(list) = value.as_array() else {
        return Ok(Vec::new());
    };
    let mut words = Vec::new();
    for at in 0..list.len().min(WARNINGS_MAX) {
        let word: JsValue<'_> = list.get(at)?;
        match word.as_string() {
            Some(word) => words.push(cut(&word.to_string()?)),
            None => words.push(word.type_name().to_owned()),
        }
    }
    Ok(words)
}

/// Bounds for what a script returns, as for any payload.
struct Walk {
    nodes: usize,
    text_bytes: usize,
}

impl Walk {
    fn value(&mut self, value: &JsValue<'_>, depth: usize) -> Result<Value<'static>, Failure> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::TooDeep.into());
        }
        self.nodes = self.nodes.checked_sub(1).ok_or(DecodeError::TooManyParts)?;
        Ok(match value.type_of() {
            Type::Bool => Value::Bool(value.as_bool().unwrap_or_default()),
            Type::Int | Type::Float => Value::Number(value.as_number().unwrap_or(f64::NAN)),
            Type::String => Value::Text(self.text(value)?.into()),
            Type::Array => {
                let Some(array) = value.as_array() else {
                    return Ok(Value::Null);
                };
                let mut elements = Vec::new();
                for at in 0..array.len() {
                    let element: JsValue<'_> = array.get(at)?;
                    elements.push(self.value(&element, depth + 1)?);
                }
                Value::Array(elements)
            }
            Type::Object => {
                let Some(object) = value.as_object() else {
                    return Ok(Value::Null);
                };
                let mut members = Members::new();
                for name in object.keys::<String>() {
                    let name = name?;
                    self.take_text(name.len())?;
                    let member: JsValue<'_> = object.get(name.as_str())?;
                    members.insert(name.into(), self.value(&member, depth + 1)?);
                }
                Value::Object(members)
            }
            // undefined, functions, symbols, big integers, errors.
            _ => Value::Null,
        })
    }

    fn text(&mut self, value: &JsValue<'_>) -> Result<String, Failure> {
        let Some(text) = value.as_string() else {
            return Ok(String::new());
        };
        // A text with half a surrogate pair is no text; nobody reads it anyway.
        let text = text.to_string().unwrap_or_default();
        self.take_text(text.len())?;
        Ok(text)
    }

    fn take_text(&mut self, bytes: usize) -> Result<(), Failure> {
        let left = self.text_bytes.checked_sub(bytes);
        self.text_bytes = left.ok_or_else(|| not_a_result("it has more than 64 KiB of text"))?;
        Ok(())
    }
}

/// What went wrong, by our own counters first: a script can throw any words.
fn verdict(ctx: &Ctx<'_>, meter: &Meter, failure: Failure) -> DecodeError {
    match meter.stop.get() {
        Some(Stop::Steps) => return DecodeError::ScriptSteps,
        Some(Stop::Time) => return DecodeError::ScriptTime,
        None => {}
    }
    match failure {
        Failure::Verdict(error) => error,
        Failure::Engine(Error::Exception) => exception(&ctx.catch()),
        Failure::Engine(Error::Allocation) => DecodeError::ScriptMemory,
        Failure::Engine(other) => not_a_result(cut(&other.to_string())),
    }
}

fn exception(thrown: &JsValue<'_>) -> DecodeError {
    // With no memory left even the exception may be missing.
    if matches!(thrown.type_of(), Type::Null | Type::Uninitialized) {
        return DecodeError::ScriptMemory;
    }
    let text = match thrown.as_exception() {
        Some(exception) => exception.message().unwrap_or_default(),
        None => thrown
            .as_string()
            .and_then(|text| text.to_string().ok())
            .unwrap_or_else(|| thrown.type_name().to_owned()),
    };
    match text.as_str() {
        "" => DecodeError::ScriptFailed {
            detail: "an exception without a message".into(),
        },
        "out of memory" => DecodeError::ScriptMemory,
        "stack overflow" | "Maximum call stack size exceeded" => DecodeError::ScriptStack,
        _ => DecodeError::ScriptFailed { detail: cut(&text) },
    }
}

fn not_a_result(detail: impl Into<String>) -> DecodeError {
    DecodeError::ScriptResult {
        detail: detail.into(),
    }
}

fn cut(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(DETAIL_CHARS_MAX)
        .collect()
}
