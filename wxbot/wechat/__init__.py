"""WeChat's side of the rim: the callback's crypto and formats, the access token, and the calls to WeChat's API."""
