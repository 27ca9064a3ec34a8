#!/usr/bin/env python3
"""A second reader of Muster's sync format, written from sync.md alone: reads the golden vectors and checks every hash
and signature in them. It stands here to show that the specification is enough, and as the shortest way to see the
format at work. Standard library only, besides `zstandard` (or Python 3.14) for the one compressed vector.

    python3 docs/spec/check_vectors.py [sync/engine/vectors]
"""

import hashlib
import struct
import sys
from pathlib import Path

# --- BLAKE3 (github.com/BLAKE3-team/BLAKE3-specs), hash and derive_key ------------------------------------------------

IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
START, END, PARENT, ROOT, CONTEXT, MATERIAL = 1, 2, 4, 8, 32, 64
MASK = 0xFFFFFFFF


def compress(chaining, block, counter, length, flags):
    v = chaining + IV[:4] + [counter & MASK, counter >> 32, length, flags]

    def turn(value, bits):
        return (value >> bits | value << (32 - bits)) & MASK

    def mix(a, b, c, d, x, y):
        for word, high, low in ((x, 16, 12), (y, 8, 7)):
            v[a] = (v[a] + v[b] + word) & MASK
            v[d] = turn(v[d] ^ v[a], high)
            v[c] = (v[c] + v[d]) & MASK
            v[b] = turn(v[b] ^ v[c], low)

    words = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    for _ in range(7):
        for at in range(4):
            mix(at, at + 4, at + 8, at + 12, words[2 * at], words[2 * at + 1])
        for at in range(4):
            mix(at, (at + 1) % 4 + 4, (at + 2) % 4 + 8, (at + 3) % 4 + 12, words[8 + 2 * at], words[9 + 2 * at])
        words = [words[at] for at in ORDER]
    return [v[at] ^ v[at + 8] for at in range(8)]


