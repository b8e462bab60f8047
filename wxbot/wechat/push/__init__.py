"""WeChat's pushes: signature, decryption, parsing, and the answer."""
