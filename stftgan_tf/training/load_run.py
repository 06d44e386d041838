"""Opens a run for experiments in Python."""

import dataclasses
from pathlib import Path

from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import UserError
from stftgan_tf.models import condition as condition_lib
from stftgan_tf.models.build import build_wgan
from stftgan_tf.models.condition import Condition
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
      condition: of a conditional model, else None.
      step: generator updates so far.
    """

    model: WGAN
    config: Config
    moments: Moments
    condition: Condition | None
    step: int


def load_run(run: str | Path) -> LoadedRun:
    """Restores the newest checkpoint of a run.

    Raises:
      UserError: if there is no run, or no checkpoint that can be read.
    """
    run = Path(run)
    config, manifest = run_dir.open_run(run)
    moments = Moments.from_dict(manifest["moments"])
    condition = None
    if config.model.condition != "none":
        condition = condition_lib.load(run / condition_lib.FILE)
    classes = condition.classes if condition else 0
    model = build_wgan(config, moments, classes)
    directory = run / checkpoints.DIRECTORY
    if not checkpoints.all_of(directory):
        raise UserError(f"{run} contains no checkpoint yet")
    state = checkpoints.restore_newest(directory, model)
    return LoadedRun(model, config, moments, condition, state.step)
