// What a classifier's page runs.

import { Classifier } from "./classify.mjs";

function make(parts, facts, tables) {
  const file = document.getElementById("tokenizer");
  return new Classifier(parts, facts, tables, file && JSON.parse(file.textContent));
}

const answer = (program, text) => program.classify(text);
