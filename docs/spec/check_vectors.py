#!/usr/bin/env python3
"""A second reader of Muster's sync format, written from sync.md alone: reads the golden vectors and checks every hash
and signature in them. It stands here to show that the specification is enough, and as the shortest way to see the
format at work. Standard library only; what is compressed needs the system's libzstd, which is loaded with ctypes.

    python3 docs/spec/check_vectors.py [root of the repository]
"""

import ctypes
import ctypes.util
import hashlib
import struct
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent

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


def blake3(data):
    return struct.pack("<8I", *tree(data, IV, 0))


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


def keys(seed):
    """Scalar, prefix and public key of a seed (RFC 8032 §5.1.5)."""
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & ~7 & (1 << 254) - 1 | 1 << 254
    return scalar, digest[32:], compressed(times(scalar, BASE))


def compressed(point):
    inverse = pow(point[2], P - 2, P)
    return (point[1] * inverse % P | (point[0] * inverse % P & 1) << 255).to_bytes(32, "little")


def sign(seed, message):
    scalar, prefix, key = keys(seed)
    nonce = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % ORDER_L
    first = compressed(times(nonce, BASE))
    challenge = int.from_bytes(hashlib.sha512(first + key + message).digest(), "little")
    return first + ((nonce + challenge * scalar) % ORDER_L).to_bytes(32, "little")


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


class NoZstd(Exception):
    pass


def unpack_zstd(data, bytes_max=65536, dictionary=b""):
    """One zstd frame, at most that long unpacked."""
    name = ctypes.util.find_library("zstd") or "libzstd.so.1"
    try:
        zstd = ctypes.CDLL(name)
    except OSError as error:
        raise NoZstd from error
    size, pointer = ctypes.c_size_t, ctypes.c_char_p
    zstd.ZSTD_createDCtx.restype = ctypes.c_void_p
    zstd.ZSTD_freeDCtx.argtypes = [ctypes.c_void_p]
    zstd.ZSTD_findFrameCompressedSize.restype = zstd.ZSTD_decompress_usingDict.restype = size
    zstd.ZSTD_findFrameCompressedSize.argtypes = [pointer, size]
    zstd.ZSTD_decompress_usingDict.argtypes = [ctypes.c_void_p, pointer, size, pointer, size, pointer, size]
    assert zstd.ZSTD_findFrameCompressedSize(data, len(data)) == len(data), "not one frame"
    context, out = zstd.ZSTD_createDCtx(), ctypes.create_string_buffer(bytes_max)
    count = zstd.ZSTD_decompress_usingDict(context, out, bytes_max, data, len(data), dictionary, len(dictionary))
    zstd.ZSTD_freeDCtx(context)
    assert count <= bytes_max, "not zstd, or too long"
    return out.raw[:count]


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


def read_proof(r):
    """Mark, round, and one of the three steps."""
    mark, round_number, form = r.take(16), r.byte(), r.number()
    if form == 0:
        rules = r.number()
        return mark, round_number, (rules, r.list(lambda: (r.take(16), r.take(16), r.number(), r.number())))
    if form == 1:
        return mark, round_number, r.list(lambda: r.take(8))
    return mark, round_number, r.list(lambda: (r.take(16), r.take(8)))


# --- Packed runs: sync.md, "Packed runs" ------------------------------------------------------------------------------

DICTIONARY = "sync/engine/src/dictionary/1.zdict"


class Columns:
    """Values in columns, or one behind the other in a single one."""

    def __init__(self, parts, ids):
        self.parts, self.ids = [Reader(part) for part in parts], ids

    def at(self, column):
        return self.parts[min(column, len(self.parts) - 1)]

    def number(self, column):
        return self.at(column).number()

    def signed(self, column):
        value = self.number(column)
        return value >> 1 ^ -(value & 1)

    def take(self, column, count):
        return self.at(column).take(count)

    def id(self, column):
        number = self.number(column)
        return self.ids[number - 1] if number else None

    def done(self):
        return all(part.rest == b"" for part in self.parts)


