"""Values as bytes, through any LangGraph serializer; what is encrypted is encrypted last.

Two equal values must give equal bytes, so that the second is not stored again, and ciphertexts of equal
texts differ. So a value is first made into plain typed bytes (``dump``), compared and joined as such, and
sealed on its way to the database (``seal``): by the store's seals, to the thread and the place, or else by the
cipher of the serializer, if it has one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from vertebra.databases.sealing import MARK, NO_SEALS, Seals, key_missing
from vertebra.errors import UsageError

_NULL, _BYTES, _MSGPACK = 0, 1, 3
_JOINABLE = frozenset({_NULL, _BYTES, _MSGPACK})
_KINDS = {"null": _NULL, "bytes": _BYTES, "bytearray": 2, "msgpack": _MSGPACK, "json": 4}
_NAMES = {tag: name for name, tag in _KINDS.items()}
_OTHER = 0xF0  # followed by the length and the name of the kind
_SEALED = 0xFF  # followed by the length and the name of the cipher; 0xFE is what the store's own seals begin with
# So what is plain begins with a tag, and never as what is sealed does: nothing else is looked at to tell them apart.
_STATE = "vertebra_state"


class Codec:
    """One serializer, seen as three steps: dump and load, seal and unseal.

    A serializer with ``serde`` and ``cipher`` (LangGraph's ``EncryptedSerializer``) is taken apart: the one
    makes bytes, the other seals them.
    """

    def __init__(self, serde: SerializerProtocol, seals: Seals = NO_SEALS) -> None:
        self._seals = seals
        self._thread = ""
        self._cipher: Any = getattr(serde, "cipher", None)
        plain: Any = serde if self._cipher is None else getattr(serde, "serde", serde)
        self._dumps: Callable[[Any], tuple[str, bytes]] = plain.dumps_typed
        self._loads: Callable[[tuple[str, bytes]], Any] = plain.loads_typed
        self._joins = isinstance(plain, JsonPlusSerializer)

    def of(self, thread: str) -> Codec:
        """The same for what belongs to one thread: it opens in no other."""
        bound = object.__new__(Codec)
        bound.__dict__.update(self.__dict__)  # twice in each superstep: copy.copy takes ten times as long
        bound._thread = thread
        return bound

    @property
    def thread(self) -> str:
        """The thread that it is of, if it is of one."""
        return self._thread

    @property
    def binds(self) -> bool:
        """Whether what is stored opens in its own thread and place alone, so that a copy must be sealed anew."""
        return self._seals.on

    def dump(self, value: Any) -> bytes:
        """The value with its kind, in plain bytes."""
        kind, data = self._dumps(value)
        tag = _KINDS.get(kind)
        if tag is None:
            name = kind.encode()
            return bytes((_OTHER, len(name))) + name + data
        return bytes((tag,)) + bytes(data)

    def load(self, typed: bytes) -> Any:
        """The value of what ``dump`` has made. Raises what the serializer raises for what it does not allow."""
        tag = typed[0]
        if tag == _OTHER:
            end = 2 + typed[1]
            return self._loads((typed[2:end].decode(), typed[end:]))
        if tag == _MSGPACK and self._joins:
            return self._loads((_NAMES[tag], memoryview(typed)[1:]))  # type: ignore[arg-type] # not copied
        return self._loads((_NAMES[tag], typed[1:]))

    def load_all(self, many: Sequence[bytes]) -> list[Any]:
        """The same for many values: as one MessagePack array where they are MessagePack, which costs a tenth."""
        if len(many) < 2 or not self._joins or not all(typed[0] in _JOINABLE for typed in many):
            return [self.load(typed) for typed in many]
        values: list[Any] = self._loads(("msgpack", _array_head(len(many)) + b"".join(map(_element, many))))
        return values

    def join(self, values: Sequence[Any], limit: int) -> bytes | None:
        """What ``dump`` makes of the list of these values; None where it would be longer or loaded otherwise."""
        many = [self.dump(value) for value in values]
        if sum(map(len, many)) > limit or not self._joins or any(t[0] not in _JOINABLE for t in many):
            return None
        return bytes((_MSGPACK,)) + _array_head(len(many)) + b"".join(map(_element, many))

    def seal(self, plain: bytes, *place: str | int | None) -> bytes:
        """What goes into the database, at this place of the thread."""
        if self._seals.on:
            return self._seals.seal(plain, _STATE, self._thread, *place)
        if self._cipher is None:
            return plain
        name: str
        ciphertext: bytes
        name, ciphertext = self._cipher.encrypt(plain)
        return bytes((_SEALED, len(name.encode()))) + name.encode() + ciphertext

    def unseal(self, stored: bytes, *place: str | int | None) -> bytes:
        """What ``seal`` was given. Raises ``EncryptionError``.

        What was stored before the serializer had a cipher is taken as it is; where the store has seals, nothing is.
        """
        if self._seals.on:
            return self._seals.unseal(stored, _STATE, self._thread, *place)
        if stored[0] == MARK[0] and stored[: len(MARK)] == MARK:
            raise key_missing()
        if stored[0] != _SEALED:
            return stored
        end = 2 + stored[1]
        name = stored[2:end].decode()
        if self._cipher is None:
            if not name or not name.isprintable():  # damage
                return stored
            raise UsageError("The state is encrypted.", remedy="open it with the serializer that it was written with.")
        plain: bytes = self._cipher.decrypt(name, stored[end:])
        return plain


def _array_head(length: int) -> bytes:
    if length < 16:
        return bytes((0x90 | length,))
    return struct.pack(">BH", 0xDC, length) if length < 1 << 16 else struct.pack(">BI", 0xDD, length)


def _element(typed: bytes) -> bytes:
    if typed[0] == _MSGPACK:
        return typed[1:]
    if typed[0] == _NULL:
        return b"\xc0"
    length = len(typed) - 1
    if length < 1 << 8:
        return struct.pack(">BB", 0xC4, length) + typed[1:]
    head = struct.pack(">BH", 0xC5, length) if length < 1 << 16 else struct.pack(">BI", 0xC6, length)
    return head + typed[1:]
