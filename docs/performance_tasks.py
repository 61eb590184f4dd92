"""What the tasks, the cells and the sessions reach, as parts of the page of the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from performance_tables import minutes, percent, ratio, read, sources, table

Row = Mapping[str, Any]
Figure = Callable[[Mapping[str, float]], float]


def reached() -> list[tuple[str, str, str, str, str]]:
    """What each task reached: data, how long it trained, the model's figure, what stands beside it, file."""
    shakespeare, wikitext = read("language_model_tiny_shakespeare"), read("language_model_wikitext_2")
    emotions, digits = read("classification_goemotions"), read("classification_digits")
    squad, unanswered, babi = read("reading_squad"), read("reading_no_answer"), read("reading_babi")["mean"]
    voice, chat = read("speech_synthesis_kathleen"), read("chat_camrest676")["figures"]
    spoken = read("speech_synthesis_digits")
    rows = [
        (
            "tiny shakespeare, characters, validation",
            minutes(shakespeare["training_seconds"]),
            *(f"{shakespeare['figures']['valid'][who]['loss']:.3f} nats" for who in ("model", "baseline")),
            "language_model_tiny_shakespeare",
        ),
        (
            "WikiText-2, words",
            minutes(wikitext["training_seconds"]),
            *(
                f"perplexity {wikitext['figures']['test'][who]['perplexity']:.1f}"
                for who in ("model", "baseline")
            ),
            "language_model_wikitext_2",
        ),
    ]
    found = {(row["direction"], row["decoder"]): row for row in read("translation")["results"]}
    for direction in ("en-ja", "ja-en"):
        attends, blind = (found[direction, decoder] for decoder in ("bahdanau_gru", "gru"))
        beside_it = f"without attention {blind['test']['bleu']:.1f}"
        rows.append(
            (
                f"small_parallel_enja, {direction}",
                minutes(attends["training_seconds"]),
                f"BLEU {attends['test']['bleu']:.1f}",
                beside_it,
                "translation",
            )
        )
    for what, one in (("one run", emotions["one run"]), ("four runs together", emotions["runs together"])):
        seconds = (
            emotions["seconds of each training"][0]
            if what == "one run"
            else emotions["seconds of the runs together"]
        )
        figures = [f"macro F1 {one[who]['macro_f1']:.3f}" for who in ("model", "baseline")]
        rows.append(
            (f"GoEmotions, four groups, {what}", minutes(seconds), *figures, "classification_goemotions")
        )
    right = [percent(digits["test"][who]["accuracy"]) for who in ("model", "baseline")]
    rows.append(
        ("spoken digits, as numbers", minutes(digits["training_seconds"]), *right, "classification_digits")
    )
    for row in read("tagging_snips")["results"]:
        if row["seed"] == 0:
            seconds = row.get("training_seconds")
            figures = [
                f"slot F1 {100 * row['test'][who]['span_f1']:.1f}, "
                f"intents {percent(row['test'][who]['label_accuracy'])}"
                for who in ("model", "baseline")
            ]
            what = row["variant"].replace("_", " ")
            rows.append((f"SNIPS, {what}", minutes(seconds) if seconds else "", *figures, "tagging_snips"))
    for what, one, name in (
        ("SQuAD, unseen articles, three seeds together", squad, "reading_squad"),
        ("the same, a third without an answer", unanswered, "reading_no_answer"),
    ):
        figures = [f"F1 {100 * one['test'][who]['f1']:.1f}" for who in ("model", "baseline")]
        rows.append((what, minutes(sum(one["training_seconds"])), *figures, name))
    rows.append(
        (
            "bAbI, ten tasks of 1,000 questions",
            minutes(read("reading_babi")["training_seconds"]),
            percent(babi["accuracy"]),
            f"logistic regression {percent(babi['logistic_regression'])}",
            "reading_babi",
        )
    )
    hours_of = {"oil temperature, 24": "ot_24", "oil temperature, 168": "ot_168"}
    hours_of |= {"seven variables, 24": "seven_24", "seven variables, 96": "seven_96"}
    for what, part in hours_of.items():
        name = f"forecasting_etth1_{part}"
        figures = [f"MSE {read(name)['test'][who]['mse']:.4f}" for who in ("model", "baseline")]
        held = (read(name)["test"]["model"], read(name)["test_with_adapted_intervals"])
        shares = " and ".join(percent(own["coverage_80"]) for own in held)
        figures[0] += f"; 80 % intervals hold {shares} (fixed, adapting)"
        rows.append(
            (
                f"ETTh1, {what} hours",
                minutes(read(name)["training_seconds"]),
                *figures,
                name,
            )
        )
    stocks = read("forecasting_stocknet")["test"]
    figures = [f"scaled CRPS {stocks[who]['scaled_crps']:.3f}" for who in ("model", "rolling_quantile")]
    rows.append(("returns of 66 stocks, the next day", "", *figures, "forecasting_stocknet"))
    rows += speech()
    distortion = {who: found["mel_cepstral_distortion"] for who, found in voice["baselines"].items()}
    rows.append(
        (
            "Kathleen, six minutes of a voice",
            minutes(voice["seconds"]["synthesizer"]),
            f"{voice['model']['mel_cepstral_distortion']:.1f} dB",
            f"training frames {distortion['nearest_frames']:.1f} dB, mean frame {distortion['mean_frame']:.1f} dB",
            "speech_synthesis_kathleen",
        )
    )
    rows.append(
        (
            "digits spoken in a new order, as a recogniser hears them",
            minutes(spoken["seconds"]["synthesizer"]),
            f"{percent(spoken['model']['wer'])} of the words wrong",
            f"recordings {percent(spoken['references']['wer'])}",
            "speech_synthesis_digits",
        )
    )
    common = [percent(chat[who]["most_common_share"]) for who in ("model", "references")]
    rows.append(
        (
            "CamRest676, dialogues",
            "",
            f"perplexity {chat['model']['perplexity']:.1f}, most common reply {common[0]}",
            f"people {common[1]}",
            "chat_camrest676",
        )
    )
    return rows


