"""Kinds of answers: how a tier's outputs become them, how sure it is, and which agree."""

from tango_beam.answers.base import Answers, Decoder
from tango_beam.answers.labels import LabelDecoder
from tango_beam.answers.task import Task

__all__ = ["Answers", "Decoder", "LabelDecoder", "Task"]
