"""The arithmetic peak of this machine, measured: multiply-adds between registers, on every thread at once."""

from __future__ import annotations

import ctypes
import math
import threading
import time

import torch
from llvmlite import binding as llvm

from gatework.backends.llvm.codegen.target import Target

CHAINS = 12  # independent sums: enough to hide the latency of one, and with their operand in 16 registers
TYPES = {"float32": ("float", "f32", 4), "float64": ("double", "f64", 8)}


def peak_gflops(dtype: str, target: Target, *, turns: int = 4_000_000, repeats: int = 5) -> float:
    """GFLOP/s, 2 for each multiply-add, of `torch.get_num_threads()` threads together.

    Args:
        dtype: `float32` or `float64`.
        target: whose registers; without a multiply-add of one instruction it is a product and a sum.
        turns: of the loop, in each of which every chain has one multiply-add.
        repeats: of the measurement, of which the quickest counts.
    """
    lanes = target.lanes(TYPES[dtype][2])
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(features=target.features, opt=3)
    module = llvm.parse_assembly(_loop(dtype, lanes, target.fma))
    module.triple = llvm.get_process_triple()
    code = llvm.create_mcjit_compiler(module, machine)
    code.finalize_object()
    run = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(code.get_function_address("peak"))
    threads = torch.get_num_threads()
    arrays = [torch.zeros(target.vector_bytes, dtype=torch.uint8) for _ in range(threads)]
    best = math.inf
    for _ in range(repeats):
        team = [threading.Thread(target=run, args=(turns, array.data_ptr())) for array in arrays]
        start = time.perf_counter()
        for thread in team:
            thread.start()
        for thread in team:
            thread.join()
        best = min(best, time.perf_counter() - start)
    return 2 * turns * CHAINS * lanes * threads / best / 1e9


def _loop(dtype: str, lanes: int, fma: bool) -> str:
    """The loop in LLVM's language: `void peak(int64 turns, void *numbers)`, numbers of one register, unaligned."""
    scalar, suffix, _ = TYPES[dtype]
    vector = f"<{lanes} x {scalar}>"
    chains = range(CHAINS)
    phis = [f"  %v{i} = phi {vector} [ %x, %entry ], [ %n{i}, %loop ]" for i in chains]
    if fma:
        name = f"@llvm.fma.v{lanes}{suffix}"
        steps = [f"  %n{i} = call {vector} {name}({vector} %v{i}, {vector} %x, {vector} %x)" for i in chains]
        declared = f"declare {vector} {name}({vector}, {vector}, {vector})"
    else:
        steps = [
            line
            for i in chains
            for line in (f"  %m{i} = fmul {vector} %v{i}, %x", f"  %n{i} = fadd {vector} %m{i}, %x")
        ]
        declared = ""
    sums = [f"  %s{i} = fadd {vector} {f'%s{i - 1}' if i > 1 else '%n0'}, %n{i}" for i in chains if i]
    return "\n".join(
        [
            declared,
            "define void @peak(i64 %turns, ptr %numbers) {",
            "entry:",
            f"  %x = load {vector}, ptr %numbers, align 1",
            "  br label %loop",
            "loop:",
            "  %turn = phi i64 [ 0, %entry ], [ %next, %loop ]",
            *phis,
            *steps,
            "  %next = add i64 %turn, 1",
            "  %again = icmp slt i64 %next, %turns",
            "  br i1 %again, label %loop, label %exit",
            "exit:",
            *sums,
            f"  store {vector} %s{CHAINS - 1}, ptr %numbers, align 1",
            "  ret void",
            "}",
        ]
    )
