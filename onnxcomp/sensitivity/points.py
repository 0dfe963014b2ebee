"""What a measurement consists of, what of it is known and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

from onnxcomp import files
from onnxcomp.data import DataSet, ImageSet
from onnxcomp.errors import DataError
from onnxcomp.model import Model
from onnxcomp.parity.sample import limited
from onnxcomp.sensitivity import cache as caches
from onnxcomp.sensitivity.cache import Cache, Place
from onnxcomp.sensitivity.scores import Point

P = TypeVar("P", bound=Point)
Split = Literal["train", "test"]


@dataclass(frozen=True)
class Points(Generic[P]):
    """The points of one network, its images and the way to compress.

    Attributes:
        cache: where they are kept.
        places: all that are wanted.
        known: those that have been measured; :meth:`keep` adds to them.
        damaged: files of the cache that were not what they should be; these points are missing.
    """

    cache: Cache
    places: Sequence[Place]
    known: dict[Place, P] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[Place]:
        """What is not known yet."""
        return [place for place in self.places if place not in self.known]

    def keep(self, place: Place, point: P) -> None:
        """A point that was just measured.

        Raises:
            OnnxcompError: the cache cannot be written.
        """
        self.cache.put(place, asdict(point))
        self.known[place] = point

    def measure(
        self,
        order: Sequence[Place],
        works: Sequence[int],
        measured: Callable[[Place], P],
        progress: Callable[[float], None],
    ) -> None:
        """Measure ``order`` and keep each point as soon as it is there.

        Args:
            works: multiply-accumulates of each.
            progress: told the share of the work that is done, after each point.

        Raises:
            OnnxcompError: the cache cannot be written.
        """
        files.make_folder(self.cache.folder)
        done = 0
        for place, work in zip(order, works, strict=True):
            self.keep(place, measured(place))
            done += work
            progress(done / (sum(works) or 1))


def look_up(cache: Cache, places: Sequence[Place], make: Callable[..., P]) -> Points[P]:
    """Find what is known of ``places``.

    Args:
        make: a point from its numbers, by their names.
    """
    points: Points[P] = Points(cache, places)
    for place in places:
        try:
            values = cache.get(place)
        except ValueError as error:
            points.damaged.append(str(error))
            continue
        if values is not None:
            points.known[place] = make(**values)
    return points


@dataclass(frozen=True)
class Images:
    """Images that a network is measured on.

    Attributes:
        source: the data set that they come from.
        split: which of its sets.
        chosen: those of it that are used.
    """

    source: DataSet
    split: Split
    chosen: ImageSet

    @property
    def words(self) -> str:
        """Which images these are."""
        kind = {"train": "training", "test": "test"}[self.split]
        return f"{kind} images of {self.source.name}"

    def cache(self, model: Model, digest: str, root: Path, way: Mapping[str, str | int]) -> Cache:
        """Where points of ``model``, of this digest, on these images are kept."""
        return Cache(root, caches.key_of(digest, images_digest(model, self.chosen), way))


def choose_images(data: DataSet, split: Split, count: int) -> Images:
    """``count`` images, evenly spaced; at most all of the set.

    Raises:
        DataError: there is none.
    """
    if split == "train":
        data.require_labels("sensitivity", "give --split test")
    chosen = limited(data.train if split == "train" else data.test, count)
    if not len(chosen):
        raise DataError(f"has no {split} image", where=f"data {data.name}", fix="give other data")
    return Images(data, split, chosen)


def images_digest(model: Model, images: ImageSet) -> str:
    """What tells images apart, as the network sees them."""
    _, height, width = model.image_shape
    return caches.digest_of(images, (height, width))
