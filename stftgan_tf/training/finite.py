"""Stops a training whose numbers are no longer finite."""

from stftgan_tf.errors import UserError
from stftgan_tf.models.replicas import value_of
from stftgan_tf.models.wgan import WGAN


def check_finite(model: WGAN) -> None:
    """Checks every loss and gradient so far.

    Raises:
      UserError: with the first step at which a value was not finite.
    """
    step = value_of(model.first_bad_step)
    if step >= 0:
        raise UserError(
            f"a loss or gradient was not finite at step {step}; earlier "
            "checkpoints are kept and can be exported. Try a smaller "
            "train.generator_lr and train.critic_lr in another --run"
        )
