"""The version of a trtexec, from the banner that it prints first.

A banner is ``&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --help`` (``defineTest`` in
samples/common/logger.h of NVIDIA/TensorRT). The number is ``NV_TENSORRT_VERSION`` of NvInferVersion.h:
thousands, hundreds and units up to TensorRT 9 (8502: 8.5.2), ten thousands, hundreds and units from 10 on
(100300: 10.3.0). From 10.4 on the build follows (``[TensorRT v110100] [b106]``).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from onnxcomp.errors import OnnxcompError

BANNER = re.compile(r"TensorRT\.trtexec \[TensorRT v(\d{4,6})\]")


class VersionError(OnnxcompError):
    """A trtexec that does not say its version, or one that is too old or too new."""


class Version(NamedTuple):
    """Of TensorRT. Versions compare as tuples, also with shorter ones: ``version >= (8, 6)``."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def number(self) -> int:
        """``NV_TENSORRT_VERSION``: 8502 for 8.5.2, 100300 for 10.3.0."""
        scale = 1000 if self.major < 10 else 10000
        return self.major * scale + self.minor * 100 + self.patch

    @classmethod
    def from_number(cls, number: int) -> Version:
        """The version of a ``NV_TENSORRT_VERSION``."""
        major, rest = divmod(number, 1000 if number < 10000 else 10000)
        return cls(major, *divmod(rest, 100))


OLDEST = Version(8, 4, 0)
"""The one of JetPack 5.0. Its trtexec takes all options that onnxcomp uses; those before want others
(--workspace for --memPoolSize, --nvtxMode for --profilingVerbosity), and before 8.0 there is no Q/DQ."""
AFTER = Version(12, 0, 0)
"""The first whose options nobody has read yet."""


def find_version(text: str) -> Version | None:
    """The version in a banner somewhere in ``text``; None where there is no banner."""
    found = BANNER.search(text)
    return Version.from_number(int(found[1])) if found else None


def supported_version(text: str, where: str = "trtexec") -> Version:
    """The version in the banner of ``text``.

    Args:
        text: all that ``trtexec --help`` printed, stdout and stderr.
        where: whose output it is; printed first in an error.

    Raises:
        VersionError: there is no banner, or the version is not one of 8.4 to 11.
    """
    version = find_version(text)
    if version is None:
        raise VersionError(
            "does not say its version in its first line", where=where, fix="name TensorRT's own trtexec"
        )
    if version < OLDEST:
        raise VersionError(
            f"is of TensorRT {version}, too old for onnxcomp",
            where=where,
            fix="install TensorRT 8.4 or later (JetPack 5)",
        )
    if version >= AFTER:
        raise VersionError(
            f"is of TensorRT {version}, whose options onnxcomp does not know",
            where=where,
            fix="use a TensorRT from 8.4 to 11, or a newer onnxcomp",
        )
    return version
