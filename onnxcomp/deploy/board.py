"""What a machine is and how much room it has, as far as it says so without root; nothing is set."""

from __future__ import annotations

import re
from dataclasses import dataclass

from onnxcomp.deploy.machine import Machine

RELEASE = re.compile(r"R(\d+) \(release\), REVISION: (\d[\d.]*)")
"""First line of /etc/nv_tegra_release: "# R35 (release), REVISION: 4.1, GCID: ...". """
SENSORS = re.compile(r"gpu-?therm(?:al)?|tj-?therm(?:al)?", re.IGNORECASE)
"""Of the GPU, or of the chip's hottest place: GPU-therm and tj-therm as in "To view a consolidated list" of
NVIDIA's DriveOS Linux SDK Developer Guide, gpu-thermal and tj-thermal as in Linux's tegra234.dtsi."""
READ = r"""printf 'name %s\n' "$(tr -d '\0' < /proc/device-tree/model)"
sed 's/^/release /;q' /etc/nv_tegra_release
dpkg-query -W -f 'jetpack ${Version}\n' nvidia-jetpack
sed 's/^/memory /' /proc/meminfo
{ df -Pk "$XDG_CACHE_HOME" || df -Pk "$HOME"; } | sed -n '2s/^/disk /p'
for z in /sys/class/thermal/thermal_zone*; do
  t=$(cat "$z/temp") && echo "sensor $(cat "$z/type") $t"
done
nvidia-smi --query-gpu=name,temperature.gpu --format=csv,noheader | sed 's/^/card /'
:"""


@dataclass(frozen=True)
class Board:
    """Of a machine; None where it cannot be read.

    Attributes:
        name: of the board in its device tree, else of the first graphics card.
        l4t: version of Jetson Linux, for example "35.4.1".
        jetpack: version of JetPack, where it is installed whole.
        memory, memory_free: bytes; a Jetson's GPU has no other.
        disk_free: bytes that the user may yet write beside the cache.
        temperature: of the GPU, in degrees Celsius.
    """

    name: str | None = None
    l4t: str | None = None
    jetpack: str | None = None
    memory: int | None = None
    memory_free: int | None = None
    disk_free: int | None = None
    temperature: float | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of a profile should know, a line at most."""
        system = [self.l4t and f"Jetson Linux {self.l4t}", self.jetpack and f"JetPack {self.jetpack}"]
        warm = None if self.temperature is None else f"{self.temperature:.0f} °C before the measurement"
        said = ", ".join(part for part in (*system, warm) if part)
        return (said,) if said else ()

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What and how much, as texts for people."""
        degrees = "unknown" if self.temperature is None else f"{self.temperature:.0f} °C"
        return [
            ("board", self.name or "unknown"),
            ("Jetson Linux", self.l4t or "unknown"),
            ("JetPack", self.jetpack or "unknown"),
            ("memory free", f"{_gib(self.memory_free)} of {_gib(self.memory)}"),
            ("disk free", _gib(self.disk_free)),
            ("GPU temperature", degrees),
        ]


def read_board(machine: Machine) -> Board:
    """What ``machine`` says of itself.

    Raises:
        DeviceError: it does not answer.
    """
    return parse(machine.run(["sh", "-c", READ]).out)


def parse(text: str) -> Board:
    """From what :data:`READ` wrote; lines that are missing or strange count for nothing."""
    lines = [line.split(maxsplit=1) for line in text.splitlines()]
    found: dict[str, list[str]] = {}
    for line in lines:
        if len(line) == 2:
            found.setdefault(line[0], []).append(line[1].strip())
    release = RELEASE.search(_first(found, "release"))
    card, _, degrees = _first(found, "card").rpartition(",")
    sizes = dict(re.findall(r"^(\w+): +(\d+) kB$", "\n".join(found.get("memory", [])), re.MULTILINE))
    disk = _first(found, "disk").split()
    return Board(
        name=_first(found, "name") or card.strip() or None,
        l4t=".".join(release.groups()) if release else None,
        jetpack=_first(found, "jetpack").partition("-")[0] or None,
        memory=_kib(sizes.get("MemTotal", "")),
        memory_free=_kib(sizes.get("MemAvailable", "")),
        disk_free=_kib(disk[3]) if len(disk) > 3 else None,
        temperature=_sensor(found.get("sensor", [])) or _number(degrees),
    )


def _sensor(lines: list[str]) -> float | None:
    """Of the GPU, else of the hottest place, from "name millidegrees"."""
    known = {}
    for line in lines:
        name, _, value = line.rpartition(" ")
        if SENSORS.fullmatch(name) and (number := _number(value)) is not None:
            known[name.lower()[:2]] = number / 1000
    return known.get("gp", known.get("tj"))


def _first(found: dict[str, list[str]], key: str) -> str:
    return found.get(key, [""])[0]


def _kib(text: str) -> int | None:
    return int(text) * 1024 if text.isdecimal() and text.isascii() and len(text) < 16 else None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*-?\d{1,9}\s*", text, re.ASCII) else None


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"
