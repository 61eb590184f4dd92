"""What a run was made from: its data and the run that it started from, as config.json keeps them.

A training that goes on is compared with them: other data, or other weights to start from, would make another
model than the one that was begun, without a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gatework.data import describe_source, file_stamps
from gatework.errors import RunError
from gatework.training import files
from gatework.training.run_folder import MODEL, DataRecord, ParentRecord, RunFolder

__all__ = ["Sources", "parent_record", "parent_to_start_from"]


class Sources:
    """The data of one call of `fit`, by part (training, validation), beside what the run records of them.

    Attributes:
        records: of the parts noted so far, for config.json.
    """

    def __init__(self, run: RunFolder, recorded: dict[str, DataRecord], **given: Any) -> None:
        """given: the data of each part, as `fit` takes it; None where there is none."""
        self.run = run
        self.recorded = recorded
        self.given = {part: data for part, data in given.items() if data is not None}
        self.records: dict[str, DataRecord] = {}

    def unchanged(self, part: str) -> str | None:
        """The recorded SHA-256 where the part's files have the names, sizes and times that they had then."""
        recorded, stamps = self.recorded.get(part), file_stamps(self.given.get(part))
        return recorded.sha256 if recorded and stamps and stamps == recorded.files else None

    def note(self, part: str, sha256: str) -> None:
        """Note what the part's data is.

        Raises:
            RunError: it is not what the run was begun with; both are named.
        """
        data = self.given.get(
            part, self.given.get("training")
        )  # a part that was held back has no name of its own
        name, recorded = describe_source(data), self.recorded.get(part)
        if recorded is not None and recorded.sha256 != sha256:
            self._check_held_back()
            changed = " as it is now" if name == recorded.name else ""
            raise RunError(
                str(self.run.path),
                f"was begun with the {part} data {recorded.name}, and cannot go on with {name}{changed}, which holds "
                "other examples",
                "Give the data that it was begun with, or train a new run (perhaps with from_run=RUN).",
            )
        self.records[part] = DataRecord(name=name, sha256=sha256, files=file_stamps(self.given.get(part)))

    def _check_held_back(self) -> None:
        """Where the examples differ because validation data was given at one time and not at the other: say that."""
        train, valid = self.recorded.get("training"), self.recorded.get("validation")
        if train is None or valid is None:
            return
        # A part that was held back has the name of what it was held back from, and no files.
        held_back, given = valid.files is None and valid.name == train.name, "validation" in self.given
        where = str(self.run.path)
        if held_back and given:
            what = "was begun without validation data: some of the training data was held back"
            raise RunError(where, what, "Leave valid=FILE out, or train a new run.")
        if not held_back and not given:
            what = f"was begun with the validation data {valid.name}, and none was given now"
            raise RunError(where, what, "Give it again: valid=FILE.")


def parent_record(parent: RunFolder) -> ParentRecord:
    """What config.json keeps of the run that is started from."""
    return ParentRecord(path=str(parent.path.resolve()), sha256=files.sha256(parent.path / MODEL))


def parent_to_start_from(run: RunFolder, recorded: ParentRecord | None, given: Path | None) -> Path | None:
    """The folder of the run whose weights a begun training starts from, if its own are not saved yet.

    Args:
        recorded: what the run's config.json says.
        given: the folder that this call names.

    Raises:
        RunError: the run began from another one, or from none, or the parent is not what it was.
    """
    where = str(run.path)
    if recorded is None:
        if given is not None:
            what = f"did not start from another run, and cannot go on from {given}"
            raise RunError(where, what, "Leave from_run=RUN out, or train a new run.")
        return None
    path = Path(recorded.path) if given is None else given
    model = path / MODEL
    if model.is_file() and files.sha256(model) == recorded.sha256:
        return path
    state = "does not hold the weights that it held then" if model.is_file() else "is not there"
    what = f"started from {recorded.path} and has no checkpoint of its own yet, and {path} {state}"
    raise RunError(where, what, "Name the run that it started from with from_run=RUN, or train a new run.")
