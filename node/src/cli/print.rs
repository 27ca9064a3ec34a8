//! Answers as text for tired people: short lines, the important word first, ages instead of time stamps.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::Value;

/// Prints `value` as indented JSON. A reader that went away (`| head`) is no error.
pub(super) fn json(value: &Value) -> anyhow::Result<()> {
    let mut text = serde_json::to_string(value)?;
    text.push('\n');
    print_out(&text)
}

pub(super) fn text(text: &str) -> anyhow::Result<()> {
    print_out(text)
}

fn print_out(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A JSON scalar without quotes; `–` for nothing.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn short(id: &Value) -> String {
    word(id).chars().take(10).collect()
}

fn items(value: &Value) -> &[Value] {
    value["items"].as_array().map_or(&[], Vec::as_slice)
}

/// Columns padded to their widest cell, two spaces apart.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let head = head
        .iter()
        .map(|cell| (*cell).to_owned())
        .collect::<Vec<_>>();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let pad = width - cell.chars().count();
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', pad + 2));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// How long ago an RFC 3339 time was, in one unit: `12 s ago`.
pub(super) fn age(at: &Value) -> String {
    let Some(then) = at
        .as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok())
    else {
        return "never".into();
    };
    let seconds = (jiff::Timestamp::now().as_second() - then.as_second()).max(0);
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7_199 => format!("{} min ago", seconds / 60),
        7_200..=172_799 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

pub(super) fn invite(value: &Value) -> String {
    let code = word(&value["code"]);
    let mut out = String::new();
    if let Ok(qr) = qrcode::QrCode::new(code.as_bytes()) {
        let picture = qr
            .render::<qrcode::render::unicode::Dense1x2>()
            .quiet_zone(true)
            .build();
        let _ = writeln!(out, "{picture}\n");
    }
    let _ = writeln!(out, "{code}\n");
    let _ = writeln!(out, "On the new node:  muster join '{code}' --name NAME");
    let _ = writeln!(
        out,
        "Good for one node, until {}.",
        word(&value["expires_at"])
    );
    out
}

pub(super) fn status(value: &Value) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} ({}) in {}",
        word(&value["name"]),
        word(&value["role"]),
        word(&value["operation"]["title"])
    );
    let _ = writeln!(out, "node         {}", word(&value["node_id"]));
    let running = &value["addresses"];
    if running.is_object() {
        for (label, key) in [("page", "http"), ("sync", "sync"), ("sensors", "mqtt")] {
            let _ = writeln!(out, "{label:<12} {}", word(&running[key]));
        }
        if let Some(fingerprint) = value["mqtt_tls_sha256"].as_str() {
            let _ = writeln!(out, "sensors TLS  {}", word(&running["mqtt_tls"]));
            let _ = writeln!(out, "certificate  SHA-256 {fingerprint}");
        }
    } else {
        let _ = writeln!(out, "not running");
    }
    let _ = writeln!(out, "documents    {}", word(&value["documents"]));
    let _ = writeln!(out, "readings     {}", word(&value["readings"]));
    let storage = &value["storage"];
    if let Some(window_ms) = storage["window_ms"].as_u64().filter(|ms| *ms > 0) {
        let _ = writeln!(
            out,
            "storage      {}: readings are acknowledged within {window_ms} ms",
            word(&storage["profile"])
        );
    }
    for (label, key) in [("waiting", "pending"), ("quarantined", "quarantined")] {
        if value[key].as_u64().unwrap_or(0) > 0 {
            let _ = writeln!(out, "{label:<12} {}", word(&value[key]));
        }
    }
    let _ = writeln!(out, "digest       {}", short(&value["heads_digest"]));
    let faults = &value["sync_faults"];
    if faults["unseen"].as_u64().unwrap_or(0) > 0 {
        let _ = writeln!(
            out,
            "sync faults  {} that nobody has looked at, the last {}: see `muster faults list`",
            word(&faults["unseen"]),
            age(&faults["last_at"])
        );
    }
    for broker in value["brokers"].as_array().map_or(&[][..], Vec::as_slice) {
        let why = match broker["last_error"].as_str() {
            Some(error) => format!(": {error}"),
            None => String::new(),
        };
        // The circuit breaker's words mean nothing to who reads this.
        let state = match broker["state"].as_str().unwrap_or_default() {
            "open" | "half_open" => "not reached, tried once a minute",
            "waiting" => "not reached, tried again soon",
            other => other,
        };
        let _ = writeln!(out, "broker       {}: {state}{why}", word(&broker["name"]));
    }
    for warning in value["warnings"].as_array().map_or(&[][..], Vec::as_slice) {
        let _ = writeln!(out, "warning      {}", word(&warning["detail"]));
    }
    if let Some(stopped) = value["writes_stopped"].as_str() {
        let _ = writeln!(out, "\nTHIS NODE DOES NOT WRITE: {stopped}");
    }
    let rows = peer_rows(value["peers"].as_array().map_or(&[], Vec::as_slice));
    if !rows.is_empty() {
        out.push('\n');
        out.push_str(&table(&PEER_HEAD, &rows));
    }
    out
}

