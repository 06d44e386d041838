"""Headers of MPEG audio frames: layers I to III of MPEG 1, 2 and 2.5."""

import dataclasses
import functools

# ISO 11172-3 and 13818-3, section 2.4.2.3: bit rates in kbit/s by their index
# in the header, for MPEG 1 layers I, II, III, and MPEG 2 layer I and others.
_MPEG1_KBPS = (
    (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
_MPEG2_KBPS = (
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
# Sample rates of MPEG 1 by their index; half of them in MPEG 2, and a quarter
# in MPEG 2.5.
_RATES_HZ = (44100, 48000, 32000)


@dataclasses.dataclass(frozen=True)
class Kind:
    """What all frames of a stream have in common.

    Attributes:
      version: 3 for MPEG 1, 2 for MPEG 2, 0 for MPEG 2.5.
      layer: 1 to 3.
      rate_index: of the sample rate.
      is_mono: whether there is one channel.
      free_bytes: size of a frame without padding if the bit rate is free.
    """

    version: int
    layer: int
    rate_index: int
    is_mono: bool
    free_bytes: int = 0

    @property
    def rate_hz(self) -> int:
        """Sample rate."""
        divisor = {3: 1, 2: 2, 0: 4}[self.version]
        return _RATES_HZ[self.rate_index] // divisor

    @property
    def samples(self) -> int:
        """Number of samples in a frame."""
        if self.layer == 1:
            return 384
        return 1152 if self.layer == 2 or self.version == 3 else 576

    @functools.cached_property
    def sizes(self) -> list[int]:
        """Size of a frame in bytes by the third byte of its header, or 0."""
        rates = _MPEG1_KBPS if self.version == 3 else _MPEG2_KBPS
        slot = 4 if self.layer == 1 else 1
        sizes = []
        for byte in range(256):
            index, padding = byte >> 4, self.padding(byte)
            size = 0
            if byte >> 2 & 3 != self.rate_index or index == 15:
                pass
            elif index:
                bits = self.samples * 1000 * rates[self.layer - 1][index]
                size = bits // (8 * slot) // self.rate_hz * slot + padding
            elif self.free_bytes:
                size = self.free_bytes + padding
            sizes.append(size)
        return sizes

    def padding(self, third: int) -> int:
        """Bytes of padding of a frame by the third byte of its header."""
        return (third >> 1 & 1) * (4 if self.layer == 1 else 1)

    @property
    def side_bytes(self) -> int:
        """Number of bytes between the header and Xing or Info."""
        if self.version == 3:
            return 17 if self.is_mono else 32
        return 9 if self.is_mono else 17

    @property
    def header_byte(self) -> int:
        """The second byte of a header, with its lowest bit set."""
        return 0xE0 | self.version << 3 | 4 - self.layer << 1 | 1

    def size(self, header: bytes) -> int:
        """Size of the frame with this header of 4 bytes; 0 for another kind."""
        if (
            len(header) < 4
            or header[0] != 0xFF
            or header[1] | 1 != self.header_byte
            or (header[3] >> 6 == 3) != self.is_mono
        ):
            return 0
        return self.sizes[header[2]]

    def __str__(self) -> str:
        channels = "mono" if self.is_mono else "stereo"
        return f"layer {self.layer}, {self.rate_hz} Hz, {channels}"


def frame_kind(header: bytes) -> Kind | None:
    """The kind of the frame with this header of 4 bytes; None if invalid."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate_index = header[2] >> 2 & 3
    if version == 1 or layer == 4 or rate_index == 3 or header[2] >> 4 == 15:
        return None
    return _kind(version, layer, rate_index, header[3] >> 6 == 3)


@functools.cache
def _kind(version: int, layer: int, rate_index: int, is_mono: bool) -> Kind:
    return Kind(version, layer, rate_index, is_mono)