def speech() -> list[tuple[str, str, str, str, str]]:
    """What the transcriber reached on spoken digits."""
    rows = []
    right = ("right", lambda test: test["transcript_accuracy"])
    wrong = ("of the words wrong", lambda test: test["wer"])
    kinds: tuple[tuple[str, str, tuple[str, Figure], Callable[[Row], bool]], ...] = (
        ("spoken digits, five rotations", "speech_digits", right, lambda row: True),
        ("of a speaker who was not heard", "speech_chosen", right, lambda row: True),
        ("three recordings of each digit", "speech_few", right, lambda row: True),
        ("strings of 3 to 7 digits", "speech_strings", wrong, lambda row: row.get("seeds") == [0]),
        ("the same, seeds together", "speech_strings", wrong, lambda row: len(row.get("seeds", [])) > 1),
        ("the same, as one speaks", "speech_strings", wrong, lambda row: row["variant"] == "streaming"),
    )
    for what, name, (word, figure), counts in kinds:
        found = [row for row in read(name)["results"] if counts(row)]
        if not found:
            continue
        seconds = [row["cpu_seconds"] for row in found if "cpu_seconds" in row]
        values = [
            sum(figure(row["test"][who]) for row in found) / len(found) for who in ("model", "baseline")
        ]
        rival = found[0]["test"]["strongest"].replace("_", " ")
        rows.append(
            (
                what,
                minutes(sum(seconds) / len(seconds)) if seconds else "",
                f"{percent(values[0])} {word}",
                f"{rival} {percent(values[1])}",
                name,
            )
        )
    return rows


def tasks() -> str:
    """What the tasks reached."""
    rows = reached()
    names = list(dict.fromkeys(row[-1] for row in rows))
    return f"""
## What the tasks reach

On test data unless it is said otherwise, beside the strongest baseline that `evaluate` shows, or what is named. The
trainings ran on two cores or one, which mostly did other work as well, so that the times are upper bounds:

{table(["data", "after", "model", "beside it", "file"], [(*row[:-1], f"`{row[-1]}`") for row in rows])}

{sources(*names)}
"""


