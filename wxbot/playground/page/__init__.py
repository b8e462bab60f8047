"""The playground page: FakeWeChat with a face. The browser draws, the platform decides; no rule is written here."""
