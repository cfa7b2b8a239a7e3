"""Faults of the evidence: records that are missing, broken, of other code or asked for by no study, and a measurement
of the loss that is not of today's."""

import json
from collections.abc import Iterator

from focalbook import records
from focalbook.experiments import runs, stale
from focalbook.sources import sources_hash
from focalbook.studies import STUDIES


def faults() -> Iterator[str]:
    """What is wrong with the records of all studies, and with the measurement. Of a study that is under way, records
    may be missing."""
    asked = set()
    try:
        for study, plan in STUDIES.items():
            try:
                places = {run: records.path_of(study, *run) for run in runs(study)}
            except FileNotFoundError:
                if plan.under_way:  # nor are those made that it chooses by
                    continue
                raise
            asked |= set(places.values())
            missing = {run for run, path in places.items() if not path.exists()} if plan.under_way else set()
            if plan.under_way and not missing:
                yield f"the study {study} is said to be under way, and all its records are there"
            yield from (f"make evidence makes these again: {study} {run}" for run in stale(study) if run not in missing)
    except (ValueError, FileNotFoundError) as error:
        yield str(error)
        return
    # What a killed command leaves is named *.part, which git ignores.
    there = {path for path in records.RECORDS.rglob("*") if path.is_file() and path.suffix != ".part"}
    yield from (f"a record that no study asks for: {path.name}" for path in sorted(there - asked))
    measured = json.loads((records.RECORDS.parent / "measured" / "loss-speed.json").read_text("utf-8"))
    if measured["sources"] != sources_hash(["losses"]):
        yield "the measurement of the loss is of other code: make bench measures again (see CONTRIBUTING.md)"
