"""What the tests of sources, records, experiments and evidence share."""

import shutil
from pathlib import Path

import pytest
from small_studies import OneProcess, remembered_hash, small_studies

from focalbook import evidence, experiments, records, sources


@pytest.fixture
def plans(monkeypatch, tmp_path):
    """Small studies in place of the book's, and an empty folder for their records."""
    studies = small_studies()
    monkeypatch.setattr(evidence, "ProcessPoolExecutor", OneProcess)  # others would know the true studies
    for module in (experiments, evidence):
        monkeypatch.setattr(module, "STUDIES", studies)
    monkeypatch.setattr(experiments, "sources_hash", remembered_hash)
    for module in (evidence, records):
        monkeypatch.setattr(module, "RECORDS", tmp_path / "records")
    return studies


@pytest.fixture
def copied_sources(monkeypatch, tmp_path):
    """A copy of the package's files that the hash reads in place of them."""
    package, folder = Path(sources.__file__).parent, tmp_path / "focalbook"
    folder.mkdir()
    for path in package.glob("*.py"):
        shutil.copy(path, folder)
    monkeypatch.setattr(sources, "__file__", str(folder / "sources.py"))
    return folder
