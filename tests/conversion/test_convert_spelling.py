"""Which layers a conversion takes, as one text."""

from __future__ import annotations

import pytest

import decoupled_nets as dn
from decoupled_nets.conversion.spelling import parse_select


@pytest.mark.parametrize(
    ("text", "select"),
    [
        ("layer3.*", dn.Select(names=["layer3.*"])),
        (" layer3.* , layer4", dn.Select(names=["layer3.*", "layer4"])),
        ("kernel_size=any,depthwise,shortcuts,outputs",
         dn.Select(kernel_size=["any"], depthwise=True, shortcuts=True, outputs=True)),
        ("kernel-size=3,kernel_size=1x7,stages=2", dn.Select(kernel_size=[3, (1, 7)], stages=[2])),
        ("linear", None),
        ("", None),
        (None, None),
    ],
)  # fmt: skip
def test_texts(text, select):
    assert parse_select(text) == {"select": select, "linear": text == "linear"}


@pytest.mark.parametrize("text", ["stages=x", "kernel_size=3.5", "kernel_size=", "name=3", "stages=-1"])
def test_slips(text):
    with pytest.raises(ValueError, match=rf"select: '{text}' received; needed: globs of names"):
        parse_select(text)
