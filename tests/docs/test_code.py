"""Run the Python in the documents: talk to the plugins, run the tests, execute the other blocks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.documents import DOCUMENTS, Block, blocks, name_of
from wxbot import Plugin
from wxbot.plugin.discovery import find_plugins
from wxbot.testing import User, chat

WITH_CODE = [path for path in DOCUMENTS if blocks(path, "python")]

UserAction = Callable[[User], object]


def says(text: str) -> UserAction:
    return lambda user: user.says(text)


CONVERSATIONS: dict[str, list[tuple[UserAction, str]]] = {
    "addresses": [(says("addresses"), "WeChat calls from 1 address(es).")],
    "booking": [
        (says("book"), "For how many?"),
        (says("many"), "A number, please."),
        (says("4"), "A table for 4 is booked."),
    ],
    "counter": [
        (says("COUNT"), "You asked 1 time(s)."),
        (says("countdown"), "1"),
        (lambda user: user.enters(), "Welcome!"),
        (says("what?"), ""),
    ],
    "greeting": [(says("who are you"), "I am wxbot. ")],
    "hello": [(says(" HELLO "), "Hello!"), (says("你好"), "Hello!")],
    "kinds": [
        (says("帮助"), "Ask me anything."),
        (says("order 7"), "Order 7 is on its way."),
        (lambda user: user.sends_image(media_id="M"), "A picture: M"),
        (lambda user: user.sends_mini_program_page(title="T"), "A card: T"),
        (lambda user: user.enters("shop"), "Welcome from shop!"),
        (says("x" * 501), "That is long."),
        (says("x" * 500), "I do not understand."),
    ],
    "orders": [(says("order 42"), "Order 42 is on its way.")],
    "parts": [(says("report"), "Here it is.")],
}
"""For each plugin of the documents: user actions, and the last message that the user sees; "" if there is none."""

CHINESE_CONVERSATIONS: dict[str, list[tuple[UserAction, str]]] = {
    "addresses": [(says("地址"), "微信使用 1 个地址推送。")],
    "booking": [
        (says("订位"), "请问几位？"),
        (says("很多"), "请输入数字。"),
        (says("4"), "已为你预订 4 人的餐桌。"),
    ],
    "counter": [
        (says("计数"), "你问了 1 次。"),
        (says("倒数"), "1"),
        (lambda user: user.enters(), "欢迎！"),
        (says("什么？"), ""),
    ],
    "greeting": [(says("你是谁"), "我是 wxbot，很高兴认识你。")],
    "hello": [(says(" HELLO "), "你好！"), (says("你好"), "你好！")],
    "kinds": [
        (says("帮助"), "请直接输入你的问题。"),
        (says("订单 7"), "订单 7 正在配送中。"),
        (lambda user: user.sends_image(media_id="M"), "收到图片：M"),
        (lambda user: user.sends_mini_program_page(title="T"), "收到小程序卡片：T"),
        (lambda user: user.enters("shop"), "欢迎！来源是 shop，很高兴为你服务。"),
        (says("x" * 501), "这段文字太长了。"),
        (says("x" * 500), "抱歉，我没有听懂。"),
    ],
    "orders": [(says("订单 42"), "订单 42 正在配送中。")],
    "parts": [(says("报告"), "这是你的报告。")],
}
"""The same for plugins whose texts are Chinese in the Chinese documents."""


@pytest.mark.parametrize("document", WITH_CODE, ids=name_of)
def test_the_documented_plugins_reply(document: Path, bot_folder: Path) -> None:
    write_files(document, bot_folder)
    if not (bot_folder / "plugins").is_dir():
        pytest.skip("no plugins in this document")
    conversations = CONVERSATIONS | (CHINESE_CONVERSATIONS if "zh-CN" in str(document) else {})
    for plugin in find_plugins([bot_folder / "plugins"]):
        talk_to(plugin, conversations[plugin.name])


def talk_to(plugin: Plugin, conversation: list[tuple[UserAction, str]]) -> None:
    with chat(plugin) as user:
        for act, expected in conversation:
            times = user.saw.count(expected) + 1
            act(user)
            if expected:
                user.waits_for(expected, times=times)
                # CancelTyping uses a connection of its own, so it may arrive after the message.
                assert [saw for saw in user.saw if saw not in ("Typing", "CancelTyping")][-1] == expected
        assert user.refused == []


@pytest.mark.parametrize("document", WITH_CODE, ids=name_of)
def test_the_documented_tests_pass(document: Path, bot_folder: Path) -> None:
    write_files(document, bot_folder)
    paths = sorted((bot_folder / "tests").glob("test_*.py"))
    ran = [name for path in paths for name in run_tests(loaded(path))]
    assert len(ran) >= len(paths), "each file has at least one test"


def run_tests(module: ModuleType) -> list[str]:
    tests = {name: value for name, value in vars(module).items() if name.startswith("test_")}
    for test in tests.values():
        test()
    return list(tests)


@pytest.mark.parametrize("document", WITH_CODE, ids=name_of)
def test_blocks_without_a_file_name_run(document: Path, bot_folder: Path) -> None:
    for block in blocks(document, "python"):
        if not block.path:
            exec(compile(block.code, f"{document}:{block.line}", "exec"), {})  # noqa: S102 - the code is from our own documents


def test_there_is_one_conversation_for_each_documented_plugin() -> None:
    names = {Path(block.path).stem for path in WITH_CODE for block in blocks(path, "python") if is_plugin(block)}
    assert names == set(CONVERSATIONS)


def is_plugin(block: Block) -> bool:
    return block.path.startswith("plugins/")


def write_files(document: Path, folder: Path) -> None:
    for block in blocks(document, "python"):
        if block.path:
            path = folder / block.path
            path.parent.mkdir(exist_ok=True)
            assert not path.exists(), f"{name_of(document)}:{block.line}: {block.path} appears twice"
            path.write_text(block.code + "\n", encoding="utf-8")


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"documented_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
