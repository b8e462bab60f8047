"""WeChat's pushes: signature, decryption, parsing, and the response."""
