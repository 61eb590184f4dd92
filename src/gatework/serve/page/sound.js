// Sound: of a file or of a microphone, as samples and as a WAV file.

const CHUNK = 0.2; // seconds that are handed on at a time

export async function decoded(content) { // of a file's bytes: {samples, rate}, of one channel
  const context = new AudioContext();
  try {
    const heard = await context.decodeAudioData(content.slice(0));
    const samples = new Float32Array(heard.length);
    for (let channel = 0; channel < heard.numberOfChannels; channel++) {
      heard.getChannelData(channel).forEach((value, index) => { samples[index] += value / heard.numberOfChannels; });
    }
    return {samples, rate: heard.sampleRate};
  } finally { await context.close(); }
}

export function* chunks({samples, rate}) { // of 16 bits
  const size = Math.round(CHUNK * rate);
  for (let begin = 0; begin < samples.length; begin += size) yield whole(samples.subarray(begin, begin + size));
}

export function whole(samples) { // numbers in [-1, 1] as integers of 16 bits
  return Int16Array.from(samples, value => Math.round(32767 * Math.max(-1, Math.min(1, value))));
}

export function wav({samples, rate}) { // a file's bytes
  const values = whole(samples), head = new DataView(new ArrayBuffer(44));
  const text = (place, word) => [...word].forEach((letter, index) => head.setUint8(place + index, letter.charCodeAt(0)));
  text(0, "RIFF"); text(8, "WAVE"); text(12, "fmt "); text(36, "data");
  head.setUint32(4, 36 + values.byteLength, true); head.setUint32(16, 16, true); head.setUint16(20, 1, true);
  head.setUint16(22, 1, true); head.setUint32(24, rate, true); head.setUint32(28, 2 * rate, true);
  head.setUint16(32, 2, true); head.setUint16(34, 16, true); head.setUint32(40, values.byteLength, true);
  const bytes = new Uint8Array(44 + values.byteLength);
  bytes.set(new Uint8Array(head.buffer));
  bytes.set(new Uint8Array(values.buffer), 44);
  return bytes;
}

export function base64(bytes) {
  let text = "";
  for (let begin = 0; begin < bytes.length; begin += 32768) text += String.fromCharCode(...bytes.subarray(begin, begin + 32768));
  return btoa(text);
}

export function bytesOf(text) { return Uint8Array.from(atob(text), letter => letter.charCodeAt(0)); }

export class Microphone { // `onsamples` is told what it hears, chunk by chunk
  async start(onsamples) {
    this.source = await navigator.mediaDevices.getUserMedia({audio: true});
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("/page/microphone.js");
    this.rate = this.context.sampleRate;
    const node = new AudioWorkletNode(this.context, "gatework-microphone");
    let blocks = [], count = 0;
    this.heard = [];
    this.flush = () => {
      if (!count) return;
      const chunk = joined(blocks);
      [blocks, count] = [[], 0];
      this.heard.push(chunk);
      onsamples(chunk);
    };
    node.port.addEventListener("message", ({data}) => {
      blocks.push(data);
      count += data.length;
      if (count >= CHUNK * this.rate) this.flush();
    });
    node.port.start();
    this.context.createMediaStreamSource(this.source).connect(node);
  }

  async stop() { // all that it heard
    this.source.getTracks().forEach(track => track.stop());
    await this.context.close();
    this.flush();
    return {samples: joined(this.heard), rate: this.rate};
  }
}

function joined(parts) {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) { all.set(part, place); place += part.length; }
  return all;
}
