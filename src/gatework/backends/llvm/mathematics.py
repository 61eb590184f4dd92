"""Elementary functions on vectors: at most 4 units in the last place, over the whole range.

exp and expm1 reduce by powers of two and take Taylor's polynomial of what is left, |r| <= ln(2) / 2; log takes
the series of the inverse hyperbolic tangent. Infinities and NaN come out as torch's do: comparisons are
ordered, so that NaN passes every clamp, and no fast-math flag is set.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir

from gatework.backends.llvm.emitter import Emitter, Value

_LN2_HIGH = {"float32": 0.693359375, "float64": 6.93147180369123816490e-01}
_LN2_LOW = {"float32": -2.12194440054690583e-4, "float64": 1.90821492927058770002e-10}
_LARGEST = {"float32": 89.0, "float64": 710.0}  # exp is infinite from here on
_SMALLEST = {"float32": -104.5, "float64": -746.0}  # and 0 from here down
_TERMS = {"float32": 8, "float64": 14}  # of Taylor's series of exp
_LOG_TERMS = {"float32": 6, "float64": 12}
_MANTISSA = {"float32": 23, "float64": 52}
_BIAS = {"float32": 127, "float64": 1023}


def exp(e: Emitter, x: Value) -> Value:
    """exp(x)"""
    x = e.select(e.b.fcmp_ordered(">", x, e.const(_LARGEST[e.dtype])), e.const(_LARGEST[e.dtype]), x)
    x = e.select(e.b.fcmp_ordered("<", x, e.const(_SMALLEST[e.dtype])), e.const(_SMALLEST[e.dtype]), x)
    n, r = _reduced(e, x)
    q = e.polynomial(r, [1 / math.factorial(k) for k in range(_TERMS[e.dtype])])
    # Two factors: 2^n alone overflows or underflows before the product does.
    half = e.b.ashr(n, e.bits(1))
    return e.b.fmul(e.b.fmul(q, _power_of_two(e, half)), _power_of_two(e, e.b.sub(n, half)))


def expm1(e: Emitter, x: Value) -> Value:
    """exp(x) - 1, exact to the last places near 0."""
    x = e.select(e.b.fcmp_ordered(">", x, e.const(_LARGEST[e.dtype])), e.const(_LARGEST[e.dtype]), x)
    low = -20.0 if e.dtype == "float32" else -40.0
    x = e.select(e.b.fcmp_ordered("<", x, e.const(low)), e.const(low), x)
    n, r = _reduced(e, x)
    tail = e.polynomial(r, [1 / math.factorial(k) for k in range(2, _TERMS[e.dtype] + 1)])
    near = e.fma(e.b.fmul(r, r), tail, r)  # exp(r) - 1
    half = e.b.ashr(n, e.bits(1))
    first, second = _power_of_two(e, half), _power_of_two(e, e.b.sub(n, half))
    # 2^n (near + 1) - 1 = 2^n near + (2^n - 1), in the two factors of 2^n
    whole = e.fma(e.b.fmul(near, first), second, e.b.fsub(e.b.fmul(first, second), e.const(1.0)))
    # where 2^n alone would overflow, the 1 is long lost in rounding
    large = e.b.fmul(e.b.fmul(e.b.fadd(near, e.const(1.0)), first), second)
    whole = e.select(e.b.icmp_signed(">", n, e.bits(2 * _MANTISSA[e.dtype])), large, whole)
    return e.select(e.b.icmp_signed("==", n, e.bits(0)), near, whole)


def _reduced(e: Emitter, x: Value) -> tuple[Value, Value]:
    """n and r with x = n ln(2) + r."""
    magic = 1.5 * 2.0 ** _MANTISSA[e.dtype]  # adding it rounds to a whole number, in the low bits
    shifted = e.fma(x, e.const(1 / math.log(2)), e.const(magic))
    n = e.b.sub(e.b.bitcast(shifted, e.integers), e.b.bitcast(e.const(magic), e.integers))
    whole = e.b.fsub(shifted, e.const(magic))
    r = e.fma(whole, e.const(-_LN2_HIGH[e.dtype]), x)
    return n, e.fma(whole, e.const(-_LN2_LOW[e.dtype]), r)


def _power_of_two(e: Emitter, n: Value) -> Value:
    shifted = e.b.shl(e.b.add(n, e.bits(_BIAS[e.dtype])), e.bits(_MANTISSA[e.dtype]))
    return e.b.bitcast(shifted, e.vector)


def sigmoid(e: Emitter, x: Value) -> Value:
    """1 / (1 + exp(-x)), from the side on which the exponential is small, so that the tail keeps its digits."""
    small = exp(e, e.b.fneg(e.intrinsic("fabs", x)))
    above = e.select(e.b.fcmp_ordered(">=", x, e.const(0.0)), e.const(1.0), small)
    return e.b.fdiv(above, e.b.fadd(e.const(1.0), small))


def tanh(e: Emitter, x: Value) -> Value:
    """-m / (m + 2) with m = expm1(-2 |x|), and the sign of x."""
    m = expm1(e, e.b.fmul(e.intrinsic("fabs", x), e.const(-2.0)))
    size = e.b.fdiv(e.b.fneg(m), e.b.fadd(m, e.const(2.0)))
    return e.intrinsic("copysign", size, x)


def log(e: Emitter, x: Value) -> Value:
    """Natural logarithm: -inf at 0, NaN below."""
    mantissa, bias = _MANTISSA[e.dtype], _BIAS[e.dtype]
    tiny = e.b.fcmp_ordered("<", x, e.const(2.0 ** (1 - bias)))  # denormal: scaled up first
    scaled = e.select(tiny, e.b.fmul(x, e.const(2.0 ** (mantissa + 2))), x)
    raw = e.b.bitcast(scaled, e.integers)
    # m in [sqrt(1/2), sqrt(2)): the exponent of x / sqrt(1/2)
    root = e.b.bitcast(e.const(math.sqrt(0.5)), e.integers)
    above = e.b.sub(raw, root)
    n = e.b.ashr(above, e.bits(mantissa))
    m = e.b.bitcast(e.b.sub(raw, e.b.shl(n, e.bits(mantissa))), e.vector)
    power = e.b.sitofp(n, e.vector)
    power = e.select(tiny, e.b.fsub(power, e.const(float(mantissa + 2))), power)
    s = e.b.fdiv(e.b.fsub(m, e.const(1.0)), e.b.fadd(m, e.const(1.0)))
    square = e.b.fmul(s, s)
    series = e.polynomial(square, [2 / (2 * k + 1) for k in range(1, _LOG_TERMS[e.dtype])])
    near = e.fma(e.b.fmul(s, square), series, e.b.fmul(s, e.const(2.0)))
    value = e.fma(power, e.const(_LN2_HIGH[e.dtype]), e.fma(power, e.const(_LN2_LOW[e.dtype]), near))
    infinite = e.const(math.inf)
    value = e.select(e.b.fcmp_ordered("==", x, infinite), infinite, value)
    value = e.select(e.b.fcmp_ordered("==", x, e.const(0.0)), e.const(-math.inf), value)
    return e.select(e.b.fcmp_unordered("<", x, e.const(0.0)), e.const(math.nan), value)


def softplus(e: Emitter, x: Value) -> Value:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))"""
    u = exp(e, e.b.fneg(e.intrinsic("fabs", x)))
    whole = e.b.fadd(u, e.const(1.0))
    lost = e.b.fsub(whole, e.const(1.0))
    # log1p(u) = log(w) u / (w - 1) with w = 1 + u as rounded (Higham 2002, section 1.14.1)
    logarithm = e.b.fdiv(e.b.fmul(log(e, whole), u), lost)
    tail = e.select(e.b.fcmp_ordered("==", lost, e.const(0.0)), u, logarithm)
    return e.b.fadd(e.intrinsic("maximum", x, e.const(0.0)), tail)


def by_lanes(name: str) -> Callable[..., Value]:
    """A function of the C library, lane by lane: right, and slow."""

    def apply(e: Emitter, x: Value, *rest: Value) -> Value:
        result = ir.Constant(e.vector, ir.Undefined)
        for lane in range(e.lanes):
            place = ir.Constant(ir.IntType(32), lane)
            values = [e.b.extract_element(value, place) for value in (x, *rest)]
            result = e.b.insert_element(result, e.intrinsic(name, *values), place)
        return result

    return apply
