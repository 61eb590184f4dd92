"""An assistant that understands and acts: a tagger finds intent and slots, a table says what to do and to answer.

python examples/assistant.py        # learns from made-up sentences in some seconds, then reads what you type
"""

import random

import gatework as gw

ROOMS, ITEMS = (
    ["kitchen", "living room", "hall", "bath"],
    ["milk", "green apples", "bread", "olive oil", "rice"],
)
SLOTS = {"room": ROOMS, "item": ITEMS, "state": ["on", "off"]}
SENTENCES = {
    "light": [
        "turn {state} the light in the {room}",
        "switch the {room} light {state}",
        "{room} light {state} please",
    ],
    "add": [
        "add {item} to the list",
        "we need {item} and {item}",
        "please buy {item}",
        "put {item} on my list",
    ],
    "list": ["what is on the list", "what do we need", "read me my list", "what shall i buy"],
}
UNSURE = 0.5  # below this probability nothing is done


def example(chooser):
    """One sentence by chance, with its tags and its intent."""
    intent, tokens, tags = chooser.choice(list(SENTENCES)), [], []
    for part in chooser.choice(SENTENCES[intent]).split():
        slot = part.strip("{}") if "{" in part else ""
        words = chooser.choice(SLOTS[slot]).split() if slot else [part]
        tokens += words
        tags += [f"B-{slot}"] + [f"I-{slot}"] * (len(words) - 1) if slot else ["O"]
    return {"tokens": tokens, "tags": tags, "label": intent}


def train(epochs=8, **options):
    chooser, sizes = (
        random.Random(0),
        {"hidden_size": 48, "embedding_size": 32, "side_rows": 4096, "rivals": False},
    )
    rows = [example(chooser) for _ in range(600)]
    return gw.Tagger(epochs=epochs, learning_rate=0.01, **sizes, **options).fit(rows)


class Assistant:
    """What it knows of the house, and changes as it is told."""

    def __init__(self, tagger):
        self.tagger, self.lit, self.items = tagger, set(), []

    def answer(self, text):
        record = self.tagger.predict(text)[0]
        sure = [span for span in record["spans"] if span["probability"] > UNSURE]
        slots = {kind: [each["text"].lower() for each in sure if each["type"] == kind] for kind in SLOTS}
        if record["label_probability"] < UNSURE:
            return "I am not sure what you mean."
        return getattr(self, "do_" + record["label"])(**slots)

    def do_light(self, room, state, **_):
        if not (room and state):
            return "Which room's light, and on or off?"
        (self.lit.update if state[0] == "on" else self.lit.difference_update)(room)
        return (
            f"There is light in the {' and the '.join(sorted(self.lit))}."
            if self.lit
            else "All lights are off."
        )

    def do_add(self, item, **_):
        self.items += item
        return f"{' and '.join(item)}: noted." if item else "What shall I add?"

    def do_list(self, **_):
        return f"You need {', '.join(self.items)}." if self.items else "The list is empty."


if __name__ == "__main__":
    assistant = Assistant(train())
    while text := input("> ").strip():
        print(assistant.answer(text))
