"""Tags in MPEG audio files: ID3, APE, Lyrics3."""

import struct

# Bytes that `tag_bytes` needs.
HEAD_BYTES = 32

_ID3V1_BYTES, _ID3V1_EXTENDED_BYTES = 128, 227
_APE_FOOTER_BYTES, _LYRICS_BYTES = 32, 5100


def tag_bytes(head: bytes) -> int:
    """Size of the tag that these bytes begin with; 0 if there is none.

    Args:
      head: the first `HEAD_BYTES` bytes.
    """
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 0x80:
        # ID3v2.4, section 3.1: 7 bits a byte; flag 0x10 announces a footer.
        size = sum(x << 7 * n for n, x in enumerate(reversed(head[6:10])))
        return 10 + size + (10 if head[5] & 0x10 else 0)
    if head[:4] == b"TAG+":
        return _ID3V1_EXTENDED_BYTES
    if head[:3] == b"TAG":
        return _ID3V1_BYTES
    if head[:8] == b"APETAGEX" and len(head) >= 24:
        size, _, flags = struct.unpack("<III", head[12:24])
        # The size includes the footer but not the header; bit 29 tells them
        # apart.
        return _APE_FOOTER_BYTES + (size if flags & 1 << 29 else 0)
    return 0


def tags_start(tail: bytes) -> int:
    """Where the tags begin that end a file.

    Args:
      tail: the last bytes of the file.

    Returns:
      The position within `tail`.
    """
    end = len(tail)
    while size := _last_tag_bytes(tail[:end]):
        end = max(0, end - size)
    return end


def _last_tag_bytes(tail: bytes) -> int:
    """Size of the tag that these bytes end with; 0 if there is none."""
    if tail[-128:-125] == b"TAG":
        return _ID3V1_BYTES
    if tail[-227:-223] == b"TAG+":
        return _ID3V1_EXTENDED_BYTES
    if tail[-32:-24] == b"APETAGEX":
        size, _, flags = struct.unpack("<III", tail[-20:-8])
        # Bit 31: the tag also has a header, which the size does not include.
        return size + (_APE_FOOTER_BYTES if flags & 1 << 31 else 0)
    if tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
        return 15 + int(tail[-15:-9])
    if tail[-9:] == b"LYRICSEND":
        start = tail.rfind(b"LYRICSBEGIN", -_LYRICS_BYTES - 20)
        return len(tail) - start if start >= 0 else 0
    if tail[-10:-7] == b"3DI" and max(tail[-4:]) < 0x80:
        size = sum(x << 7 * n for n, x in enumerate(reversed(tail[-4:])))
        return 20 + size
    return 0
