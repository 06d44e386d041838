"""Builds the networks of a config and compiles them into one model."""

from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.models import networks
from stftgan_tf.models.augment import Augment
from stftgan_tf.models.devices import resolve_jit
from stftgan_tf.models.texture import TextureCritic
from stftgan_tf.models.wgan import WGAN


def build_wgan(
    config: Config,
    moments: Moments | None = None,
    classes: int = 0,
) -> WGAN:
    """A compiled model with fresh weights, drawn from `train.seed`.

    Args:
      config: networks, loss, optimizers and augmentation.
      moments: mean and deviation of the data, as `networks.build_generator`,
        `Augment` and `TextureCritic` take them; None leaves the last out.
      classes: number of labels or clusters of a conditional model.
    """
    augmentation = None
    if config.augment.target:
        augmentation = Augment(config, moments)
    texture = None
    if config.train.texture_weight and moments is not None:
        texture = TextureCritic(config, moments)
    model = WGAN(
        networks.build_generator(config, classes, moments),
        networks.build_critic(config, classes, moments),
        # The average of the generator's weights starts as a copy of it.
        networks.build_generator(config, classes, moments),
        config,
        augmentation,
        texture,
    )
    model.compile(jit_compile=resolve_jit(config))
    return model
