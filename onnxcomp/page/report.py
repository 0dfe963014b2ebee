"""Everything that a report shows, as one value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxcomp import sources
from onnxcomp.deploy.profile.profile import Profile
from onnxcomp.errors import OnnxcompError
from onnxcomp.page import activations, estimates, found, runs
from onnxcomp.page.estimates import Column
from onnxcomp.page.found import Profiled, Sensitivity
from onnxcomp.page.histogram import Histogram
from onnxcomp.page.network import Network
from onnxcomp.page.runs import NotARunError, Run
from onnxcomp.sources import Show
from onnxcomp.visible import visible

if TYPE_CHECKING:
    from onnxcomp.data import DataSet


@dataclass(frozen=True)
class Wish:
    """What is asked of a report besides the run directories.

    Attributes:
        targets: names of targets to estimate for, besides the networks' own.
        sensitivities, profiles: files, besides those in the run directories.
        data: images for the activations; None for what the scales say.
        images: how many of them.
        threads: of ONNX Runtime.
    """

    targets: tuple[str, ...] = ()
    sensitivities: tuple[Path, ...] = ()
    profiles: tuple[Path, ...] = ()
    data: DataSet | None = None
    images: int = 128
    threads: int = 1


@dataclass(frozen=True)
class Report:
    """Everything that a report shows.

    Attributes:
        given: the folders as the user named them.
        runs: in the order given.
        networks: rows of the table; a dense network that several runs began with comes once.
        columns: estimates, one column for each target.
        activations: what layers read on real images, by the file's SHA-256 and the tensor's name.
        sensitivities, profiles: those named first.
        problems: what is missing or damaged, a line each.
    """

    given: tuple[str, ...]
    runs: tuple[Run, ...]
    networks: tuple[Network, ...]
    columns: tuple[Column, ...]
    activations: Mapping[str, Mapping[str, Histogram]]
    sensitivities: tuple[Sensitivity, ...]
    profiles: tuple[Profiled, ...]
    problems: tuple[str, ...]

    @property
    def compressed(self) -> tuple[Network, ...]:
        """The networks that were compressed."""
        return tuple(network for network in self.networks if network.compressed)

    def profile_of(self, network: Network) -> Profile | None:
        """The profile of an engine that was built of this network's file."""
        for one in self.profiles:
            onnx = one.profile.conditions.onnx
            if onnx and _same(Path(onnx), network, one.label):
                return one.profile
        return None


def gather(paths: Sequence[Path], wish: Wish, show: Show = sources.quiet) -> Report:
    """Read the run directories and estimate what was not measured.

    Args:
        show: told how far the reading is.

    Raises:
        NotARunError: one of ``paths`` is no run directory, or nothing of it can be read.
        OnnxcompError: what ``wish`` names cannot be read, or does not fit.
    """
    named = [found.sensitivity(path) for path in wish.sensitivities]
    profiles = [Profiled(visible(str(path)), Profile.load(path)) for path in wish.profiles]
    folders = [(path, inner) for path in paths for inner in runs.expand(path)]
    advance = _counter("files read", sum(runs.steps(inner) for _, inner in folders), show)
    read = [runs.read(inner, _label(inner, path, len(paths)), advance) for path, inner in folders]
    if not any(run.networks or any(training.series for training in run.trainings) for run in read):
        line = "; ".join(problem for run in read for problem in run.problems)
        raise NotARunError(f"nothing can be read of it ({line})", where=str(paths[0]))
    networks = _rows(read)
    targets, problems = estimates.targets_of(networks, wish.targets)
    columns = []
    advance = _counter("estimates", len(networks) * len(targets), show)
    for target in targets:
        column, more = estimates.column(networks, target, advance)
        columns.append(column)
        problems += more
    seen, more = _activations(networks, wish, show)
    problems += more
    return Report(
        given=tuple(_label(path, path, 1) for path in paths),
        runs=tuple(read),
        networks=tuple(networks),
        columns=tuple(columns),
        activations=seen,
        sensitivities=(*named, *(one for run in read for one in run.found.sensitivities)),
        profiles=(*profiles, *(one for run in read for one in run.found.profiles)),
        problems=tuple(visible(line) for line in (*(p for run in read for p in run.problems), *problems)),
    )


def _label(folder: Path, given: Path, count: int) -> str:
    """As the user named it; the runs within the only folder that was named by their own names."""
    if folder != given and count == 1:
        return visible(folder.name)
    return visible(folder.as_posix() if folder.name else folder.resolve().name)


def _rows(read: Iterable[Run]) -> list[Network]:
    """The networks of all runs: files that are the same once, and what a run adds to the one before as +."""
    rows: list[Network] = []
    seen: set[str] = set()
    before: list[str] = []
    for run in read:
        for network in run.networks:
            if network.digest in seen:
                continue
            seen.add(network.digest)
            if network.compressed:
                network = network.renamed(runs.name_of(run.recipe, before))
                before = runs.passes_of(run.recipe)
            rows.append(network)
    return rows


def _activations(
    networks: Sequence[Network], wish: Wish, show: Show
) -> tuple[dict[str, Mapping[str, Histogram]], list[str]]:
    if wish.data is None:
        return {}, []
    seen, problems = {}, []
    for network in networks:
        if not network.compressed:
            continue
        try:
            seen[network.digest] = activations.observe(
                network, wish.data, images=wish.images, threads=wish.threads, show=show
            )
        except OnnxcompError as error:
            problems.append(f"{network.path}: no activations: {error}")
    return seen, problems


def _same(onnx: Path, network: Network, label: str) -> bool:
    """Whether a profile is of a network: by its path, or by its name where both lie in one folder."""
    if onnx.name != network.path.name:
        return False
    return label.startswith(f"{network.run}/") or onnx.resolve() == network.path.resolve()


def _counter(what: str, total: int, show: Show) -> Callable[[], None]:
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        show(what, done, total)

    if total:
        show(what, 0, total)
    return advance
