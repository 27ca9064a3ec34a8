#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::WARNINGS_MAX;

fn script(source: &str) -> Script {
    Script::new(source, &BTreeMap::new(), ScriptHost::default()).unwrap()
}

fn run_on(source: &str, bytes: &[u8]) -> Result<Vec<String>, DecodeError> {
    let output = script(source).run(&ScriptInput {
        bytes,
        f_port: 7,
        received_ms: 1_772_366_400_250,
    })?;
    let mut decoded = Decoded::default();
    let device = decoded.device("d")?;
    output.add_to(&mut decoded, device, None)?;
    Ok(crate::formats::samples::lines(&decoded))
}

fn run(body: &str) -> Result<Vec<String>, DecodeError> {
    run_on(
        &format!("function decodeUplink(input) {{ {body} }}"),
        &[1, 2, 255],
    )
}

/// In the manner of the published collections: global state, helpers, undeclared variables, old syntax.
const TYPICAL: &str = r#"
function readInt16(bytes, at) { var v = bytes[at] << 8 | bytes[at + 1]; return v > 0x7fff ? v - 0x10000 : v; }
function decodeUplink(input) {
    var decoded = {}, bytes = input.bytes;
    for (i = 0; i < bytes.length; ) {
        var channel = bytes[i++], type = bytes[i++];
        if (type === 0x67) { decoded.temperature = readInt16(bytes, i) / 10; i += 2; }
        else if (type === 0x68) { decoded["humidity_" + channel] = bytes[i] / 2; i += 1; }
        else if (type === 0x75) { decoded.battery = { pct: bytes[i], low: bytes[i] < 20 }; i += 1; }
        else { return { errors: ["unknown type " + type.toString(16)] }; }
    }
    decoded.hex = bytes.map(function (b) { return ("0" + b.toString(16)).slice(-2); }).join("");
    return { data: decoded, warnings: [], errors: [] };
}"#;

#[test]
fn a_typical_decoder_decodes() {
    let bytes = [1, 0x75, 15, 3, 0x67, 0xff, 0xd8, 4, 0x68, 99];
    assert_eq!(
        run_on(TYPICAL, &bytes).unwrap(),
        [
            "d/battery.low 1",
            "d/battery.pct 15",
            "d/humidity_4 49.5",
            "d/temperature -4"
        ]
    );
    assert_eq!(
        run_on(TYPICAL, &[1, 0x99]),
        Err(DecodeError::ScriptRefused {
            detail: "unknown type 99".into()
        })
    );
}

#[test]
fn the_input_is_what_chirpstack_and_ttn_give() {
    assert_eq!(
        run("return { data: { port: input.fPort, n: input.bytes.length, list: Array.isArray(input.bytes),
            at: input.recvTime.getTime(), iso: input.recvTime.toISOString() === '2026-03-01T12:00:00.250Z',
            date: input.recvTime instanceof Date } };"),
        Ok([
            "d/at 1772366400250",
            "d/date 1",
            "d/iso 1",
            "d/list 1",
            "d/n 3",
            "d/port 7"
        ]
        .map(str::to_owned)
        .to_vec())
    );
    let variables = BTreeMap::from([("offset".to_owned(), "2.5".to_owned())]);
    let with = Script::new(
        "function decodeUplink(input) { return { data: { v: parseFloat(input.variables.offset) } }; }",
        &variables,
        ScriptHost::default(),
    )
    .unwrap();
    let input = ScriptInput {
        bytes: &[],
        f_port: 1,
        received_ms: 0,
    };
    let data = with.run(&input).unwrap().data;
    assert_eq!(data.get("v"), Some(&Value::Number(2.5)));
}

