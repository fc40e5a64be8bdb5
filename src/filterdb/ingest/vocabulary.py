"""One word for one thing: what networks are called by task and by kind of picture.

A word of the vocabulary, however it is spelt, becomes the word of the vocabulary; so does a
synonym. Any other word is kept as it is: a user may well know more tasks than this list.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

TASKS: Mapping[str, str] = {
    "age-estimation": "age age-prediction",
    "age-gender": "age-and-gender",
    "audio-classification": "sound-classification",
    "auto-encoder": "autoencoder ae",
    "backbone": "feature-extraction feature-extractor image-feature-extraction",
    "board-game": "",
    "character-segmentation": "",
    "classification": "classify classifier cls image-classification img-classification",
    "deblurring": "deblur",
    "deepfake-detection": "",
    "dehazing": "dehaze",
    "demosaicing": "demosaic demosaicking",
    "denoising": "denoise denoiser image-denoising",
    "depth-estimation": "depth-est monocular-depth-estimation depth-prediction",
    "detection": "detect det object-detection object-det obj-det object-detector",
    "emotion-classification": "emotion emotion-recognition facial-expression-recognition fer",
    "exposure-correction": "",
    "face-detection": "face-det face-detector",
    "face-landmarks": "face-landmark facial-landmarks landmark-detection",
    "face-recognition": "face-recog face-verification",
    "gan-discriminator": "gan-discr discriminator",
    "gan-generator": "gan-gen generator",
    "gaze": "gaze-estimation",
    "gender-classification": "gender gender-recognition",
    "head-pose": "head-pose-estimation",
    "inpainting": "inpaint image-inpainting",
    "inverse-tone-mapping": "",
    "keyword-spotting": "kws speech-commands wake-word",
    "low-light-enhancement": "low-light-image-enhancement llie",
    "mri-reconstruction": "",
    "multi-focus-image-fusion": "",
    "music-transcription": "",
    "ocr": "text-recognition optical-character-recognition",
    "optical-flow": "flow-estimation",
    "photo-enhancement": "photo-enhance image-enhancement",
    "pitch-estimation": "pitch-detection",
    "pose-estimation": "pose keypoint-detection human-pose-estimation",
    "plate-localisation": "plate-localization",
    "plate-type-classification": "",
    "reinforcement-learning": "rl",
    "segmentation": "seg segment semantic-segmentation semantic-seg instance-segmentation "
    "image-segmentation panoptic-segmentation semseg",
    "steering-regression": "steering",
    "style-transfer": "neural-style-transfer",
    "super-resolution": "super-res sr sisr superresolution image-super-resolution",
    "text-detection": "text-det",
    "vae": "variational-auto-encoder variational-autoencoder",
}  # fmt: skip
"""Word -> its synonyms: the tasks of the published data set, and those met since."""

VISUAL_CATEGORIES: Mapping[str, str] = {
    "art": "artwork paintings",
    "astronomy": "astronomical",
    "audio-waveform": "waveform",
    "board-game": "board-games",
    "cars": "",
    "cartoon": "anime cartoons",
    "depth": "depth-map depth-maps",
    "driving": "driving-scenes driving-scene street-scenes",
    "driving-simulator": "",
    "faces": "face",
    "fashion": "",
    "formula": "",
    "fractals": "fractal",
    "hands": "hand",
    "handwriting": "handwritten handwritten-digits handwritten-characters",
    "license-plate": "licence-plate license-plates number-plate number-plates",
    "map": "maps",
    "medical-ct": "ct",
    "medical-microscopy": "microscopy",
    "medical-mri": "mri",
    "medical-retina": "retina fundus",
    "medical-xray": "xray x-ray medical-x-ray",
    "natural": "nature natural-images natural-image photos",
    "plants": "plant",
    "portrait": "portraits human-portrait human-portraits",
    "satellite": "aerial remote-sensing",
    "seismic": "",
    "sketch": "sketches",
    "spectrogram": "spectrograms",
    "text": "",
    "textures": "texture",
    "thermal": "infrared",
    "underwater": "",
    "video-game": "video-games",
}  # fmt: skip
"""Word -> its synonyms: the visual categories of the published data set, and those met since."""

VOCABULARIES = {"task": TASKS, "visual_category": VISUAL_CATEGORIES}
"""Column of the catalogue -> its vocabulary."""

UNTOLD = "unknown"
"""Belongs to every vocabulary."""


def _words(vocabulary: Mapping[str, str]) -> dict[str, str]:
    """Every word and synonym, as :func:`_spelt` leaves it -> the word."""
    known = {synonym: word for word, rest in vocabulary.items() for synonym in rest.split()}
    return known | {word: word for word in (*vocabulary, UNTOLD)}


KNOWN = {column: _words(vocabulary) for column, vocabulary in VOCABULARIES.items()}


def in_vocabulary(column: str, value: Any) -> Any:
    """A value as the vocabulary of a column has it; any other value as it is.

    Examples
    --------
    >>> in_vocabulary("task", "Semantic Segmentation"), in_vocabulary("task", "weather forecast")
    ('segmentation', 'weather forecast')
    """
    return KNOWN.get(column, {}).get(_spelt(value), value) if isinstance(value, str) else value


def is_outside(column: str, value: Any) -> bool:
    """True for a word that the vocabulary of its column lacks; columns without one lack none."""
    return isinstance(value, str) and column in KNOWN and _spelt(value) not in KNOWN[column]


def outside_vocabulary(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The words in some rows that the vocabulary lacks, each with its column and its count."""
    count = Counter(
        (column, value)
        for row in rows
        for column, value in row.items()
        if column in KNOWN and is_outside(column, value)
    )
    return tuple(f"{column}: {word} ({number})" for (column, word), number in sorted(count.items()))


def respelt(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The words in some rows that the vocabulary has another for, each with that and its count."""
    count = Counter(
        (column, value, in_vocabulary(column, value))
        for row in rows
        for column, value in row.items()
        if column in KNOWN and in_vocabulary(column, value) != value
    )
    return tuple(
        f"{column}: {word} -> {ours} ({number})"
        for (column, word, ours), number in sorted(count.items())
    )


def _spelt(word: str) -> str:
    """A word without what people differ in: case, and what stands between its parts."""
    return re.sub(r"[\s_/-]+", "-", word.strip().rstrip(".").lower())
