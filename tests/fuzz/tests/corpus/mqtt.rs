//! Conversations on the MQTT port, from CONNECT to DISCONNECT.

/// In MQTT 3.1.1 and 5, each with every packet that a client sends.
pub fn conversations() -> Vec<(&'static str, Vec<u8>)> {
    let three = [
        // CONNECT with a will, a name and a password.
        &b"\x10\x23\0\x04MQTT\x04\xee\0\x3c\0\x01c\0\x03w/t\0\x01w\0\x04name\0\x06secret"[..],
        b"\x30\x17\0\x14muster/v1/pump/level1",
        b"\x32\x19\0\x14muster/v1/pump/level\0\x071",
        b"\x3c\x19\0\x14muster/v1/pump/level\0\x081",
        b"\x62\x02\0\x08",
        b"\x82\x0c\0\x09\0\x03a/+\x01\0\x01#\x02",
        b"\x40\x02\0\x01\x50\x02\0\x02\x70\x02\0\x02",
        b"\xa2\x07\0\x0a\0\x03a/+",
        b"\xc0\0\xe0\0",
    ]
    .concat();
    let five = [
        // Session expiry, receive maximum, maximum packet size; a will with delay and expiry.
        &b"\x10\x34\0\x04MQTT\x05\xee\0\x3c\x0d\x11\0\0\0\x3c\x21\0\x05\x27\0\0\x04\0\0\x01c\
           \x0a\x18\0\0\0\x07\x02\0\0\0\x09\0\x03w/t\0\x01w\0\x01n\0\x01s"[..],
        b"\x32\x29\0\x03a/b\0\x07\x20\x01\x01\x02\0\0\0\x3c\x03\0\x01t\x08\0\x01r\x09\0\x01c\x26\0\x03key\0\x05value1",
        b"\x34\x0a\0\x03a/b\0\x08\x00\x31\x32",
        b"\x62\x04\0\x08\x00\x00",
        b"\x82\x0b\0\x09\x02\x0b\x05\0\x03a/+\x2d",
        b"\x40\x03\0\x01\x10\x50\x03\0\x02\x97",
        b"\xa2\x08\0\x0a\0\0\x03a/+",
        b"\xc0\0\xe0\x07\x04\x05\x11\0\0\0\x09",
    ]
    .concat();
    vec![("three", three), ("five", five)]
}

#[test]
fn the_conversations_are_understood_to_their_end() {
    // A seed that is refused in the middle teaches a fuzzer nothing about the rest: its last packet is looked at, too.
    for (name, bytes) in conversations() {
        let mut rest = &bytes[..];
        let mut packets = 0;
        while let [_, length, ..] = rest {
            rest = &rest[2 + usize::from(*length)..];
            packets += 1;
        }
        assert!(rest.is_empty() && packets > 8, "{name}: {packets} packets");
        assert!(fuzz_checks::check("mqtt", &bytes), "{name}");
    }
}
