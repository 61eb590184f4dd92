// What a classifier's page runs.

import { Classifier } from "./classify.mjs";

async function make(parts, facts, tables) {
  return new Classifier(parts, facts, tables, document.getElementById("tokenizer") && (await told("tokenizer")));
}

const answer = (program, text) => program.classify(text);
