"""The playground page, a web page for FakeWeChat. The browser only displays; all rules are in the platform."""
