"""The playground, a local WeChat simulator: a page, a console and a scripted demo on top of FakeWeChat."""
