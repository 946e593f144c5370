"""What the machine says about this process: its memory, and the sizes of what would be sent."""

from __future__ import annotations

import os
import pickle
import platform
import resource
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ("describe_machine", "forget_peak", "peak_memory", "pickled_size", "resident_memory")


def describe_machine(usable_cores: int) -> dict[str, Any]:
    """What someone else needs to know to compare these numbers with theirs; JSON-able."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores,
    }


def forget_peak() -> None:
    """Let the kernel measure this process's peak memory anew; without effect where it cannot."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return  # then the peak is the whole life's, which is never too small


def peak_memory() -> int:
    """The largest resident size of this process since ``forget_peak``, in bytes."""
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_memory() -> int:
    """The resident size of this process in bytes; the peak where the system does not say."""
    size = _status("VmRSS")
    return peak_memory() if size is None else size


def pickled_size(samples: Sequence[Any]) -> int | None:
    """Bytes one of the samples has when it is sent, on average; None if one cannot be pickled at all."""
    sizes = [_pickled_size(sample) for sample in samples]
    known = [size for size in sizes if size is not None]
    return round(sum(known) / len(known)) if known and len(known) == len(sizes) else None


def _pickled_size(value: Any) -> int | None:
    from cloudpickle import dumps

    buffers: list[pickle.PickleBuffer] = []
    try:
        data = dumps(value, protocol=5, buffer_callback=buffers.append)
    except Exception:  # noqa: BLE001 - whatever a __reduce__ may raise
        return None
    return len(data) + sum(buffer.raw().nbytes for buffer in buffers)


def _status(field: str) -> int | None:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(f"{field}:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None