class Stream:
    """What frames on one stream have named, in their order."""

    def __init__(self, lane):
        self.lane, self.logs, self.ids = bytes([lane]), [], []

    def named(self, table, form, read):
        if form >= 2:
            return table[form - 2]
        item = read()
        if len(table) < 4096:
            table.append(item)
        return item

    def log(self, r):
        form = r.number()
        return self.named(self.logs, form, lambda: r.take(40) + (r.take(16) if form else bytes(16)) + self.lane)

    def id(self, r):
        return self.named(self.ids, r.number(), lambda: r.take(16))


def unpack_run(stream, frame, prev, names, put_together):
    """A packed run, rebuilt: the bytes of a plain one. `prev`: the chain hash before it. `names`: what entries are called
    and of which object they are, by log and number; those of the run are added. `put_together`: the codec."""
    r = Reader(frame)
    assert r.byte() == 17
    dictionary, log, first = r.number(), stream.log(r), r.number()
    offset, signatures = 0, []
    for _ in range(r.number()):
        offset += r.number()
        signatures.append((offset, r.take(64)))
    count, short = offset + 1, offset + 1 <= 3
    if first > 1:
        assert prev.startswith(r.take(4 if short else 32)), "another branch"
    logs = r.list(lambda: stream.log(r))
    ids = r.list(lambda: stream.id(r))
    noise, body = Reader(r.bytes()), r.rest
    if dictionary == 1:
        body = unpack_zstd(bytes.fromhex("28b52ffd") + body, 80 * 1024, (REPOSITORY / DICTIONARY).read_bytes())
    r = Reader(body)
    engine_columns, codec_columns = (1, 1) if short else (4, 6)
    lengths = [r.number() for _ in range(engine_columns + codec_columns - 1)]
    parts = [r.take(length) for length in lengths] + [r.rest]
    engine, codec = Columns(parts[:engine_columns], ids), Columns(parts[engine_columns:], ids)

    shape, time, distance, plain = range(4)
    entries, wall_ms, last = [], 0, [0] * len(logs)
    for seq in range(first, first + count):
        form = engine.number(shape)
        if form == 0:
            entries.append(engine.take(plain, engine.number(shape)))
            continue
        how, packed = divmod(form - 1, 2)
        kind, user, logical = engine.number(shape), engine.id(shape), engine.number(shape)
        wall_ms += engine.signed(time)
        item = None
        if how == 1:
            item = noise.take(16)
        elif how == 2:
            item = (wall_ms - engine.signed(time)).to_bytes(6, "big") + noise.take(10)
        if packed:
            parents = []
            for _ in range(engine.number(shape)):
                which = engine.number(shape)
                if which == 0:
                    parents.append(noise.take(32))
                    continue
                if which == 1:
                    place = (log, seq - engine.number(distance))
                else:
                    last[which - 2] += engine.signed(distance)
                    place = (logs[which - 2], last[which - 2])
                parents.append(names[place][0])
                item = item or names[place][1]
            payload, name = put_together(log, kind, wall_ms, parents, codec)
            names[log, seq] = (name, item)
        else:
            payload = engine.take(plain, engine.number(shape))
        header = number(wall_ms) + number(logical) + (b"\1" + user if user else b"\0") + number(kind) + item
        entries.append(header + b"\0" + number(len(payload)) + payload)
    assert engine.done() and codec.done() and noise.rest == b"" and all(last), "something is left over"
    run = b"\0" + log + number(first) + prev + number(count)
    run += b"".join(number(len(entry)) + entry for entry in entries)
    return run + number(len(signatures)) + b"".join(number(at) + signature for at, signature in signatures)


def number(value):
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def signed_number(value):
    """Signed LEB128, as automerge writes it."""
    out = b""
    while not -64 <= value < 64:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value & 0x7F])


def put_toy_together(log, kind, wall_ms, parents, columns):
    """The codec of the engine's own tests: sync.md, "Test vectors"."""
    item, length = columns.id(0), columns.number(1)
    payload = b"toy" + bytes([len(parents)]) + b"".join(parents) + item + columns.take(2, length)
    return payload, blake3(payload)


