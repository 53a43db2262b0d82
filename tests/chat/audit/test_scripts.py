from __future__ import annotations

from tutelage.chat.audit.checks.scripts import answers_in_other_script

ENGLISH, RUSSIAN = "Where does the ferry go in the morning?", "Паром утром уходит на остров у моря."
CHINESE, JAPANESE = "这艘渡轮每天早上八点都会离开港口去岛上。", "この船は毎朝八時に港を出て島へ行きます。"


def test_answers_in_another_script() -> None:
    assert answers_in_other_script(ENGLISH, RUSSIAN)
    assert answers_in_other_script(CHINESE, ENGLISH)
    assert not answers_in_other_script(f"Say it in Russian: {ENGLISH}", RUSSIAN)
    assert not answers_in_other_script(f"{CHINESE} 翻译", ENGLISH)
    assert not answers_in_other_script(JAPANESE, CHINESE)
    assert not answers_in_other_script(ENGLISH, "42")
    assert not answers_in_other_script(CHINESE, f"```python\n# {ENGLISH}\n```")
