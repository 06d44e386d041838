"""Opens a run for experiments in Python."""

import dataclasses
from pathlib import Path

from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import UserError
from stftgan_tf.models import condition
from stftgan_tf.models.build import build_wgan
from stftgan_tf.models.wgan import WGAN
from stftgan_tf.training import checkpoints, run_dir


@dataclasses.dataclass(frozen=True)
class LoadedRun:
    """A training as its newest checkpoint left it.

    Attributes:
      model: compiled, with restored weights and optimizers. It maps latents
        [B, Z] (and classes [B]) to windows [B, T, F] by the averaged
        generator.
      config: of the run.
      moments: of the training data.
      classes: number of labels or clusters of a conditional model, else 0.
      step: generator updates so far.
    """

    model: WGAN
    config: Config
    moments: Moments
    classes: int
    step: int


def load_run(run: str | Path) -> LoadedRun:
    """Restores the newest checkpoint of a run.

    Raises:
      UserError: if the run does not exist or has no readable checkpoint.
    """
    run = Path(run)
    config, manifest = run_dir.open_run(run)
    moments = Moments.from_dict(manifest["moments"])
    classes = 0
    if config.model.condition != "none":
        classes = condition.load(run / condition.FILE).classes
    model = build_wgan(config, moments, classes)
    directory = run / checkpoints.DIRECTORY
    if not checkpoints.all_of(directory):
        raise UserError(f"{run} contains no checkpoint yet")
    state = checkpoints.restore_newest(directory, model)
    return LoadedRun(model, config, moments, classes, state.step)