def put_change_together(log, kind, wall_ms, parents, columns):
    """The codec of documents: an automerge change chunk and its hash."""
    shape, seq, start_op, keys, values, predecessors = range(6)
    parents, deps = iter(parents), []
    for _ in range(columns.number(shape)):
        which = columns.number(shape)
        deps.append(genesis_hashes(kind)[which - 1] if which else next(parents))
    assert next(parents, None) is None
    own = derive("muster 2026 automerge actor v1", log[:40])[:16]
    body = number(len(deps)) + b"".join(deps) + actor(columns.number(shape), own)
    body += number(columns.number(seq)) + number(columns.number(start_op))
    body += signed_number(columns.signed(shape) + wall_ms // 1000)
    message = columns.take(values, columns.number(shape))
    body += number(len(message)) + message
    others = [(columns.id(shape), columns.number(shape)) for _ in range(columns.number(shape))]
    body += number(len(others)) + b"".join(actor(level, base) for base, level in others)
    layout = [(columns.number(shape), columns.number(shape)) for _ in range(columns.number(shape))]
    body += number(len(layout)) + b"".join(number(spec) + number(length) for spec, length in layout)
    where = {0x15: keys, 0x57: values, 0x73: predecessors}
    body += b"".join(columns.take(where.get(spec, shape), length) for spec, length in layout)
    body += columns.take(values, columns.number(shape))
    chunk = b"\1" + number(len(body)) + body
    name = hashlib.sha256(chunk).digest()
    return bytes.fromhex("856f4a83") + name[:4] + chunk, name


def actor(level, base):
    """An actor and its length: plain, or in automerge's concurrency form."""
    form = bytes.fromhex("13b22309") + number(level) + base if level else base
    return number(len(form)) + form


def genesis_hashes(kind):
    """The hashes of the changes that documents of a kind begin with."""
    names = {0x0101: "incident", 0x0102: "resource", 0x0103: "assignment", 0x0104: "device", 0x0105: "rule", 0x0106: "user"}
    lines = (REPOSITORY / "domain/src/document/snapshots/domain__document__genesis__tests__genesis.snap").read_text().split("\n")
    return [bytes.fromhex(line.split()[1]) for line in lines if line.startswith(names[kind] + " ")]


def unpack_stream(frames, names, put_together):
    """All packed runs of one log that starts with them: what is in each is checked like any other."""
    stream, chain, entries = Stream(2), bytes(32), []
    for frame in frames:
        log, first, new = check_run(unpack_run(stream, frame, chain, names, put_together))
        for seq, entry in enumerate(new, first):
            chain = chain_next(log, seq, chain, entry)
        entries += new
    return entries


# --- The golden vectors -----------------------------------------------------------------------------------------------


def main(root):
    def vector(name):
        return bytes.fromhex((root / f"sync/engine/vectors/{name}.hex").read_text())

    check_entries(vector)
    check_trust(vector)
    check_log(vector)
    check_control(vector)
    check_proof(vector)
    try:
        assert len(check_run(vector("run_zstd"))[2]) == 10
        check_packed(vector)
        check_packed_changes(root / "fuzz/corpus/packed_run")
    except NoZstd:
        print("skipped run_zstd, run_packed: no libzstd")
    print("all vectors hold")


def check_entries(vector):
    plain, sealed = read_entry(vector("entry_plain")), read_entry(vector("entry_sealed"))
    assert plain[0]["kind"] == 0x0101 and plain[0]["object"] == b"0123456789abcdef" and plain[1] == b"a change"
    assert plain[0] == sealed[0] and sealed[1] == (bytes([0x11]) * 16, bytes([0x22]) * 24, b"not readable")


def check_trust(vector):
    operation = derive("muster 2026 operation id 1", vector("genesis"))
    assert operation == vector("operation_id")
    grant = vector("grant")
    assert grant == write_grant(operation, 2)
    issuer, signature = grant[-96:-64], grant[-64:]
    assert signed(issuer, b"muster grant 1\0" + grant[:-96], signature)
    assert not signed(issuer, b"muster grant 2\0" + grant[:-96], signature)


def check_log(vector):
    log, first, entries = check_run(vector("run_plain"))
    assert (first, entries) == (1, [b"one", b"two"]) and log[56] == 2
    r, chain = Reader(vector("chain")), bytes(32)
    for seq, text in enumerate([b"one", b"two", b"three"], 1):
        assert r.take(32) == derive("muster 2026 entry hash 1", text)
        chain = chain_next(log, seq, chain, text)
        assert r.take(32) == chain
    assert signed(log[:32], head_message(log, 3, chain), r.take(64))


# What the nodes of the vectors hold and say, written from the specification: the frames must be these, byte for byte.

NODES = {}


def node(seed):
    if seed not in NODES:
        NODES[seed] = keys(bytes([seed]) * 32)[2]
    return NODES[seed]


def log_of(seed, lane):
    return node(seed) + struct.pack("<Q", seed) + bytes(16) + bytes([lane])


def text(value):
    return number(len(value)) + value.encode()


def write_grant(operation, to):
    """What node 1 grants: an HQ to itself, a field node to others; all lanes, no groups, no field classes."""
    hq = to == 1
    grant = operation + node(to) + text(f"node {to}") + bytes([hq, 0, 0, 0, 7]) + bytes(range(7)) + bytes([hq, 1])
    return grant + node(1) + sign(bytes([1]) * 32, b"muster grant 1\0" + grant)


def write_entry(kind, item, payload, wall_ms=0):
    return number(wall_ms) + b"\0\0" + number(kind) + item + b"\0" + number(len(payload)) + payload


def incident(value):
    return write_entry(0x0101, bytes([7]) * 16, value, 1_700_000_000_000)


def founded(vector, members):
    """Node 1's trust log."""
    records = [write_grant(vector("operation_id"), member) for member in members]
    return [write_entry(1, bytes(16), vector("genesis"))] + [write_entry(2, bytes(16), record) for record in records]


def head(log, entries):
    chain = bytes(32)
    for seq, entry in enumerate(entries, 1):
        chain = chain_next(log, seq, chain, entry)
    return len(entries), chain


def write_frontier(heads, index=lambda author: number(0) + author):
    """`heads`: height and chain hash by log; everything is applied."""
    authors = sorted({log[:40] for log in heads})
    out = number(1 if authors else 0) + (bytes(16) + number(len(authors)) if authors else b"")
    for author in authors:
        logs = sorted(log for log in heads if log[:40] == author)
        flags = sum(1 << log[56] for log in logs)
        chains = derive("muster 2026 frontier chains 1", b"".join(heads[log][1] for log in logs))[:8]
        out += index(author[:32]) + b"\1" + author[32:] + bytes([flags]) + chains
        out += b"".join(number(heads[log][0]) for log in logs)
    return out


def write_mark(heads):
    logs = b"".join(log + struct.pack("<Q", heads[log][0]) + heads[log][1] for log in sorted(heads))
    return derive("muster 2026 frontier mark 1", b"\1" + bytes(8) + b"\2" + bytes(8) + logs)[:16]


def whole(heads, **index):
    logs = write_frontier(heads, **index)
    return b"\1" + bytes([bool(index)]) + number(len(logs)) + logs


def hello(vector, members, said, complete):
    counted = derive("muster 2026 members 1", b"".join(sorted(map(node, members))))[:8]
    out = b"\1\1\2" + node(1) + vector("operation_id") + text("muster 0.1.0") + text("node 1") + b"\0\0"
    return out + counted + said + bytes([complete])


def check_control(vector):
    trust, life = log_of(1, 0), log_of(1, 2)
    heads = {trust: head(trust, founded(vector, [1, 2])), life: head(life, [incident(b"one"), incident(b"two")])}
    assert vector("hello_whole") == hello(vector, [1, 2], whole(heads), True)
    assert vector("admit") == bytes([2, 0])
    height, chain = heads[life]
    assert vector("progress") == b"\3\1" + life + number(height) + chain[:8] + number(height)
    mark = write_mark(heads)
    assert vector("mark") == b"\x08" + mark and vector("marked") == b"\x09" + mark
    moved = write_frontier({life: head(life, [incident(word) for word in (b"one", b"two", b"three")])})
    assert vector("hello_since") == hello(vector, [1, 2], b"\2" + mark + number(len(moved)) + moved, True)

    stranger = {trust: head(trust, founded(vector, [1]))}
    assert vector("hello_stranger") == hello(vector, [1], whole(stranger), False)
    assert vector("admit_rest") == b"\2\1" + whole({life: head(life, [incident(b"one")])})

    everybody = list(range(1, 41))
    assert vector("hello_later") == hello(vector, everybody, b"\0", True)
    heads = {trust: head(trust, founded(vector, everybody))}
    heads |= {log_of(n, lane): head(log_of(n, lane), [incident(b"one")]) for n in everybody for lane in (2, 3)}
    in_order = sorted(map(node, everybody))
    frontier = whole(heads, index=lambda author: number(in_order.index(author) + 1))
    assert vector("frontier_indexed") == b"\6" + frontier
    check_readers(vector, in_order)


def check_readers(vector, members):
    """The same frames the other way."""
    said = read_hello(vector("hello_whole"))
    assert said["name"] == "node 1" and said["complete"] and said["protocols"] == (1, 2)
    assert sorted((log[56], height) for log, height in read_frontier(said["frontier"]["logs"]).items()) == [(0, 3), (2, 2)]
    assert read_hello(vector("hello_since"))["frontier"]["form"] == "since"
    frontier = read_said(Reader(vector("frontier_indexed")[1:]))
    assert frontier["indexed"] and len(read_frontier(frontier["logs"], members)) == 81


def check_proof(vector):
    document, fact = b"0123456789abcdef", bytes([5]) * 16
    seen = {
        document: b"\1\2" + document + struct.pack("<Q", 32) + bytes([0x11]) * 32,
        fact: b"\2\3" + fact,
    }
    frames = [Reader(vector(f"proof_{step}")) for step in ("groups", "buckets", "items")]
    assert all(r.byte() == 10 for r in frames)
    steps = [read_proof(r) for r in frames]
    mark = write_mark({log_of(1, 0): head(log_of(1, 0), founded(vector, [1, 2]))})
    assert all(step[:2] == (mark, 0) for step in steps) and all(r.rest == b"" for r in frames)
    groups, buckets, items = (step[2] for step in steps)
    for last, said in enumerate(buckets):
        held = b"".join(seen[item] for item in sorted(seen) if item[15] == last)
        assert said == derive("muster 2026 proof bucket 1", held)[:8], f"bucket {last}"
    digest = derive("muster 2026 proof digest 1", b"".join(buckets))[:16]
    assert groups == (7, [(bytes(16), digest, 0, 1)])
    assert items == [(document, derive("muster 2026 proof item 1", seen[document])[:8])]


def check_packed(vector):
    assert blake3((REPOSITORY / DICTIONARY).read_bytes()) == vector("dictionary_1")
    # Node 3's first entry, which the lone run refers to: of object 1, its payload as the toy codec has it.
    other = log_of(3, 2)
    name = blake3(b"toy\0" + bytes([3]) * 16 + b"first")
    frames = [b"\x11" + vector(f"run_packed_{length}") for length in ("lone", "many")]
    entries = unpack_stream(frames, {(other, 1): (name, bytes([1]) * 16)}, put_toy_together)
    assert len(entries) == 9 and entries[1] == b"no entry"
    payloads = [read_entry(entry)[1] for entry in entries[:1] + entries[2:]]
    assert payloads[0] == b"toy\1" + name + bytes([3]) * 16 + b"second"
    assert payloads[1] == b"toy\1" + bytes([5]) * 32 + bytes([3]) * 16 + b"elsewhere"
    for before, payload in zip(payloads[2:-1], payloads[3:]):
        assert payload[:36] == b"toy\1" + blake3(before)


def check_packed_changes(folder):
    """Real changes of an incident, which `tests/fuzz` keeps as its seeds: rebuilt, they are what their author signed."""
    for name, count in (("alone", 1), ("many", 7), ("stream", 7)):
        r, frames = Reader((folder / name).read_bytes()), []
        while r.rest:
            frames.append(b"\x11" + r.take(struct.unpack(">H", r.take(2))[0]))
        entries = unpack_stream(frames, {}, put_change_together)
        assert len(entries) == count
        header, payload = read_entry(entries[-1])
        assert header["kind"] == 0x0101 and payload[:4] == bytes.fromhex("856f4a83") and payload[8] == 1


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY)
