"""Machine code run by this process, beside the layers that it was made of, before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gatework.export import targets
from gatework.export.checking import Gave, Given, check_parts
from gatework.export.driver import c_parts
from gatework.export.files import ExportOptions
from gatework.export.native.about import about
from gatework.export.native.code import Code, compiled
from gatework.export.native.loading import addresses
from gatework.export.targets import ExportTarget

__all__ = ["check_codes"]


def check_codes(codes: Sequence[Code], target: ExportTarget, options: ExportOptions) -> None:
    """Runs code for a target: itself where this machine is one, and else the same program, of the same weights in the
    same order, made for this machine.

    Raises:
        GateworkError: its numbers are not those of the layers.
    """
    here, how = _host(target), "the code"
    if here is not target:
        codes = [compiled(code.part, here, int8=options.int8) for code in codes]
        how = "the same code, made for this machine,"
    content = {code.part.name: code.content for code in codes}
    parts = c_parts.Parts(addresses(content), [about(code) for code in codes], here.lanes)
    error = check_parts(
        [code.part for code in codes],
        lambda calls: [_called(parts, given) for given in calls],
        how,
        int8=options.int8,
    )
    names = " and ".join(content)
    options.say(f"{names}: {how} gives numbers within {error:.1e} of the layer's")


def _host(target: ExportTarget) -> ExportTarget:
    """The target itself where this machine runs its code, and else this machine with blocks of weights as wide."""
    native = targets.find(targets.NATIVE)
    if target.name == targets.NATIVE or (target.triple, target.features) == (native.triple, ""):
        return target
    return replace(native, lanes=target.lanes, fma=target.fma and native.fma)


def _called(parts: c_parts.Parts, given: Given) -> Gave:
    if given.x is None:
        return Gave(parts.map(given.part, given.inputs), {})
    stream = parts.stream(given.part, given.memories, given.statics)
    for name, value in given.states.items():
        stream.set(name, value)
    if given.call == "sequence":
        values = stream.sequence(given.x, given.inputs)
    else:
        values = stream.made(len(given.x))
        for t, x in enumerate(given.x):
            at = {name: value[t : t + 1] for name, value in given.inputs.items()}
            for name, value in stream.step(x[None], at).items():
                values[name][t] = value[0]
    return Gave(values, {name: stream.get(name)[0] for name in given.states})
