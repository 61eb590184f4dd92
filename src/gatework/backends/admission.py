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
from torch.autograd import forward_ad

from gatework.backends.reasons import Reason

_is_compiling = torch.compiler.is_compiling
_keys_of = torch._C._dispatch_keys
_is_excluded = torch._C._dispatch_tls_is_dispatch_key_excluded
_AUTOCAST = torch._C._dispatch_key_parse("AutocastCPU")
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

_MODES = ("Tracer", "Python", "PreDispatch", "FuncTorchDynamicLayerFrontMode", "VmapMode")


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is its memory: dense and strided on the CPU, of no subclass and with no pending operation."""
    return type(tensor) in _TYPES and _keys_of(tensor).raw_repr() in _PLAIN and has_memory(tensor)


def has_memory(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor on the CPU are anywhere: FSDP frees the memory of weights that are not in use."""
    return tensor.data_ptr() != 0 or tensor.numel() == 0


def all_plain(tensors: Iterable[Tensor], parameters: Iterable[Tensor | None], dtype: torch.dtype) -> bool:
    """Whether all tensors are plain, of one dtype that native code knows, and contiguous.

    Args:
        tensors: a call's own; these may be anything.
        parameters: a module's; of these only what `parameter.data = …` can make of them is looked at, which costs less.
    """
    if dtype not in _DTYPES:
        return False
    for tensor in tensors:
        if tensor.dtype is not dtype or not is_plain(tensor) or not tensor.is_contiguous():
            return False
    for parameter in parameters:
        if type(parameter) is not nn.Parameter:
            return False
        if parameter.dtype is not dtype or not parameter.is_cpu or parameter.layout is not torch.strided:
            return False
        if parameter.is_neg() or parameter._is_zerotensor() or not parameter.is_contiguous():
            return False
        if parameter.data_ptr() == 0:
            return False
    return True


def in_a_mode() -> bool:
    """Whether torch traces, transforms, batches or casts what is computed in this thread."""
    return (
        _is_compiling()
        or _keys_of_thread().raw_repr() not in _NO_MODE
        or forward_ad._current_level >= 0
        or not _is_excluded(_AUTOCAST)  # what torch.is_autocast_enabled("cpu") asks, in half the time
    )


def mode_refusal() -> Reason | None:
    """Why native code is out of place in what torch is doing in this thread; None where it is not."""
    if _is_compiling():
        return Reason("compiling")
    if _keys_of_thread().raw_repr() not in _NO_MODE:
        keys = _keys_of_thread()
        for name in _MODES:
            if keys.has(torch._C._dispatch_key_parse(name)):
                return Reason(name)
        return Reason("unknown mode", (str(keys),))
    if forward_ad._current_level >= 0:
        return Reason("forward mode")
    return None


def tensor_refusal(tensors: Iterable[Tensor]) -> Reason | None:
    """Why native code cannot take one of the tensors; None where it can take them all.

    Args:
        tensors: the input of the call first: it is what the reason speaks of.
    """
    for index, tensor in enumerate(tensors):
        if is_plain(tensor) and tensor.dtype in _DTYPES:
            continue
        what = "a further tensor of the call" if index else "the input"
        if tensor.device.type != "cpu":
            return Reason("device", (what, str(tensor.device)))
        if tensor.dtype not in _DTYPES:
            return Reason("dtype", (what, tensor.dtype))
        return Reason("not plain", (what, _unusual(tensor)))
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
    if (
        tensor.dtype is dtype
        and type(tensor) is Tensor
        and _keys_of(tensor).raw_repr() in _PLAIN
        and tensor.is_contiguous()
        and _keys_of_thread().raw_repr() in _NO_MODE
        and forward_ad._current_level < 0
    ):
        # What a stream is given at nearly every step: all that follows costs twice as much. Where torch.compile traces,
        # its graph breaks at the key set, and the step runs as ever; a tensor that an export traces is of another type.
        return tensor
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


def readable_in_an_operator(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Tensors that torch's dispatcher gives to an operator of ours, as native code reads them.

    Raises:
        TypeError: a tensor that is not its memory.
    """
    readable = []
    for tensor in tensors:
        tensor = tensor.detach().resolve_neg().contiguous()
        if not is_plain(tensor):
            raise TypeError(f"gatework::stack: {tensor_refusal([tensor])}.")
        readable.append(tensor)
    return readable


def readable_saved(tensors: Iterable[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Saved tensors as native code reads them: hooks may give them back with other strides.

    Raises:
        TypeError: a hook gives a tensor back in another dtype or on another device.
    """
    readable = []
    for tensor in tensors:
        if tensor.dtype is not dtype or not tensor.is_cpu:
            raise TypeError(
                f"A hook for saved tensors gives a tensor back as {tensor.dtype} on {tensor.device}; it was {dtype} on "
                "the CPU."
            )
        readable.append(tensor if tensor.is_contiguous() else tensor.contiguous())
    return readable


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
