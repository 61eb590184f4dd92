"""Cells compiled for a machine: what is the same for every machine.

In the order in which a call goes through it:

- `programs.py`: the step graph falls into what leaves the loop and what stays, and for training into forward and
  backward programs; `spans.py`: a batch falls into steps with the same rows, and these into chunks;
- `forward_backward.py` writes what a layer's pass does as a list of commands, with `builder.py`; `commands.py` says
  what a command is, and how it names an array; `attention_rows.py` brings memories into their order;
- `machine.py` states what a machine is asked for: it makes a list of commands ready, and runs it on tensors;
- `sequence.py` is a layer in torch's autograd, `stack.py` a whole stack in one call, `stream_step.py` a stream's step
  and `single_step.py` a search's; `dense/` has linear maps and softmaxes over them;
- `once.py` has the lock under which all of it is made.

`gatework.backends.llvm` is the machine of CPUs. The tests have another one of a few lines, which computes every command
with torch's operators.
"""
