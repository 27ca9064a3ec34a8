//! Payloads as sensors of each format send them.

/// Target, name, bytes.
pub fn payloads() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let text = |target, name, text: &str| (target, name, text.as_bytes().to_vec());
    // Behind the byte that chooses the kind of message.
    let kind = |target, name, choice: u8, text: &str| {
        (target, name, [&[choice], text.as_bytes()].concat())
    };
    vec![
        text("sensor_plain", "number", "21.5"),
        text(
            "sensor_plain",
            "object",
            r#"{"v":2.75,"t":"2026-03-01T12:00:00Z","u":"m"}"#,
        ),
        text(
            "sensor_json",
            "station",
            r#"{"id":"WS 7","ts":1795291200,"a":"21.5","b":true,"unit":"°C","bat":80,"at":[46.5,7.25],"text":"door open"}"#,
        ),
        text(
            "senml_json",
            "pack",
            r#"[{"bn":"urn:dev:mac:0024befffe804ff1:","bt":1795291200.5,"bu":"m","bver":10,"bv":1,"bs":2,"n":"level","v":2.75},{"n":"flow","u":"l/s","t":-5,"v":12,"s":3600},{"n":"on","vb":true},{"n":"note","vs":"x"},{"n":"lat","u":"lat","v":46.5},{"n":"lon","u":"lon","v":7.25},{"n":"b","u":"%EL","v":87}]"#,
        ),
        (
            "senml_cbor",
            "pack",
            // [{-2: "g/", -3: 1795291200, -4: "Cel", 0: "t", 2: 23.5}, {0: "h", 2: 4([-1, 671])}, {0: "on", 4: true}]
            [
                &b"\x83\xa5\x21\x62g/\x22\x1a"[..],
                &1_795_291_200_u32.to_be_bytes(),
                b"\x23\x63Cel\x00\x61t\x02\xf9\x4d\xe0",
                b"\xa2\x00\x61h\x02\xc4\x82\x20\x19\x02\x9f",
                b"\xa2\x00\x62on\x04\xf5",
            ]
            .concat(),
        ),
        kind(
            "chirpstack",
            "up_object",
            0,
            r#"{"time":"2026-03-01T12:00:00.250+00:00","deviceInfo":{"deviceName":"gauge","devEui":"70b3d57ed0051f2c"},"fPort":2,"rxInfo":[{"rssi":-101,"snr":-3.5}],"object":{"level":2.75,"door":{"open":true}}}"#,
        ),
        kind(
            "chirpstack",
            "up_raw",
            0,
            r#"{"deviceInfo":{"devEui":"70b3d57ed0051f2c"},"fPort":2,"data":"AQAC"}"#,
        ),
        kind(
            "chirpstack",
            "status",
            1,
            r#"{"deviceInfo":{"deviceName":"gauge"},"margin":12,"batteryLevel":88.3}"#,
        ),
        kind(
            "zigbee2mqtt",
            "state",
            0,
            r#"{"battery":74,"humidity":44.72,"linkquality":111,"last_seen":"2026-03-01T12:00:00.000Z","state":"ON","update":{"installed_version":2}}"#,
        ),
        kind(
            "tasmota",
            "sensor",
            0,
            r#"{"Time":"2026-03-01T13:00:00","BME280":{"Temperature":68.0,"Pressure":987.2},"ENERGY":{"Power":[10,20]},"PressureUnit":"hPa","TempUnit":"F"}"#,
        ),
        kind(
            "tasmota",
            "state",
            1,
            r#"{"UptimeSec":611,"Vcc":3.45,"POWER1":"OFF","Wifi":{"Signal":-78}}"#,
        ),
        text(
            "meshtastic",
            "telemetry",
            r#"{"from":2882400001,"hops_away":0,"payload":{"battery_level":71,"voltage":3.91,"temperature":12.5},"rssi":-92,"snr":6.25,"timestamp":1795291200,"to":4294967295,"type":"telemetry"}"#,
        ),
        text(
            "meshtastic",
            "position",
            r#"{"from":2882400001,"payload":{"latitude_i":465123456,"longitude_i":-72500001,"altitude":431,"sats_in_view":9},"timestamp":1795291200,"type":"position"}"#,
        ),
        (
            "sensor_script",
            "values",
            vec![1, 0, 20, 2, 1, 0, 6, 0, 0, 5, 0, 2, 9, 9, 9],
        ),
    ]
}
