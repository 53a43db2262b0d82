"""The text of tokens that arrive one by one."""

from __future__ import annotations

import codecs

from tutelage.tokenizer import Tokenizer


class StreamDecoder:
    """Decodes ids one by one; a character is returned once all its bytes have arrived."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoded: list[int] = []
        self._pending: list[int] = []
        self._at_start = True

    def push(self, token: int) -> str:
        """The text that `token` completes; may be empty."""
        if self._tokenizer.spells_bytes:
            text = self._utf8.decode(self._tokenizer.token_bytes(token))
            if self._at_start and text:
                self._at_start, text = False, text.removeprefix(" ") if self._tokenizer.opens_with_space else text
            return text
        self._pending.append(token)
        return self._release(final=False)

    def flush(self) -> str:
        """The pending text, with U+FFFD for incomplete characters; resets the decoder."""
        text = self._utf8.decode(b"", final=True) + self._release(final=True)
        self._utf8.reset()
        self._decoded, self._at_start = [], True
        return text

    def _release(self, final: bool) -> str:
        # Such a tokenizer keeps or drops a space depending on the token before, so the last tokens are decoded again.
        before = self._tokenizer.decode(self._decoded)
        after = self._tokenizer.decode(self._decoded + self._pending)
        if after.endswith("\ufffd") and not final:
            return ""
        self._decoded, self._pending = self._pending, []
        return after[len(before) :]
