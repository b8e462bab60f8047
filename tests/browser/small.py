"""Screenshots with a palette of 256 colours: less than half the size, and hardly any visible difference."""

from __future__ import annotations

import base64

from playwright.sync_api import Page

from tests.browser.plugins.stories import png_of

# Returns the palette and the palette index of each pixel, with a filter byte (none) before each line, compressed.
_SHRINK = """async (picture) => {
  const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], {type: "image/png"}));
  const {width, height} = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const dots = context.getImageData(0, 0, width, height).data;
  const counts = new Map();
  const colourAt = (at) => (dots[at] << 16) | (dots[at + 1] << 8) | dots[at + 2];
  for (let at = 0; at < dots.length; at += 4) counts.set(colourAt(at), (counts.get(colourAt(at)) ?? 0) + 1);
  const palette = [...counts].sort((one, other) => other[1] - one[1]).slice(0, 256).map(([colour]) => colour);
  const part = (one, other, by) => (((one >> by) & 255) - ((other >> by) & 255)) ** 2;
  const distance = (one, other) => part(one, other, 16) + part(one, other, 8) + part(one, other, 0);
  const places = new Map();
  for (const colour of counts.keys()) {
    let best = 0;
    for (let place = 1; place < palette.length; place += 1) {
      if (distance(colour, palette[place]) < distance(colour, palette[best])) best = place;
    }
    places.set(colour, best);
  }
  const lines = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) lines[y * (width + 1) + 1 + x] = places.get(colourAt((y * width + x) * 4));
  }
  const packed = new Blob([lines]).stream().pipeThrough(new CompressionStream("deflate"));
  const content = new Uint8Array(await new Response(packed).arrayBuffer());
  let text = "";
  for (const byte of content) text += String.fromCharCode(byte);
  const colours = palette.flatMap((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255]);
  return {width, height, colours, lines: btoa(text)};
}"""


def shrunk(picture: bytes, page: Page) -> bytes:
    """Return the PNG with a palette. ``page`` does the work."""
    data = page.evaluate(_SHRINK, base64.b64encode(picture).decode())
    return png_of(data["width"], data["height"], bytes(data["colours"]), base64.b64decode(data["lines"]))
