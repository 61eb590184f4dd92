"""The page of the tasks, made from what each declares: its data, its inputs and outputs, its options and settings.

    python docs/tasks_page.py

`tests/test_documentation.py` fails where docs/tasks.md is stale.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from gatework import tasks
from gatework.tasks.base import Task
from gatework.tasks.options import describe_options

PAGE = Path(__file__).parent / "tasks.md"
HEAD = """# The tasks, and all their options

<!-- Made by docs/tasks_page.py from the tasks themselves. -->

Options are given to a task's class, `gw.Translator(epochs=5)`; on the command line with `--set epochs=5`; in a YAML
file with `--config`, of which `gatework train TASK --print-config` writes one with every option. Settings are given
to `predict`: `model.predict(text, beam=5)`, or `gatework predict RUN --set beam=5`. Options whose default is `auto`
follow the size of the data; what was chosen is said before the training and kept in the run.
"""


def table(model: type[BaseModel]) -> str:
    """A row an option: its name, kind, default and description."""
    rows = ["| name | kind | default | what it is |", "|---|---|---|---|"]
    for option in describe_options(model):
        cells = (f"`{option.name}`", option.kind, option.default, option.description)
        escaped = (cell.replace("|", r"\|").replace("*", r"\*") for cell in cells)
        rows.append(f"| {' | '.join(escaped)} |")
    return "\n".join(rows)


def fields(schema: dict[str, object]) -> str:
    """The fields of a record, as its schema names them."""
    properties = schema["properties"]
    assert isinstance(properties, dict)
    return ", ".join(f"`{name}`" for name in properties)


def section(task: type[Task]) -> str:
    """A task's part of the page."""
    where = f"{task.__module__}.{task.__qualname__}"
    return f"""
## {task.name}

```{{eval-rst}}
.. autoclass:: {where}
   :members:
   :inherited-members:
   :exclude-members: Options, Settings, Input, Output, restore
```

Columns of its data: {", ".join(f"`{column}`" for column in task.columns)}. A record of `predict` has
{fields(task.output_schema())}. The headline figure, by which baselines are compared, is `{task.headline.name}`.

### Options of {task.name}

{table(task.Options)}

### Settings of its predictions

{table(task.Settings)}
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(section(tasks.get(name)) for name in tasks.names())


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