#[test]
fn ordinary_use_of_the_language_works_behind_the_guard() {
    for (expression, expected) in [
        ("[3,1,2].sort().join('')", "d/v 123"),
        ("[3,1,2].sort((a, b) => b - a)[0]", "d/v 3"),
        ("[1,[2,[3]]].flat(Infinity).length", "d/v 3"),
        ("[1,2].flatMap(x => [x, x]).length", "d/v 4"),
        ("[1].concat([2,3], 4).length", "d/v 4"),
        (
            "Array.prototype.slice.call(new Uint8Array([1,2,3]), 1).length",
            "d/v 2",
        ),
        (
            "(function () { return Array.prototype.slice.call(arguments).length; })(1, 2)",
            "d/v 2",
        ),
        ("Math.max(...input.bytes)", "d/v 255"),
        ("Math.max.apply(null, input.bytes)", "d/v 255"),
        ("[...new Set([1, 1, 2])].length", "d/v 2"),
        ("Array.from(input.bytes, b => b * 2)[1]", "d/v 4"),
        ("'a,b,c'.split(',').length", "d/v 3"),
        ("'abab'.replace(/a/g, '').length", "d/v 2"),
        ("'abab'.replaceAll('a', '').length", "d/v 2"),
        ("'abab'.lastIndexOf('ab')", "d/v 2"),
        ("parseInt('ff', 16)", "d/v 255"),
        (
            "new DataView(new Uint8Array(input.bytes).buffer).getUint16(0)",
            "d/v 258",
        ),
        ("JSON.parse(JSON.stringify({ a: 5 })).a", "d/v 5"),
        ("new Date(2026, 0, 1).getFullYear()", "d/v 2026"),
        ("Date.UTC(1970, 0, 2)", "d/v 86400000"),
        (
            "Object.entries({ a: 1, b: 2 }).reduce((n, [, v]) => n + v, 0)",
            "d/v 3",
        ),
        ("input.bytes.indexOf(255)", "d/v 2"),
        ("[,1].includes(undefined)", "d/v 1"),
        ("Number('0x10')", "d/v 16"),
        ("Number((5.678).toFixed(1))", "d/v 5.7"),
        (
            "(() => { let n = 0; for (const b of input.bytes) n += b; return n; })()",
            "d/v 258",
        ),
    ] {
        let value = format!(
            "const v = {expression}; return {{ data: {{ v: typeof v === 'string' ? Number(v) : v }} }};"
        );
        assert_eq!(run(&value), Ok(vec![expected.to_owned()]), "{expression}");
    }
}

#[test]
fn a_script_that_loops_for_ever_is_stopped() {
    for body in [
        "while (true) {}",
        "for (;;) { try { throw 1; } catch (e) {} }",
        "try { for (;;); } finally { for (;;); }",
        "const f = () => { for (;;) {} }; return [1].map(f);",
        "return { get data() { for (;;); } };",
        "return { data: { get v() { for (;;); } } };",
        "return { data: { v: /^(a+)+$/.test('a'.repeat(40) + 'b') } };",
        "for (;;) try { [3, 2, 1].sort(); 'a'.repeat(9999).indexOf('b'); } catch (e) {}",
        "const a = Array.from({ length: 16000 }, (_, i) => -i); for (;;) a.sort();",
        "const s = 'a'.repeat(100000); for (;;) s.indexOf('a'.repeat(1000) + 'b');",
        "const s = JSON.stringify(Array(9000).fill(7)); for (;;) JSON.parse(s);",
        "class A { static [Symbol.hasInstance]() { for (;;); } } return 1 instanceof A;",
    ] {
        assert_eq!(run(body), Err(DecodeError::ScriptSteps), "{body}");
    }
    assert!(matches!(
        Script::new("for (;;);", &BTreeMap::new(), ScriptHost::default()),
        Err(reason) if reason.contains("steps")
    ));
}