def memory() -> str:
    """Which cells remember, and which track a state."""
    found = read("memory")["results"]
    problems = list(dict.fromkeys(row["problem"] for row in found))
    skills: dict[str, dict[str, str]] = {}
    for row in found:
        lowest = min(row["skill"].values())
        text = f"{max(0.0, lowest):.2f}"
        skills.setdefault(row["cell"], {})[row["problem"]] = f"**{text}**" if row["solved"] else text
    rows = [
        (f"`{cell}`", *(cells.get(problem, "") for problem in problems)) for cell, cells in skills.items()
    ]
    times = sorted({row["minutes"] for row in found})
    processors = " and ".join(sorted({row["processor"]["cpu"] for row in found}))
    between = " to ".join(f"{time:g}" for time in (times[0], times[-1]))
    return f"""
## Which cells remember, and which track a state

0 is what a guess reaches, 1 is without error; bold is solved. Of several tested lengths the worst counts. Every cell
has the same minutes of a core for a problem ({between}, more where sequences are long), in which its learning rate is
found too. So little time is a part of the question: a cell that has 0 here may learn in an hour.
An empty field was not trained.

{table(["", *(problem.replace("_", " ") for problem in problems)], rows)}

The trainings ran on {processors}; the file was put together elsewhere:

{sources("memory")}
"""


def reasons() -> str:
    """Whether the steps that reports name carried the answers."""
    found = read("reasons")
    rows = [
        (
            outcome,
            f"{row['outcomes']:,}",
            f"{row['named_change_more']:,}",
            f"{row['median_named_nats']:.2g}",
            f"{row['median_others_nats']:.2g}",
        )
        for outcome, row in found["results"].items()
    ]
    return f"""
## Whether a report names what carried an answer

The demo's translator is looked into with {found["inputs"]} dates of days that it has not seen. Of each outcome that a
report explains, the tenth of the steps that it names is left out of the encoder, and as many others, drawn at random:
by how many nats its log-probability changes, in the median, and how often it changes more without those that are named.

{table(["outcome", "explained", "named change more", "without the named", "without others"], rows)}

{sources("reasons")}
"""


def served() -> str:
    """Sessions stepped together, the service under load, and exported cells."""
    together = [
        (
            row["task"],
            f"{row['sessions']:,}",
            f"{row['alone_us']:.0f}",
            f"{row['together_us']:.0f}",
            ratio(row["ratio"]),
        )
        for row in read("sessions")["results"]
    ]
    found = read("serving")["load"]
    load = [
        (
            str(row["clients"]),
            f"{row['answers']:,}",
            str(row["errors"]),
            *(f"{row[name]:.0f}" for name in ("answers_a_second", "p50_ms", "p99_ms")),
        )
        for row in (found["one_client"], found["64_clients"])
    ]
    exported = [
        (
            f"`{row['network']}`",
            row["target"],
            row["weights"],
            f"{row['code_bytes']:,}",
            f"{row['data_bytes']:,}",
            *(f"{1e6 * row['step_seconds'][who]:.1f}" for who in ("export", "stream")),
        )
        for row in read("exports")["records"]
        if "code_bytes" in row and "step_seconds" in row
    ]
    pairs = read("exports_encoder_decoder")
    translated = [
        (row["target"], row["weights"], f"{row['code_bytes']:,}", f"{row['data_bytes']:,}")
        for row in pairs["records"]
    ]
    steps = {who: f"{1e6 * seconds:,.0f}" for who, seconds in pairs["step_seconds"].items()}
    return f"""
## Sessions, and the service

Microseconds for a step of a session, one session at a time and all stepped together:

{table(["task", "sessions", "alone", "together", "ratio"], together)}

`gatework serve`, loaded from a second process on the same two cores, which others kept busy; milliseconds an answer:

{table(["clients", "answers", "errors", "answers a second", "half within", "99 % within"], load)}

{sources("sessions", "serving")}

## Exports

Layers of {read("exports")["units"]} units on a busy machine: bytes, and microseconds for a step of the export and of
`layer.stream()`:

{table(["cell", "target", "weights", "code", "data", "export", "stream"], exported)}

The demo's translator, of 128 units: encoder, bridge and decoder together, in bytes. Every example printed the tokens
of the network's own greedy search. A decoder's step of one row, over a source of {pairs["source_tokens"]} tokens, takes
{steps["c"]} µs in C, {steps["onnx"]} µs on ONNX Runtime, and {steps["network"]} µs as the network's own, on a busy
machine.

{table(["target", "weights", "code", "data"], translated)}

{sources("exports", "exports_encoder_decoder")}
"""