const PEER_HEAD: [&str; 8] = [
    "STATE",
    "NAME",
    "LAST SEEN",
    "NOT YET THERE",
    "NOT YET HERE",
    "AGREES",
    "RTT",
    "NODE",
];

fn peer_rows(peers: &[Value]) -> Vec<Vec<String>> {
    peers
        .iter()
        .map(|peer| {
            vec![
                word(&peer["state"]),
                word(&peer["name"]),
                age(&peer["last_seen"]),
                behind(peer),
                entries(&peer["missing_entries"]),
                agrees(&peer["agreed"]),
                peer["rtt_ms"]
                    .as_f64()
                    .map_or("–".into(), |rtt| format!("{rtt:.0} ms")),
                short(&peer["node_id"]),
            ]
        })
        .collect()
}

/// What a peer has not acknowledged, in total and by lane: `12 entries (3 life, 9 coordination)`.
fn behind(peer: &Value) -> String {
    let total = entries(&peer["behind_entries"]);
    let lanes: Vec<String> = peer["behind"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|behind| format!("{} {}", word(&behind["entries"]), word(&behind["lane"])))
        .collect();
    if lanes.is_empty() {
        return total;
    }
    format!("{total} ({})", lanes.join(", "))
}

/// Whether a peer has made the same of the same entries: `yes: 4f3a09c2, 12 s ago`.
fn agrees(agreed: &Value) -> String {
    match agreed["state"].as_str() {
        Some("equal") => {
            let digest: String = word(&agreed["digest"]).chars().take(8).collect();
            format!("yes: {digest}, {}", age(&agreed["at"]))
        }
        Some("differs") => format!(
            "NO: {} differ, {}",
            word(&agreed["objects"]),
            age(&agreed["at"])
        ),
        _ => "–".into(),
    }
}

fn entries(count: &Value) -> String {
    match count.as_u64() {
        None | Some(0) => "–".into(),
        Some(1) => "1 entry".into(),
        Some(count) => format!("{count} entries"),
    }
}

pub(super) fn peers(value: &Value) -> String {
    let rows = peer_rows(items(value));
    if rows.is_empty() {
        return "no other node is known: `muster invite` makes a code with which one can join\n"
            .into();
    }
    let mut out = table(&PEER_HEAD, &rows);
    out.extend(items(value).iter().filter_map(violations));
    out
}

/// A line about a peer that broke the protocol lately: what it did, and how long it is kept out for it.
fn violations(peer: &Value) -> Option<String> {
    let count = peer["violations"].as_u64().filter(|count| *count > 0)?;
    let times = match count {
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    };
    let until = match peer["refused_for_ms"].as_u64() {
        Some(ms) => format!("refused for {} s more", ms.div_ceil(1_000)),
        None => "let in again".to_owned(),
    };
    Some(format!(
        "{} broke the protocol {times}, {until}: {}\n",
        word(&peer["name"]),
        word(&peer["last_violation"]),
    ))
}

