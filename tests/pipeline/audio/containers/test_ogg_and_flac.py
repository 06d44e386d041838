import itertools
import re

import numpy as np
import pytest

from pipeline.audio.containers import flac, ogg
from pipeline.audio.errors import AudioError
from tests.pipeline.audio.sounds import decode, decode_part, encode, sine

RATE = 16000


def sound_file(kind, subtype, secs=1.0, hz=440.0, rate=RATE):
    return encode(sine(rate, secs, hz), kind, subtype, rate)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chain_is_decoded_to_its_end(tmp_path, subtype):
    """RFC 3533, section 4; also copies with the same serial number."""
    path = tmp_path / "a.ogg"
    links = [sound_file("OGG", subtype, *args) for args in ((1, 300), (2, 900))]
    links.append(links[0])
    parts = []
    for link in links:
        path.write_bytes(link)
        parts.append(decode(path).samples)
        assert decode(path).notes == ()
    path.write_bytes(b"".join(links))
    decoded = decode(path)
    np.testing.assert_array_equal(decoded.samples, np.concatenate(parts))
    assert decoded.notes == (ogg.CHAIN_NOTE,)
    # Across the end of the first link.
    part = decode_part(path, RATE - 100, 200)
    np.testing.assert_allclose(
        part, decoded.samples[RATE - 100 : RATE + 100], atol=1e-2
    )


def test_chain_of_different_rates_is_rejected(tmp_path):
    path = tmp_path / "a.ogg"
    other = sound_file("OGG", "VORBIS", rate=44100)
    path.write_bytes(sound_file("OGG", "VORBIS") + other)
    with pytest.raises(AudioError, match="joined: .* 16000 Hz .* 44100 Hz"):
        decode(path)


def test_simultaneous_ogg_streams_are_rejected(tmp_path):
    data = sound_file("OGG", "VORBIS")
    # The first page, which has one segment.
    page = data[: 28 + data[27]]
    (tmp_path / "a.ogg").write_bytes(page + data)
    with pytest.raises(AudioError, match="multiplexed"):
        decode(tmp_path / "a.ogg")


@pytest.mark.parametrize("cut", [1, 40, 2000])
def test_chain_whose_end_is_missing_is_rejected(tmp_path, cut):
    data = sound_file("OGG", "VORBIS")
    (tmp_path / "a.ogg").write_bytes(data + data[:-cut])
    with pytest.raises(AudioError, match="truncated: the Ogg stream"):
        decode(tmp_path / "a.ogg")


def ogg_pages(data):
    starts = [m.start() for m in re.finditer(b"OggS", data)]
    return [data[i:j] for i, j in itertools.pairwise([*starts, len(data)])]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_damaged_pages_are_rejected(tmp_path, subtype):
    path = tmp_path / "a.ogg"
    pages = ogg_pages(sound_file("OGG", subtype, secs=20.0))
    middle = len(pages) // 2
    flipped = bytes([*pages[middle][:-9], pages[middle][-9] ^ 1])
    for page in (b"", bytes(len(pages[middle])), flipped + pages[middle][-8:]):
        path.write_bytes(
            b"".join([*pages[:middle], page, *pages[middle + 1 :]])
        )
        with pytest.raises(AudioError, match="damaged: an Ogg page before"):
            decode(path)
    # Other bytes between the pages, and a stream whose beginning is missing.
    path.write_bytes(b"junk".join(pages))
    assert len(decode(path).samples) == 20 * RATE
    path.write_bytes(b"".join([*pages[:2], *pages[3:]]))
    assert len(decode(path).samples)


def write_flac(path, length, secs=3.0, tag=b""):
    """A FLAC file that declares a length."""
    data = bytearray(sound_file("FLAC", "PCM_16", secs))
    # The last 36 bits of STREAMINFO before its MD5 (RFC 9639, section 8.2).
    data[21] &= 0xF0
    data[22:26] = length.to_bytes(4, "big")
    path.write_bytes(bytes(data) + tag)


@pytest.mark.parametrize("tag", [b"", b"TAG" + bytes(125)])
@pytest.mark.parametrize("secs", [0.01, 3.0])
@pytest.mark.parametrize(
    ("length", "note"), [(0, flac.STREAM_NOTE), (100, flac.LENGTH_NOTE)]
)
def test_flac_that_declares_too_little(tmp_path, length, note, secs, tag):
    path = tmp_path / "a.flac"
    write_flac(path, length, secs=secs, tag=tag)
    decoded = decode(path)
    assert len(decoded.samples) == secs * RATE
    assert decoded.notes == (note,)
    part = decode_part(path, 100, 50)
    np.testing.assert_array_equal(part, decoded.samples[100:150])


def test_flac_that_is_cut(tmp_path):
    path = tmp_path / "a.flac"
    for length in (0, 3 * RATE):
        write_flac(path, length)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(AudioError, match="length: the header|lost sync"):
            decode(path)


def test_joined_flac_is_rejected(tmp_path):
    data = sound_file("FLAC", "PCM_16")
    (tmp_path / "a.flac").write_bytes(data + data)
    with pytest.raises(AudioError, match="joined: another FLAC"):
        decode(tmp_path / "a.flac")
