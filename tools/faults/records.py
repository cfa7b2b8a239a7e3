"""Faults of the evidence: records that are missing, broken, of other code or asked for by no study, and a measurement
of the loss that is not of today's."""

import json
from collections.abc import Iterator

from focalbook import records
from focalbook.experiments import runs, stale
from focalbook.sources import sources_hash
from focalbook.studies import STUDIES


def faults() -> Iterator[str]:
    """What is wrong with the records of all studies, and with the measurement."""
    try:
        asked = {records.path_of(study, *run) for study in STUDIES for run in runs(study)}
        for study in STUDIES:
            yield from (f"make evidence makes these again: {study} {run}" for run in stale(study))
    except (ValueError, FileNotFoundError) as error:
        yield str(error)
        return
    # What a killed command leaves is named *.part, which git ignores.
    there = {path for path in records.RECORDS.rglob("*") if path.is_file() and path.suffix != ".part"}
    yield from (f"a record that no study asks for: {path.name}" for path in sorted(there - asked))
    measured = json.loads((records.RECORDS.parent / "measured" / "loss-speed.json").read_text("utf-8"))
    if measured["sources"] != sources_hash(["losses"]):
        yield "the measurement of the loss is of other code: make bench measures again (see CONTRIBUTING.md)"
