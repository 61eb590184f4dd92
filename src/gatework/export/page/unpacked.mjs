// What stands in a page as deflated bytes.

/** An ArrayBuffer of what the element of an id holds, in base64. */
async function unpacked(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (each) => each.charCodeAt(0));
  const inflated = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(inflated).arrayBuffer();
}

/** The JSON that stands there. */
const told = async (id) => JSON.parse(new TextDecoder().decode(await unpacked(id)));
