"""Packaging. The tested set of versions is in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

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
        "stftgan_tf.configs": ["*.yaml"],
    },
    install_requires=[
        "apache-beam>=2.60",
        "doit>=0.36",
        # Beam alone cannot checksum TFRecords, and neither could we.
        "google-crc32c",
        # TensorFlow Datasets needs it and does not say so.
        "importlib-resources",
        "jinja2",
        "keras>=3.8",
        "matplotlib",
        "numpy",
        "pillow",
        "pyyaml",
        "scikit-learn",
        "scipy",
        "soundfile>=0.12",
        "soxr>=0.4",
        "tensorboard",
        "tensorflow>=2.16.2",
        "tensorflow-datasets>=4.9.6",
        "tensorflow-metadata>=1.15",
        "threadpoolctl",
    ],
    extras_require={
        # Its native ops load on TensorFlow 2.16 only, which ends at 3.12.
        "io": [
            "tensorflow==2.16.2; python_version < '3.13'",
            "tensorflow-io==0.37.1; python_version < '3.13'",
        ],
        "demo": ["espeakng-loader"],
        "s3": ["apache-beam[aws]"],
        "gcs": ["apache-beam[gcp]"],
        "hdfs": ["apache-beam[hadoop]"],
        "dask": ["apache-beam[dask]"],
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
        "gpu": ["tensorflow[and-cuda]"],
        # An S3 server (moto), a Dask cluster, a browser (the distribution's)
        # and Kubernetes' schemas to test against.
        "test": [
            "apache-beam[aws,dask]",
            "flask",
            "flask-cors",
            "kubernetes-validate",
            "moto[s3]",
            "playwright",
            "pytest",
            "pytest-xdist",
            "ruff",
        ],
        "benchmarks": ["librosa", "pesq", "pystoi", "torch"],
    },
)
