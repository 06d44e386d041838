"""What may be requested of an export. Needs no TensorFlow."""

import dataclasses

from stftgan_tf.errors import UsageError

# Seeds are int64.
_MAX_SEED = 2**63 - 1

# A request for more files in one directory is a mistake, not a wish.
_MAX_NUM = 1_000_000

# Latents far outside of what the training drew give the same few sounds.
MAX_TRUNCATION = 100

# All windows of a row are in memory at once.
_MAX_LONG_SECS = 600.0


def check_long_secs(secs: float) -> None:
    """Raises UsageError if the signature `long` cannot have this duration."""
    if not 0 < secs <= _MAX_LONG_SECS:
        raise UsageError(
            f"secs is {secs}; expected above 0, at most {_MAX_LONG_SECS:g}"
        )


def check_num(num: int, smallest: int = 1) -> None:
    """Raises UsageError for a number of samples that is out of range."""
    if not smallest <= num <= _MAX_NUM:
        raise UsageError(f"--num is {num}; expected {smallest} to {_MAX_NUM}")


def check_checkpoint(which: str) -> None:
    """Raises UsageError unless it is `best`, `last` or a number of steps."""
    if which not in ("best", "last") and not which.isdecimal():
        raise UsageError(
            f"checkpoint is {which!r}; expected best, last or the number of a "
            "step"
        )


@dataclasses.dataclass(frozen=True)
class SampleRequest:
    """Samples to generate.

    Attributes:
      num: number of samples.
      seed: of the first sample.
      label: name or index, or None to draw one for each sample.
      interpolate: two seeds; samples are between them, instead of at `seed`.
      weight: the only point between the two seeds, from 0 to 1; None for
        `num` points, including both seeds.
      truncation: scale of the latents.
      secs: duration of a sample, or None for one window.
      phase: `export` for the phase of the export, or `pghi` to compute it
        again.
    """

    num: int = 16
    seed: int = 0
    label: str | None = None
    interpolate: tuple[int, int] | None = None
    weight: float | None = None
    truncation: float = 1.0
    secs: float | None = None
    phase: str = "export"

    def check(self) -> None:
        """Raises UsageError if values are out of range or incompatible."""
        self._check_seeds()
        if not 0 < self.truncation <= MAX_TRUNCATION:
            raise UsageError(
                f"--truncation is {self.truncation}; expected above 0, at most "
                f"{MAX_TRUNCATION}"
            )
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise UsageError(f"weight is {self.weight}; expected 0 to 1")
        if self.secs is not None and not 0 < self.secs < float("inf"):
            raise UsageError(f"--secs is {self.secs}; expected above 0")
        present = {
            "--interpolate": self.interpolate is not None,
            "--truncation": self.truncation != 1,
            "--secs": self.secs is not None,
        }
        names = [name for name, is_present in present.items() if is_present]
        if len(names) > 1:
            raise UsageError(f"{' and '.join(names)} cannot be combined")
        if self.phase == "pghi" and self.secs is not None:
            raise UsageError("--phase pghi and --secs cannot be combined")

    def _check_seeds(self) -> None:
        smallest = 2 if self.interpolate and self.weight is None else 1
        check_num(self.num, smallest)
        flag, seeds, largest = "--seed", [self.seed], _MAX_SEED - self.num
        if self.interpolate:
            flag, seeds, largest = "--interpolate", self.interpolate, _MAX_SEED
        for seed in seeds:
            if not 0 <= seed <= largest:
                raise UsageError(f"{flag} is {seed}; expected 0 to {largest}")
