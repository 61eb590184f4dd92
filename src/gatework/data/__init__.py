"""Files to examples to batches. Knows no task; each error names the file and the row."""

from .calendar import calendar_cycles, calendar_features, next_times, season_length
from .column_names import cell_of, check_columns, top_column
from .detokenizers import Detokenizer
from .dialogues import context_text, read_dialogues
from .examples import Fields, Packed
from .feature_store import FeatureStore
from .files import check_exists, read_lines, while_pipes_are_kept
from .frequency import Frequency
from .griffin_lim import sound_of_log_mel
from .labelled import LabelColumns, Labelled, check_labels, label_counts, read_labelled
from .length_batches import length_batches
from .log_mel import LogMel, LogMelStream, mfcc
from .pairs import Pair, read_pairs
from .recordings import Recording, read_recordings, recording_seconds
from .series import Series, SeriesData, SeriesNames, check_known
from .series_columns import SeriesColumns
from .series_reading import group_rows, one_series, read_series
from .sound import ResamplingStream, Sound, read_sound, sound_seconds, write_sound
from .sound_changes import (
    at_speed,
    spec_augment,
    trim_silence,
    with_gain,
    with_noise,
    without_silence,
)
from .table_writer import write_table, writes_table
from .tables import (
    FileStamp,
    Row,
    Source,
    describe_source,
    file_format,
    file_stamps,
    is_frame,
    locate_rows,
    named_by_place,
    read_rows,
    source_paths,
)
from .tag_schemes import (
    OUTSIDE,
    Moves,
    Scheme,
    Span,
    allowed_moves,
    is_well_formed,
    odd_tags,
    scheme_of,
    spans_of,
    tags_of,
)
from .tagged import TaggedSentence, Tagging, read_tagged
from .text import read_texts, text_sha256
from .token_stream import ParallelStreams, TokenStream
from .tokenizers import Encoding, Tokenizer
from .word_features import feature_rows, hashed, token_features
from .word_vectors import read_word_vectors

__all__ = [
    "OUTSIDE",
    "Detokenizer",
    "Encoding",
    "FeatureStore",
    "Fields",
    "FileStamp",
    "Frequency",
    "LabelColumns",
    "Labelled",
    "LogMel",
    "LogMelStream",
    "Moves",
    "Packed",
    "Pair",
    "ParallelStreams",
    "Recording",
    "ResamplingStream",
    "Row",
    "Scheme",
    "Series",
    "SeriesColumns",
    "SeriesData",
    "SeriesNames",
    "Sound",
    "Source",
    "Span",
    "TaggedSentence",
    "Tagging",
    "TokenStream",
    "Tokenizer",
    "allowed_moves",
    "at_speed",
    "calendar_cycles",
    "calendar_features",
    "cell_of",
    "check_columns",
    "check_exists",
    "check_known",
    "check_labels",
    "context_text",
    "describe_source",
    "feature_rows",
    "file_format",
    "file_stamps",
    "group_rows",
    "hashed",
    "is_frame",
    "is_well_formed",
    "label_counts",
    "length_batches",
    "locate_rows",
    "mfcc",
    "named_by_place",
    "next_times",
    "odd_tags",
    "one_series",
    "read_dialogues",
    "read_labelled",
    "read_lines",
    "read_pairs",
    "read_recordings",
    "read_rows",
    "read_series",
    "read_sound",
    "read_tagged",
    "read_texts",
    "read_word_vectors",
    "recording_seconds",
    "scheme_of",
    "season_length",
    "sound_of_log_mel",
    "sound_seconds",
    "source_paths",
    "spans_of",
    "spec_augment",
    "tags_of",
    "text_sha256",
    "token_features",
    "top_column",
    "trim_silence",
    "while_pipes_are_kept",
    "with_gain",
    "with_noise",
    "without_silence",
    "write_sound",
    "write_table",
    "writes_table",
]
