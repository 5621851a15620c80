"""stdvid: fast, consistent, artistic restyling of real video by single-trajectory distillation."""

__version__ = "0.1.0"