pub(super) fn sync(value: &Value) -> String {
    let peers = value["peers"].as_array().map_or(&[][..], Vec::as_slice);
    if peers.is_empty() {
        return "no other node is known\n".into();
    }
    let rows: Vec<Vec<String>> = peers
        .iter()
        .map(|peer| {
            vec![
                word(&peer["state"]),
                if peer["name"].is_null() {
                    word(&peer["address"])
                } else {
                    word(&peer["name"])
                },
                entries(&peer["behind_entries"]),
                peer["last_error"].as_str().unwrap_or_default().to_owned(),
            ]
        })
        .collect();
    table(&["STATE", "NODE", "NOT YET THERE", "LAST ERROR"], &rows)
}

pub(super) fn rebuild(value: &Value) -> String {
    let same = if value["views_changed"] == Value::Bool(true) {
        "changed"
    } else {
        "the same as before"
    };
    format!(
        "rebuilt {} documents from {} commits in {} ms; rows {same}; digest {}\n",
        word(&value["documents"]),
        word(&value["commits"]),
        word(&value["took_ms"]),
        short(&value["heads_digest"])
    )
}

pub(super) fn users(value: &Value) -> String {
    let rows: Vec<Vec<String>> = items(value)
        .iter()
        .map(|user| {
            let state = if user["disabled"] == Value::Bool(true) {
                "disabled"
            } else {
                "active"
            };
            vec![word(&user["name"]), word(&user["role"]), state.to_owned()]
        })
        .collect();
    table(&["NAME", "ROLE", "STATE"], &rows)
}

