"""Headless Chromium, driven over its pipe (Chrome DevTools Protocol): no package is needed for it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)

# The browser reads its commands from file 3 and answers to file 4.
AS_3_AND_4 = """
import os, sys
reading, writing = (os.dup(os.dup(os.dup(int(number)))) for number in sys.argv[1:3])  # none is 3 or 4 by now
os.dup2(reading, 3)
os.dup2(writing, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
OVERFLOW = """[...document.querySelectorAll("body *")].filter((e) => {
    const box = e.getBoundingClientRect();
    let up = e.parentElement;
    while (up !== document.body && getComputedStyle(up).overflowX === "visible") up = up.parentElement;
    return box.width > 0 && box.right > innerWidth + 1 && up === document.body;
}).map((e) => e.tagName + "." + e.className + "#" + e.id)"""


class Browser:
    """One page. `errors` are what its scripts threw or its policy refused, `requests` the addresses it asked for."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing, self.buffer, self.number, self.session = reading, writing, b"", 0, ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        targets = self.send("Target.getTargets")["targetInfos"]
        target = next(info["targetId"] for info in targets if info["type"] == "page")
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol; returns its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> Any:
        while b"\0" not in self.buffer:
            data = os.read(self.reading, 1 << 16)
            assert data, "the browser has ended"
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\0", 1)
        event = json.loads(text)
        name, parameters = event.get("method"), event.get("params", {})
        if name == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(parameters["exceptionDetails"])[:600])
        if name == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
        if name == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        return event

    def open(self, url: str, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Go to an address, in a window of this size."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=features)
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def run(self, code: str) -> Any:
        """The value of a JavaScript expression, a promise's once it is there."""
        result = self.send("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"never true: {condition}; {self.errors}"
            time.sleep(0.03)

    def type(self, text: str, key: str = "") -> None:
        """Type a text into what has the focus, then press a key such as "Enter"."""
        self.send("Input.insertText", text=text)
        if key:
            self.press(key)

    def press(self, key: str) -> None:
        """Press a key."""
        code = {"Enter": 13, "Escape": 27, "ArrowRight": 39}.get(key, ord(key[0].upper()))
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=code)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def hover(self, selector: str) -> None:
        """Move the mouse onto the first element of a selector."""
        box = self.run(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
                       "e.scrollIntoView({block: 'center'}); const b = e.getClientRects()[0]; "
                       "return [b.left + b.width / 2, b.top + b.height / 2]; })()")  # fmt: skip
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])

    def overflow(self) -> list[str]:
        """The elements that reach over the right edge of the page, and of no box that scrolls."""
        found: list[str] = self.run(OVERFLOW)
        return found

    def screenshot(self, path: Path) -> None:
        """Save what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile that reaches this machine only."""
    to_browser, from_browser = os.pipe(), os.pipe()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-first-run", "--hide-scrollbars"]
    flags += ["--disable-background-networking", "about:blank"]
    command = [sys.executable, "-c", AS_3_AND_4, str(to_browser[0]), str(from_browser[1]), CHROMIUM, *flags]
    fds = (to_browser[0], from_browser[1])
    with subprocess.Popen(command, pass_fds=fds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for fd in fds:
            os.close(fd)
        try:
            yield Browser(from_browser[0], to_browser[1])
        finally:
            process.kill()
            os.close(to_browser[1])
            os.close(from_browser[0])
