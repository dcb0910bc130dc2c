"""Ways in which a text log is broken, or merely odd: each takes a random source and bytes, and returns other bytes."""

import random
from collections.abc import Callable

SNIPPETS = [b"\0", b'"', b'""', b",", b"\t", b"\x01", b"\r", b"\n", b"\r\n", b"\n\n", b"\xff", b"\xc3", b"\xef\xbb\xbf"]
SNIPPETS += [b"{", b"}", b"[", b"]", b":", b"\\u0000", b"\\ud800", b"null", b"true"]
SNIPPETS += ["é".encode(), "😀".encode(), "\u2028".encode(), "\u00a0".encode(), b" ", b"'", b"\\", b"#", b"0", b"-"]
NUMBERS = ["", "0", "00", "01", "-0", "-1", "+1", " 1", "1 ", "1.0", "1.5", "1e3", "0x10", "1_000", "1,5", "nan", "NaN"]
NUMBERS += ["inf", "NULL", "null", "None", "NA", "N/A", "\\N", "true", "١٢", "２", str(2**31), str(2**63 - 1)]
NUMBERS += [str(2**63), str(2**64), "9" * 30, "9" * 400]
WORDS = ["Click", "CLICK", " click", "click ", "buy", "purchase", "4", "-1", "3.0", "'click'", "clíck", "alipay", "0"]
TIMES = ["2014-02-30 00:00:00", "2014-2-3 04:05:06", "1969-12-31 23:59:59", "1970-01-01 00:00:00", "2014/9/18 15:03"]
TIMES += ["9999-12-31 23:59:59", "2014-09-18T15:03:11", "2014-09-18 24:00:00", "2014-09-18 23:59:60", "0230", "0229"]
TIMES += ["0918", "918", "1399999999", "1399999999.5", "1399999999000", "-5", "253402300799", "253402300800"]
TEXTS = ["a,b", 'a"b', '"a"', "é", "日本", "x" * 5000, "'; DROP TABLE log; --", "*", "../../x", "%s", "{0}", "\ufeff"]
VALUES = NUMBERS + WORDS + TIMES + TEXTS


def positions(rng: random.Random, data: bytes) -> int:
    return rng.randrange(len(data)) if data else 0


def flip_bit(rng: random.Random, data: bytes) -> bytes:
    at = positions(rng, data)
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :] if data else data


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.randrange(2, 9)):
        data = flip_bit(rng, data)
    return data


def drop_bytes(rng: random.Random, data: bytes) -> bytes:
    at = positions(rng, data)
    return data[:at] + data[at + rng.choice([1, 1, 2, 7, 50]) :]


def insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.choice([0, len(data), positions(rng, data)])
    return data[:at] + rng.choice(SNIPPETS) * rng.choice([1, 1, 1, 3]) + data[at:]


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.choice([0, 1, positions(rng, data), max(len(data) - rng.randrange(1, 4), 0)])]


def repeat_part(rng: random.Random, data: bytes) -> bytes:
    start, end = sorted((positions(rng, data), positions(rng, data)))
    return data[:end] + data[start:end] + data[end:]


def zeros(rng: random.Random, data: bytes) -> bytes:
    start = positions(rng, data)
    end = min(start + rng.choice([1, 8, 64]), len(data))
    return data[:start] + bytes(end - start) + data[end:]


def other_line_ends(rng: random.Random, data: bytes) -> bytes:
    end = rng.choice([b"\r\n", b"\r"])
    if rng.random() < 0.5:
        return data.replace(b"\n", end)
    lines = data.split(b"\n")
    return b"".join(line + (end if rng.random() < 0.3 else b"\n") for line in lines)


def other_encoding(rng: random.Random, data: bytes) -> bytes:
    text = data.decode("utf-8", "replace") + rng.choice(["", "é"])
    return text.encode(rng.choice(["utf-16", "utf-16-le", "utf-8-sig", "cp1252", "utf-32", "utf-7"]), "replace")


