#!/usr/bin/env python3
"""An independent reader of bundles, written from format.md alone.

Verifies a bundle completely and lists what is in it. Needs Python 3.8 or later, and the commands `zstd` (for compressed
frames) and `openssl` (for signatures). It is made to be read beside the text; it is not fast.

    reader.py FILE --key cosign.pub [--key officer.pub --threshold 2] [--signature FILE.sigstore.json]
    reader.py FILE --allow-unsigned
    reader.py FILE --key cosign.pub --format json

Exit codes: 0 verified, 2 wrong usage, 3 damaged or not canonical, 4 not trusted.
"""
import argparse
import base64
import hashlib
import ipaddress
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile

MIB = 1 << 20
FRAME = 8 * MIB
CLOSING = 1024
RAW_BLOCK = 128 << 10
SMALL = MIB
MAX_OWN = 8 * MIB
MAX_DOCUMENT = 4 * MIB
MAX_SIGNATURE = 64 << 10
MAX_MANIFEST = 64 << 10

OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEXES = {OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"}
MANIFESTS = {OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"}
BUNDLE = "application/vnd.sneakernet.bundle.v1+json"
LOCK = "application/vnd.sneakernet.lock.v1+json"
FILES = "application/vnd.sneakernet.files.v1+json"
RELEASE = "application/vnd.sneakernet.release.v1+json"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_CONTENT = ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", "application/tar+gzip")
SIGSTORE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREFIX = "vnd.sneakernet."
REF_NAME = "org.opencontainers.image.ref.name"
TITLE = "org.opencontainers.image.title"


class Refused(Exception):
    """The file is no bundle, damaged, or not canonical."""


class Untrusted(Exception):
    """The signatures do not suffice."""


def need(condition, what):
    if not condition:
        raise Refused(what)


# --- 2. Digests, JSON, references ----------------------------------------------------------------

def digest_parts(digest):
    match = isinstance(digest, str) and re.fullmatch(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})", digest)
    need(match, "not a digest: %.80r" % (digest,))
    return (match[1] or match[3]), (match[2] or match[4])


def digest_of(content, algorithm="sha256"):
    return algorithm + ":" + hashlib.new(algorithm, content).hexdigest()


def canonical(value):
    """RFC 8785 for the values that occur: no fractions, no large integers."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(canonical(name) + ":" + canonical(value[name]) for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool):
        need(0 <= value < 1 << 53, "a number out of range")
    else:
        need(value is None or isinstance(value, (str, bool)), "a number that is no integer")
    return json.dumps(value, ensure_ascii=False)


def bytes_of(value):
    return canonical(value).encode()


def parse_canonical(content, what):
    try:
        value = json.loads(content.decode())
        again = bytes_of(value)
    except (ValueError, RecursionError) as error:
        raise Refused("%s is not JSON: %s" % (what, error))
    need(again == content, what + " is not canonical JSON")
    need(isinstance(value, dict), what + " is no object")
    return value


FIELDS = ("schemaVersion mediaType artifactType config layers manifests subject annotations digest size urls data "
          "platform blobs fsLayers").split()


def fold(name):
    return name.upper().lower()


class Pairs(list):
    """An object's members in order, so that repetitions show."""


def unambiguous(value, depth=1, free=False):
    """Turns Pairs into dicts, refusing what two parsers may understand differently."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused("half a surrogate pair")
        return value
    if not isinstance(value, list):
        need(not isinstance(value, float) or math.isfinite(value), "a number out of range")
        return value
    need(depth <= 64, "nested too deeply")
    if not isinstance(value, Pairs):
        return [unambiguous(item, depth + 1, free) for item in value]
    seen = set()
    for name, _ in value:
        unambiguous(name)
        same = name if free else fold(name)
        need(same not in seen, "the name %.80r is there twice" % name)
        seen.add(same)
        if not free:
            need(all(field == name or fold(field) != same for field in FIELDS), "%.80r differs only in case" % name)
    return {name: unambiguous(item, depth + 1, name == "annotations") for name, item in value}


def constant(text):
    raise ValueError(text)


def parse_foreign(content, media_type):
    """What a document refers to: documents, blobs."""
    try:
        text = content.decode()
        pairs = json.loads(text, object_pairs_hook=Pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise Refused("a document is not JSON: %s" % error)
    need(isinstance(pairs, Pairs), "a document is no object")
    document = unambiguous(pairs)
    have = lambda name: document.get(name) is not None
    need(type(document.get("schemaVersion")) is int and document["schemaVersion"] == 2, "schemaVersion is not 2")
    need(not have("mediaType") or document["mediaType"] == media_type, "a document says that it has another media type")
    need(not (have("manifests") and (have("config") or have("layers"))), "manifest and index in one document")
    need(isinstance(document.get("artifactType"), (str, type(None))), "artifactType is no text")
    annotations_of(document)
    if have("subject"):
        foreign_descriptor(document["subject"])
    if media_type in INDEXES:
        return [foreign_descriptor(child) for child in array(document, "manifests")], []
    need(media_type in MANIFESTS, "a document of type %.80r" % media_type)
    blobs = [document.get("config")] + array(document, "layers")
    return [], [foreign_descriptor(blob) for blob in blobs]


def array(document, name):
    need(isinstance(document.get(name), list), name + " is no array")
    return document[name]


def annotations_of(value):
    annotations = value.get("annotations")
    if annotations is None:
        return {}
    need(isinstance(annotations, dict) and all(isinstance(text, str) for text in annotations.values()),
         "annotations are no texts")
    return annotations


def foreign_descriptor(value):
    need(isinstance(value, dict), "a descriptor is no object")
    digest, size = value.get("digest"), value.get("size")
    algorithm, _ = digest_parts(digest)
    need(isinstance(value.get("mediaType"), str) and 0 < len(value["mediaType"].encode()) <= 255, "no media type")
    need(type(size) is int and 0 <= size < 1 << 63, "a size is not possible")
    annotations_of(value)
    urls = value.get("urls")
    need(urls is None or isinstance(urls, list) and all(isinstance(url, str) for url in urls), "urls are no texts")
    platform = value.get("platform")
    need(platform is None or isinstance(platform, dict) and all(
        isinstance(platform.get(name), str) for name in ("os", "architecture")), "a platform is incomplete")
    if value.get("data") is not None:
        try:
            data = base64.b64decode(value["data"], validate=True)
        except (ValueError, TypeError):
            raise Refused("data is not base64")
        need(len(data) == size and digest_of(data, algorithm) == digest, "data has another digest")
    return value


def check_reference(text):
    """The digest that a full reference pins, if any."""
    need(isinstance(text, str), "a reference is no text")
    name, at, pinned = text.partition("@")
    if at:
        digest_parts(pinned)
    host, slash, rest = name.partition("/")
    path, colon, tag = rest.partition(":")
    need(slash and (at or colon), "not a full reference: %.80r" % text)
    need(not colon or re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", tag), "not a tag: %.80r" % tag)
    component = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
    need(re.fullmatch(component + "(?:/" + component + ")*", path), "not a path: %.80r" % path)
    need(len(host) + 1 + len(path) <= 255, "a reference is too long")
    bracket = re.fullmatch(r"\[([0-9a-f:.]+)\](?::([0-9]+))?", host)
    label = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
    plain = re.fullmatch("(" + label + r"(?:\." + label + ")*)(?::([0-9]+))?", host)
    need(bracket or plain, "not a host: %.80r" % host)
    port = (bracket or plain)[2]
    need(port is None or 0 < int(port) < 1 << 16, "not a port: %.80r" % port)
    if bracket:
        try:
            ipaddress.IPv6Address(bracket[1])
        except ValueError:
            raise Refused("not an address: %.80r" % host)
    else:
        need("." in host or port or host == "localhost", "not a host: %.80r" % host)
        need(host not in ("index.docker.io", "registry-1.docker.io"), "this host is docker.io")
        need(host != "docker.io" or "/" in path, "not a full reference: %.80r" % text)
    return pinned or None


# --- 6. The tar stream ---------------------------------------------------------------------------

def header(name, size, kind=b"0"):
    block = bytearray(512)

    def put(at, content):
        block[at:at + len(content)] = content

    put(0, name.encode())
    put(100, b"0000644\0")
    put(108, b"0000000\0")
    put(116, b"0000000\0")
    put(124, b"%011o\0" % size if size < 1 << 33 else b"\x80\0\0\0" + size.to_bytes(8, "big"))
    put(136, b"00000000000\0")
    put(148, b"        ")
    put(156, kind)
    put(257, b"ustar\x0000")
    put(329, b"0000000\0")
    put(337, b"0000000\0")
    put(148, b"%06o\0 " % sum(block))
    return bytes(block)


def blob_header(digest, size):
    algorithm, encoded = digest_parts(digest)
    name = "blobs/%s/%s" % (algorithm, encoded)
    if algorithm == "sha256":
        return header(name, size)
    record = b"151 path=" + name.encode() + b"\n"
    return header("pax/path", 151, b"x") + record + bytes(361) + header(name[:100], size)


def padding(size):
    return -size % 512


# --- 7. Frames -----------------------------------------------------------------------------------

M = (1 << 64) - 1
P1, P2, P3, P4, P5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
                      0x27D4EB2F165667C5)


def rotate(value, bits):
    return ((value << bits) | (value >> (64 - bits))) & M


def xxh64(data):
    at, end = 0, len(data)
    if end >= 32:
        lanes = [(P1 + P2) & M, P2, 0, -P1 & M]
        for lane in range(4):
            state = lanes[lane]
            words = struct.unpack("<%dQ" % (end // 8), data[:end // 8 * 8])[lane:end // 32 * 4:4]
            for word in words:
                state = (state + word * P2) & M
                state = rotate(state, 31) * P1 & M
            lanes[lane] = state
        at = end // 32 * 32
        result = sum(rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18))) & M
        for lane in lanes:
            result = ((result ^ rotate(lane * P2 & M, 31) * P1 & M) * P1 + P4) & M
    else:
        result = P5
    result = (result + end) & M
    while at + 8 <= end:
        word, = struct.unpack_from("<Q", data, at)
        result = (rotate(result ^ (rotate(word * P2 & M, 31) * P1 & M), 27) * P1 + P4) & M
        at += 8
    if at + 4 <= end:
        word, = struct.unpack_from("<I", data, at)
        result = (rotate(result ^ (word * P1 & M), 23) * P2 + P3) & M
        at += 4
    while at < end:
        result = rotate(result ^ (data[at] * P5 & M), 11) * P1 & M
        at += 1
    for shift, factor in ((33, P2), (29, P3)):
        result = ((result ^ result >> shift) * factor) & M
    return result ^ result >> 32


def stored_length(size):
    return 14 + 3 * -(-size // RAW_BLOCK) + size


def decode_stored(frame, size):
    """The content of a stored frame, which has one encoding."""
    need(len(frame) == stored_length(size), "a stored frame has another length")
    need(frame[:10] == bytes.fromhex("28b52ffd8458") + struct.pack("<I", size), "not the header of a stored frame")
    content, at = bytearray(), 10
    while len(content) < size:
        length = min(RAW_BLOCK, size - len(content))
        last = len(content) + length == size
        need(frame[at:at + 3] == (length * 8 + last).to_bytes(3, "little"), "not the header of a raw block")
        content += frame[at + 3:at + 3 + length]
        at += 3 + length
    need(frame[at:] == struct.pack("<I", xxh64(bytes(content)) & 0xFFFFFFFF), "a checksum is wrong")
    return bytes(content)


def longest(size):
    return size + size // 256 + ((RAW_BLOCK - size) // 2048 if size < RAW_BLOCK else 0) + 64


def decode_compressed(frame, size):
    need(frame[:4] == b"\x28\xb5\x2f\xfd" and len(frame) >= 6, "not a zstd frame")
    descriptor = frame[4]
    need(descriptor & 0x18 == 0 and descriptor & 0x04 and descriptor & 0x03 == 0, "not a frame header of a bundle")
    single, flag, at = descriptor & 0x20, descriptor >> 6, 5
    need(single or flag, "no content size")
    window = None
    if not single:
        base = 1 << (10 + (frame[5] >> 3))
        window, at = base + base // 8 * (frame[5] & 7), 6
    width = (1, 2, 4, 8)[flag]
    need(len(frame) >= at + width, "a frame ends early")
    claimed = int.from_bytes(frame[at:at + width], "little") + (256 if flag == 1 else 0)
    need(claimed == size, "a frame holds %d bytes instead of %d" % (claimed, size))
    need((claimed if single else window) <= 2 * MIB, "a window is too large")
    at += width
    last = False
    while not last:  # the blocks, to see that this is exactly one frame
        need(len(frame) >= at + 3, "a frame ends early")
        value = int.from_bytes(frame[at:at + 3], "little")
        last, kind, length = value & 1, value >> 1 & 3, value >> 3
        need(kind != 3 and (kind == 1 or length <= RAW_BLOCK), "a block is not possible")
        at += 3 + (1 if kind == 1 else length)
    need(at + 4 == len(frame), "a frame has another length than the seek table says")
    run = subprocess.run(["zstd", "-dcq"], input=frame, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    need(run.returncode == 0 and len(run.stdout) == size, "a frame is damaged")
    return run.stdout


# --- 8. The seek table ---------------------------------------------------------------------------

class File:
    """The frames of a file, by its seek table."""

    def __init__(self, path):
        self.file = open(path, "rb")
        self.size = os.fstat(self.file.fileno()).st_size
        need(self.read(0, 4) == b"\x28\xb5\x2f\xfd", "not a bundle")
        need(self.size > 17, "not a bundle")
        count, descriptor, magic = struct.unpack("<IBI", self.read(self.size - 9, 9))
        need(magic == 0x8F92EAB1 and descriptor == 0, "the file does not end in a seek table")
        self.frames_end = self.size - (17 + 8 * count)
        need(0 < count <= 1 << 27 and self.frames_end >= 12 * count, "the seek table is not possible")
        head = self.read(self.frames_end, 8)
        need(head == struct.pack("<II", 0x184D2A5E, 8 * count + 9), "the seek table is not as prescribed")
        words = struct.unpack("<%dI" % (2 * count), self.read(self.frames_end + 8, 8 * count))
        self.table = list(zip(words[::2], words[1::2]))
        need(sum(length for length, _ in self.table) == self.frames_end, "the seek table is for another file")
        self.next, self.offset = 0, 0

    def read(self, offset, length):
        self.file.seek(offset)
        return self.file.read(length)

    def frame(self, stored=False):
        need(self.next < len(self.table), "the file ends early")
        length, size = self.table[self.next]
        need(size <= FRAME + CLOSING and length <= longest(size), "frame %d is too large" % self.next)
        content = (decode_stored if stored else decode_compressed)(self.read(self.offset, length), size)
        self.next += 1
        self.offset += length
        return content


class Stream:
    """The tar stream, strictly forward. `layout`, once known, says which frames are stored."""

    def __init__(self, file):
        self.file, self.buffer, self.offset, self.stored = file, b"", 0, None
        self.hash = hashlib.sha256()

    def read(self, length):
        pieces = []
        while length:
            if not self.buffer:
                number = self.file.next
                if self.stored is None and number:
                    need(self.file.table[number - 1][1] == FRAME, "frame %d is cut elsewhere" % (number - 1))
                self.buffer = self.file.frame(self.stored[number] if self.stored else False)
                need(self.buffer, "an empty frame")
                self.hash.update(self.buffer)
            piece, self.buffer = self.buffer[:length], self.buffer[length:]
            length -= len(piece)
            self.offset += len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def expect(self, content, what):
        offset = self.offset
        need(self.read(len(content)) == content, "not canonical at offset %d: expected %s" % (offset, what))

    def blob(self, digest, size):
        """The content of a blob that is held in memory."""
        self.expect(blob_header(digest, size), "the header of " + digest)
        offset, content = self.offset, self.read(size)
        need(digest_of(content, digest_parts(digest)[0]) == digest,
             "not canonical at offset %d: expected the content of %s" % (offset, digest))
        self.expect(bytes(padding(size)), "zero bytes")
        return content


# --- 3., 4., 5. Root, own artifacts, members -----------------------------------------------------

EMPTY = {"digest": digest_of(b"{}"), "mediaType": "application/vnd.oci.empty.v1+json", "size": 2}


def describe(media_type, content, **more):
    return dict(mediaType=media_type, digest=digest_of(content), size=len(content), **more)


def plain(value, names):
    need(isinstance(value, dict) and set(value) == set(names.split()), "members other than " + names)
    return value


def own_manifest(kind, layers, subject=None):
    """The bytes of a manifest of section 4."""
    made = {"artifactType": kind, "config": EMPTY, "layers": layers, "mediaType": OCI_MANIFEST, "schemaVersion": 2}
    return bytes_of(dict(made, subject=subject) if subject else made)


def named_layers(files, media_type):
    return [{"annotations": {TITLE: file["name"]}, "digest": file["digest"], "mediaType": media_type,
             "size": file["size"]} for file in files]


NAMED, UNNAMED = ("image", "chart", "artifact"), ("files", "release")


class Head:
    """Everything in front of the documents, read and believed in nothing."""

    def __init__(self, stream):
        self.stream, self.own = stream, []
        stream.expect(header("oci-layout", len(OCI_LAYOUT)), "the header of oci-layout")
        stream.expect(OCI_LAYOUT + bytes(padding(len(OCI_LAYOUT))), "oci-layout")
        offset, block = stream.offset, stream.read(512)
        size = int(block[124:135], 8) if re.fullmatch(rb"[0-7]{11}", block[124:135]) else -1
        need(size >= 0 and header("index.json", size) == block,
             "not canonical at offset %d: expected the header of index.json" % offset)
        need(size <= MAX_OWN, "index.json is too large")
        self.index_json = stream.read(size)
        stream.expect(bytes(padding(size)), "zero bytes")
        index = parse_canonical(self.index_json, "index.json")
        listed = index.get("manifests")
        need(isinstance(listed, list) and listed and all(isinstance(item, dict) for item in listed), "index.json")
        root = listed[0]
        self.root = self.take(root, MAX_OWN)
        need(root == describe(OCI_INDEX, self.root, artifactType=BUNDLE), "index.json: the root")
        self.parse_root()
        self.lock = self.artifact(self.lock_descriptor, LOCK, MAX_OWN)
        self.signatures, descriptors = [], []
        for item in listed[1:]:
            if item.get("artifactType") != SIGSTORE:
                break
            need(len(descriptors) < 64, "too many signatures")
            descriptors.append(item)
            self.signatures.append(self.artifact(item, SIGSTORE, MAX_SIGNATURE, root))
        entries = []
        for entry in self.entries:
            entry = json.loads(canonical(entry))
            if entry["annotations"][PREFIX + "kind"] == "image":
                entry["annotations"]["io.containerd.image.name"] = entry["annotations"][REF_NAME]
            entries.append(entry)
        made = {"manifests": [root] + descriptors + entries, "mediaType": OCI_INDEX, "schemaVersion": 2}
        need(bytes_of(made) == self.index_json, "index.json does not follow from the root")

    def take(self, descriptor, most):
        digest, size = descriptor.get("digest"), descriptor.get("size")
        need(type(size) is int and size <= most, "%s is too large" % digest)
        need(digest_parts(digest)[0] == "sha256", "an own member without sha256")
        need(digest not in dict(self.own), "an own member is there twice")
        self.own.append((digest, size))
        return self.stream.blob(digest, size)

    def artifact(self, descriptor, kind, most, subject=None):
        manifest = self.take(descriptor, MAX_MANIFEST)
        need(descriptor == describe(OCI_MANIFEST, manifest, artifactType=kind), "not a descriptor of " + kind)
        value = parse_canonical(manifest, "an own manifest")
        layers = value.get("layers")
        need(isinstance(layers, list) and len(layers) == 1, "an own manifest has one layer")
        layer = plain(layers[0], "digest mediaType size")
        need(own_manifest(kind, [layer], subject) == manifest and layer["mediaType"] == kind,
             "an own manifest is not as prescribed")
        if EMPTY["digest"] not in dict(self.own):
            self.take(EMPTY, 2)
        return self.take(layer, most)

    def parse_root(self):
        root = parse_canonical(self.root, "the root")
        need(root.get("artifactType") == BUNDLE, "not a bundle of version 1")
        plain(root, "annotations artifactType manifests mediaType schemaVersion")
        need(root["mediaType"] == OCI_INDEX and root["schemaVersion"] == 2, "the root is no index")
        self.info = annotations_of(root)
        need({PREFIX + name for name in ("name", "version", "created", "tool")} ==
             set(self.info) - {PREFIX + "unsigned"}, "the root's annotations")
        self.unsigned = self.info.get(PREFIX + "unsigned")
        need(self.unsigned in (None, "true"), "the root's annotation unsigned")
        for name, form in (("name", r"[a-z0-9][a-z0-9._-]{0,62}"), ("version", r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}"),
                           ("created", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")):
            need(re.fullmatch(form, self.info[PREFIX + name], re.ASCII), "the root's annotation " + name)
        items = root["manifests"]
        need(isinstance(items, list) and items and all(isinstance(item, dict) for item in items), "the root's list")
        lock = dict(items[0])
        need(lock.pop("annotations", None) == {PREFIX + "kind": "lock"}, "the first entry is not the lock")
        self.lock_descriptor, self.entries = lock, items[1:]
        keys = []
        for entry in self.entries:
            need(set(entry) - {"artifactType"} == {"annotations", "digest", "mediaType", "size"}, "an entry's members")
            foreign_descriptor(entry)
            annotations = dict(entry["annotations"])
            kind, name = annotations.pop(PREFIX + "kind", None), annotations.pop(REF_NAME, None)
            need(kind in NAMED + UNNAMED and not annotations, "an entry's annotations")
            need((name is None) == (kind in UNNAMED), "an entry's name")
            if name is not None:
                need(check_reference(name) in (None, entry["digest"]), "an entry's digest is not the one it pins")
            keys.append((name is None, (name or "").encode(), kind if kind in UNNAMED else "",
                         entry["digest"] if kind == "release" else ""))
        need(all(a < b for a, b in zip(keys, keys[1:])), "the entries are not in order")


def shape(value, must, may=""):
    """An object with all of the members `must`, perhaps some of `may`, and no others."""
    must, may = set(must.split()), set(may.split())
    need(isinstance(value, dict) and must <= set(value) <= must | may, "the members of an object of the lock")
    return value


def texts(value, names):
    need(all(isinstance(value[name], str) for name in names.split() if name in value), "no text in the lock")


def several(value, name):
    """What is left out when it is empty."""
    items = value.get(name, [])
    need(isinstance(items, list) and (items or name not in value), "the lock's " + name)
    return items


def several_texts(value, name):
    need(all(isinstance(item, str) for item in several(value, name)), "the lock's " + name)


def check_platforms(value, name):
    several_texts(value, name)
    need(all(re.fullmatch("[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){1,2}", item) for item in several(value, name)), "a platform of the lock")


def check_size(value, *names):
    for name in names:
        need(type(value[name]) is int, "a size of the lock")


def check_file(value):
    name = plain(value, "digest name size")["name"]
    digest_parts(value["digest"])
    check_size(value, "size")
    need(isinstance(name, str) and 0 < len(name.encode()) <= 128 and name not in (".", "..") and
         name == name.strip() and not re.search(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|]', name),
         "not a file name: %.80r" % (name,))
    return name


ORIGINS = {"argument": "", "file": "line path", "rendered": "object path release template", "suggested": "path release",
           "operator": "operator path", "referrer": "subject"}


def check_origins(value):
    need(isinstance(value["requestedBy"], list) and value["requestedBy"], "nobody asked for something of the lock")
    for origin in value["requestedBy"]:
        shape(origin, "kind", "line object operator path release subject template")
        need(origin["kind"] in ORIGINS, "an unknown origin")
        plain(origin, "kind " + ORIGINS[origin["kind"]])
        texts(origin, "object operator path release subject template")
        need("line" not in origin or type(origin["line"]) is int and origin["line"] < 1 << 32, "a line of the lock")


def check_image(image):
    shape(image, "asWritten contentSize digest mediaType reference requestedBy size", "platforms requestedPlatforms")
    texts(image, "asWritten")
    check_platforms(image, "platforms")
    check_platforms(image, "requestedPlatforms")


def check_chart(chart):
    shape(chart, "archive contentSize digest mediaType name reference requestedBy size source version",
          "appVersion dependencies provenance sourceDigest")
    texts(chart, "appVersion name provenance source version")
    need(check_file(chart["archive"]) == "%s-%s.tgz" % (chart["name"], chart["version"]), "the name of an archive")
    for item in several(chart, "dependencies"):
        texts(plain(item, "digest name repository version"), "name repository version")
        digest_parts(item["digest"])
    if "sourceDigest" in chart:
        said = shape(chart["sourceDigest"], "kind", "said")
        texts(said, "said")
        need(said["kind"] in ("match", "mismatch", "missing"), "an unknown sourceDigest")
        need((said["kind"] == "mismatch") == ("said" in said), "sourceDigest")


def check_release(release):
    shape(release, "chart discover name namespace", "apiVersions kubeVersion relocate values")
    texts(release, "chart discover kubeVersion name namespace")
    several_texts(release, "apiVersions")
    need(release["discover"] in ("render", "renderWithTests", "none"), "an unknown discover")
    label = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
    for name, most, grammar in ((release["name"], 53, label + r"(\." + label + ")*"), (release["namespace"], 63, label)):
        need(len(name) <= most and re.fullmatch(grammar, name), "not a name: %.80r" % name)
    for item in several(release, "relocate"):
        texts(plain(item, "path value"), "path value")
    check_order("settings of a release", [item["path"] for item in several(release, "relocate")])
    names = [check_file(item) for item in several(release, "values")]
    need(len(set(names)) == len(names), "two values files of a release have one name")
    need(all(item["size"] <= 4 << 20 for item in several(release, "values")), "a values file is too large")


def check_absent(item):
    shape(item, "digest mediaType reason size", "platform urls")
    digest_parts(item["digest"])
    check_size(item, "size")
    texts(item, "mediaType platform")
    several_texts(item, "urls")
    need(item["reason"] in ("platform", "foreign"), "an unknown reason: %.80r" % item["reason"])


def check_order(what, keys):
    keys = [key.encode() for key in keys]
    need(all(a < b for a, b in zip(keys, keys[1:])), "the lock's %s are not in order" % what)


def same_entries(entries, locked):
    """Whether root and lock list the same images, or the same charts."""
    need(len(entries) == len(locked), "root and lock list other images or charts")
    for entry, item in zip(entries, locked):
        same = entry["annotations"][REF_NAME] == item["reference"]
        same = same and all(entry[name] == item[name] for name in ("digest", "mediaType", "size"))
        need(same, "root and lock differ in %.80r" % item["reference"])
        check_size(item, "contentSize")
        check_origins(item)


def own_entry(kind, word, layers, subject=None):
    """The root's entry of an artifact that follows from the lock."""
    manifest = own_manifest(kind, layers, subject)
    return describe(OCI_MANIFEST, manifest, artifactType=kind, annotations={PREFIX + "kind": word})


def own_entries(lock, charts):
    """The entries of files and releases, made anew from the lock."""
    entries = []
    if "files" in lock:
        entries.append(own_entry(FILES, "files", named_layers(lock["files"], "application/octet-stream")))
    subjects = {entry["annotations"][REF_NAME]: {name: entry[name] for name in ("digest", "mediaType", "size")}
                for entry in charts}
    releases = []
    for release in lock.get("releases", []):
        need(release["chart"] in subjects, "a release of a chart that is not there: %.80r" % release["chart"])
        layers = [describe(RELEASE, bytes_of(release))] + named_layers(release.get("values", []), "application/yaml")
        releases.append(own_entry(RELEASE, "release", layers, subjects[release["chart"]]))
    return entries + sorted(releases, key=lambda entry: entry["digest"])


def parse_lock(head):
    """The lock, in itself and against the root."""
    lock = parse_canonical(head.lock, "the lock")
    shape(lock, "apiVersion created images kind metadata", "absent charts files platforms referrerTypes releases")
    need((lock["apiVersion"], lock["kind"]) == ("sneakernet/v1", "Lock"), "not a lock of version 1")
    named = {"name": head.info[PREFIX + "name"], "version": head.info[PREFIX + "version"]}
    need(lock["metadata"] == named and lock["created"] == head.info[PREFIX + "created"], "root and lock differ")
    need(isinstance(lock["images"], list), "the lock's images")
    check_platforms(lock, "platforms")
    types = lock.get("referrerTypes", [])
    need(isinstance(types, list) and all(isinstance(item, str) and item for item in types), "the lock's referrerTypes")
    check_order("types of referrers", types)
    charts, releases = several(lock, "charts"), several(lock, "releases")
    for items, check in ((lock["images"], check_image), (charts, check_chart), (releases, check_release),
                         (several(lock, "files"), check_file), (several(lock, "absent"), check_absent)):
        for item in items:
            check(item)
    sizes = [item["size"] for release in releases for item in release.get("values", [])]
    need(len(releases) <= 1000 and sum(sizes) <= 64 << 20, "more releases or values than a bundle may have")
    check_order("files", [item["name"] for item in lock.get("files", [])])
    check_order("absent parts", [item["digest"] for item in lock.get("absent", [])])
    for what, keys in (("charts", [item["archive"]["name"].replace("+", "_") for item in charts]),
                       ("releases", [(item["namespace"], item["name"]) for item in releases])):
        need(len(set(keys)) == len(keys), "two %s of the lock have one name" % what)
    kind_of = lambda entry: entry["annotations"][PREFIX + "kind"]
    same_entries([entry for entry in head.entries if kind_of(entry) in ("image", "artifact")], lock["images"])
    chart_entries = [entry for entry in head.entries if kind_of(entry) == "chart"]
    same_entries(chart_entries, charts)
    need([entry for entry in head.entries if kind_of(entry) in UNNAMED] == own_entries(lock, chart_entries),
         "files or releases are others than in the lock")
    there = lock.get("files", []) + [file for release in releases for file in release.get("values", [])]
    there = {file["digest"] for file in there + [chart["archive"] for chart in charts]}
    need(not any(item["digest"] in there for item in lock.get("absent", [])), "a file is there and left out")
    return lock


def is_stored(media_type):
    return media_type.endswith(("+gzip", ".gzip", "+zstd", ".zstd", "+encrypted")) or \
        media_type.startswith("application/vnd.cncf.helm.chart.content.")


OWN, DOCUMENT, BLOB = "own", "document", "blob"


class Members:
    """What is in the bundle, in order."""

    def __init__(self, head, lock, stream):
        self.stream = stream
        self.sizes, self.kinds, self.types = {}, {}, {}
        self.absent = {item["digest"]: item["size"] for item in lock.get("absent", [])}
        self.missed, self.below, self.first = set(), {}, {}
        self.order, self.charts = [], {}
        for chart in lock.get("charts", []):
            self.charts.setdefault(chart["digest"], []).append(chart["archive"])
        for digest, size in head.own:
            self.meet(digest, size, OWN)
        for entry in head.entries:
            self.meet_document(entry)
        for entry in head.entries:
            self.visit(entry["digest"], 1)
        need(self.missed == set(self.absent), "the lock leaves out what nothing refers to")
        need(not self.missed & set(self.sizes), "something is there and left out")
        blobs = [digest for digest, kind in self.kinds.items() if kind == BLOB]
        self.small = [digest for digest in blobs if self.sizes[digest] <= SMALL]
        large = [digest for digest in blobs if self.sizes[digest] > SMALL]
        self.stored = [digest for digest in large if is_stored(self.first[digest])]
        self.compressed = [digest for digest in large if not is_stored(self.first[digest])]

    def meet(self, digest, size, kind):
        need(self.sizes.setdefault(digest, size) == size, digest + " has two sizes")
        self.kinds.setdefault(digest, kind)

    def meet_document(self, descriptor):
        digest = descriptor["digest"]
        need(descriptor["size"] <= MAX_DOCUMENT, digest + " is too large")
        self.meet(digest, descriptor["size"], DOCUMENT)
        need(self.kinds[digest] != OWN, "an own member is an entry")
        self.kinds[digest] = DOCUMENT
        need(self.types.setdefault(digest, descriptor["mediaType"]) == descriptor["mediaType"],
             digest + " has two media types")

    def leaves_out(self, descriptor):
        digest = descriptor["digest"]
        if digest not in self.absent:
            return False
        need(self.absent[digest] == descriptor["size"], "the lock has another size of " + digest)
        self.missed.add(digest)
        return True

    def visit(self, digest, depth):
        if digest in self.below:
            return
        content = self.stream.blob(digest, self.sizes[digest])
        self.order.append(digest)
        children, blobs = parse_foreign(content, self.types[digest])
        for archive in self.charts.get(digest, []):
            self.check_chart(blobs, archive)
        children = [child for child in children if not self.leaves_out(child)]
        blobs = [blob for blob in blobs if not self.leaves_out(blob)]
        need(not children or depth < 8, "too many indexes below each other")
        self.below[digest] = [item["digest"] for item in children + blobs]
        for child in children:
            self.meet_document(child)
        for blob in blobs:
            self.meet(blob["digest"], blob["size"], BLOB)
            self.first.setdefault(blob["digest"], blob["mediaType"])
        for child in children:
            self.visit(child["digest"], depth + 1)

    def check_chart(self, blobs, archive):
        need(blobs and blobs[0]["mediaType"] == HELM_CONFIG, "a chart is not one of Helm's")
        found = [blob for blob in blobs[1:] if blob["mediaType"] in HELM_CONTENT]
        need(len(found) == 1 and all(found[0][name] == archive[name] for name in ("digest", "size")),
             "a chart has another archive than the lock says")

    def content_size(self, top):
        seen, stack = set(), [top]
        while stack:
            digest = stack.pop()
            if digest not in seen:
                seen.add(digest)
                stack.extend(self.below.get(digest, []))
        return sum(self.sizes[digest] for digest in seen)


def check_sizes(lock, members):
    for item in lock["images"] + lock.get("charts", []):
        need(members.content_size(item["digest"]) == item["contentSize"], "contentSize is wrong")


def frames_of(stream, members, index_json):
    """The content size of every frame and whether it is stored: section 7.1."""
    def extent(digest):
        size = members.sizes[digest]
        return len(blob_header(digest, size)) + size + padding(size)

    packed = [digest for digest, kind in members.kinds.items() if kind in (OWN, DOCUMENT)] + members.small
    start = 512 * 2 + len(OCI_LAYOUT) + padding(len(OCI_LAYOUT)) + len(index_json) + padding(len(index_json))
    regions = [(start + sum(map(extent, packed)), False)]
    regions += [(extent(digest), True) for digest in members.stored]
    regions += [(extent(digest), False) for digest in members.compressed]
    frames = []
    for length, stored in regions:
        while length:
            frames.append([min(length, FRAME), stored])
            length -= min(length, FRAME)
    frames[-1][0] += CLOSING
    return frames


def check_frames(file, frames):
    need(len(frames) == len(file.table), "the file has another number of frames than its contents need")
    for number, ((length, size), (expected, stored)) in enumerate(zip(file.table, frames)):
        need(size == expected and (not stored or length == stored_length(size)), "frame %d is cut elsewhere" % number)


def check_blob(stream, digest, size):
    """Reads a blob of any size without holding it."""
    stream.expect(blob_header(digest, size), "the header of " + digest)
    algorithm, encoded = digest_parts(digest)
    hasher, left = hashlib.new(algorithm), size
    while left:
        piece = stream.read(min(left, MIB))
        hasher.update(piece)
        left -= len(piece)
    need(hasher.hexdigest() == encoded, digest + " has other content")
    stream.expect(bytes(padding(size)), "zero bytes")


# --- 4.2 Signatures ------------------------------------------------------------------------------

def strict_der(signature):
    """Whether these bytes are the one DER encoding of two positive integers."""
    def integer(data):
        if len(data) < 3 or data[0] != 2 or data[1] > 33 or len(data) < 2 + data[1] or data[1] == 0:
            return None
        body = data[2:2 + data[1]]
        if body[0] & 0x80 or (len(body) > 1 and body[0] == 0 and not body[1] & 0x80):
            return None
        return data[2 + data[1]:]

    if len(signature) < 8 or signature[0] != 0x30 or signature[1] != len(signature) - 2:
        return False
    rest = integer(signature[2:])
    return rest is not None and integer(rest) == b""


def read_signature(text, root):
    """The DER signature of a Sigstore bundle over the root, or the reason why there is none."""
    if len(text) > MAX_SIGNATURE:
        return None
    try:
        value = unambiguous(json.loads(text.decode(), object_pairs_hook=Pairs, parse_constant=constant))
        material, message = value["verificationMaterial"], value["messageSignature"]
        ok = set(value) == {"mediaType", "messageSignature", "verificationMaterial"} and value["mediaType"] == SIGSTORE
        ok = ok and set(material) <= {"publicKey", "tlogEntries", "timestampVerificationData"}
        ok = ok and set(material["publicKey"]) <= {"hint"}
        ok = ok and set(message) == {"messageDigest", "signature"}
        digest = message["messageDigest"]
        ok = ok and set(digest) == {"algorithm", "digest"} and digest["algorithm"] == "SHA2_256"
        ok = ok and base64.b64decode(digest["digest"], validate=True) == hashlib.sha256(root).digest()
        signature = base64.b64decode(message["signature"], validate=True)
        return signature if ok and strict_der(signature) else None
    except (Refused, ValueError, KeyError, TypeError, RecursionError):
        return None


def openssl(*arguments):
    return subprocess.run(("openssl",) + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def signers(root, signatures, keys):
    """The different keys among `keys` that signed the root."""
    signed = {}
    with tempfile.TemporaryDirectory() as directory:
        message, detached = os.path.join(directory, "root"), os.path.join(directory, "signature")
        with open(message, "wb") as file:
            file.write(root)
        for key in keys:
            text = openssl("pkey", "-pubin", "-in", key, "-noout", "-text").stdout
            point = openssl("ec", "-pubin", "-in", key, "-conv_form", "uncompressed", "-outform", "DER").stdout
            if b"prime256v1" not in text or not point:
                raise SystemExit("error: %s: not a public key on P-256" % key)
            for signature in signatures:
                with open(detached, "wb") as file:
                    file.write(signature)
                if openssl("dgst", "-sha256", "-verify", key, "-signature", detached, message).returncode == 0:
                    signed.setdefault(point, key)
    return list(signed.values())


def check_trust(head, options):
    if options.allow_unsigned:
        if head.unsigned != "true":
            raise Untrusted("the bundle was not made unsigned")
        return []
    texts = list(head.signatures)
    for path in options.signature:
        with open(path, "rb") as file:
            texts.append(file.read(MAX_SIGNATURE + 1))
    found = [signature for signature in (read_signature(text, head.root) for text in texts) if signature]
    keys = signers(head.root, found, options.key)
    if len(keys) < options.threshold:
        raise Untrusted("%d of %d keys have signed the bundle" % (len(keys), options.threshold))
    return keys


# --- 11. All together ----------------------------------------------------------------------------

def verify(path, options):
    file = File(path)
    stream = Stream(file)
    head = Head(stream)
    keys = check_trust(head, options)
    try:
        lock = parse_lock(head)
        members = Members(head, lock, stream)
        check_sizes(lock, members)
    except (KeyError, TypeError, AttributeError) as error:
        raise Refused("a document of the bundle has another form than prescribed: %r" % error)
    frames = frames_of(stream, members, head.index_json)
    check_frames(file, frames)
    stream.stored = [stored for _, stored in frames]
    large = members.stored + members.compressed
    for digest in members.small + large:
        check_blob(stream, digest, members.sizes[digest])
    stream.expect(bytes(CLOSING), "the end of the stream")
    need(not stream.buffer and file.next == len(file.table), "there is more behind the end")
    own = [digest for digest, _ in head.own]
    return {
        "root": digest_of(head.root),
        "tar": "sha256:" + stream.hash.hexdigest(),
        "bundle": lock["metadata"],
        "created": lock["created"],
        "keys": keys,
        "images": [{"reference": image["reference"], "digest": image["digest"], "contentSize": image["contentSize"]}
                   for image in lock["images"]],
        "charts": [{"reference": chart["reference"], "digest": chart["digest"], "contentSize": chart["contentSize"],
                    "archive": chart["archive"]} for chart in lock.get("charts", [])],
        "releases": lock.get("releases", []),
        "files": lock.get("files", []),
        "absent": lock.get("absent", []),
        "members": own + members.order + members.small + large,
        "frames": len(frames),
        "storedFrames": sum(stored for _, stored in frames),
    }


def printable(text):
    return "".join(char if char.isprintable() else "\\u{%x}" % ord(char) for char in text)


def main():
    parser = argparse.ArgumentParser(description="verifies a bundle and lists what is in it")
    parser.add_argument("file")
    parser.add_argument("--key", action="append", default=[], metavar="PUB")
    parser.add_argument("--threshold", type=int, default=1)
    parser.add_argument("--signature", action="append", default=[], metavar="FILE")
    parser.add_argument("--allow-unsigned", action="store_true")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args()
    if bool(options.key) == options.allow_unsigned or options.threshold < 1:
        parser.error("give either --key or --allow-unsigned")
    try:
        report = verify(options.file, options)
    except Refused as error:
        print("error: " + printable(str(error)), file=sys.stderr)
        return 3
    except Untrusted as error:
        print("error: " + printable(str(error)), file=sys.stderr)
        return 4
    if options.format == "json":
        json.dump(report, sys.stdout, indent=2)
        print()
        return 0
    for image in report["images"] + report["charts"]:
        print("%s  %s  %d bytes" % (printable(image["reference"]), image["digest"], image["contentSize"]))
    for release in report["releases"]:
        print("%s in %s: %s" % tuple(printable(release[name]) for name in ("name", "namespace", "chart")))
    for file in report["files"]:
        print("%s  %s  %d bytes" % (printable(file["name"]), file["digest"], file["size"]))
    for absent in report["absent"]:
        print("absent: %s (%s)" % (absent["digest"], absent["reason"]))
    print("verified %s: %d members, root %s" % (printable(options.file), len(report["members"]), report["root"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
