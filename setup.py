"""Packages of the wheel: the code, and the configurations, which are mapped from examples/ into the package."""

from setuptools import find_packages, setup

setup(
    include_package_data=False,  # only the configurations of examples/, not what MANIFEST.in lists for the sdist
    packages=[*find_packages(include=["summarymixing_fairseq*"]), "summarymixing_fairseq.configs", "hydra_plugins"],
    package_dir={"summarymixing_fairseq.configs": "examples"},
    package_data={
        "summarymixing_fairseq": ["py.typed"],
        "summarymixing_fairseq.configs": [f"{group}/**/*.yaml" for group in ("pretraining", "finetuning", "mp3s")],
    },
)
