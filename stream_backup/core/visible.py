"""Text that a terminal shows as it is.

An archive holds what others wrote: keys, values, names, and reasons. A terminal obeys control
characters (ECMA-48), and reorders a line at the characters of the Unicode Bidirectional Algorithm
(Unicode Standard Annex 9), so that a line can show something else than it says. Whatever this
project prints passes through `visible`.
"""

_ASTRAL = 0x10000


def visible(text: str) -> str:
    """Returns `text` with each character that is not printable (`str.isprintable`: controls,
    format and bidirectional controls, separators other than the space, surrogates, and private or
    unassigned characters) as `\\uXXXX`, the escape of JSON.

    Inside a JSON string the escape means the same character, so JSON remains the same value.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(ord(each)) for each in text)


def visible_lines(text: str) -> str:
    """Returns `text` with each of its lines visible. Only for text whose line breaks are our own,
    such as indented JSON."""
    return "\n".join(map(visible, text.split("\n")))


def _escape(code: int) -> str:
    if code < _ASTRAL:
        return f"\\u{code:04x}"
    high, low = divmod(code - _ASTRAL, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