/// Each of these is one step of JavaScript and would be a loop of 2³² or more in the engine.
#[test]
fn builtins_do_not_loop_where_nothing_stops_them() {
    for expression in [
        "[].indexOf.call({ length: 2 ** 53 - 1 }, 1)",
        "[].join.call({ length: 2 ** 53 - 1 }, '')",
        "[].fill.call({ length: 2 ** 53 - 1 }, 1)",
        "[].reverse.call({ length: 2 ** 53 - 1 })",
        "Array(2 ** 32 - 1).join('')",
        "Array(2 ** 32 - 1).forEach(() => 0)",
        "Array(2 ** 32 - 1).reverse()",
        "[Array(2 ** 32 - 1)].flat()",
        "[].concat(Array(2 ** 32 - 1))",
        "[].concat.call([], Array(2 ** 32 - 1))",
        "new Set(Array(2 ** 32 - 1)).size",
        "[...Array(2 ** 32 - 1)]",
        "Array(2 ** 32 - 1).values()",
        "String([Array(2 ** 32 - 1)])",
        "[].slice.call({ get length() { return this.n = (this.n || 0) + 1, this.n > 1 ? 2 ** 53 - 1 : 2 ** 40; } })",
    ] {
        let error = run(&format!("return {{ data: {{ v: {expression} }} }};")).unwrap_err();
        assert!(
            matches!(&error, DecodeError::ScriptFailed { detail } if detail.contains("elements")),
            "{expression}: {error}"
        );
    }
    assert_eq!(
        run(
            "const spread = { length: 2 ** 53 - 1, [Symbol.isConcatSpreadable]: true }; return { data: { v: [].concat(spread).length } };"
        ),
        Ok(vec!["d/v 1".to_owned()])
    );
}

#[test]
fn a_script_that_allocates_without_end_is_stopped() {
    for body in [
        "const a = []; for (;;) a.push(new Array(100).fill(1));",
        "let s = 'x'; for (;;) s += s + s.slice(1);",
        "new ArrayBuffer(1e9);",
        "'x'.repeat(2 ** 29);",
        "Array.from({ length: 2 ** 31 });",
        "const o = {}; for (let i = 0; ; i++) o['k' + i] = { i };",
        "JSON.stringify(Array(1e9));",
    ] {
        let error = run(body).unwrap_err();
        assert!(
            matches!(error, DecodeError::ScriptMemory | DecodeError::ScriptSteps)
                || error.to_string().contains("length"),
            "{body}: {error}"
        );
    }
    assert_eq!(
        run("const a = []; for (;;) a.push(new ArrayBuffer(100000));"),
        Err(DecodeError::ScriptMemory)
    );
}

/// Running out of memory in the middle of the engine's own work is where C engines break.
#[test]
fn wherever_memory_runs_out_the_script_ends_and_the_process_goes_on() {
    for body in [
        "const data = {}; for (let i = 0; i < 200; i++) data['k' + i] = [i, { a: 'x'.repeat(i) }];
         try { JSON.parse('[' + JSON.stringify(data) + ']'); } catch (e) { data.e = String(e); }
         return { data: { n: Object.keys(data).length } };",
        "const m = new Map(); for (let i = 0; i < 500; i++) m.set({ i }, [i].concat([1, 2]).map(x => () => x));
         return { data: { n: m.size } };",
        "let s = ''; for (let i = 0; i < 500; i++) s += i.toString(36).replace(/[a-z]/g, c => c + c);
         class A extends Array {} return { data: { n: A.from(s).filter(x => x > 'k').sort().length } };",
        "function* g() { for (let i = 0; i < 300; i++) yield { i, f: () => i }; } const all = [];
         for (const x of g()) try { all.push(x, new Date(), /a+b/.exec('aab' + x.i), new Uint8Array(100)); } catch (e) { all.push(e); }
         return { data: { n: all.length } };",
        "async function f() { await null; return [1]; } const p = []; for (let i = 0; i < 100; i++) p.push(f().then(x => x));
         return { data: { n: p.length } };",
    ] {
        let mut starved = script(&format!("function decodeUplink(input) {{ {body} }}"));
        let mut ended = [0, 0];
        for memory in (100_000..1_400_000).step_by(23_001) {
            starved.memory_bytes_max = memory;
            let input = ScriptInput {
                bytes: &[1, 2, 3],
                f_port: 1,
                received_ms: 0,
            };
            ended[usize::from(starved.run(&input).is_ok())] += 1;
        }
        assert!(ended[0] > 3 && ended[1] > 3, "{ended:?} {body}");
    }
}

