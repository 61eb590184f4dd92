"""The header, the example and the README beside an object file."""

from __future__ import annotations

from collections.abc import Iterable

from gatework.export.native.code import Code
from gatework.export.native.functions import Functions
from gatework.export.native.layout import Count, Interface
from gatework.export.targets import ExportTarget


class Texts:
    """What is written beside a network's object file.

    Args:
        main: the file of its example; empty where it has none of its own.

    Attributes:
        header, example, readme: the texts.
    """

    def __init__(
        self, functions: Functions, code: Code, target: ExportTarget, *, int8: bool, main: str
    ) -> None:
        self.functions, self.code, self.target, self.int8, self.main = functions, code, target, int8, main
        self.takes: Interface = functions.takes
        self.network = self.takes.network
        self.name, self.upper = self.network.name, self.network.name.upper()

    @property
    def _tokens(self) -> bool:
        return self.network.table is not None

    @property
    def _both_ways(self) -> bool:
        return self.network.stack.bidirectional

    def _count(self, count: Count) -> tuple[str, str]:
        """A macro's arguments, and its value."""
        widths = list(dict.fromkeys(count.by_steps))
        parts = [str(count.fixed)]
        for width in widths:
            times = count.by_steps.count(width)
            parts.append(f"{f'{times} * ' if times > 1 else ''}{self.upper}_WHOLE({width})")
        value = parts[0] if len(parts) == 1 else f"({' + '.join(parts)})"
        return f"({', '.join(widths)})" if widths else "", value

    def _reads(self, *, sequence: bool = False) -> list[str]:
        per_step = "steps * " if sequence else ""
        takes = self.takes
        arguments = [f"const float *{name} /* {per_step}{size} */" for name, size in takes.inputs]
        arguments += [f"const float *{name} /* {size} */" for name, size in takes.statics]
        for name, size in takes.memories:
            arguments.append(f"const float *{name} /* {name}_steps * {size} */")
            arguments.append(f"const float *{name}_keys")
            arguments.append(f"size_t {name}_steps")
        return arguments

    def _emits(self, *, sequence: bool = False) -> list[str]:
        per_step = "steps * " if sequence else ""
        return [
            f"float *{name}_out /* {per_step}{width if units is None else units} */"
            for name, units, width in self.takes.emits
        ]

    @property
    def header(self) -> str:
        upper, takes = self.upper, self.takes
        guard = f"{upper}_H"
        lines = [
            f"/* {self.network.graph.name}, exported by Gatework for {self.target.name}. */",
            f"#ifndef {guard}",
            f"#define {guard}",
            "",
            "#include <stddef.h>",
            "",
            "#ifdef __cplusplus",
            'extern "C" {',
            "#endif",
            "",
            "/* Numbers of float: what a step reads and gives, and the memory that the caller brings. */",
        ]
        if self.network.table is not None:
            lines.append(
                f"#define {upper}_TOKENS {self.network.table.shape[0]}  /* tokens are 0 to one below */"
            )
        else:
            lines.append(f"#define {upper}_INPUT {self.network.stack.input_size}")
        lines.append(f"#define {upper}_OUTPUT {self.network.output_size}")
        if takes.memories:
            lines.append(
                f"#define {upper}_WHOLE(n) (((n) + {takes.lanes - 1}) / {takes.lanes} * {takes.lanes})"
            )
        for memory, size in takes.memories:
            lines.append(f"#define {upper}_{memory.upper()} {size}  /* of each step */")
            lines.append(
                f"#define {upper}_{memory.upper()}_KEYS(steps) ({max(takes.keys_width(memory), 1)} * (steps))"
            )
        for macro, count in (("STATE", takes.state), ("SCRATCH", self.functions.scratch)):
            arguments, value = self._count(count)
            lines.append(f"#define {upper}_{macro}{arguments} {value}")
        if self._both_ways:
            arguments, value = self._count(self.functions.scratch)
            given = ", ".join(["steps", *arguments.strip("()").split(", ")]) if arguments else "steps"
            more = f"{self.functions.sequence_width} * (steps)"
            lines.append(f"#define {upper}_SEQUENCE_SCRATCH({given}) ({value} + {more})")
        lines += ["", "/* Where each state stands: layer, direction, name. */"]
        for place in takes.states:
            layer, direction = divmod(place.cell, self.network.stack.directions)
            way = "_REVERSE" if direction else ""
            arguments, value = self._count(Count(place.offset, place.after))
            lines.append(f"#define {upper}_STATE_L{layer}{way}_{place.name.upper()}{arguments} {value}")
        lines += ["", *self._functions(), "", "#ifdef __cplusplus", "}", "#endif", "#endif", ""]
        return "\n".join(lines)

    def _functions(self) -> list[str]:
        name, takes = self.name, self.takes
        widths = dict.fromkeys(takes.state.by_steps)
        lines = [
            "/* Writes the states before the first step. */",
            _declared(f"{name}_start", ["float *state", *(f"size_t {width}" for width in widths)]),
        ]
        for memory, _ in takes.memories:
            if takes.keys_width(memory):
                lines.append(
                    f"/* Projects a memory once, for all steps that read it: writes {memory}_keys. */"
                )
                arguments = [f"const float *{memory}", f"size_t {memory}_steps", "float *keys"]
                lines.append(_declared(f"{name}_attend_{memory}", arguments))
        if not self._both_ways:
            lines.append(
                "/* One step: reads and writes state, and gives output. The arrays do not overlap. */"
            )
            first = "size_t token" if self._tokens else "const float *x"
            rest = ["float *state", "float *output", *self._emits(), "float *scratch"]
            lines.append(_declared(f"{name}_step", [first, *self._reads(), *rest]))
        lines.append("/* Steps one after another: arrays of all steps, the first step first. */")
        first = "const size_t *tokens" if self._tokens else "const float *x"
        rest = ["float *state", "float *output", *self._emits(sequence=True), "float *scratch"]
        lines.append(
            _declared(f"{name}_sequence", [first, "size_t steps", *self._reads(sequence=True), *rest])
        )
        return lines

    @property
    def example(self) -> str:
        """A program that reads numbers as text and prints each step's output on a line."""
        name, upper, takes = self.name, self.upper, self.takes
        steps = [f"{memory}_steps" for memory, _ in takes.memories]
        reads = [f"if (!read_numbers({n}, {s})) break;" for n, s in takes.inputs]
        first = "size_t token;" if self._tokens else f"static float x[{upper}_INPUT];"
        head = (
            'if (scanf("%zu", &token) != 1) break;'
            if self._tokens
            else f"if (!read_numbers(x, {upper}_INPUT)) break;"
        )
        given = ", ".join(["token" if self._tokens else "x", *self._given()])
        outs = "".join(f", {n}_out" for n, _, _ in takes.emits)
        body = [
            "#include <stdio.h>",
            "#include <stdlib.h>",
            f'#include "{name}.h"',
            "",
            "/* Reads what a step reads, as text, and prints what it gives: a line a step. */",
            "static int read_numbers(float *to, size_t count) {",
            "    for (size_t k = 0; k < count; k++)",
            '        if (scanf("%f", to + k) != 1) return 0;',
            "    return 1;",
            "}",
            "",
            "int main(void) {",
        ]
        for static, size in takes.statics:
            body.append(f"    static float {static}[{size}];")
            body.append(f"    if (!read_numbers({static}, {size})) return 1;")
        for memory, _ in takes.memories:
            most = f"{upper}_{memory.upper()}"
            body += [
                f"    size_t {memory}_steps;  /* of the memory; then its numbers */",
                f'    if (scanf("%zu", &{memory}_steps) != 1) return 1;',
                f"    float *{memory} = malloc(sizeof(float) * {most} * {memory}_steps);",
                f"    float *{memory}_keys = malloc(sizeof(float) * {most}_KEYS({memory}_steps));",
                f"    if (!{memory} || !{memory}_keys || !read_numbers({memory}, {most} * {memory}_steps)) return 1;",
            ]
            if takes.keys_width(memory):
                body.append(f"    {name}_attend_{memory}({memory}, {memory}_steps, {memory}_keys);")
        among = ", ".join(steps)
        state, scratch = (
            f"{upper}_{macro}" + (f"({among})" if count.by_steps else "")
            for macro, count in (("STATE", takes.state), ("SCRATCH", self.functions.scratch))
        )
        if self._both_ways:
            return "\n".join([*body, *self._whole_sequence(), ""])
        if takes.memories:
            body += [
                f"    float *state = malloc(sizeof(float) * {state}), *scratch = malloc(sizeof(float) * {scratch});",
                "    if (!state || !scratch) return 1;",
            ]
        else:
            body.append(f"    static float state[{state}], scratch[{scratch}];")
        body += [f"    static float output[{upper}_OUTPUT];", f"    {first}"]
        body += [f"    static float {n}[{s}];" for n, s in takes.inputs]
        for emitted, units, width in takes.emits:
            body.append(
                f"    float *{emitted}_out = malloc(sizeof(float) * {width});  /* one number a step of the memory */"
                if units is None
                else f"    static float {emitted}_out[{units}];"
            )
        widths = "".join(f", {width}" for width in dict.fromkeys(takes.state.by_steps))
        body += [
            f"    {name}_start(state{widths});",
            "    for (;;) {",
            f"        {head}",
            *(f"        {line}" for line in reads),
            f"        {name}_step({given}, state, output{outs}, scratch);",
            f'        for (size_t k = 0; k < {upper}_OUTPUT; k++) printf("%.9g ", output[k]);',
            '        printf("\\n");',
            "    }",
            "    return 0;",
            "}",
            "",
        ]
        return "\n".join(body)

    def _given(self) -> Iterable[str]:
        yield from (name for name, _ in (*self.takes.inputs, *self.takes.statics))
        for name, _ in self.takes.memories:
            yield from (name, f"{name}_keys", f"{name}_steps")

    def _whole_sequence(self) -> list[str]:
        """The end of an example of two directions: the number of steps, then all of them."""
        name, upper, takes = self.name, self.upper, self.takes
        kind = "size_t" if self._tokens else "float"
        first, size = ("tokens", "1") if self._tokens else ("x", f"{upper}_INPUT")
        outs = "".join(f", {n}_out" for n, _, _ in takes.emits)
        lines = [
            "    size_t steps;  /* of the sequence; then what its steps read */",
            '    if (scanf("%zu", &steps) != 1) return 1;',
            f"    {kind} *{first} = malloc(sizeof({kind}) * {size} * steps);",
            *(f"    float *{n} = malloc(sizeof(float) * {s} * steps);" for n, s in takes.inputs),
            f"    float *output = malloc(sizeof(float) * {upper}_OUTPUT * steps);",
            *(f"    float *{n}_out = malloc(sizeof(float) * {s} * steps);" for n, s, _ in takes.emits),
            f"    float *scratch = malloc(sizeof(float) * {upper}_SEQUENCE_SCRATCH(steps));",
            f"    static float state[{upper}_STATE];",
            f"    if (!{first} || !output || !scratch) return 1;",
            "    for (size_t t = 0; t < steps; t++) {",
            '        if (scanf("%zu", tokens + t) != 1) return 1;'
            if self._tokens
            else f"        if (!read_numbers(x + t * {upper}_INPUT, {upper}_INPUT)) return 1;",
            *(f"        if (!read_numbers({n} + t * {s}, {s})) return 1;" for n, s in takes.inputs),
            "    }",
            f"    {name}_start(state);",
            f"    {name}_sequence({', '.join([first, 'steps', *self._given()])}, state, output{outs}, scratch);",
            "    for (size_t t = 0; t < steps; t++) {",
            f"        for (size_t k = 0; k < {upper}_OUTPUT; k++)",
            f'            printf("%.9g ", output[t * {upper}_OUTPUT + k]);',
            '        printf("\\n");',
            "    }",
            "    return 0;",
            "}",
        ]
        return lines

    @property
    def readme(self) -> str:
        name, target = self.name, self.target
        tested = target.tested or "compiled and inspected only"
        example = build = ""
        if self.main:
            example = f"\n| `{self.main}` | an example: numbers in, as text, and each step's output |"
            build = f"\n```sh\n{target.linked} {self.main} {name}.o -o {name}\n```\n"
        return f"""# {name}

`{self.network.graph.name}`, layers: {self.network.stack.num_layers}, by Gatework for {target.name} ({target.triple}).

| file | what it is |
|---|---|
{described_file(self.code, int8=self.int8)}
| `{name}.h` | the functions, and the memory that they need |{example}
{build}
No function allocates, calls the C library, keeps anything between calls, or writes anywhere but to its arguments: the
caller brings the states and scratch memory, {self.code.memory_bytes:,} bytes, and several states may be run in turn. A
step gives the numbers of `layer.stream()` to within float32's rounding. In Gatework's tests code of this target is
{tested}.
"""


def described_file(code: Code, *, int8: bool) -> str:
    """The row of a README's table for an object file."""
    stored = "8 bits with a scale for each row" if int8 else "float32"
    return (
        f"| `{code.part.name}.o` | machine code, {code.code_bytes:,} bytes, and weights, "
        f"{code.data_bytes:,} bytes ({stored}) |"
    )


def _declared(name: str, arguments: list[str]) -> str:
    """A function's declaration, wrapped."""
    line = f"void {name}({', '.join(arguments)});"
    if len(line) <= 100:
        return line
    return f"void {name}(\n    " + ",\n    ".join(arguments) + ");"
