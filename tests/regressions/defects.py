"""The original's defects, by number: sections 1 to 14 and 16 of the study of its behaviour.

Each is proved not to be ours by a test marked `@pytest.mark.defect(number)`, or listed here with the reason why it
does not apply. `test_table.py` fails for a number that is neither, or both. Section 15 (storage of
conversations) is not part of voicepilot.
"""

from __future__ import annotations

DEFECTS: dict[str, tuple[int, ...]] = {
    "1 construction, initialise, dispose": (4, 5, 6, 7, 9, 10, 11, 12),
    "2 start": (17, 18, 19, 20, 21, 24, 25, 26, 27, 28, 29, 30, 32),
    "3 end": (36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46),
    "4 renewal": (53, 54, 55, 56, 57, 58, 59, 60),
    "5 queries, updates, inactivity": (63, 65, 68, 71),
    "6 events and hooks": (74, 75, 76, 79),
    "7 diagnostics, health, heartbeat": (82, 83, 84, 87, 88, 89, 91, 92),
    "8 conversations and transcripts": (95, 96, 97, 98, 99, 100, 102),
    "9 timers": (111, 112, 113, 114, 115, 116, 117, 118),
    "10 key service": (120, 123, 125, 126, 128, 129, 130, 131, 132, 135, 139),
    "11 recovery": (142, 145, 146, 148, 149, 150, 151, 152, 153, 154, 157, 158, 160, 161, 164, 166),
    "12 privacy": (172, 173, 174, 175, 176, 177, 178, 180),
    "13 configuration": (184, 185, 187, 188, 189, 190),
    "14 disposal": (192, 193, 194, 195, 197),
    "16 presence": (210, 211, 212),
}

_NO_PRESENCE = "there is no presence indicator"

NOT_OURS: dict[int, str] = {
    79: "kept on purpose: the requirement says one active hook set, and a newer registration replaces the older; our "
    "own parts never occupy it, and an old handle does not clear a newer set (tested in test_events.py)",
    102: "no transcript is written anywhere, so no commit can fail; a conversation lives in memory until its end",
    194: "there is no verification step after a dispose that could misreport",
    197: "there is no tracker of ids: the supervisor's tasks, the vault and the registry are the truth",
    210: _NO_PRESENCE + "; the missing state events behind it are 57",
    211: _NO_PRESENCE,
    212: _NO_PRESENCE,
}