#[test]
fn a_script_that_calls_itself_without_end_is_stopped() {
    assert_eq!(
        run("function f() { return f() + 1; } return f();"),
        Err(DecodeError::ScriptStack)
    );
    assert_eq!(
        run(
            "let a = []; for (let i = 0; i < 10000; i++) a = [a]; return { data: { v: JSON.stringify(a) } };"
        ),
        Err(DecodeError::ScriptStack)
    );
    // One that catches it has only itself to blame.
    assert_eq!(
        run(
            "function f() { try { return f(); } catch (e) { return 1; } } return { data: { v: f() } };"
        ),
        Ok(vec!["d/v 1".to_owned()])
    );
}

#[test]
fn the_clock_of_the_host_is_a_bound_too() {
    static NOW_MS: AtomicU64 = AtomicU64::new(0);
    /// A machine on which every look at the clock takes 10 ms.
    fn slow() -> Duration {
        Duration::from_millis(NOW_MS.fetch_add(10, Ordering::Relaxed))
    }
    let host = ScriptHost {
        monotonic: Some(slow),
    };
    let source = "function decodeUplink(input) { let n = 0; while (n < input.bytes[0] * 10000) n++; return { data: { n } }; }";
    let script = Script::new(source, &BTreeMap::new(), host).unwrap();
    let input = |bytes| ScriptInput {
        bytes,
        f_port: 1,
        received_ms: 0,
    };
    assert!(script.run(&input(&[1])).is_ok());
    let error = script.run(&input(&[100])).unwrap_err();
    assert_eq!(error, DecodeError::ScriptTime);
    assert!(error.may_pass() && !DecodeError::ScriptSteps.may_pass());
}

#[test]
fn nothing_of_the_host_is_in_reach() {
    assert!(run("return { data: { v: typeof require } };").is_ok());
    for name in [
        "require",
        "process",
        "std",
        "os",
        "fetch",
        "console",
        "performance",
        "Proxy",
        "WeakRef",
        "SharedArrayBuffer",
        "Atomics",
        "Iterator",
        "setTimeout",
        "print",
        "Deno",
        "scriptArgs",
        "charge",
        "received",
    ] {
        assert_eq!(
            run(&format!(
                "return {{ data: {{ v: typeof {name} === 'undefined' }} }};"
            )),
            Ok(vec!["d/v 1".to_owned()]),
            "{name}"
        );
    }
    for body in ["import('fs');", "return import('os').then(m => m);"] {
        assert!(run(body).is_err(), "{body}");
    }
    assert!(
        Script::new(
            "import fs from 'fs'; function decodeUplink() {}",
            &BTreeMap::new(),
            ScriptHost::default()
        )
        .is_err()
    );
}

#[test]
fn the_same_bytes_give_the_same_values() {
    let body = "return { data: { a: Date.now(), b: new Date().getTime(), c: Math.random(), d: Date().length } };";
    assert_eq!(run(body), run(body));
    assert_eq!(run(body).unwrap()[0], "d/a 1772366400250");
}

#[test]
fn nothing_is_left_behind_for_the_next_message() {
    let counting = script(
        "var seen = 0; function decodeUplink(input) { seen++; Array.prototype.leak = 1; globalThis.x = (globalThis.x || 0) + 1;
         return { data: { seen, x: globalThis.x } }; }",
    );
    let input = ScriptInput {
        bytes: &[],
        f_port: 1,
        received_ms: 0,
    };
    let first = counting.run(&input).unwrap();
    let failing = script("function decodeUplink() { for (;;) Array(10).fill({}); }");
    assert!(failing.run(&input).is_err());
    assert_eq!(counting.run(&input).unwrap(), first);
}

#[test]
fn warnings_make_values_suspect() {
    let source = "function decodeUplink(input) { return { data: { v: 1 }, warnings: input.fPort > 1 ? ['old firmware'] : [] }; }";
    let decoded = |f_port| {
        let output = script(source).run(&ScriptInput {
            bytes: &[],
            f_port,
            received_ms: 0,
        });
        let mut decoded = Decoded::default();
        let device = decoded.device("d").unwrap();
        output.unwrap().add_to(&mut decoded, device, None).unwrap();
        (decoded.devices[0].samples[0].quality, decoded.warnings)
    };
    assert_eq!(decoded(1), (Quality::Good, Vec::new()));
    let warnings = vec!["old firmware".to_owned()];
    assert_eq!(decoded(2), (Quality::Suspect, warnings));
}