def _by_line(change: Callable[[random.Random, list[bytes]], list[bytes]]) -> Callable:
    def mutate(rng: random.Random, data: bytes) -> bytes:
        return b"\n".join(change(rng, data.split(b"\n")))

    mutate.__name__ = change.__name__
    return mutate


def _by_field(change: Callable[[random.Random, list[bytes]], list[bytes]]) -> Callable:
    """Change the fields of one line, or of all lines in the same way."""

    def mutate(rng: random.Random, data: bytes) -> bytes:
        separator = next((one for one in (b"\x01", b"\t", b",") if one in data), b",")
        lines, seed = data.split(b"\n"), rng.random()
        which = range(len(lines)) if rng.random() < 0.2 else [rng.randrange(len(lines))]
        for n in which:
            if lines[n]:
                lines[n] = separator.join(change(random.Random(seed), lines[n].split(separator)))
        return b"\n".join(lines)

    mutate.__name__ = change.__name__
    return mutate


@_by_line
def repeat_line(rng: random.Random, lines: list[bytes]) -> list[bytes]:
    at = rng.randrange(len(lines))
    return lines[:at] + [lines[at]] * 2 + lines[at + 1 :]


@_by_line
def drop_line(rng: random.Random, lines: list[bytes]) -> list[bytes]:
    at = rng.randrange(len(lines))
    return lines[:at] + lines[at + 1 :]


@_by_line
def shuffle_lines(rng: random.Random, lines: list[bytes]) -> list[bytes]:
    return lines[:1] + rng.sample(lines[1:], len(lines) - 1) if rng.random() < 0.8 else rng.sample(lines, len(lines))


@_by_line
def add_line(rng: random.Random, lines: list[bytes]) -> list[bytes]:
    at = rng.randrange(len(lines) + 1)
    return lines[:at] + [rng.choice([b"", b" ", b",", b",,,", b"# note", b'""', b"x" * 2_000_000])] + lines[at:]


@_by_field
def swap_fields(rng: random.Random, fields: list[bytes]) -> list[bytes]:
    return rng.sample(fields, len(fields))


@_by_field
def drop_field(rng: random.Random, fields: list[bytes]) -> list[bytes]:
    at = rng.randrange(len(fields))
    return fields[:at] + fields[at + 1 :]


@_by_field
def add_field(rng: random.Random, fields: list[bytes]) -> list[bytes]:
    at = rng.randrange(len(fields) + 1)
    return fields[:at] + [rng.choice([b"", b"1", b"user", b"note"])] + fields[at:]


@_by_field
def repeat_field(rng: random.Random, fields: list[bytes]) -> list[bytes]:
    return fields + [rng.choice(fields)]


@_by_field
def quote_field(rng: random.Random, fields: list[bytes]) -> list[bytes]:
    at = rng.randrange(len(fields))
    quotes = rng.choice(
        [(b'"', b'"'), (b'"', b'"'), (b'"', b""), (b"", b'"'), (b'" ', b'"'), (b"'", b"'"), (b'"\n', b'"')]
    )
    return fields[:at] + [quotes[0] + fields[at] + quotes[1]] + fields[at + 1 :]


@_by_field
def other_value(rng: random.Random, fields: list[bytes]) -> list[bytes]:
    at = rng.randrange(len(fields))
    return fields[:at] + [rng.choice(VALUES).encode()] + fields[at + 1 :]


@_by_field
def other_case(rng: random.Random, fields: list[bytes]) -> list[bytes]:
    at = rng.randrange(len(fields))
    return fields[:at] + [fields[at].upper()] + fields[at + 1 :]


OF_BYTES = (flip_bit, flip_bits, drop_bytes, insert, cut, repeat_part, zeros)
OF_TEXT = (
    *(flip_bit, drop_bytes, insert, insert, cut, repeat_part, other_line_ends, other_encoding),
    *(repeat_line, drop_line, shuffle_lines, add_line, swap_fields, drop_field, add_field, repeat_field),
    *(quote_field, quote_field, other_value, other_value, other_value, other_value, other_case),
)