def tree(data, key, flags, counter=0, root=True):
    """The chaining value over `data`, as 8 words."""
    if len(data) > 1024:
        left = 1024
        while left * 2 < len(data):
            left *= 2
        parts = tree(data[:left], key, flags, counter, False) + tree(data[left:], key, flags, counter + left // 1024, False)
        return compress(key, struct.pack("<16I", *parts), 0, 64, flags | PARENT | (ROOT if root else 0))
    blocks = [data[at : at + 64] for at in range(0, len(data), 64)] or [b""]
    chaining = key
    for at, block in enumerate(blocks):
        last = at + 1 == len(blocks)
        these = flags | (START if at == 0 else 0) | ((END | (ROOT if root else 0)) if last else 0)
        chaining = compress(chaining, block, counter, len(block), these)
    return chaining


def derive(context, data):
    """BLAKE3 derive_key: every hash of the format has a context of its own."""
    key = tree(context.encode(), IV, CONTEXT)
    return struct.pack("<8I", *tree(data, key, MATERIAL))


# --- Ed25519 (RFC 8032 §5.1.7), verification only ---------------------------------------------------------------------

P = 2**255 - 19
ORDER_L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - square) % P or (x == 0 and sign):
        raise ValueError("no point on the curve")
    x = P - x if x & 1 != sign else x
    return (x, y, 1, x * y % P)


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def signed(key, message, signature):
    s = int.from_bytes(signature[32:], "little")
    digest = hashlib.sha512(signature[:32] + key + message).digest()
    left = times(s, BASE)
    right = add(point(signature[:32]), times(int.from_bytes(digest, "little") % ORDER_L, point(key)))
    same = (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0
    return s < ORDER_L and same


# --- The format: sync.md, "Conventions" and on ------------------------------------------------------------------------


class Reader:
    def __init__(self, data):
        self.rest = data

    def take(self, count):
        taken, self.rest = self.rest[:count], self.rest[count:]
        assert len(taken) == count, "cut short"
        return taken

    def byte(self):
        return self.take(1)[0]

    def number(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def bytes(self):
        return self.take(self.number())

    def list(self, item):
        return [item() for _ in range(self.number())]

    def option(self, item):
        return item() if self.byte() else None

    def log(self):
        """57 bytes, the same as the fixed form that hashes cover."""
        return self.take(57)


def read_entry(data):
    r = Reader(data)
    header = {"wall_ms": r.number(), "logical": r.number(), "user": r.option(lambda: r.take(16))}
    header |= {"kind": r.number(), "object": r.take(16)}
    payload = r.bytes() if r.number() == 0 else (r.take(16), r.take(24), r.bytes())
    assert r.rest == b"", "bytes after the entry"
    return header, payload


def chain_next(log, seq, previous, entry):
    entry_hash = derive("muster 2026 entry hash 1", entry)
    return derive("muster 2026 chain hash 1", log + struct.pack("<Q", seq) + previous + entry_hash)


def head_message(log, seq, chain):
    return b"muster head signature 1\0" + log + struct.pack("<Q", seq) + chain


def check_run(data):
    """Unpacks a run, follows its chain and checks its signatures; returns the log, the first entry and the entries."""
    body = data[1:] if data[0] == 0 else unpack_zstd(data[1:])
    r = Reader(body)
    log, first, chain = r.log(), r.number(), r.take(32)
    entries = r.list(r.bytes)
    signatures = dict(r.list(lambda: (r.number(), r.take(64))))
    assert r.rest == b"" and max(signatures) == len(entries) - 1
    for offset, entry in enumerate(entries):
        chain = chain_next(log, first + offset, chain, entry)
        if offset in signatures:
            assert signed(log[:32], head_message(log, first + offset, chain), signatures[offset]), "forged"
    return log, first, entries


def unpack_zstd(data):
    try:
        import zstandard
    except ImportError:
        from compression import zstd

        return zstd.decompress(data)
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=65536)


def read_frontier(data, members=()):
    r, logs = Reader(data), {}

    def incarnation(group, author):
        life, flags, _chains = r.take(8), r.byte(), r.take(8)
        lanes = [lane for lane in range(7) if flags >> lane & 1]
        for lane in lanes:
            logs[author + life + group + bytes([lane])] = r.number()
        if flags & 0x80:
            r.list(lambda: (r.byte(), r.number(), r.number()))

    def author(group):
        index = r.number()
        node = members[index - 1] if index else r.take(32)
        r.list(lambda: incarnation(group, node))

    def group():
        name = r.take(16)
        r.list(lambda: author(name))

    r.list(group)
    return logs


def read_said(r):
    """Later, whole, or what moved since a mark."""
    form = r.number()
    if form == 0:
        return {"form": "later"}
    if form == 1:
        return {"form": "whole", "indexed": bool(r.byte()), "logs": r.bytes()}
    return {"form": "since", "mark": r.take(16), "logs": r.bytes()}


def read_hello(data):
    r = Reader(data)
    assert r.byte() == 1
    hello = {"protocols": (r.number(), r.number()), "node": r.take(32), "operation": r.take(32)}
    hello |= {"software": r.bytes().decode(), "name": r.bytes().decode()}
    hello |= {"groups": r.list(lambda: r.take(16)), "lanes": r.bytes(), "members": r.take(8)}
    return hello | {"frontier": read_said(r), "complete": bool(r.byte())}


# --- The golden vectors -----------------------------------------------------------------------------------------------


def main(folder):
    def vector(name):
        return bytes.fromhex((folder / f"{name}.hex").read_text())

    plain, sealed = read_entry(vector("entry_plain")), read_entry(vector("entry_sealed"))
    assert plain[0]["kind"] == 0x0101 and plain[0]["object"] == b"0123456789abcdef" and plain[1] == b"a change"
    assert plain[0] == sealed[0] and sealed[1][2] == b"not readable"

    operation = derive("muster 2026 operation id 1", vector("genesis"))
    assert operation == vector("operation_id")
    grant = vector("grant")
    assert grant[:32] == operation
    issuer, signature = grant[-96:-64], grant[-64:]
    assert signed(issuer, b"muster grant 1\0" + grant[:-96], signature)
    assert not signed(issuer, b"muster grant 2\0" + grant[:-96], signature)

    log, first, entries = check_run(vector("run_plain"))
    assert (first, entries) == (1, [b"one", b"two"]) and log[56] == 2
    r, chain = Reader(vector("chain")), bytes(32)
    for seq, text in enumerate([b"one", b"two", b"three"], 1):
        assert r.take(32) == derive("muster 2026 entry hash 1", text)
        chain = chain_next(log, seq, chain, text)
        assert r.take(32) == chain
    assert signed(log[:32], head_message(log, 3, chain), r.take(64))

    whole, since = read_hello(vector("hello_whole")), read_hello(vector("hello_since"))
    assert whole["operation"] == operation and whole["name"] == "node 1" and whole["complete"]
    held = read_frontier(whole["frontier"]["logs"])
    assert sorted((log[56], height) for log, height in held.items()) == [(0, 3), (2, 2)]
    moved = read_frontier(since["frontier"]["logs"])
    assert [(log[56], height) for log, height in moved.items()] == [(2, 3)]
    assert vector("mark") == bytes([8]) + since["frontier"]["mark"] and vector("marked")[1:] == vector("mark")[1:]
    stranger = read_hello(vector("hello_stranger"))
    assert {log[56] for log in read_frontier(stranger["frontier"]["logs"])} == {0} and not stranger["complete"]
    assert read_hello(vector("hello_later"))["frontier"]["form"] == "later"
    frontier = read_said(Reader(vector("frontier_indexed")[1:]))
    assert frontier["indexed"] and len(read_frontier(frontier["logs"], [bytes([n]) * 32 for n in range(40)])) == 81
    try:
        assert len(check_run(vector("run_zstd"))[2]) == 10
    except ImportError:
        print("skipped run_zstd: no module zstandard")
    print("all vectors hold")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent.parent / "sync/engine/vectors"))
