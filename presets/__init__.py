"""Data of stdvid, installed as the package `stdvid_presets`; found with `importlib.resources.files("stdvid_presets")`.

    stylize/*.toml   presets of `stdvid stylize`
    distill/*.toml   configurations of `stdvid distill`
    styles/*.jpg     bundled style images; the file name without its suffix is the name users type
    demo/            the clip of `make demo`

This file makes the folder a regular package, so that `files(...)` is one real directory, installed or in a checkout.
"""
