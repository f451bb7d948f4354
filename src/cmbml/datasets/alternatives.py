"""A dataset that may lie under one of several names."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from kedro.io.core import AbstractDataset, DatasetError, parse_dataset_definition


class AlternativesDataset(AbstractDataset[Any, Any]):
    """The first of several places where there is something.

    For data of others, whose folders or files were called differently at
    different times. They are raw inputs: saving is refused.

    Parameters
    ----------
    dataset
        Definition of the dataset.
    alternatives
        For each place, in the order in which they are looked at, the options of
        the dataset that differ there, such as `path`.
    purpose
        A sentence for the error where there is nothing: how to get it.
    metadata
        As in Kedro's own datasets.

    Raises
    ------
    DatasetError
        On construction, if there is no alternative, or one is no definition of a dataset.
    """

    def __init__(
        self,
        *,
        dataset: Mapping[str, Any],
        alternatives: Sequence[Mapping[str, Any]],
        purpose: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if not alternatives:
            raise DatasetError("alternatives: none is given; name at least one place, such as {path: ...}")
        self._alternatives = [dict(options) for options in alternatives]
        self._places: list[AbstractDataset[Any, Any]] = []
        for options in self._alternatives:
            kind, arguments = parse_dataset_definition(deepcopy({**dataset, **options}))
            self._places.append(kind(**arguments))
        self._purpose = purpose
        self.metadata = metadata

    def load(self) -> Any:
        """Return what is at the first place where there is something.

        Raises
        ------
        DatasetError
            If there is nothing at any of them, or it cannot be read.
        """
        for place in self._places:
            if place.exists():
                return place.load()
        listed = "; ".join(
            ", ".join(f"{key} {value}" for key, value in options.items()) for options in self._alternatives
        )
        raise DatasetError(f"nothing is there, neither of: {listed}. {self._purpose}".rstrip())

    def save(self, data: Any) -> None:
        """Refuse: these are raw inputs.

        Raises
        ------
        DatasetError
            Always.
        """
        raise DatasetError(f"{self._alternatives[0]}: raw input is read-only; nothing is saved to it")

    def _exists(self) -> bool:
        return any(place.exists() for place in self._places)

    def _release(self) -> None:
        for place in self._places:
            place.release()

    def _describe(self) -> dict[str, Any]:
        return {
            **self._places[0]._describe(),
            "alternatives": self._alternatives,
            "purpose": self._purpose,
            "read_only": True,
        }