#[test]
fn of_a_flood_of_warnings_a_few_are_kept_and_each_is_cut() {
    let source = "function decodeUplink() { return { data: { v: 1 }, warnings: Array(1000).fill('x'.repeat(5000)) }; }";
    let output = script(source).run(&ScriptInput {
        bytes: &[],
        f_port: 1,
        received_ms: 0,
    });
    let warnings = output.unwrap().warnings;
    assert_eq!(warnings.len(), WARNINGS_MAX);
    assert!(warnings.iter().all(|warning| warning.len() == 300));
}

#[test]
fn results_that_are_none_say_so() {
    for (body, code) in [
        ("", "script-result"),
        ("return 5;", "script-result"),
        ("return {};", "script-result"),
        ("return { data: [1] };", "script-result"),
        ("return { data: null };", "script-result"),
        ("return { data: { v: NaN } };", "not-finite"),
        ("return { data: { v: 1 / 0 } };", "not-finite"),
        (
            "return { data: { v: 'x'.repeat(70000) } };",
            "script-result",
        ),
        ("return { data: { '': 1 } };", "name-empty"),
        ("const d = {}; d.d = d; return { data: d };", "too-deep"),
        (
            "const d = {}; for (let i = 0; i < 5000; i++) d[i] = i; return { data: d };",
            "too-many-parts",
        ),
        (
            "return { data: { v: Array(300).fill(1) } };",
            "too-many-samples",
        ),
        ("throw new Error('short payload');", "script-failed"),
        ("throw 'words';", "script-failed"),
        ("throw null;", "script-memory"),
        ("throw new Error();", "script-failed"),
        ("return foo;", "script-failed"),
        ("return { data: {}, errors: ['no'] };", "script-refused"),
        ("return { data: {}, errors: [{}, 5] };", "script-refused"),
    ] {
        assert_eq!(run(body).unwrap_err().code(), code, "{body}");
    }
    let error = run("throw new Error('short payload');").unwrap_err();
    assert_eq!(error.to_string(), "the script failed: short payload");
    let skipped = run(
        "return { data: { f: () => 1, s: Symbol('a'), b: 5n, u: undefined, t: 'x', lone: '\\ud800' } };",
    );
    assert_eq!(skipped, Ok(vec![]));
}

#[test]
fn a_script_is_checked_before_it_is_used() {
    let check = |source: &str| Script::new(source, &BTreeMap::new(), ScriptHost::default()).err();
    assert!(check("function decodeUplink(input) {").is_some());
    assert!(
        check("function Decode(fPort, bytes) {}")
            .unwrap()
            .contains("decodeUplink")
    );
    assert!(check("").unwrap().contains("decodeUplink"));
    assert!(
        check(&"/".repeat(SCRIPT_BYTES_MAX + 1))
            .unwrap()
            .contains("bytes")
    );
    assert!(check("\0").is_some());
    assert!(
        check(&format!(
            "function decodeUplink() {{}} // {}",
            "x".repeat(60_000)
        ))
        .is_none()
    );
    let many = (0..65).map(|n| (n.to_string(), String::new())).collect();
    assert!(Script::new("function decodeUplink() {}", &many, ScriptHost::default()).is_err());
}

#[test]
fn a_long_payload_never_reaches_the_script() {
    assert!(
        run_on(
            "function decodeUplink(i) { return { data: { n: i.bytes.length } }; }",
            &[0; INPUT_BYTES_MAX]
        )
        .is_ok()
    );
    assert_eq!(
        run_on(TYPICAL, &[0; INPUT_BYTES_MAX + 1]),
        Err(DecodeError::MessageTooLarge {
            bytes: INPUT_BYTES_MAX + 1
        })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_payload_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = run_on(TYPICAL, &bytes);
    }

    #[test]
    fn no_source_makes_it_panic(source in r#"(function|decodeUplink|\(|\)|\{|\}|return|data|:|[a-z0-9 ;=.\[\]"]){0,30}"#) {
        let _ = Script::new(&source, &BTreeMap::new(), ScriptHost::default());
    }
}
