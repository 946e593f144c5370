"""One plain sentence of advice, with its reason. Numbers in, sentence out: nothing is measured here."""

from __future__ import annotations

from collections.abc import Callable

from allcores.comparison.facts import ContextRow, Facts
from allcores.comparison.units import size_text, time_text

__all__ = ("advise",)

_MB = 10**6
# Below this an item is cheaper to compute than to hand to another process (some µs each way).
_TINY_SECONDS = 20e-6
# Above this share of starved workers, times and reasons say more about the machine than about the job.
_CROWDED = 0.2


def advise(facts: Facts) -> str:
    """Which context to take for this job, and why.

    Args:
        facts: what the comparison found; times in seconds, sizes in bytes.

    Returns:
        One sentence, which may have a semicolon. Where the results of the contexts differ it says that, and
        warns before it recommends anything.
    """
    for warning in (_changing, _unequal, _crowded):
        if text := warning(facts):
            return text
    return _recommendation(facts)


def _recommendation(facts: Facts) -> str:
    if len(facts.rows) == 1:
        return f"Only {facts.base.context} was measured: name more contexts to learn which one is fastest."
    if facts.best.place == "here":
        return next(text for rule in _STAY if (text := rule(facts)))
    if facts.best is facts.base:
        return f"{facts.best.context} was the fastest of these: measure serial too, to see what it gains."
    if facts.best.place == "threads":
        return _use_threads(facts)
    return _use_processes(facts)


# --- what was measured cannot be trusted ----------------------------------------------------------


def _changing(facts: Facts) -> str | None:
    first = facts.rows[0]
    if first.equal:
        return None
    return (
        f"The results differ from run to run even in {first.context} (first at item {first.unequal_at}: "
        f"random numbers, the time, state that is kept?), so they cannot be checked; by time alone: "
        f"{_recommendation(facts)}"
    )


def _unequal(facts: Facts) -> str | None:
    wrong = [row for row in facts.rows if not row.equal]
    if not wrong:
        return None
    names = " and ".join(row.context for row in wrong)
    index = min(row.unequal_at for row in wrong if row.unequal_at is not None)
    return (
        f"Do not trust the speed-up yet: {names} gave results unequal to those of {facts.rows[0].context} "
        f"(first at item {index}); the job depends on chance, on order, or on state that its calls share."
    )


def _crowded(facts: Facts) -> str | None:
    # More workers than cores take each other's cores; that is no news.
    fair = [row for row in facts.rows if row.workers <= facts.job.usable_cores]
    taken = max((row.phases.starved / row.seconds for row in fair), default=0.0)
    if taken < _CROWDED:
        return None
    best = facts.best
    fastest = "nothing beat " + best.context if best is facts.base else f"{best.context}, {best.speedup:.2f}x"
    return (
        f"Other programs had the cores for {taken:.0%} of the time, so these numbers say little: measure again "
        f"when the machine is quiet; by time alone: {fastest}."
    )


# --- stay where you are: the first rule that has a reason gives it --------------------------------


def _one_core(facts: Facts) -> str | None:
    if facts.job.usable_cores > 1:
        return None
    return f"Only 1 core is usable here, so nothing computes at the same time: {_stay(facts)}."


def _one_item(facts: Facts) -> str | None:
    if facts.job.items > 1:
        return None
    return f"One item cannot be shared out: split it into smaller items, or {_stay(facts)}."


def _copied(facts: Facts) -> str | None:
    row = facts.at("processes")
    if row is None or not _moves_much(facts, row):
        return None
    return f"{_what_is_copied(facts)}, and that costs more than computing gains: share it, or {_stay(facts)}."


def _started(facts: Facts) -> str | None:
    row = facts.at("processes") or facts.parallel
    if row is None or row.phases.startup < max(row.phases.moving, 0.5 * facts.base.seconds):
        return None
    startup, work = time_text(row.phases.startup), time_text(facts.base.seconds)
    outweighs = "outweighs" if row.phases.startup > facts.base.seconds else "eats up what can be gained on"
    return f"Start-up of {startup} {outweighs} {work} of work: {_stay(facts)}."


def _tiny(facts: Facts) -> str | None:
    if facts.job.item_seconds >= _TINY_SECONDS:
        return None
    each = time_text(facts.job.item_seconds)
    return f"Items of {each} cost more to hand over than to compute: put many into one item, or {_stay(facts)}."


def _lopsided(facts: Facts) -> str | None:
    if not _one_item_rules(facts):
        return None
    share = f"{facts.job.longest_share:.0%}"
    return f"One item is {share} of all the work, and no worker can share it: split it, or {_stay(facts)}."


def _gil_only(facts: Facts) -> str | None:
    share = facts.job.gil_share
    if share is None or share < 0.5 or facts.at("processes"):
        return None
    return f"The GIL was held {share:.0%} of the time: threads cannot help; measure processes too."


