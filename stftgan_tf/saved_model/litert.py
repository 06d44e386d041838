"""LiteRT models: latents to audio in one file, for runtimes without TensorFlow.

The file is a .tflite, followed by a zip archive with `metadata.json` and
`model_card.md`, which is where LiteRT keeps the files of a model. It has one
signature, `generate`, for one sample: latent float32 [1, Z], and label or
cluster int64 [1] if the model has them, to audio float32 [1, N] and window
float32 [1, T, F]. All operations are built into LiteRT; the STFT is computed as
products with matrices, because there is no inverse FFT.
"""

import contextlib
import dataclasses
import io
import json
import os
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from stftgan_tf.dsp import phase
from stftgan_tf.dsp.graph_stft import MatrixStft
from stftgan_tf.errors import UserError
from stftgan_tf.files import refuse_foreign_file, write_output
from stftgan_tf.saved_model import export_files, model_card
from stftgan_tf.saved_model import source as source_lib
from stftgan_tf.saved_model.request import check_checkpoint
from stftgan_tf.saved_model.source import Source

SIGNATURE = "generate"

# In every file that this module writes.
_MARK = export_files.METADATA.encode()


@dataclasses.dataclass(frozen=True)
class LiteRtExport:
    """A new file.

    Attributes:
      path: of the file.
      source: what was exported.
    """

    path: Path
    source: Source

    @property
    def size_mb(self) -> float:
        """Size in megabytes."""
        return self.path.stat().st_size / 1e6

    @property
    def window_secs(self) -> float:
        """Duration of a sample."""
        metadata = self.source.metadata
        return metadata["samples"] / metadata["sample_rate_hz"]

    def sample_ms(self, calls: int = 5) -> float | None:
        """Median time of a sample on one core; None without an interpreter."""
        if (generate := runner(self.path)) is None:
            return None
        inputs = {
            name: np.zeros(info["shape"], info["dtype"])
            for name, info in generate.get_input_details().items()
        }
        generate(**inputs)
        times = []
        for _ in range(calls):
            start = time.perf_counter()
            generate(**inputs)
            times.append(time.perf_counter() - start)
        return 1000 * statistics.median(times)


def export(
    source: str | Path,
    output: str | Path,
    overwrite: bool = False,
    checkpoint: str = "best",
    note: str | Path | None = None,
) -> LiteRtExport:
    """Exports a generator for LiteRT.

    Args:
      source: directory of a run or of an export.
      output: the file; it appears by one rename.
      overwrite: whether to replace an existing file.
      checkpoint: of a run: `best`, `last`, or the number of a step.
      note: file of Markdown that the model card includes.

    Raises:
      UsageError: if `checkpoint` is out of range.
      UserError: if the source or the note cannot be read, or `output` exists
        and may not be replaced.
    """
    path = Path(output)
    check_checkpoint(checkpoint)
    refuse_foreign_file(path, _MARK)
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; use --overwrite to replace it")
    note_text = model_card.read_note(note)
    loaded = source_lib.load(Path(source), checkpoint)
    loaded.metadata.pop("long_samples", None)
    files = {
        export_files.METADATA: json.dumps(loaded.metadata, indent=1) + "\n",
        export_files.CARD: loaded.card_with(note_text),
    }
    write_output(path, _convert(loaded) + _archive(files), _MARK)
    return LiteRtExport(path, loaded)


def _convert(source: Source) -> bytes:
    """The .tflite of a generator with its phase reconstruction."""
    module = tf.Module()
    module.variables_ = [v.value for v in source.generator.variables]
    with tempfile.TemporaryDirectory() as directory:
        signatures = {SIGNATURE: _function(source)}
        tf.saved_model.save(module, directory, signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            directory, signature_keys=[SIGNATURE]
        )
        with _silent_stderr():
            return converter.convert()


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drops what libraries write to the standard error output.

    The converter reports settings that nobody made there, at every log level.
    Its errors are exceptions.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with open(os.devnull, "wb") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)


def _function(source: Source) -> Callable[..., dict[str, tf.Tensor]]:
    """The signature, for one sample: fixed shapes are faster."""
    config = source.config
    transform = MatrixStft(config.stft)

    def generate(latent, *classes):
        inputs = latent
        if classes:
            # Unlike others, negative indices are no error in LiteRT.
            count = tf.constant(source.classes, tf.int64)
            index = tf.where(classes[0] < 0, count, classes[0])
            inputs = [latent, index]
        window = source.generator(inputs, training=False)
        audio = phase.windows_to_audio(
            window, source.moments, config, transform
        )
        return {"audio": audio, "window": window}

    specs = [tf.TensorSpec([1, config.model.latent_dim], name="latent")]
    if source.classes:
        name = config.model.condition
        specs.append(tf.TensorSpec([1], tf.int64, name=name))
    return tf.function(generate, input_signature=specs, autograph=False)


def _archive(files: dict[str, str]) -> bytes:
    """A zip archive of texts by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def runner(path: Path) -> Callable[..., dict[str, np.ndarray]] | None:
    """The signature of a file, for one core.

    Runs in the interpreter of `ai-edge-litert` if it is installed, else in
    TensorFlow's, which the newest versions lack; None without either.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        Interpreter = getattr(tf.lite, "Interpreter", None)
    if Interpreter is None:
        return None
    # It reports its own use of XNNPACK.
    with _silent_stderr():
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
    return interpreter.get_signature_runner(SIGNATURE)
