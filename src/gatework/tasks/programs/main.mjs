// In Node: a text a line in, its translation out.   node main.mjs < texts.txt

import { createInterface } from "node:readline";
import { open } from "./translate.mjs";

const translator = await open();
for await (const line of createInterface({ input: process.stdin })) console.log(translator.translate(line)[0].text);