def _no_gain(facts: Facts) -> str | None:
    row = facts.at("processes") or facts.parallel
    where = f"; {row.context} lost most to {_largest_loss(row)}" if row else ""
    return f"Nothing was more than 10% faster than {facts.base.context}{where}: {_stay(facts)}."


_STAY: tuple[Callable[[Facts], str | None], ...] = (
    _one_item,
    _one_core,
    _copied,
    _started,
    _tiny,
    _lopsided,
    _gil_only,
    _no_gain,
)


def _stay(facts: Facts) -> str:
    return f"stay {facts.base.context}"


# --- go parallel ----------------------------------------------------------------------------------


def _use_threads(facts: Facts) -> str:
    row, job = facts.best, facts.job
    if job.cpu_share < 0.5:
        more = f"; more workers than the {row.workers} here may gain more" if row.of_ideal > 0.8 else ""
        reason = f"{_waits(facts)}, and threads overlap that without copying anything"
        return f"{reason}: use {row.context}, {row.speedup:.2f}x{more}."
    reason = "threads compute side by side without copying anything"
    if job.gil_share is None:
        reason = reason.capitalize()
    elif job.gil_share >= 0.5:
        reason = f"The GIL was held {job.gil_share:.0%} of the time: threads help little, but nothing did better"
    else:
        reason = f"The GIL was free {1 - job.gil_share:.0%} of the time: {reason}"
    return f"{reason}; use {row.context}: {_gain(facts, row)}{_brake(facts, row)}."


def _use_processes(facts: Facts) -> str:
    row, job = facts.best, facts.job
    threads = facts.at("threads")
    if threads and job.gil_share is not None and job.gil_share >= 0.5:
        reason = f"The GIL was held {job.gil_share:.0%} of the time: threads cannot help ({threads.speedup:.2f}x)"
    elif job.cpu_share < 0.5:
        reason = f"{_waits(facts)}, and processes overlap that"
    elif threads:
        reason = f"Threads reached {threads.speedup:.2f}x, processes do more"
    else:
        reason = "The work can be shared out"
    return f"{reason}; use {row.context}: {_gain(facts, row)}{_brake(facts, row)}."


def _waits(facts: Facts) -> str:
    return f"The job waits {1 - facts.job.cpu_share:.0%} of its time (input, output, locks)"


def _gain(facts: Facts, row: ContextRow) -> str:
    if facts.job.cpu_share < 0.5:  # cores are no limit to waiting
        return f"{row.speedup:.2f}x"
    return f"{row.speedup:.2f}x of {min(row.workers, facts.job.usable_cores)} possible"


def _brake(facts: Facts, row: ContextRow) -> str:
    """What keeps a row from the ideal, and the cure; nothing if it is near."""
    if row.of_ideal >= 0.8:
        return ""
    if _moves_much(facts, row):
        return f"; {_what_is_copied(facts)}: share it to gain more"
    if row.phases.startup >= 0.2 * row.seconds:
        return f"; start-up takes {time_text(row.phases.startup)} of it: more work for one pool gains more"
    if _one_item_rules(facts):
        return f"; one item is {facts.job.longest_share:.0%} of all the work: split it to gain more"
    if row.phases.moving >= 0.2 * row.seconds and facts.job.item_seconds < _TINY_SECONDS:
        return f"; items of {time_text(facts.job.item_seconds)} are small: put many into one to gain more"
    return f"; most of the rest went to {_largest_loss(row)}"


def _moves_much(facts: Facts, row: ContextRow) -> bool:
    job = facts.job
    sizes = (job.item_bytes or 0, job.result_bytes or 0, job.function_bytes or 0)
    return max(sizes) >= _MB and row.phases.moving >= 0.2 * row.seconds


def _what_is_copied(facts: Facts) -> str:
    job = facts.job
    each = max(job.item_bytes or 0, job.result_bytes or 0)
    if (job.function_bytes or 0) > 10 * each:
        size = size_text(job.function_bytes or 0)
        return f"The function carries {size} with it (arguments, closure) to each worker"
    what = "Input" if each == job.item_bytes else "A result"
    return f"{what} of {size_text(each)} is copied per item"


def _one_item_rules(facts: Facts) -> bool:
    """Whether one item is so long that the others cannot fill the remaining workers' time."""
    ideal = min(facts.job.usable_cores, max(row.workers for row in facts.rows))
    return facts.job.items > 1 and facts.job.longest_share > 1.25 / ideal


def _largest_loss(row: ContextRow) -> str:
    phases = row.phases
    losses = {
        "start-up": phases.startup,
        "moving data": phases.moving,
        "waiting inside the function (the GIL, input and output, locks)": phases.blocked,
        "waiting for a core that others had": phases.starved,
        "workers that had no item left": phases.idle,
    }
    if max(losses.values()) < 0.1 * row.seconds:
        return "computing, which took longer than alone"
    return max(losses, key=lambda name: losses[name])
