"""Strictly increasing pts out of whatever a demuxer and a decoder say."""

from __future__ import annotations

from fractions import Fraction

MAX_BACKWARD_S = 1
"""A larger step back is a clock that was reset: everything after it is moved, not squeezed together."""


class PtsRepair:
    """Choose and repair the pts of frames that arrive in display order.

    The choice between pts and dts is FFmpeg's "best effort" one: whichever has been out of order less often; AVI
    stores no pts at all, so that there dts is the truth. Then: missing -> previous + duration; not later than the
    previous frame -> one tick later than it; a clock that jumps back -> moved to continue.

    Attributes:
        repairs: how many frames got another pts than the container's.
    """

    def __init__(self, time_base: Fraction, default_duration: int, dts_only: bool = False) -> None:
        self.repairs = 0
        self._max_backward = int(MAX_BACKWARD_S / time_base)
        self._default_duration = max(1, default_duration)
        self._dts_only = dts_only
        self._offset = 0
        self._last: int | None = None
        self._last_duration = 0
        self._seen_pts: int | None = None
        self._seen_dts: int | None = None
        self._faulty_pts = 0
        self._faulty_dts = 0

    def __call__(self, pts: int | None, dts: int | None, duration: int) -> int:
        """The pts to use for the next frame, in ticks."""
        best = self._best(pts, dts)
        step = self._last_duration or self._default_duration
        self._last_duration = duration
        if self._last is None:
            self._last = best if best is not None else 0
            self.repairs += best is None
            return self._last
        if best is None:
            self._last += step
            self.repairs += 1
            return self._last
        time = best + self._offset
        if time <= self._last:
            self.repairs += 1
            if self._last - time > self._max_backward:
                self._offset += self._last + step - time
                time = self._last + step
            else:
                time = self._last + 1
        self._last = time
        return time

    def _best(self, pts: int | None, dts: int | None) -> int | None:
        if self._dts_only:
            return dts
        if dts is not None:
            self._faulty_dts += self._seen_dts is not None and dts <= self._seen_dts
            self._seen_dts = dts
        elif pts is not None:
            self._seen_dts = pts
        if pts is not None:
            self._faulty_pts += self._seen_pts is not None and pts <= self._seen_pts
            self._seen_pts = pts
        elif dts is not None:
            self._seen_pts = dts
        if pts is not None and (dts is None or self._faulty_pts <= self._faulty_dts):
            return pts
        return dts
