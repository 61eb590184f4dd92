"""The door to native code: which tensors may pass it, and in which of torch's modes.

Native code reads memory by its address. A tensor whose numbers are not simply what stands there (a fake or a wrapped
one, a view with the negative bit, torch's zeros without memory) must not reach it, and neither must a call that torch
records or transforms operator by operator. Both are known to torch's dispatcher: a plain tensor has four keys and no
other, and outside of all modes a thread includes two. What has any other key, known to us or not, is refused, and
goes to torch's own operators.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

_keys_of = torch._C._dispatch_keys
_keys_of_thread = torch._C._dispatch_tls_local_include_set


def _key_set(*names: str) -> int:
    keys = torch._C.DispatchKeySet(torch._C._dispatch_key_parse(names[0]))
    for name in names[1:]:
        keys = keys | torch._C.DispatchKeySet(torch._C._dispatch_key_parse(name))
    number: int = keys.raw_repr()
    return number


_TYPES = (Tensor, nn.Parameter)  # a subclass may define what every operator does with it
_PLAIN = {
    _key_set("CPU", "ADInplaceOrView", "AutogradCPU", "AutocastCPU"),
    _key_set("CPU", "AutocastCPU"),  # made under torch.inference_mode
}
_NO_MODE = {_key_set("BackendSelect", "ADInplaceOrView"), _key_set("BackendSelect")}
_DTYPES = (torch.float32, torch.float64)

_MODES = (
    ("Tracer", "torch.jit.trace, or an export built on it, is recording torch's operators"),
    (
        "Python",
        "a dispatch mode, such as FakeTensorMode or make_fx, is at work, and cannot see into native code",
    ),
    ("PreDispatch", "make_fx is recording torch's operators, and cannot see into native code"),
    (
        "FuncTorchDynamicLayerFrontMode",
        "a transform of torch.func is at work, and cannot see into native code",
    ),
    ("VmapMode", "torch is batching a computation, and cannot see into native code"),
)


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is its memory: dense and strided on the CPU, of no subclass and with no pending operation."""
    return type(tensor) in _TYPES and _keys_of(tensor).raw_repr() in _PLAIN


def mode_refusal() -> str | None:
    """Why native code is out of place in what torch is doing in this thread; None where it is not."""
    if torch.compiler.is_compiling():
        return "torch is tracing, and cannot see into native code"
    if _keys_of_thread().raw_repr() not in _NO_MODE:
        keys = _keys_of_thread()
        for name, reason in _MODES:
            if keys.has(torch._C._dispatch_key_parse(name)):
                return reason
        return f"torch is in a mode that native code does not know ({keys})"
    if torch.autograd.forward_ad._current_level >= 0:
        return "the engine has no forward-mode derivatives"
    return None


def autocast_refusal() -> str | None:
    """Why native code cannot serve under autocast; None where autocast is off."""
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on, and the engine does not compute in half precision"
    return None


def tensor_refusal(tensors: Iterable[Tensor]) -> str | None:
    """Why native code cannot take one of the tensors; None where it can take them all.

    Args:
        tensors: the input of the call first: it is what the reason speaks of.
    """
    for index, tensor in enumerate(tensors):
        if is_plain(tensor) and tensor.dtype in _DTYPES:
            continue
        what = "a further tensor of the call" if index else "the input"
        if tensor.device.type != "cpu":
            return f"the engine runs on the CPU, and {what} is on {tensor.device}"
        if tensor.dtype not in _DTYPES:
            return f"the engine computes in float32 and float64, and {what} is {tensor.dtype}"
        return f"the engine reads plain dense tensors, and {what} is {_unusual(tensor)}"
    return None


def _unusual(tensor: Tensor) -> str:
    if type(tensor) not in _TYPES:
        return f"a {type(tensor).__name__}"
    further = [key for key in ("Negative", "ZeroTensor", "Batched", "FuncTorchBatched") if _has(tensor, key)]
    return f"{tensor.layout} with {', '.join(further) or _keys_of(tensor)}"


def _has(tensor: Tensor, key: str) -> bool:
    held: bool = _keys_of(tensor).has(torch._C._dispatch_key_parse(key))
    return held


def readable(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor as native code reads it, contiguous, where no other path can serve.

    Raises:
        TypeError: the tensor is not its memory, or has another dtype, or torch is in a mode in which native code is
            out of place.
    """
    if type(tensor) in _TYPES:
        tensor = tensor.resolve_neg()
    reason = mode_refusal()
    if reason is not None:
        raise TypeError(f"This call runs compiled code, and {reason}.")
    if not is_plain(tensor):
        raise TypeError(f"{name}: {tensor_refusal([tensor])}.")
    if tensor.dtype is not dtype:
        raise TypeError(f"{name} is {tensor.dtype}; it must be {dtype}, as the weights are.")
    return tensor.contiguous()


def native_gradients(gradients: Sequence[Tensor | None], dtype: torch.dtype) -> list[Tensor | None] | None:
    """Gradients that autograd hands to a backward pass, as plain tensors; None where native code cannot serve.

    None is the case where a derivative of the derivative is wanted, where torch batches the gradients (as
    `torch.autograd.functional.jacobian(vectorize=True)` does) or records what is computed, and for a gradient of
    another dtype or of a subclass. A gradient with the negative bit, and torch's zeros without memory, are written out.
    """
    if torch.is_grad_enabled() or mode_refusal() is not None:
        return None
    plain: list[Tensor | None] = []
    for gradient in gradients:
        if gradient is not None and not is_plain(gradient):
            if type(gradient) not in _TYPES or gradient.is_nested:
                return None
            if gradient._is_zerotensor():
                gradient = torch.zeros(gradient.shape, dtype=gradient.dtype, device=gradient.device)
            gradient = gradient.resolve_neg()
            if not is_plain(gradient):
                return None
        if gradient is not None and gradient.dtype is not dtype:
            return None
        plain.append(gradient)
    return plain