pub(super) fn dead_letters(value: &Value) -> String {
    let rows: Vec<Vec<String>> = items(value)
        .iter()
        .map(|letter| {
            vec![
                word(&letter["id"]),
                word(&letter["state"]),
                age(&letter["received_at"]),
                word(&letter["topic"]),
                word(&letter["reason"]),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no dead letters\n".into();
    }
    table(&["ID", "STATE", "RECEIVED", "TOPIC", "REASON"], &rows)
}

pub(super) fn faults(value: &Value) -> String {
    let rows: Vec<Vec<String>> = items(value)
        .iter()
        .map(|fault| {
            let seen = if fault["seen_at"].is_null() {
                "new"
            } else {
                "seen"
            };
            let whose = match fault["fault"].as_str() {
                Some("ours") => "here",
                Some("theirs") => "there",
                _ => "unknown",
            };
            let mended = if fault["repaired_at"].is_null() {
                "NOT IN ORDER".to_owned()
            } else {
                format!("in order {}", age(&fault["repaired_at"]))
            };
            vec![
                word(&fault["id"]),
                seen.to_owned(),
                age(&fault["last_at"]),
                word(&fault["times"]),
                if fault["peer_name"].is_null() {
                    short(&fault["peer"])
                } else {
                    word(&fault["peer_name"])
                },
                word(&fault["objects"]),
                whose.to_owned(),
                mended,
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no faults of sync\n".into();
    }
    let head = [
        "ID",
        "STATE",
        "LAST",
        "TIMES",
        "WITH",
        "OBJECTS",
        "FAULT",
        "THIS NODE",
    ];
    table(&head, &rows)
}

pub(super) fn dead_letter(value: &Value) -> String {
    let mut out = String::new();
    for key in [
        "id",
        "state",
        "source",
        "topic",
        "decoder",
        "code",
        "reason",
        "received_at",
        "attempts",
        "retry_at",
        "payload_base64",
    ] {
        let _ = writeln!(out, "{key:<15} {}", word(&value[key]));
    }
    if let Some(bytes) = value["payload_base64"]
        .as_str()
        .and_then(|text| data_encoding::BASE64.decode(text.as_bytes()).ok())
        && let Ok(text) = std::str::from_utf8(&bytes)
    {
        let _ = writeln!(out, "{:<15} {:?}", "payload", text);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_and_lines_do_not_trail() {
        let text = table(
            &["A", "B"],
            &[vec!["long".into(), "x".into()], vec!["s".into(), "".into()]],
        );
        assert_eq!(text, "A     B\nlong  x\ns\n");
    }

    /// A time whose age is 0 seconds however long the test takes.
    fn by_a_clock_that_is_ahead() -> String {
        (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string()
    }

    fn peer(state: &str, name: &str) -> Value {
        json!({ "state": state, "name": name, "last_seen": null, "rtt_ms": null, "node_id": name })
    }

    #[test]
    fn peers_say_what_is_not_there_yet_by_lane_and_what_is_not_here_yet() {
        let mut truck = peer("connected", "Truck");
        truck["behind_entries"] = json!(12);
        truck["behind"] = json!([
            { "lane": "life", "entries": 3, "bytes": 900 },
            { "lane": "coordination", "entries": 9, "bytes": 2_700 },
        ]);
        truck["missing_entries"] = json!(1);
        let now = by_a_clock_that_is_ahead();
        truck["agreed"] =
            json!({ "state": "equal", "at": now, "digest": "4f3a09c2d1", "objects": 0 });
        let mut boat = peer("disconnected", "Boat");
        boat["behind_entries"] = json!(0);
        boat["behind"] = json!([]);
        boat["agreed"] = json!({ "state": "differs", "at": now, "digest": null, "objects": 3 });
        let text = peers(&json!({ "items": [truck, boat] }));
        let expected = "\
STATE         NAME   LAST SEEN  NOT YET THERE                        NOT YET HERE  AGREES                  RTT  NODE
connected     Truck  never      12 entries (3 life, 9 coordination)  1 entry       yes: 4f3a09c2, 0 s ago  –    Truck
disconnected  Boat   never      –                                    –             NO: 3 differ, 0 s ago   –    Boat
";
        assert_eq!(text, expected);
    }

    #[test]
    fn peers_that_broke_the_protocol_are_named_with_what_they_did() {
        let mut refused = peer("disconnected", "Truck");
        refused["violations"] = json!(1);
        refused["refused_for_ms"] = json!(1_200);
        refused["last_violation"] = json!("frame too long");
        let mut back = peer("connected", "Boat");
        back["violations"] = json!(3);
        back["last_violation"] = json!("second control stream");
        let mut good = peer("connected", "Hut");
        good["violations"] = json!(0);
        let text = peers(&json!({ "items": [refused, back, good] }));
        let below: Vec<&str> = text.lines().skip(4).collect();
        let expected = [
            "Truck broke the protocol once, refused for 2 s more: frame too long",
            "Boat broke the protocol 3 times, let in again: second control stream",
        ];
        assert_eq!(below, expected);
    }

    #[test]
    fn faults_say_whose_they_are_and_whether_this_node_is_in_order() {
        let now = by_a_clock_that_is_ahead();
        let fault = |id: &str, whose: &str, repaired_at: Value| {
            json!({
                "id": id, "last_at": now, "times": 2, "peer": "abcdefghijklmn", "peer_name": null, "objects": 3,
                "fault": whose, "repaired_at": repaired_at, "seen_at": null,
            })
        };
        let mut healthy = fault("8", "theirs", json!(now));
        healthy["peer_name"] = json!("Truck");
        healthy["seen_at"] = json!(now);
        let text = faults(&json!({ "items": [fault("9", "ours", json!(null)), healthy] }));
        let expected = "\
ID  STATE  LAST     TIMES  WITH        OBJECTS  FAULT  THIS NODE
9   new    0 s ago  2      abcdefghij  3        here   NOT IN ORDER
8   seen   0 s ago  2      Truck       3        there  in order 0 s ago
";
        assert_eq!(text, expected);
        assert_eq!(faults(&json!({ "items": [] })), "no faults of sync\n");
    }

    #[test]
    fn an_unknown_age_is_never() {
        assert_eq!(age(&json!(null)), "never");
    }
}
