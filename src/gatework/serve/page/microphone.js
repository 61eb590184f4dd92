// Runs beside the page: hands on what a microphone gives, block by block.

registerProcessor("gatework-microphone", class extends AudioWorkletProcessor {
  process(inputs) {
    if (inputs[0].length) this.port.postMessage(inputs[0][0].slice());
    return true;
  }
});
