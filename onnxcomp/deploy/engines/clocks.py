"""Power mode and clocks of a machine, as far as they can be read without root; nothing is set."""

from __future__ import annotations

import re
from dataclasses import dataclass

from onnxcomp.deploy.machine import Machine

MODE = re.compile(r"NV Power Mode: *(\S.*)")
GPUS = "/sys/class/devfreq/*gv11b /sys/class/devfreq/*ga10b /sys/class/devfreq/*gp10b /sys/class/devfreq/gpu*"
"""The graphics processors of Xavier, Orin and TX2 in the kernel's device frequency scaling."""
READ = (
    f'for d in {GPUS}; do [ -r "$d/cur_freq" ] && cat "$d/cur_freq" "$d/min_freq" "$d/max_freq" && exit; done'
)
QUERY = "clocks.sm,clocks.max.sm,clocks.mem,power.limit"


@dataclass(frozen=True)
class Clocks:
    """Texts for people; "" for what is not known.

    Attributes:
        power: the power mode of a Jetson, or the power limit of a card.
        clocks: of the GPU, and whether they are fixed.
    """

    power: str = ""
    clocks: str = ""


def read_clocks(machine: Machine) -> Clocks:
    """What ``nvpmodel`` and the kernel say on a Jetson, else what ``nvidia-smi`` does."""
    mode = MODE.search(machine.run(["nvpmodel", "-q"]).out)
    frequencies = machine.run(["sh", "-c", READ]).out.split()
    if mode or frequencies:
        return Clocks(mode[1].strip() if mode else "", _jetson(frequencies))
    card = machine.run(["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"])
    cells = [cell.strip() for cell in card.out.splitlines()[0].split(",")] if card.out.strip() else []
    if card.code != 0 or len(cells) != len(QUERY.split(",")):
        return Clocks()
    now, most, memory, limit = cells
    return Clocks(f"limit {limit}", f"GPU {now} of {most}, memory {memory}")


def _jetson(frequencies: list[str]) -> str:
    """From Hz: current, least, most."""
    if len(frequencies) != 3 or not all(text.isdigit() for text in frequencies):
        return ""
    now, least, most = (int(text) / 1e6 for text in frequencies)
    fixed = "fixed" if least == most else f"not fixed, from {least:.0f}: sudo jetson_clocks"
    return f"GPU {now:.0f} of {most:.0f} MHz, {fixed}"
