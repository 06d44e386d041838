import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from pipeline import preprocess as preprocess_command
from stftgan_tf import config as config_lib
from stftgan_tf import export as export_command
from stftgan_tf import train as train_command
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError
from stftgan_tf.metrics import embedding
from stftgan_tf.models import condition as condition_lib
from stftgan_tf.models.build import build_wgan
from stftgan_tf.models.condition import Condition
from stftgan_tf.saved_model import loading
from stftgan_tf.training import loop, run_dir, warm_start
from stftgan_tf.training.load_run import load_run
from tests.conftest import train_args
from tests.stftgan_tf.training import runs

LABELLED = "model.condition=label"


@pytest.fixture(scope="module")
def opened(shards, tiny):
    return dataset.open_shards(shards, tiny)


def warm(source, opened, *overrides, condition=None):
    """A new model with the weights of a run or an export."""
    config = config_lib.load("tiny", ["train.seed=9", *overrides])
    classes = condition.classes if condition else 0
    model = build_wgan(config, opened.moments, classes)
    loaded = warm_start.load(source)
    warm_start.check(loaded, config)
    warm_start.apply(loaded, model, config, opened, condition)
    return model


def assert_equal(network, expected):
    pairs = zip(network.get_weights(), expected.get_weights(), strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


def test_a_run_gives_its_average_and_its_critic(trained_run, opened):
    model, trained = warm(trained_run, opened), load_run(trained_run).model
    for network in (model.generator, model.ema_generator):
        assert_equal(network, trained.ema_generator)
    assert_equal(model.critic, trained.critic)
    assert int(model.step) == 0


def test_an_export_gives_its_generator(export, opened, tiny):
    model = warm(export, opened)
    latents = tf.random.stateless_normal([3, 8], [0, 0])
    loaded = loading.load(export)
    expected = loaded.call("generate", {"latent": latents.numpy()})["window"]
    np.testing.assert_allclose(model.generator(latents), expected, atol=1e-5)
    fresh = build_wgan(
        config_lib.load("tiny", ["train.seed=9"]), opened.moments
    )
    assert_equal(model.critic, fresh.critic)


def embeddings(network):
    return [
        layer.get_weights()[0]
        for layer in network.layers
        if isinstance(layer, keras.layers.Embedding)
    ]


@pytest.mark.parametrize("kind", ["run", "export"])
def test_labels_are_matched_by_name(kind, shards, opened, tmp_path):
    run = runs.untrained_run(shards, tmp_path / "run", LABELLED)
    source = run
    if kind == "export":
        source = tmp_path / "export"
        args = [f"--run={run}", f"--output={source}"]
        assert export_command.main(args) == 0
    # The new data set has other labels in another order.
    manifest = {**opened.manifest, "labels": ["9", "3", *"0124567", "x"]}
    renamed = dataset.Shards(opened.root, manifest, opened.home)
    condition = Condition(prior=np.full(10, 0.1, np.float32))
    model = warm(source, renamed, LABELLED, condition=condition)
    expected = embeddings(load_run(run).model.ema_generator)
    found = embeddings(model.generator)
    assert len(found) == len(expected) > 0
    for new, old in zip(found, expected, strict=True):
        np.testing.assert_array_equal(new[:3], old[[9, 3, 0]])
        # A new label starts as the one that sounds most like it.
        assert (old == new[9]).all(axis=1).any()


def test_clusters_start_as_those_that_sound_alike(shards, opened, tmp_path):
    overrides = ["model.condition=cluster", "model.clusters=4"]
    config = config_lib.load("tiny", overrides)
    run = tmp_path / "run"
    loop.train(config, shards, run, steps=20)
    log_mel = embedding.log_mel_of(opened.moments, config)
    condition = condition_lib.load(run / condition_lib.FILE, log_mel)
    reversed_condition = Condition(
        prior=condition.prior[::-1],
        log_mel=log_mel,
        centres=condition.centres[::-1],
    )
    first = warm(run, opened, *overrides, condition=condition)
    second = warm(run, opened, *overrides, condition=reversed_condition)
    pairs = zip(
        embeddings(first.generator), embeddings(second.generator), strict=True
    )
    for a, b in pairs:
        np.testing.assert_array_equal(a, b[::-1])


def test_the_command_continues_from_another_model(
    shards, trained_run, tmp_path, capsys
):
    run, output = tmp_path / "run", tmp_path / "export"
    more = [f"--init_from={trained_run}", "--steps=5", "--set=train.seed=3"]
    assert train_command.main(train_args(shards, run, *more)) == 0
    assert (
        f"initial weights from {trained_run}, step 20"
        in (run / "log.txt").read_text()
    )
    args = [f"--run={run}", f"--output={output}"]
    assert export_command.main(args) == 0
    metadata = json.loads((output / "metadata.json").read_text())
    record = {"path": str(trained_run.resolve()), "step": 20}
    assert metadata["init_from"] == record
    card = (output / "model_card.md").read_text()
    assert f"initial weights: {trained_run.name}, step 20; the moments" in card

    args = [*train_args(shards, run), "--resume", f"--init_from={trained_run}"]
    assert train_command.main(args) == 2
    assert "--init_from is for a new run" in capsys.readouterr().err


def test_the_config_is_that_of_the_other_model(
    trained_run, export, tmp_path, capsys
):
    start = ["--print_config", "--set=train.batch_size=3", f"--run={tmp_path}"]
    for model in (trained_run, export):
        assert train_command.main([*start, f"--init_from={model}"]) == 0
        printed = capsys.readouterr().out
        config = config_lib.from_dict(yaml.safe_load(printed))
        assert config == config_lib.load("tiny", ["train.batch_size=3"])
    (tmp_path / "metadata.json").write_text("{}")
    assert train_command.main([*start, f"--init_from={tmp_path}"]) == 2
    assert "metadata.json is damaged: " in capsys.readouterr().err


def test_a_training_killed_at_its_start_still_starts_warm(
    shards, trained_run, opened, tmp_path, tiny
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    loop.train(tiny, shards, whole, steps=3, init_from=trained_run)
    # It was killed after it had written what identifies the run.
    killed.mkdir()
    for name in (run_dir.MANIFEST, run_dir.INIT_FROM, run_dir.CONFIG):
        shutil.copy(whole / name, killed)
    loop.train(tiny, shards, killed, steps=3, resume=True)
    digests = {load_run(run).model.digest() for run in (whole, killed)}
    assert len(digests) == 1
    scratch = tmp_path / "scratch"
    loop.train(tiny, shards, scratch, steps=3)
    assert load_run(scratch).model.digest() not in digests


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.generator.width=24", "model.generator is .* there, .* here"),
        ("model.latent_dim=9", "model.latent_dim is 8 there, 9 here"),
    ],
)
def test_other_networks_are_refused(
    shards, trained_run, tmp_path, override, message
):
    config = config_lib.load("tiny", [override])
    with pytest.raises(UserError, match=f"has different networks: {message}"):
        loop.train(
            config, shards, tmp_path / "x", steps=3, init_from=trained_run
        )
    assert not (tmp_path / "x").exists()


def test_what_is_no_model_is_refused(export, tmp_path):
    with pytest.raises(UserError, match="is neither a run .* nor an export"):
        warm_start.load(tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(export, damaged)
    (path,) = (damaged / "variables").glob("*.index")
    path.write_bytes(b"")
    with pytest.raises(UserError, match="damaged cannot be read"):
        warm_start.load(damaged)


@pytest.mark.slow
def test_the_watch_warns_of_copies_of_fifty_recordings(
    recordings, tmp_path, capsys
):
    few, data, run = tmp_path / "few", tmp_path / "data", tmp_path / "run"
    few.mkdir()
    for path in sorted(recordings.glob("*.wav"))[:50]:
        shutil.copy(path, few)
    config = ["--config=digits8k", "--set=split.by=recording"]
    args = [*config, f"--source={few}", f"--output={data}"]
    assert preprocess_command.main(args) == 0
    args = [
        f"--data={data}",
        f"--run={run}",
        "--init_from=digits",
        "--set=split.by=recording",
        "--set=augment.target=0",
        "--set=watch.every=50",
        "--set=watch.on_collapse=warn",
        "--steps=200",
    ]
    assert train_command.main(args) == 0
    assert "copies of training windows" in (run / "log.txt").read_text()
