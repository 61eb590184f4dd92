"""Elementary functions on vectors: at most 4 units in the last place, over the whole range.

exp and expm1 reduce by powers of two and take Taylor's polynomial of what is left, |r| <= ln(2) / 2; log takes
the series of the inverse hyperbolic tangent; sin and cos reduce by quarter turns. Infinities and NaN come out as
torch's do: comparisons are ordered, so that NaN passes every clamp, and no fast-math flag is set.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from llvmlite import ir

from gatework.backends.llvm.codegen.emitter import Emitter, Value

_LN2_HIGH = {"float32": 0.693359375, "float64": 6.93147180369123816490e-01}
_LN2_LOW = {"float32": -2.12194440054690583e-4, "float64": 1.90821492927058770002e-10}
_LARGEST = {"float32": 89.0, "float64": 710.0}  # exp is infinite from here on
_SMALLEST = {"float32": -104.5, "float64": -746.0}  # and 0 from here down
_SAME_AS_MINUS_ONE = {"float32": -20.0, "float64": -40.0}  # expm1 from here down
_TERMS = {"float32": 8, "float64": 14}  # of Taylor's series of exp
_LOG_TERMS = {"float32": 6, "float64": 12}
_MANTISSA = {"float32": 23, "float64": 52}
_BIAS = {"float32": 127, "float64": 1023}
_PI = Fraction(3141592653589793238462643383279502884197169399375105820974944592, 10**63)
_PART_BITS = {"float32": 11, "float64": 33}  # of a part of pi / 2: its product with n is exact
_MOST_TURNING = {"float32": 1000.0, "float64": 100000.0}  # beyond: the C library, which has more digits of pi
_TURNING_TERMS = {"float32": 6, "float64": 10}  # of the series of sin and cos, |r| <= pi / 4


def exp(e: Emitter, x: Value) -> Value:
    """exp(x)"""
    return _exp(e, _at_most(e, x, _LARGEST[e.dtype]))


def _exp(e: Emitter, x: Value) -> Value:
    """exp(x) for an x that is not above the largest."""
    n, r = _reduced(e, _at_least(e, x, _SMALLEST[e.dtype]))
    return _scaled(e, e.polynomial(r, [1 / math.factorial(k) for k in range(_TERMS[e.dtype])]), n)


def expm1(e: Emitter, x: Value) -> Value:
    """exp(x) - 1, exact to the last places near 0."""
    x = _at_least(e, _at_most(e, x, _LARGEST[e.dtype]), _SAME_AS_MINUS_ONE[e.dtype])
    n, r = _reduced(e, x)
    near = _near(e, r)
    half = e.b.ashr(_whole(e, n), e.bits(1))
    first, second = _power_of_two(e, half), _power_of_two(e, e.b.sub(_whole(e, n), half))
    # 2^n (near + 1) - 1 = 2^n near + (2^n - 1), in the two factors of 2^n
    whole = e.fma(e.b.fmul(near, first), second, e.b.fsub(e.b.fmul(first, second), e.const(1.0)))
    # where 2^n alone would overflow, the 1 is long lost in rounding
    large = e.b.fmul(e.b.fmul(e.b.fadd(near, e.const(1.0)), first), second)
    return e.select(e.b.fcmp_ordered(">", n, e.const(2.0 * _MANTISSA[e.dtype])), large, whole)


def _at_most(e: Emitter, x: Value, limit: float) -> Value:
    return e.select(e.b.fcmp_ordered(">", x, e.const(limit)), e.const(limit), x)


def _at_least(e: Emitter, x: Value, limit: float) -> Value:
    return e.select(e.b.fcmp_ordered("<", x, e.const(limit)), e.const(limit), x)


def _near(e: Emitter, r: Value) -> Value:
    """exp(r) - 1 for a reduced r."""
    tail = e.polynomial(r, [1 / math.factorial(k) for k in range(2, _TERMS[e.dtype] + 1)])
    return e.fma(e.b.fmul(r, r), tail, r)


def _reduced(e: Emitter, x: Value) -> tuple[Value, Value]:
    """n, a whole number, and r with x = n ln(2) + r."""
    magic = _magic(e)
    n = e.b.fsub(e.fma(x, e.const(1 / math.log(2)), magic), magic)
    return n, _left_over(e, x, n)


def _left_over(e: Emitter, x: Value, n: Value) -> Value:
    """x - n ln(2)"""
    r = e.fma(n, e.const(-_LN2_HIGH[e.dtype]), x)
    return e.fma(n, e.const(-_LN2_LOW[e.dtype]), r)


def _magic(e: Emitter) -> Value:
    """Added to a number, it rounds it to a whole one, which then stands in the low bits."""
    return e.const(1.5 * 2.0 ** _MANTISSA[e.dtype])


def _whole(e: Emitter, n: Value) -> Value:
    """A whole number as an integer; of NaN, which a conversion leaves undefined, any."""
    magic = _magic(e)
    return e.b.sub(e.b.bitcast(e.b.fadd(n, magic), e.integers), e.b.bitcast(magic, e.integers))


def _power_of_two(e: Emitter, n: Value) -> Value:
    shifted = e.b.shl(e.b.add(n, e.bits(_BIAS[e.dtype])), e.bits(_MANTISSA[e.dtype]))
    return e.b.bitcast(shifted, e.vector)


def _scaled(e: Emitter, x: Value, n: Value) -> Value:
    """x 2^n, also where 2^n alone overflows or underflows."""
    if e.target.vector_bytes == 64:  # AVX-512 has an instruction for it
        kind, bits = ("ps", 16) if e.dtype == "float32" else ("pd", 8)
        mask, rounding = ir.IntType(bits), ir.IntType(32)
        name = f"llvm.x86.avx512.mask.scalef.{kind}.512"
        function = e.declare(name, e.vector, [e.vector, e.vector, e.vector, mask, rounding])
        as_set = ir.Constant(rounding, 4)  # round as the processor is set to
        return e.b.call(function, [x, n, x, ir.Constant(mask, 2**bits - 1), as_set])
    whole = _whole(e, n)
    half = e.b.ashr(whole, e.bits(1))
    return e.b.fmul(e.b.fmul(x, _power_of_two(e, half)), _power_of_two(e, e.b.sub(whole, half)))


def _exp_below(e: Emitter, x: Value) -> Value:
    """exp(x) for an x that is not above 0."""
    if e.target.vector_bytes == 64:
        return _exp(e, x)
    raised = 64  # a power of two by which the result is too large at first, so that none is too small for its exponent
    r, power = _split(e, _at_least(e, x, _SMALLEST[e.dtype]), raised)
    large = e.b.fmul(e.polynomial(r, [1 / math.factorial(k) for k in range(_TERMS[e.dtype])]), power)
    return e.b.fmul(large, e.const(2.0**-raised))


def _split(e: Emitter, x: Value, raised: int = 0) -> tuple[Value, Value]:
    """r and 2^(n + raised), a power that numbers have, with x = n ln(2) + r not above 0 and n a whole number.

    The number that rounds x / ln(2) also brings the exponent's bits to the right end, from where they are shifted into
    their place.
    """
    magic = e.const(1.5 * 2.0 ** _MANTISSA[e.dtype] + _BIAS[e.dtype] + raised)
    rounded = e.fma(x, e.const(1 / math.log(2)), magic)
    n = e.b.fsub(rounded, magic)
    power = e.b.shl(e.b.bitcast(rounded, e.integers), e.bits(_MANTISSA[e.dtype]))
    return _left_over(e, x, n), e.b.bitcast(power, e.vector)


def sigmoid(e: Emitter, x: Value) -> Value:
    """1 / (1 + exp(-x)), from the side on which the exponential is small, so that the tail keeps its digits."""
    small = _exp_below(e, e.b.fneg(e.intrinsic("fabs", x)))
    above = e.select(e.b.fcmp_ordered(">=", x, e.const(0.0)), e.const(1.0), small)
    return e.b.fdiv(above, e.b.fadd(e.const(1.0), small))


def tanh(e: Emitter, x: Value) -> Value:
    """-m / (m + 2) with m = expm1(-2 |x|), and the sign of x."""
    doubled = e.b.fmul(e.intrinsic("fabs", x), e.const(-2.0))
    r, power = _split(e, _at_least(e, doubled, _SAME_AS_MINUS_ONE[e.dtype]))
    m = e.fma(_near(e, r), power, e.b.fsub(power, e.const(1.0)))
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


def sin(e: Emitter, x: Value) -> Value:
    """Sine of an angle in radians."""
    return _turning(e, x, "sin", 0)


def cos(e: Emitter, x: Value) -> Value:
    """Cosine of an angle in radians."""
    return _turning(e, x, "cos", 1)


def _turning(e: Emitter, x: Value, name: str, quarters: int) -> Value:
    """sin(x + quarters pi / 2), or of a lane that is too large, infinite or NaN what the C library's function says.

    x = n pi / 2 + r: pi / 2 is taken off in parts whose products with n are exact, so that an r near 0 keeps its digits
    (Cody and Waite 1980, chapter 8).
    """
    known = e.b.fcmp_ordered("<=", e.intrinsic("fabs", x), e.const(_MOST_TURNING[e.dtype]))
    magic = _magic(e)
    n = e.b.fsub(e.fma(x, e.const(2 / math.pi), magic), magic)
    r = x
    for part in _quarter_turn(_PART_BITS[e.dtype]):
        r = e.fma(n, e.const(-part), r)
    square = e.b.fmul(r, r)
    terms = range(_TURNING_TERMS[e.dtype])
    sine = e.b.fmul(e.polynomial(square, [(-1) ** k / math.factorial(2 * k + 1) for k in terms]), r)
    cosine = e.polynomial(square, [(-1) ** k / math.factorial(2 * k) for k in terms])
    turns = e.b.add(_whole(e, n), e.bits(quarters))
    odd = e.b.icmp_signed("!=", e.b.and_(turns, e.bits(1)), e.bits(0))
    sign = e.b.shl(e.b.and_(turns, e.bits(2)), e.bits(8 * e.item - 2))
    size = e.b.bitcast(e.select(odd, cosine, sine), e.integers)
    fast = e.b.bitcast(e.b.xor(size, sign), e.vector)

    entry = e.b.block
    every = ir.Constant(ir.IntType(e.lanes), 2**e.lanes - 1)
    with e.when(e.b.icmp_unsigned("!=", e.b.bitcast(known, every.type), every)):
        mixed = e.select(known, fast, by_lanes(name)(e, x))
        slow = e.b.block
    result = e.b.phi(e.vector)
    result.add_incoming(fast, entry)
    result.add_incoming(mixed, slow)
    return result


def _quarter_turn(bits: int) -> list[float]:
    """pi / 2 as a sum: three parts of so many bits, and a last one of all that a number has."""
    left, parts = _PI / 2, []
    for _ in range(3):
        unit = Fraction(2) ** (math.frexp(float(left))[1] - bits)
        part = (left // unit) * unit
        parts.append(float(part))
        left -= part
    return [*parts, float(left)]


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
