"""Packaging. constraints.txt has the tested versions."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

EXTRAS = {
    # Training, evaluating and reporting.
    "train": [
        "google-crc32c",
        "jinja2",
        "scikit-learn",
        "tensorboard",
        "threadpoolctl",
    ],
    # Recordings to shards. Together with `train`, the whole pipeline.
    "pipeline": [
        "apache-beam>=2.60",
        # Beam needs it to write TFRecord files and does not install it.
        "google-crc32c",
        # TensorFlow Datasets needs it and does not declare it.
        "importlib-resources",
        "scikit-learn",
        "soxr>=0.4",
        "tensorflow-datasets>=4.9.6",
        "tensorflow-metadata>=1.15",
    ],
    # The local server, its client, and warm-up requests in exports.
    "serving": [
        "grpcio",
        "grpcio-health-checking",
        "orjson",
        "prometheus-client",
        "requests",
        "starlette",
        "tensorflow-serving-api",
        "uvicorn",
    ],
    # Its native ops load on TensorFlow 2.16 only, which ends at Python 3.12.
    "io": [
        "tensorflow==2.16.2; python_version < '3.13'",
        "tensorflow-io==0.37.1; python_version < '3.13'",
    ],
    # Decodes m4a, webm, wma and the other formats that libsndfile cannot.
    "av": ["av>=16"],
    # The voices of the demo corpus.
    "demo": ["espeakng-loader"],
    "s3": ["apache-beam[aws]"],
    "gcs": ["apache-beam[gcp]"],
    "hdfs": ["apache-beam[hadoop]"],
    "dask": ["apache-beam[dask]"],
    # Flink's and Spark's jars, for clusters on this machine.
    "cluster": ["apache-flink-libraries==1.19.*", "filelock", "pyspark==3.5.*"],
    "gpu": ["tensorflow[and-cuda]"],
    # The pinned set fits no Python 3.10.
    "docs": [
        "mkdocs>=1.6,<2; python_version >= '3.11'",
        "mkdocs-material>=9.5,<10; python_version >= '3.11'",
    ],
    # Real peers to test against: an S3 server (moto), a Dask cluster, a browser
    # (Chromium comes from the distribution), the schemas of Kubernetes, a
    # client of TensorFlow Serving, an interpreter without TensorFlow.
    "test": [
        "ai-edge-litert",
        "apache-beam[aws,dask]",
        "flask",
        "flask-cors",
        "hypothesis",
        # Runs the notebook; the pinned set fits no Python 3.10.
        "ipython>=8; python_version >= '3.11'",
        "kubernetes-validate",
        "moto[s3]",
        "ovmsclient",
        "playwright",
        "pytest",
        "pytest-xdist",
        "ruff",
    ],
    "benchmarks": ["librosa", "pesq", "pystoi", "torch"],
}
EVERYTHING = ("train", "pipeline", "serving", "io", "av", "demo")

setup(
    name="stftgan-tf",
    version="0.1.0",
    description="A light WGAN that learns speech STFT windows, on TensorFlow",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.14",
    # The configs are beside the packages in a checkout, inside one in a wheel.
    packages=[
        *find_packages(include=["pipeline*", "stftgan_tf*"]),
        "stftgan_tf.configs",
    ],
    package_dir={"stftgan_tf.configs": "configs"},
    package_data={
        "stftgan_tf.evaluation": ["report.html"],
        "stftgan_tf.serving": ["assets/*"],
        "stftgan_tf.configs": ["*.yaml"],
        # Models in the box: exports, with their directories.
        "stftgan_tf": ["boxed/*/*", "boxed/*/*/*"],
    },
    # What sampling an export requires.
    install_requires=[
        "filelock>=4.1",
        "keras>=3.8",
        "matplotlib",
        "numpy",
        "pillow",
        "pyyaml",
        "scipy",
        "soundfile>=0.12",
        "tensorflow>=2.16.2",
    ],
    extras_require={
        **EXTRAS,
        "all": sorted({r for extra in EVERYTHING for r in EXTRAS[extra]}),
    },
    entry_points={
        "console_scripts": ["stftgan = stftgan_tf.__main__:main"],
    },
)
