"""A map of seeds on which those that sound alike are near each other.

`map.json` of an export contains coordinates from 0 to 1, and the label or
cluster of each seed if the model has classes:

    {"seeds": [0, ...], "x": [0.41, ...], "y": [0.07, ...], "classes": [3, ...]}
"""

from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.metrics import embedding

# Points of the map: the first seeds.
NUM_SEEDS = 400

# t-SNE on more components is slower and not better.
_COMPONENTS = 30


def of_windows(
    windows: np.ndarray,
    classes: Any,
    moments: Moments,
    config: Config,
) -> dict[str, Any]:
    """The content of `map.json`.

    The same windows always give the same map: t-SNE (van der Maaten and
    Hinton 2008) of their cepstra, which describe what is said.

    Args:
      windows: float32 [B, T, F], of the seeds 0 to B - 1.
      classes: int [B], array or tensor, or None if the model has none.
      moments: of the training data.
      config: of the run.
    """
    log_mel = embedding.log_mel_of(moments, config)
    cepstra = embedding.in_batches(
        lambda batch: embedding.cepstra(log_mel(batch)), windows
    )
    count = min(_COMPONENTS, *cepstra.shape)
    # With several threads the last digits would depend on their number.
    with threadpool_limits(1):
        vectors = PCA(count, random_state=0).fit_transform(cepstra)
        places = TSNE(init="pca", random_state=0).fit_transform(vectors)
    low, high = places.min(axis=0), places.max(axis=0)
    places = (places - low) / np.maximum(high - low, 1e-9)
    content = {
        "seeds": list(range(len(windows))),
        "x": places[:, 0].round(4).tolist(),
        "y": places[:, 1].round(4).tolist(),
    }
    if classes is not None:
        content["classes"] = np.asarray(classes).tolist()
    return content
