"""Values as plain JSON, the way people write them: `{"S": "a"}` is `"a"` and `{"N": "1.10"}` is
`1.10`.

A number keeps every digit: it becomes an int or a Decimal, never a float. The type of a value is
lost: binary values become base64 text, and sets become lists.
"""

import json
from decimal import Decimal
from typing import Any

from stream_backup.core.item import Item, Value


def plain_value(value: Value) -> Any:
    """Returns one typed value as plain JSON: text, int, Decimal, bool, None, list or dictionary."""
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return _number(content)
        case "NS":
            return [_number(each) for each in content]
        case "M":
            return plain_item(content)
        case "L":
            return [plain_value(each) for each in content]
        case "NULL":
            return None
    return content


def plain_item(item: Item) -> dict[str, Any]:
    """Returns an item or a key as plain JSON."""
    return {name: plain_value(value) for name, value in item.items()}


def plain_text(value: Any) -> str:
    """Returns plain JSON as text on one line, with all digits of its numbers."""
    match value:
        case dict():
            members = (f"{plain_text(name)}: {plain_text(each)}" for name, each in value.items())
            return f"{{{', '.join(members)}}}"
        case list():
            return f"[{', '.join(map(plain_text, value))}]"
        case Decimal():
            return format(value, "f")
    return json.dumps(value, ensure_ascii=False)


def _number(text: str) -> int | Decimal:
    return Decimal(text) if {*text} & {*".eE"} else int(text)
