"""Finished frames on their way into the output, so that a run which dies can go on where it was.

finished frames of a window -> journal -> encoder -> every SEGMENT_FRAMES: a segment, for what the journal has of them
                                                                                                  [encode thread]
at the end: segments, and the other streams of the source -> .part -> rename -> journal removed
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from torch import Tensor

from stdvid.errors import (
    InputError,
    Interrupted,
    ModelError,
    OutputError,
    OutputExistsError,
    SourceChangedError,
    UsageError,
)
from stdvid.journal import Journal, Spooled, State, discard
from stdvid.media.frames import Image
from stdvid.media.opening import reason
from stdvid.media.output import output_format
from stdvid.media.segments import SegmentEncoder
from stdvid.media.threads import Background
from stdvid.media.timing import Slot
from stdvid.media.verify import check_video
from stdvid.media.writer import VideoWriter

SEGMENT_FRAMES = 96
"""A segment ends with the window that makes it this long, or longer."""

WINDOWS_WAITING = 2
"""Finished windows that may wait for the encode thread."""

_LAST = "recording.last"


@dataclass(frozen=True)
class Timed:
    """A finished frame: uint8 [H,W,3], its pts and duration in ticks of the source."""

    image: Image
    pts: int
    duration: int


@dataclass(frozen=True)
class _Window:
    windows: int
    frames: int
    finished: Spooled
    state: State


class Recording:
    """A context manager: leaving it normally writes the output; leaving it by an exception keeps the journal.

    Attributes:
        windows: how many were finished by earlier runs of the same key.
        frames: how many are finished, at first by earlier runs.
        whole: the output is there already, and there is nothing to do.
        notes: what the user should know; complete after leaving.

    Raises:
        OutputError: something cannot be written.
        OutputExistsError: the output is there, and not to be overwritten.
    """

    def __init__(
        self,
        output: Path,
        key: str,
        open_writer: Callable[[], VideoWriter],
        *,
        resume: bool = True,
        overwrite: bool = False,
        verify: bool = False,
    ) -> None:
        """`open_writer` makes a writer of the output; it is called twice: for what it will do, and at the end.

        `resume`: go on with a journal of this key, and keep one. `verify`: decode the file before it gets its name.
        """
        self._output, self._open_writer, self._resume = output, open_writer, resume
        self._overwrite, self._verify = overwrite, verify
        self._target = output_format(output)
        self._journal = Journal(output, key)
        self.notes: list[str] = []
        self._first_pts: int | None = None
        self._last: Image | None = None
        self._skipped = 0
        self._encoder: SegmentEncoder | None = None

    def __enter__(self) -> Self:
        if not self._resume:
            discard(self._output)
        self._journal.__enter__()
        try:
            self.whole = self._journal.output_is_whole
            if not self.whole:
                self._prepare()
        except BaseException:
            self._journal.__exit__()
            raise
        self.windows = self._journal.windows
        self.frames = self._earlier = self._journal.frames
        return self

    def _prepare(self) -> None:
        if self._output.exists() and not self._overwrite:
            raise OutputExistsError(f"{self._output}: exists already; use -y or another name")
        if self._journal.began_anew:
            self.notes.append("the journal of an earlier run is of another input, model or settings: begun anew")
        elif self._journal.windows:
            self.notes.append(f"going on after {self._journal.frames} frames of an earlier run")
        trial = self._open_writer()
        self._plan, self._timing = trial.stream_plan, trial.new_timing()
        trial.abort()
        self._limit = math.inf if self._plan.choice.codec == "gif" else SEGMENT_FRAMES
        self._encode(self._journal.waiting())  # of an earlier run
        self._writing = Background[_Window](self._write, WINDOWS_WAITING)
        self._writing.__enter__()

    def state(self) -> dict[str, Tensor]:
        """What the next window needs of those finished by earlier runs."""
        state = self._journal.state()
        last = state.pop(_LAST, None)
        self._last = None if last is None else last.numpy()
        return state

    def skip(self, waiting: deque[tuple[int, int]]) -> None:
        """Take from the pts and durations of frames that come those which were finished by earlier runs."""
        while waiting and self._skipped < self._earlier:
            pts, duration = waiting.popleft()
            self._place(pts, duration)
            self._skipped += 1

    def add(self, windows: int, finished: Sequence[Timed], state: Callable[[], State]) -> None:
        """`windows` windows are finished now, and with the last one these frames; `state` gives what the next needs."""
        spooled: Spooled = []
        for frame in finished:
            for slot in self._place(frame.pts, frame.duration):
                spooled.append((self._last if slot.repeat and self._last is not None else frame.image, slot))
            self._last = frame.image
        self.frames += len(finished)
        last: State = {} if self._last is None else {_LAST: self._last}
        self._writing.put(_Window(windows, self.frames, spooled, {**state(), **last}))

    def _place(self, pts: int, duration: int) -> list[Slot]:
        self._first_pts = pts if self._first_pts is None else self._first_pts
        return self._timing.place(pts, duration)

    def _write(self, item: _Window) -> None:
        self._journal.add(item.windows, item.frames, item.finished, item.state)
        self._encode(item.finished)

    def _encode(self, frames: Iterable[tuple[Image, Slot]], last: bool = False) -> None:
        """Go on with these frames, which the journal has; the segment ends where it is long enough, or `last`."""
        try:
            for image, slot in frames:
                self._encoder = self._encoder or SegmentEncoder(self._plan, self._target)
                self._encoder.add(image, slot)
            if self._encoder and (last or self._journal.spooled >= self._limit):
                self._journal.add_segment(self._encoder.finish())
                self._encoder = None
        except (av.FFmpegError, ValueError) as exc:
            raise OutputError(f"{self._output}: cannot be encoded ({reason(exc)}); choose another --codec") from exc

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self.whole:
                kept = kind is None or issubclass(kind, Interrupted | SourceChangedError)  # else drop what is under way
                self._writing.__exit__(None if kept else kind, None if kept else value, trace)
                if kind is None:
                    self._assemble()
        except BaseException as exc:
            self._give_up(type(exc))
            raise
        if kind is None:
            self._journal.remove()
        else:
            self._give_up(kind)

    def _give_up(self, kind: type[BaseException]) -> None:
        """Keep the journal where the same command could go on."""
        if self._encoder:
            self._encoder.close()
        self._journal.__exit__()
        hopeless = issubclass(kind, InputError | ModelError | UsageError) and not issubclass(kind, SourceChangedError)
        if hopeless or not self._resume:
            self._journal.remove()

    def _assemble(self) -> None:
        self._encode([], last=True)
        with self._open_writer() as writer:
            if self._first_pts is not None:
                writer.write_segments(self._journal.segments, self._timing, self._first_pts)
            writer.complete()
            if self._verify:
                check_video(writer.file.part, writer.times)
                self.notes.append(f"verified: {len(writer.times)} frames, each at its time")
            self._journal.commit(writer.file.part.stat().st_size)
        self.notes.extend(writer.notes)


class Streaming:
    """In the place of a Recording where input or output is a pipe: frames are encoded and written as they come, and
    there is nothing to go on with."""

    windows = 0
    whole = False

    def __init__(self, open_writer: Callable[[], VideoWriter]) -> None:
        self._open_writer = open_writer
        self.frames = 0
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        self._writer = self._open_writer()
        self._writing = Background[Timed](self._write, WINDOWS_WAITING)
        self._writing.__enter__()
        return self

    def _write(self, frame: Timed) -> None:
        self._writer.write(frame.image, frame.pts, frame.duration)

    def state(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def skip(self, waiting: deque[tuple[int, int]]) -> None:
        """There are no earlier runs."""

    def add(self, windows: int, finished: Sequence[Timed], state: Callable[[], State]) -> None:
        """These frames are finished."""
        for frame in finished:
            self._writing.put(frame)
        self.frames += len(finished)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writing.__exit__(kind, value, trace)
        except BaseException:
            self._writer.abort()
            raise
        self._writer.__exit__(kind, value, trace)
        self.notes.extend(self._writer.notes)
