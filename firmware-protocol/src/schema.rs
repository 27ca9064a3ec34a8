//! The bodies' layout in words, and its hash, which a device sends in its hello.
//!
//! Invariant: whoever changes a body changes [`SCHEMA`] with it (a golden vector then differs too). A node that does
//! not know a device's hash keeps the frames as they are instead of guessing.

/// Postcard bodies, field by field in wire order. Names and blanks are part of the hash.
pub const SCHEMA: &str = "\
hello{schema:[u8;8],name:str32,firmware:str24,uptime_us:u64,oldest:u32,channels:[channel;<=8]}
channel{name:str24,unit:str16}
readings{boot:u32,first:u32,base_us:u64,samples:[sample;<=30]}
sample{channel:u8,after_us:u32,value:f64}
ack{boot:u32,next:u32,credit:u16}
gap{boot:u32,first:u32,count:u32,reason:u8}
";

/// FNV-1a, 64 bits, of [`SCHEMA`], little-endian. It tells versions apart and protects nothing.
pub const SCHEMA_HASH: [u8; 8] = fnv1a(SCHEMA.as_bytes()).to_le_bytes();

const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}
