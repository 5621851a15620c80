"""Video in and out: probe, read, write. NumPy, PyAV and OpenCV only; torch is never imported here."""

from stdvid.media.frames import Frame, FrameChunk
from stdvid.media.output import check_output, default_codec
from stdvid.media.probe import VideoInfo, probe
from stdvid.media.random_access import DecordReader
from stdvid.media.reader import PyAVReader, VideoReader
from stdvid.media.timebase import TimePoint, parse_time_point
from stdvid.media.writer import VideoWriter

__all__ = [
    "DecordReader",
    "Frame",
    "FrameChunk",
    "PyAVReader",
    "TimePoint",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "check_output",
    "default_codec",
    "parse_time_point",
    "probe",
]
